"""The trusted part of a data set: a list of files, a column of its CSV, or a second annotation file. Or none."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from galc import store
from galc.clean.inputs import Given
from galc.data import dataset as data

SHOWN = 5  # names in a message


def with_trusted(given: Given, trusted: str | Path | None, images: str | Path | None = None) -> Given:
    """``given`` with its trusted images marked.

    trusted : a .txt with one image a line; a .json or .csv with images and their true labels, which take the place of
              the given ones; a .csv whose only column is "image"; or None. (For a column of the data's own CSV see
              `column`.) Images are named by their path, by its last parts, or by a file name that is unique.
    images  : folder that the file names of a second annotation file start at: that of the data (None: as
              `galc.data.dataset.load` has it)

    Raises ValueError or FileNotFoundError naming file, image or class at fault and the mend.
    """
    if trusted is None:
        return given
    path = store.typed(trusted)
    if not path.is_file():
        raise FileNotFoundError(f"--trusted {trusted} is missing ({path}); pass a .txt, .csv or .json file")
    if path.suffix.lower() == ".txt" or (path.suffix.lower() == ".csv" and _only_images(path)):
        return replace(given, trusted=_mask(given, find(given.files, _listed(path), str(path))))
    if path.suffix.lower() not in (".csv", ".json"):
        raise ValueError(f"{path}: the trusted images come as .txt (a list), .csv or .json (with their true labels)")
    return _from_annotations(given, path, images)


def column(path: Path, name: str, files: Sequence[Path], encoding: str = "utf-8-sig") -> torch.Tensor:
    """(N,) bool: which of the ``files`` have a 1 in column ``name`` of a CSV. Raises ValueError for other values."""
    marked = []
    with open(path, newline="", encoding=encoding) as file:
        for row in csv.DictReader(file):
            row = {key.strip(): (value or "").strip() for key, value in row.items() if key is not None}
            if name not in row:
                raise ValueError(f"{path} has no column {name!r}; it has: {', '.join(row)}")
            if row[name] not in ("0", "1", ""):
                raise ValueError(f"{path}, image {row['image']!r}, column {name!r}: must be 0 or 1, got {row[name]!r}")
            if row[name] == "1":
                marked.append(row["image"])
    mask = torch.zeros(len(files), dtype=torch.bool)
    mask[find(files, marked, f"{path}, column {name!r}")] = True
    return mask


def find(files: Sequence[Path], names: Sequence[str], where: str) -> list[int]:
    """The rows of images that are named by their path or by its last parts.

    Raises ValueError for a name that fits no image, or more than one.
    """
    known: dict[str, list[int]] = {}
    wanted = {name: Path(name).parts for name in names}
    lengths = sorted({len(parts) for parts in wanted.values()})
    for row, file in enumerate(files):
        for length in lengths:
            known.setdefault("/".join(file.parts[-length:]), []).append(row)
    rows, unknown = [], []
    for name, parts in wanted.items():
        found = known.get("/".join(parts), [])
        if len(found) > 1:
            raise ValueError(f"{where}: {name!r} fits {len(found)} images, e.g. {files[found[0]]}; give longer paths")
        rows += found
        unknown += [name] * (not found)
    if unknown:
        names = ", ".join(map(repr, unknown[:SHOWN])) + (", ..." if len(unknown) > SHOWN else "")
        raise ValueError(
            f"{where}: {len(unknown)} of {len(wanted)} images are not in the data: {names}; "
            "name them as the data do, or take them out"
        )
    return rows


def _mask(given: Given, rows: list[int]) -> torch.Tensor:
    mask = given.trusted.clone()
    mask[rows] = True
    return mask


def _listed(path: Path) -> list[str]:
    """The names in a list; empty lines, and a header ``image``, do not count."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    names = [line.strip() for line in lines]
    if path.suffix.lower() == ".csv":
        names = [row[0].strip() for row in csv.reader(lines[1:]) if row]
    names = [name for name in names if name]
    if not names:
        raise ValueError(f"{path} names no image; write one a line, or leave --trusted out")
    return names


def _only_images(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.readline().strip() == "image"
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error


def _from_annotations(given: Given, path: Path, images: str | Path | None) -> Given:
    """Images of a second annotation file are trusted, with the labels that it gives them."""
    options: dict = {} if images is None else {"images": images}
    if path.suffix.lower() == ".csv":
        options["classes"] = given.classes
    second = Given.of(data.load(path, **options), str(path))
    if unknown := sorted(set(second.classes) - set(given.classes)):
        raise ValueError(
            f"{path}: unknown class {', '.join(unknown[:SHOWN])}; the data has: {', '.join(given.classes)}"
        )
    names = [str(file) for file in second.files]
    known = {str(file): row for row, file in enumerate(given.files)}
    rows = [known[name] for name in names] if set(names) <= set(known) else find(given.files, _tails(second), str(path))
    labels = given.labels.clone()
    labels[rows] = False
    columns = torch.tensor([given.classes.index(name) for name in second.classes])
    labels[torch.tensor(rows)[:, None], columns] = second.labels
    return replace(given, labels=labels, trusted=_mask(given, rows))


def _tails(second: Given) -> list[str]:
    """Names of files: the same images may lie elsewhere."""
    return [file.name for file in second.files]
