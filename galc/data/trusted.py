"""The trusted part of a data set: a list of files, or a second annotation file. Or none."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from galc import store
from galc.data.dataset import Dataset, shorten
from galc.data.load import load


def with_trusted(data: Dataset, trusted: str | Path | None, images: str | Path | None = None) -> Dataset:
    """``data`` with its trusted images marked.

    trusted : a .txt with one image a line; a .json or .csv with images and their true labels, which take the place of
              the given ones; a .csv whose only column is "image"; or None. (For a column of the data's own CSV see
              `galc.data.csv.read`.) Images are named by their path, its last parts, or a file name that is unique.
    images  : folder that the file names of a second annotation file start at: that of the data (None: as
              `galc.data.load.load` has it)

    Raises ValueError or FileNotFoundError naming file, image or class at fault and the mend; also for an annotation
    file that lacks a class of the data: its images would pass for checked to be without it.
    """
    if trusted is None:
        return data
    path = store.typed(trusted)
    if not path.is_file():
        raise FileNotFoundError(f"the list of trusted images {path} is missing; pass a .txt, .csv or .json file")
    kind = path.suffix.lower()
    if kind not in (".txt", ".csv", ".json"):
        raise ValueError(f"{path}: the trusted images come as .txt (a list), .csv or .json (with their true labels)")
    lines = [] if kind == ".json" else _lines(path)
    if kind == ".txt" or lines[:1] == ["image"]:
        names = [row[0].strip() for row in csv.reader(lines[1:]) if row] if kind == ".csv" else lines
        names = [name for name in names if name]
        if not names:
            raise ValueError(f"{path} names no image; write one a line, or leave it out")
        return _marked(data, find(data.files, names, str(path)))
    return _from_annotations(data, path, images)


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error


def _from_annotations(data: Dataset, path: Path, images: str | Path | None) -> Dataset:
    """Images of a second annotation file are trusted, with the labels that it gives them."""
    second = load(path, images=images, classes=data.classes if path.suffix.lower() == ".csv" else None)
    if unknown := sorted(set(second.classes) - set(data.classes)):
        raise ValueError(f"{path}: unknown class {shorten(unknown)}; the data has: {shorten(data.classes)}")
    if lacking := sorted(set(data.classes) - set(second.classes)):
        raise ValueError(
            f"{path} lacks the {len(lacking)} categories {shorten(lacking)} of {data.name}, so all of its images would "
            "count as checked to be without them; add them to its categories if they were looked for, else pass a list "
            "of images whose labels are right as they are"
        )
    known = {file: row for row, file in enumerate(data.files)}
    if known.keys() >= set(second.files):
        rows = [known[file] for file in second.files]
    else:  # the same images may lie elsewhere
        rows = find(data.files, [file.name for file in second.files], str(path))
    labels = data.labels.clone()
    labels[rows] = second.labels[:, [second.classes.index(name) for name in data.classes]]
    return _marked(replace(data, labels=labels), rows)


def _marked(data: Dataset, rows: list[int]) -> Dataset:
    trusted = data.trusted.clone()
    trusted[rows] = True
    return replace(data, trusted=trusted)


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
        raise ValueError(
            f"{where}: {len(unknown)} of {len(wanted)} images are not in the data: {shorten(map(repr, unknown))}; "
            "name them as the data do, or take them out"
        )
    return rows
