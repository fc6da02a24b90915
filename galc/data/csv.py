"""Labels in a CSV: the header ``image,labels`` with names separated by ``|``, or one 0/1 column a class."""

import csv
import difflib
from functools import partial
from pathlib import Path

import numpy as np

from galc import store
from galc.data.dataset import MultiLabelData, inside, labelled, one_split, refuse_duplicates

csv.field_size_limit(2**31 - 1)  # a cell may name thousands of classes


def csv_table(
    path: Path,
    split: str = "train",
    images: str | Path | None = None,
    classes: tuple[str, ...] | None = None,
    encoding: str = "utf-8-sig",
    ignore: tuple[str, ...] = (),
) -> MultiLabelData:
    """One CSV with the header ``image,labels`` (names separated by ``|``) or ``image`` and one 0/1 column a class.

    images  : folder the image paths start at (default: the CSV's)
    classes : the classes and their order, e.g. those of the training set (default: those in the file)
    ignore  : columns that are no classes
    """
    one_split(path, split)
    return read_csv(path, store.typed(images) if images else path.parent, path.stem, classes, encoding, ignore)


def read_csv(
    path: Path,
    images: Path,
    name: str,
    classes: tuple[str, ...] | None = None,
    encoding: str = "utf-8-sig",
    ignore: tuple[str, ...] = (),
) -> MultiLabelData:
    """See `csv_table`. Raises ValueError naming the row (a line of the file), column or class at fault."""
    header, rows = _without(ignore, *_csv_rows(path, encoding), path)
    files = [inside(images, row[0].strip(), f"{path}, row {line}") for line, row in rows]
    refuse_duplicates(files, f"{path}: image", "merge its rows into one")
    by_names = header[1:] == ["labels"]
    cells = _names if by_names else partial(_flags, header=header)
    found = [cells(row, where=f"{path}, row {line}") for line, row in rows]
    if classes is None:
        classes = sorted(set().union(*found)) if by_names else header[1:]
    elif not by_names and (missing := sorted(set(classes) - set(header))):
        raise ValueError(f"{path}: no column for class {', '.join(missing)}; add it")
    column = {name: k for k, name in enumerate(classes)}
    labels = np.zeros((len(rows), len(column)), bool)
    for n, (line, _) in enumerate(rows):
        for label in found[n]:
            if label not in column:
                close = difflib.get_close_matches(label, column, 1)
                hint = f"did you mean {close[0]!r}?" if close else f"the classes are {', '.join(column)}"
                raise ValueError(f"{path}, row {line}: unknown class {label!r}; {hint}")
            labels[n, column[label]] = True
    return labelled(name, classes, [""] * len(classes), files, labels)


def _without(ignore: tuple[str, ...], header: list[str], rows: list, path: Path) -> tuple[list[str], list]:
    """Header and rows without the columns to ``ignore``. Raises ValueError for one that is not there."""
    if missing := [name for name in ignore if name not in header[1:]]:
        raise ValueError(f"{path}: no column {missing[0]!r} beside image; it has: {', '.join(header[1:])}")
    kept = [n for n, name in enumerate(header) if name not in ignore]
    return [header[n] for n in kept], [(line, [row[n] for n in kept]) for line, row in rows]


def _csv_rows(path: Path, encoding: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The checked header, and (line number, cells) of each row; empty lines are skipped."""
    try:
        with open(path, newline="", encoding=encoding) as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} is missing; write it, or pass the path of another file") from None
    except (UnicodeError, LookupError) as error:
        raise ValueError(f"{path} is not {encoding} text ({error}); save it as UTF-8 or pass encoding=") from error
    except csv.Error as error:
        raise ValueError(f"{path} is no valid CSV ({error}); check the quotes") from error
    if not lines:
        raise ValueError(f"{path} is empty; its first line must be image,labels or image,CLASS,CLASS,...")
    (_, header), rows = lines[0], lines[1:]
    if header[0] != "image" or len(header) < 2:
        raise ValueError(f"{path}: the header must be image,labels or image,CLASS,CLASS,... (commas), got {header}")
    refuse_duplicates(header, f"{path}: column", "keep one of them")
    for line, row in rows:
        if len(row) != len(header):
            raise ValueError(f"{path}, row {line}: {len(row)} cells under {len(header)} columns; quote or add cells")
    return header, rows


def _names(row: list[str], where: str) -> list[str]:
    names = [name.strip() for name in row[1].split("|")] if row[1] else []
    if "" in names:
        raise ValueError(f"{where}: an empty class name in {row[1]!r}; separate names by one |")
    refuse_duplicates(names, f"{where}: class", "name it once")
    return names


def _flags(row: list[str], where: str, header: list[str]) -> list[str]:
    for name, value in zip(header[1:], row[1:], strict=True):
        if value not in ("0", "1"):
            raise ValueError(f"{where}, column {name!r}: the value must be 0 or 1, got {value!r}")
    return [name for name, value in zip(header[1:], row[1:], strict=True) if value == "1"]
