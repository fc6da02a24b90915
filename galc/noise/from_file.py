"""A user's own noise from a file: a transition matrix with the classes' names, and rates of removed and added labels.

    .csv    header ``class,NAME,...[,removed][,added]``; one row a class: its name, its row of C, its rates
    .json   {"classes": [...], "transition": [[...], ...], "removed": [...], "added": [...]}
    .npz    arrays of these names; "classes" of text

C[i, j] = P(label i was turned into label j), for labels that are not removed: rows are the true class and sum to 1.
``removed`` and ``added`` (see `galc.noise.Noise`) may be left out: 0. Classes are matched by name, in any order.
"""

import csv
import difflib
import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from galc import store
from galc.noise import Noise

RATES = ("removed", "added")
FORMATS = (".csv", ".json", ".npz")


class Table(NamedTuple):
    """What a file holds: K names, C (K, K), and the rates (K,) that it has."""

    classes: list[str]
    transition: np.ndarray
    rates: dict[str, np.ndarray]


def read(path: str | Path, classes: Sequence[str]) -> Noise:
    """The noise of a file for the K ``classes`` of a data set, in their order.

    Raises FileNotFoundError or ValueError that name the file, the class or row at fault, and the mend.
    """
    table = parse(path)
    order = _matched(table.classes, classes, path)
    return Noise(table.transition[np.ix_(order, order)], **{name: part[order] for name, part in table.rates.items()})


def parse(path: str | Path) -> Table:
    """The content of a file, checked in itself: shapes, names, probabilities. Raises as `read` does."""
    path = store.typed(path)
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: a noise file is one of {', '.join(FORMATS)}")
    if not path.is_file():
        raise FileNotFoundError(f"no noise file {path}; noise_kind is the name of a kind, or the path of a file")
    return _table({".csv": _csv, ".json": _json, ".npz": _npz}[path.suffix](path), path)


def _csv(path: Path) -> dict:
    with open(path, newline="", encoding="utf-8-sig") as file:
        lines = [[cell.strip() for cell in line] for line in csv.reader(file) if any(line)]
    if len(lines) < 2 or lines[0][0] != "class":
        raise ValueError(f"{path}: the header must be class,NAME,...[,removed][,added], then one row a class")
    header = lines[0][1:]
    rates = [name for name in header[-len(RATES) :] if name in RATES]
    columns, names = header[: len(header) - len(rates)], [line[0] for line in lines[1:]]
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header) + 1:
            raise ValueError(f"{path}, row {number} ({line[0]!r}): {len(line)} cells, the header has {len(header) + 1}")
    if sorted(columns) != sorted(names):
        odd = sorted(set(columns) ^ set(names)) or ["a name that comes twice"]
        raise ValueError(f"{path}: rows and columns must be of the same classes; not in both: {', '.join(odd)}")
    values = np.array([[_number(cell, f"{path}, class {line[0]!r}") for cell in line[1:]] for line in lines[1:]])
    order = [columns.index(name) for name in names]
    own = {name: values[:, len(columns) + i] for i, name in enumerate(rates)}
    return {"classes": names, "transition": values[:, order], **own}


def _number(cell: str, where: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise ValueError(f"{where}: {cell!r} is no number") from None


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}); write it again") from None


def _npz(path: Path) -> dict:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} is no .npz of plain arrays ({error}); write it with np.savez, names as text"
        ) from None


def _table(content: object, path: Path) -> Table:
    known = ("classes", "transition", *RATES)
    if not isinstance(content, dict) or (missing := [name for name in known[:2] if name not in content]):
        raise ValueError(f"{path}: {' and '.join(missing) if isinstance(content, dict) else 'a mapping'} must be there")
    if unknown := sorted(set(content) - set(known)):
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; a noise file holds {', '.join(known)}")
    try:
        arrays = {name: np.asarray(content[name], dtype=float) for name in known[1:] if name in content}
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: transition and rates must be numbers in rows of equal length ({error})") from None
    names = [str(name) for name in np.asarray(content["classes"]).ravel()]
    _check(names, arrays, path)
    return Table(names, arrays.pop("transition"), arrays)


def _check(names: list[str], arrays: dict[str, np.ndarray], path: Path) -> None:
    """Raise ValueError naming the class whose row or rate is at fault."""
    size = len(names)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{path}: class {twice[0]!r} comes twice; name each class once")
    for what, values in arrays.items():
        shape = (size, size) if what == "transition" else (size,)
        if values.shape != shape:
            raise ValueError(f"{path}: {what} has shape {values.shape}; for {size} classes it must be {shape}")
        bad = ~((values >= 0) & (values <= 1)).reshape(size, -1).all(1)
        if bad.any():
            k = int(np.flatnonzero(bad)[0])
            raise ValueError(f"{path}: {what} of class {names[k]!r} must be probabilities in [0, 1], got {values[k]}")
    sums = arrays["transition"].sum(1)
    if (wrong := np.abs(sums - 1) > 1e-5).any():
        k = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"{path}: the row of class {names[k]!r} sums to {sums[k]:.6g}, not 1; a row says where labels of a true "
            "class go. What vanishes belongs to 'removed'; a matrix whose columns sum to 1 must be transposed"
        )


def _matched(names: Sequence[str], classes: Sequence[str], path: str | Path) -> list[int]:
    """Where each of the data set's ``classes`` stands in the file."""
    if unknown := [name for name in names if name not in classes]:
        close = difflib.get_close_matches(unknown[0], classes, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"the data set's are {', '.join(classes)}"
        raise ValueError(f"{path}: unknown class {unknown[0]!r}; {hint}")
    if missing := [name for name in classes if name not in names]:
        raise ValueError(
            f"{path}: no row for class {', '.join(map(repr, missing[:10]))}; add it (a row of the identity: no noise)"
        )
    return [names.index(name) for name in classes]
