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
from galc.data.dataset import Dataset, from_names, inside, refuse_duplicates, shorten

csv.field_size_limit(2**31 - 1)  # a cell may name thousands of classes
BOM = b"\xef\xbb\xbf"
NO_LABEL = ("", "nan", "NaN")  # cells that name nothing; pandas writes a missing one so
SEPARATORS = {",": "commas", ";": "semicolons", " ": "blanks"}  # that people use in place of |


class Row(NamedTuple):
    """A row of a file: as it stands there, which may be several lines; the number of its last line; its cells."""

    raw: str
    line: int
    cells: list[str]

    @property
    def filled(self) -> bool:
        return any(self.cells)


def read(
    path: Path,
    images: Path,
    name: str,
    *,
    classes: Sequence[str] | None = None,
    encoding: str = "utf-8-sig",
    trusted_column: str | None = None,
) -> Dataset:
    """images: the folder that file names start at.

    classes        : the classes and their order, e.g. those of the training set (default: those in the file)
    trusted_column : a column of 0 and 1 that marks trusted images

    A missing cell, or "nan", names no class. Raises ValueError naming the row (a line of the file), column or class at
    fault; also where names seem to be separated by something else than |.
    """
    header, rows = table(path, encoding)
    if trusted_column is not None and trusted_column not in header[1:]:
        raise ValueError(f"{path}: no column {trusted_column!r} beside image; it has: {', '.join(header[1:])}")
    columns = [one for one in header[1:] if one != trusted_column]
    found = labels(header, rows, columns, path, classes or ())
    if named := columns == ["labels"]:
        classes = sorted(set().union(*found)) if classes is None else classes
    elif missing := sorted(set(classes or ()) - set(columns)):
        raise ValueError(f"{path}: no column for class {shorten(missing)}; add it")
    classes = columns if classes is None else classes
    known = set(classes)
    for row, its in zip(rows, found, strict=True):
        if unknown := [one for one in its if one not in known]:
            close = difflib.get_close_matches(unknown[0], classes, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"the classes are {shorten(classes)}"
            raise ValueError(f"{path}, row {row.line}: unknown class {unknown[0]!r}; {hint}")
    trusted = None
    if trusted_column is not None:
        marked = [_marked(row, header, [trusted_column], f"{path}, row {row.line}", ("0", "1", "")) for row in rows]
        trusted = torch.tensor([bool(one) for one in marked])
    missing = sum(named and row.cells[header.index("labels")].strip() in NO_LABEL[1:] for row in rows)
    notes = (f"{missing:,} cells with nan are no label",) if missing else ()
    return from_names(
        name, dict(zip(files(rows, images, path), found, strict=True)), classes, trusted=trusted, notes=notes
    )


def table(path: Path, encoding: str = "utf-8-sig") -> tuple[list[str], list[Row]]:
    """The checked header, and the rows below it; empty lines are left out."""
    filled = [row for row in _rows(_text(path, encoding)[1], path) if row.filled]
    if not filled:
        raise ValueError(f"{path} is empty; its first line must be image,labels or image,CLASS,CLASS,...")
    header, rows = [cell.strip() for cell in filled[0].cells], filled[1:]
    if header[0] != "image" or len(header) < 2:
        raise ValueError(f"{path}: the header must be image,labels or image,CLASS,CLASS,... (commas), got {header}")
    refuse_duplicates(header, f"{path}: column", "keep one of them")
    for row in rows:
        if len(row.cells) != len(header):
            raise ValueError(
                f"{path}, row {row.line}: {len(row.cells)} cells under {len(header)} columns; quote or add cells"
            )
    return header, rows


def _text(path: Path, encoding: str) -> tuple[bytes, str]:
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


def _rows(text: str, path: Path) -> Iterator[Row]:
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    reader = csv.reader(lines(), strict=True)
    try:
        for cells in reader:
            yield Row("".join(taken), reader.line_num, cells)
            taken.clear()
    except csv.Error as error:
        raise ValueError(f"{path} is no valid CSV ({error}); check the quotes") from error


def files(rows: list[Row], images: Path, path: Path) -> list[Path]:
    """The image of each row. Raises ValueError for one that is named twice."""
    found = [inside(images, row.cells[0].strip(), f"{path}, row {row.line}") for row in rows]
    refuse_duplicates(found, f"{path}: image", "merge its rows into one")
    return found


def labels(
    header: list[str], rows: list[Row], columns: list[str], path: Path, known: Collection[str] = ()
) -> list[list[str]]:
    """The names of each row's classes: those in its column ``labels``, if that is all, else the columns with a 1.

    ``known`` names are one each, whatever is in them.
    """
    if columns != ["labels"]:
        return [_marked(row, header, columns, f"{path}, row {row.line}") for row in rows]
    place, found = header.index("labels"), []
    for row in rows:
        its, where = _split(row.cells[place], known), f"{path}, row {row.line}"
        if "" in its:
            raise ValueError(f"{where}: an empty class name in {row.cells[place]!r}; separate names by one |")
        refuse_duplicates(its, f"{where}: class", "name it once")
        found.append(its)
    if joined := _joined(found, known):
        raise ValueError(
            f"{path}: names seem to be separated by {joined[0]}, e.g. {joined[1]!r}; separate them by |, as in "
            "cat|dog. (Where each of these is one class, name all classes: classes= in Python.)"
        )
    return found


def _split(cell: str, known: Collection[str] = ()) -> list[str]:
    cell = cell.strip()
    return [] if cell in NO_LABEL and cell not in known else [name.strip() for name in cell.split("|")]


def _joined(rows: Collection[Sequence[str]], known: Collection[str] = ()) -> tuple[str, str] | None:
    """What seems to separate names inside of single ones, and an example; None where there is no sign of it.

    With commas and semicolons: all parts of a name are names as well, or most names consist of parts that come again.
    Blanks are common in names ("traffic light"): there, most names with one must consist of names.
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


def _marked(
    row: Row, header: list[str], columns: Sequence[str], where: str, values: Sequence[str] = ("0", "1")
) -> list[str]:
    """Those of the ``columns`` that have a 1."""
    cells = {name: row.cells[header.index(name)].strip() for name in columns}
    for name, value in cells.items():
        if value not in values:
            raise ValueError(f"{where}, column {name!r}: the value must be 0 or 1, got {value!r}")
    return [name for name, value in cells.items() if value == "1"]


def write(
    source: Path, images: Path, wanted: Mapping[Path, Sequence[str]], classes: Collection[str], target: Path
) -> Path:
    """``source`` with the labels that are ``wanted``.

    Columns, their order, line ends and rows that do not change stay as they are, byte for byte.
    """
    mark, text = _text(source, "utf-8-sig")
    out, header = [], None
    for row in _rows(text, source):
        if header is None or not row.filled:
            header = [cell.strip() for cell in row.cells] if header is None and row.filled else header
            out.append(row.raw)
            continue
        file = inside(images, row.cells[0], str(source))
        changed = _changed(header, row.cells, wanted[file], classes) if file in wanted else row.cells
        out.append(row.raw if changed == row.cells else _line(changed, row.raw[len(row.raw.rstrip("\r\n")) :]))
    with store.atomic(target) as temporary:
        temporary.write_bytes(mark + "".join(out).encode("utf-8"))
    return target


def _changed(header: list[str], cells: list[str], names: Sequence[str], classes: Collection[str]) -> list[str]:
    """The cells with the labels that are wanted; the old order first, new ones behind."""
    cells = list(cells)
    if [one for one in header[1:] if one in classes or one == "labels"] == ["labels"]:
        place = header.index("labels")
        old = _split(cells[place])
        if set(old) != set(names):
            cells[place] = "|".join([name for name in old if name in names] + [n for n in names if n not in old])
        return cells
    for place, name in enumerate(header):
        if place and name in classes and cells[place].strip() != str(int(name in names)):
            cells[place] = str(int(name in names))
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
