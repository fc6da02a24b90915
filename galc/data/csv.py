"""Labels in a CSV: the header ``image,labels`` with names separated by ``|``, or one 0/1 column a class."""

import csv
import difflib
import io
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from galc import store
from galc.data.dataset import Dataset, from_names, inside, old_first, refuse_duplicates, shorten

csv.field_size_limit(2**31 - 1)  # a cell may name thousands of classes
BOM = b"\xef\xbb\xbf"
NO_LABEL = ("", "nan", "NaN")  # cells that name nothing; pandas writes a missing one so
SEPARATORS = {",": "commas", ";": "semicolons", " ": "blanks"}  # that people use in place of |


class Row(NamedTuple):
    """A row: as it stands in the file, which may be several lines; where that is; its cells."""

    raw: str
    where: str
    cells: list[str]


def read(
    path: Path,
    images: Path,
    name: str,
    *,
    classes: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
    trusted_column: str | None = None,
) -> Dataset:
    """``classes``: the classes and their order, e.g. those of the training set (default: those in the file);
    ``trusted_column``: a column of 0 and 1 that marks trusted images.

    A missing cell, or "nan", names no class. Raises ValueError naming the row (a line of the file), column or class at
    fault; also where names seem to be separated by something else than |.
    """
    header, rows = table(path, encoding)
    if trusted_column is not None and trusted_column not in header[1:]:
        raise ValueError(f"{path}: no column {trusted_column!r} beside image; it has: {', '.join(header[1:])}")
    columns = [one for one in header[1:] if one != trusted_column]
    found = labels(header, rows, path, columns, classes or ())
    if columns != ["labels"] and (missing := sorted(set(classes or ()) - set(columns))):
        raise ValueError(f"{path}: no column for class {shorten(missing)}; add it")
    if classes is None:
        classes = sorted(set().union(*found)) if columns == ["labels"] else columns
    known = set(classes)
    for row, its in zip(rows, found, strict=True):
        if unknown := [one for one in its if one not in known]:
            close = difflib.get_close_matches(unknown[0], classes, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the classes are {shorten(classes)}"
            raise ValueError(f"{row.where}: unknown class {unknown[0]!r}; {hint}")
    marks = trusted_column is not None and _marked(header, rows, [trusted_column], ("0", "1", ""))
    trusted = torch.tensor([bool(its) for its in marks]) if marks else None
    nothing = sum(row.cells[-1].strip() in NO_LABEL[1:] for row in rows) if header[1:] == ["labels"] else 0
    notes = (f"{nothing:,} cells with nan are no label",) if nothing else ()
    names = dict(zip(files(rows, images, path), found, strict=True))
    return from_names(name, names, classes, trusted=trusted, notes=notes)


def table(path: Path, encoding: str = "utf-8-sig") -> tuple[list[str], list[Row]]:
    """The checked header, and the rows below it; empty lines are left out."""
    filled = [row for row in split_rows(_text(path, encoding)[1], path) if any(row.cells)]
    if not filled:
        raise ValueError(f"{path} is empty; its first line must be image,labels or image,CLASS,CLASS,...")
    header, rows = [cell.strip() for cell in filled[0].cells], filled[1:]
    if header[0] != "image" or len(header) < 2:
        raise ValueError(f"{path}: the header must be image,labels or image,CLASS,CLASS,... (commas), got {header}")
    refuse_duplicates(header, f"{path}: column", "keep one of them")
    for row in rows:
        if len(row.cells) != len(header):
            raise ValueError(f"{row.where}: {len(row.cells)} cells under {len(header)} columns; quote or add cells")
    return header, rows


def _text(path: Path, encoding: str = "utf-8-sig") -> tuple[bytes, str]:
    """The byte-order mark of a file, and its text."""
    try:
        content = path.read_bytes()
        mark = BOM if encoding == "utf-8-sig" and content.startswith(BOM) else b""
        return mark, content.removeprefix(mark).decode(encoding)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; write it, or pass the path of another file") from None
    except (UnicodeError, LookupError) as error:
        raise ValueError(
            f"{path} is not {encoding} text ({error}); save it as UTF-8, or name its encoding (encoding= in Python)"
        ) from error


def split_rows(text: str, path: Path) -> Iterator[Row]:
    """The rows of a text, empty ones as well."""
    taken: list[str] = []
    lines = io.StringIO(text, newline="")
    reader = csv.reader((taken.append(line) or line for line in lines), strict=True)
    try:
        for cells in reader:
            yield Row("".join(taken), f"{path}, row {reader.line_num}", cells)
            taken.clear()
    except csv.Error as error:
        raise ValueError(f"{path} is no valid CSV ({error}); check the quotes") from error


def files(rows: list[Row], images: Path, path: Path) -> list[Path]:
    """The image of each row. Raises ValueError for one that is named twice."""
    found = [inside(images, row.cells[0].strip(), row.where) for row in rows]
    refuse_duplicates(found, f"{path}: image", "merge its rows into one")
    return found


def labels(header: list[str], rows: list[Row], path: Path, columns: list[str], known: Collection[str]) -> list:
    """The names of each row's classes: those in its column ``labels``, if that is all, else the columns with a 1.

    ``known`` names are one each, whatever is in them.
    """
    if columns != ["labels"]:
        return _marked(header, rows, columns)
    place, found = header.index("labels"), []
    for row in rows:
        found.append(its := _split(row.cells[place], known))
        if "" in its:
            raise ValueError(f"{row.where}: an empty class name in {row.cells[place]!r}; separate names by one |")
        refuse_duplicates(its, f"{row.where}: class", "name it once")
    if joined := _joined(found, known):
        raise ValueError(
            f"{path}: names seem to be separated by {joined[0]}, e.g. {joined[1]!r}; separate them by |, as in "
            "cat|dog. (Where each of these is one class, name all classes: classes= in Python.)"
        )
    return found


def _marked(header: list[str], rows: list[Row], columns: Sequence[str], values: Sequence[str] = ("0", "1")) -> list:
    """For each row those of the ``columns`` that have a 1."""
    places, found = {name: header.index(name) for name in columns}, []
    for row in rows:
        cells = {name: row.cells[place].strip() for name, place in places.items()}
        if wrong := [name for name, value in cells.items() if value not in values]:
            raise ValueError(f"{row.where}, column {wrong[0]!r}: the value must be 0 or 1, got {cells[wrong[0]]!r}")
        found.append([name for name, value in cells.items() if value == "1"])
    return found


def _split(cell: str, known: Collection[str] = ()) -> list[str]:
    cell = cell.strip()
    return [] if cell in NO_LABEL and cell not in known else [name.strip() for name in cell.split("|")]


def _joined(rows: Collection[Sequence[str]], known: Collection[str] = ()) -> tuple[str, str] | None:
    """What seems to separate names inside of single ones, and an example.

    Commas and semicolons: all parts of a name are names as well, or most names consist of parts that come again.
    Blanks are common in names ("traffic light"): most names with one must consist of names.
    """
    given = {name for names in rows for name in names} - set(known)
    for mark, word in SEPARATORS.items():
        parts = {name: [part.strip() for part in name.split(mark)] for name in sorted(given) if mark in name}
        parts = {name: its for name, its in parts.items() if all(its) and len(set(its)) == len(its)}
        times = Counter(part for its in parts.values() for part in its)
        alone = [name for name, its in parts.items() if given.issuperset(its)]
        again = [name for name, its in parts.items() if all(times[part] > 1 or part in given for part in its)]
        if mark == " ":
            found = alone if 2 * len(alone) > len(parts) > 1 else []
        else:
            found = alone or (again if 2 * len(again) > len(given) else [])
        if found:
            return word, found[0]
    return None


def write(source: Path, images: Path, wanted: Mapping, classes: Collection[str], target: Path) -> Path:
    """``source`` with the labels that are ``wanted``; columns and rows that do not change stay, byte for byte."""
    mark, text = _text(source)
    out, header = [], table(source)[0]
    for row in split_rows(text, source):
        body = any(row.cells) and [cell.strip() for cell in row.cells] != header
        file = inside(images, row.cells[0], row.where) if body else None
        changed = _changed(header, row.cells, wanted[file], classes) if file in wanted else row.cells
        out.append(row.raw if changed == row.cells else _line(changed, row.raw[len(row.raw.rstrip("\r\n")) :]))
    with store.atomic(target) as temporary:
        temporary.write_bytes(mark + "".join(out).encode("utf-8"))
    return target


def _changed(header: list[str], cells: list[str], names: Sequence[str], classes: Collection[str]) -> list[str]:
    """The cells with the labels that are wanted."""
    cells = list(cells)
    if [one for one in header[1:] if one in classes or one == "labels"] == ["labels"]:
        place = header.index("labels")
        old = _split(cells[place])
        if set(old) != set(names):
            cells[place] = "|".join(old_first(old, names))
        return cells
    for place, name in enumerate(header):
        value = str(int(name in names))
        if place and name in classes and cells[place].strip() != value:
            cells[place] = value
    return cells


def write_new(rows: Mapping[str, Sequence[str]], target: Path) -> Path:
    """Names of classes by the path of each image: ``image,labels``, or where names cannot be told apart so, columns."""
    lists = list(rows.values())
    if any("|" in name for names in lists for name in names) or _joined(lists) or ["nan"] in lists or ["NaN"] in lists:
        columns = sorted(set().union(*lists))
        lines = [["image", *columns], *([file, *(int(one in its) for one in columns)] for file, its in rows.items())]
    else:
        lines = [["image", "labels"], *([file, "|".join(its)] for file, its in rows.items())]
    return store.write_text(target, "".join(_line(line, "\n") for line in lines))


def _line(cells: Sequence, end: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerow(cells)
    return out.getvalue()
