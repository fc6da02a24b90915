"""Data sets that Hugging Face's ``datasets`` saved to disk (``save_to_disk``), with pyarrow alone.

A folder holds dataset_info.json (the types of the columns), state.json (the files) and Arrow streams; several parts
are folders under one dataset_dict.json. Images inside the table are written out once, as they are.
"""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from galc import store
from galc.checks import needs
from galc.data import csv
from galc.data.class_folders import whole_folder
from galc.data.dataset import Dataset, from_names, inside, old_first

if TYPE_CHECKING:
    import pyarrow as pa

INFO, STATE, DICT = "dataset_info.json", "state.json", "dataset_dict.json"
ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
SPLITS = {"train": ("train",), "test": ("test", "validation", "val")}
LISTS = ("Sequence", "List", "LargeList")
AGAIN = "save the data set again"


def is_saved(root: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return (root / DICT).is_file() or ((root / INFO).is_file() and (root / STATE).is_file())


def part_folder(root: Path, split: str) -> Path:
    """The folder of a split."""
    if not (root / DICT).is_file():
        if split != "train":
            raise ValueError(f"{root} is a single part and has no test part; save a DatasetDict with train and test")
        return root
    has = _json(root / DICT).get("splits", [])
    if not (found := [name for name in SPLITS[split] if name in has]):
        raise ValueError(f"{root} has no {' or '.join(SPLITS[split])} part; it has: {', '.join(map(str, has))}")
    return root / found[0]


def read(path: Path, _: Path, name: str, *, label_column: str | None = None) -> Dataset:
    """A part (`part_folder`). ``label_column`` names the column of labels (default: the only one that can be it).

    A column of lists of class labels or of texts, or one of single ones. Raises ValueError naming file, column or row.
    """
    tables, features = _tables(path)
    column, (_, classes, _) = _label_column(features, label_column, path)
    found = [_names(value, classes, f"{path}, row {n}, column {column!r}") for n, value in _values(tables, column)]
    rows = dict(zip(_files(path, tables, features), found, strict=True))
    return from_names(name, rows, classes or sorted(set().union(*found)))


def _values(tables: dict[Path, "pa.Table"], column: str) -> Iterator[tuple[int, object]]:
    """The cells of a column, with the numbers of their rows."""
    return enumerate(value for table in tables.values() for value in table[column].to_pylist())


def _names(value: object, classes: list[str] | None, where: str) -> list[str]:
    """The names in a cell, which holds one or a list of texts, or of numbers of ``classes``."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    for one in values if classes else ():
        if not isinstance(one, int) or not 0 <= one < len(classes):
            raise ValueError(f"{where}: {one!r} is none of the {len(classes)} classes")
    return list(dict.fromkeys(classes[one] if classes else str(one) for one in values))


def _tables(part: Path) -> tuple[dict[Path, "pa.Table"], dict]:
    """The tables of a part by data file, in order, and the types of columns. Raises ValueError naming a broken file."""
    features, state = _json(part / INFO).get("features"), _json(part / STATE)
    if not isinstance(features, dict):
        raise ValueError(f"{part / INFO} names no features; {AGAIN}")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ValueError(f"{part} is a selection of rows; call flatten_indices() before save_to_disk")
    try:
        names = [str(one["filename"]) for one in state["_data_files"]]
    except (KeyError, TypeError):
        names = []
    if not names:
        raise ValueError(f"{part / STATE} names no data file; {AGAIN}")
    if outside := [name for name in names if Path(name).name != name]:
        raise ValueError(f"{part / STATE}: the data file {outside[0]!r} lies outside of its folder")
    tables = {part / name: _read_file(part / name) for name in names}
    first = next(iter(tables.values()))
    if missing := [name for name in features if name not in first.column_names]:
        raise ValueError(f"{next(iter(tables))} lacks the column {missing[0]!r} of {part / INFO}; {AGAIN}")
    if other := [file for file, table in tables.items() if table.schema != first.schema]:
        raise ValueError(f"{other[0]} has other columns than the first data file; {AGAIN}")
    return tables, features


def _read_file(file: Path) -> "pa.Table":
    pa = needs("pyarrow", "study")
    try:
        with pa.memory_map(str(file)) as source:
            table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{file} is no whole Arrow stream ({error}); {AGAIN}") from error


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); {AGAIN}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no object; {AGAIN}")
    return value


def _kind(feature: object) -> tuple[bool, list[str] | None, bool]:
    """Whether a column holds lists, in any of the ways that versions of ``datasets`` write them; the names of its
    classes, or None; whether it holds texts."""
    lists = isinstance(feature, list) or (isinstance(feature, dict) and feature.get("_type") in LISTS)
    own = (feature[:1] or [None])[0] if isinstance(feature, list) else feature.get("feature") if lists else feature
    if not isinstance(own, dict):
        return False, None, False
    names = own.get("names") if own.get("_type") == "ClassLabel" else None
    texts = own.get("_type") == "Value" and own.get("dtype") == "string"
    return lists, list(map(str, names)) if isinstance(names, list) else None, texts


def _label_column(features: dict, wanted: str | None, part: Path) -> tuple[str, tuple]:
    """The column of the labels and its `_kind`: the one that is ``wanted``, or the only one of the best kind."""
    kinds = {name: _kind(feature) for name, feature in features.items()}
    ways = (
        [name for name, (lists, classes, _) in kinds.items() if lists and classes is not None],
        [name for name, (lists, _, texts) in kinds.items() if lists and texts],
        [name for name, (lists, classes, _) in kinds.items() if not lists and classes is not None],
    )
    found = [wanted] if wanted is not None else next(filter(None, ways), [])
    if wanted is not None and wanted not in features:
        raise ValueError(f"{part} has no column {wanted!r}; it has: {', '.join(features)}")
    if len(found) > 1:
        raise ValueError(
            f"{part} has several columns of labels: {', '.join(found)}; save it with one of them, or name it "
            "(label_column= in Python)"
        )
    if not found:
        raise ValueError(f"{part} has no column of class labels or of lists of texts; it has: {', '.join(features)}")
    return found[0], kinds[found[0]]


def _files(part: Path, tables: dict[Path, "pa.Table"], features: dict) -> list[Path]:
    """An image file for each row of a part; images that are in the table are written to outputs()/data."""
    columns = [name for name, f in features.items() if isinstance(f, dict) and f.get("_type") == "Image"]
    if len(columns) != 1:
        raise ValueError(f"{part} must have one column of images, got: {', '.join(columns) or 'none'}")
    digest = store.digest([store.file_digest(file) for file in tables])
    folder, files = store.outputs() / "data" / f"saved-{digest}", []
    for n, value in _values(tables, columns[0]):
        content, name = (value or {}).get("bytes"), (value or {}).get("path")
        if content is None and not name:
            raise ValueError(f"{part}, row {n}: the image is empty; take the row out")
        if content is None:
            files.append(inside(part, name, f"{part}, row {n}"))
            continue
        ending = next((ending for magic, ending in ENDINGS.items() if content.startswith(magic)), ".img")
        files.append(folder / f"{n:07d}{ending}")
        if not files[-1].is_file() or files[-1].stat().st_size != len(content):
            with store.atomic(files[-1]) as temporary:
                temporary.write_bytes(content)
    return files


def write(source: Path, _: Path, wanted: Mapping[Path, Sequence[str]], __: object, target: Path) -> Path:
    """Arrow files with the column of labels anew, all other columns, types and files as they were.

    A column of single labels cannot hold two of them: then all labels go to labels.csv beside ``target``.
    """
    pa = needs("pyarrow", "study")
    tables, features = _tables(source)
    column, (lists, classes, _) = _label_column(features, None, source)
    if not lists and any(len(names) > 1 for names in wanted.values()):
        return csv.write_new({str(file): names for file, names in wanted.items()}, target.parent / "labels.csv")
    order = iter(_files(source, tables, features))
    with whole_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        for file, table in tables.items():
            values = [_changed(old, wanted.get(next(order)), classes, lists) for old in table[column].to_pylist()]
            place, field = table.schema.get_field_index(column), table.schema.field(column)
            table = table.set_column(place, field, pa.array(values, field.type))
            with pa.OSFile(str(folder / file.name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        marks = [store.file_digest(folder / file.name) for file in tables]
        store.write_json(folder / STATE, _json(source / STATE) | {"_fingerprint": store.digest(marks)[:16]})
    return target


def _changed(old: object, names: Sequence[str] | None, classes: list[str] | None, lists: bool) -> object:
    """The labels of a row as its column has them; ``names`` None: as they are."""
    had = _names(old, classes, "")
    if names is None or set(had) == set(names):
        return old
    values = [classes.index(name) if classes else name for name in old_first(had, names)]
    return values if lists else next(iter(values), None)
