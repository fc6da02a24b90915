"""Data sets that Hugging Face's ``datasets`` saved to disk (``save_to_disk``), read with pyarrow alone.

A folder holds dataset_info.json (the types of the columns), state.json (the files) and Arrow streams; several parts
are folders under one dataset_dict.json. Images inside the table are written out once, as they are.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from galc import store
from galc.data.dataset import MultiLabelData, inside, labelled

INFO, STATE, PARTS = "dataset_info.json", "state.json", "dataset_dict.json"
ENDINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".webp", b"BM": ".bmp"}
SPLITS = {"train": ("train",), "test": ("test", "validation", "val")}


def is_saved(root: Path) -> bool:
    """Whether a folder was written by ``save_to_disk``."""
    return (root / PARTS).is_file() or ((root / INFO).is_file() and (root / STATE).is_file())


def saved_dataset(root: Path, split: str = "train", labels: str | None = None) -> MultiLabelData:
    """A saved data set; ``labels`` names the column of lists of labels (default: the only one that can be it).

    A column of lists of class labels or of texts, or one of single ones. Raises ValueError naming file, column or row.
    """
    part = part_folder(root, split)
    table, features = read(part)
    column = label_column(features, labels, part)
    values, names = table[column].to_pylist(), class_names(features[column])
    rows = [[] if value is None else value if isinstance(value, list) else [value] for value in values]
    if names is None:
        names = sorted({str(value) for row in rows for value in row})
        rows = [[names.index(str(value)) for value in row] for row in rows]
    marked = np.zeros((len(rows), len(names)), bool)
    for n, row in enumerate(rows):
        for value in row:
            if not isinstance(value, int) or not 0 <= value < len(names):
                raise ValueError(f"{part}, row {n}, column {column!r}: {value!r} is none of the {len(names)} classes")
            marked[n, value] = True
    return labelled(root.name, names, [""] * len(names), files_of(part), marked)


def part_folder(root: Path, split: str) -> Path:
    """The folder of a split."""
    if not (root / PARTS).is_file():
        if split != "train":
            raise ValueError(f"{root} is a single part and has no test part; save a DatasetDict with train and test")
        return root
    has = _json(root / PARTS).get("splits", [])
    for name in SPLITS[split]:
        if name in has:
            return root / name
    raise ValueError(f"{root} has no {' or '.join(SPLITS[split])} part; it has: {', '.join(map(str, has))}")


def read(part: Path) -> tuple[pa.Table, dict]:
    """Table and types of a part. Raises ValueError naming the file that is broken."""
    features, state = _json(part / INFO).get("features"), _json(part / STATE)
    if not isinstance(features, dict):
        raise ValueError(f"{part / INFO} names no features; save the data set again")
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise ValueError(f"{part} is a selection of rows; call flatten_indices() before save_to_disk")
    tables = [read_file(file) for file in arrow_files(part)]
    if not tables:
        raise ValueError(f"{part / STATE} names no data file; save the data set again")
    for table, file in zip(tables, arrow_files(part), strict=True):
        if missing := [name for name in features if name not in table.column_names]:
            raise ValueError(f"{file} lacks the column {missing[0]!r} of {part / INFO}; save the data set again")
        if table.schema != tables[0].schema:
            raise ValueError(f"{file} has other columns than the first data file; save the data set again")
    return pa.concat_tables(tables), features


def arrow_files(part: Path) -> list[Path]:
    """The data files of a part, in order; each in its folder, whatever it is called."""
    try:
        names = [one["filename"] for one in _json(part / STATE)["_data_files"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{part / STATE} names no data files ({error}); save the data set again") from error
    for name in names:
        if Path(name).name != name:
            raise ValueError(f"{part / STATE}: the data file {name!r} lies outside of its folder")
    return [part / name for name in names]


def read_file(file: Path) -> pa.Table:
    try:
        with pa.memory_map(str(file)) as source:
            table = pa.ipc.open_stream(source).read_all()
        table.validate(full=True)
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{file} is no whole Arrow stream ({error}); save the data set again") from error


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); save the data set again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds no object; save the data set again")
    return value


def inner(feature: object) -> dict | None:
    """The type inside of a list, in any of the ways that versions of ``datasets`` write it; None for no list."""
    if isinstance(feature, list):
        return feature[0] if feature and isinstance(feature[0], dict) else None
    if isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList"):
        return feature.get("feature") if isinstance(feature.get("feature"), dict) else None
    return None


def class_names(feature: object) -> list[str] | None:
    """The names of a class label or a list of them; None for texts."""
    own = inner(feature) or feature
    return list(map(str, own["names"])) if isinstance(own, dict) and own.get("_type") == "ClassLabel" else None


def label_column(features: dict, wanted: str | None, part: Path) -> str:
    """The column of the labels."""
    if wanted is not None:
        if wanted not in features:
            raise ValueError(f"{part} has no column {wanted!r}; it has: {', '.join(features)}")
        return wanted
    text = lambda f: isinstance(f, dict) and f.get("_type") == "Value" and f.get("dtype") == "string"  # noqa: E731
    ways = [
        [name for name, f in features.items() if inner(f) is not None and class_names(f) is not None],
        [name for name, f in features.items() if text(inner(f))],
        [name for name, f in features.items() if inner(f) is None and class_names(f) is not None],
    ]
    for found in ways:
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{part} has several columns of labels ({', '.join(found)}); pass labels=COLUMN")
    raise ValueError(f"{part} has no column of class labels or of lists of texts; it has: {', '.join(features)}")


def files_of(part: Path) -> list[Path]:
    """An image file for each row of a part; images that are in the table are written to outputs()/data."""
    table, features = read(part)
    columns = [name for name, f in features.items() if isinstance(f, dict) and f.get("_type") == "Image"]
    if len(columns) != 1:
        raise ValueError(f"{part} must have one column of images, got: {', '.join(columns) or 'none'}")
    digest = store.digest([store.file_digest(file) for file in arrow_files(part)])
    folder, files = store.outputs() / "data" / f"saved-{digest}", []
    for n, value in enumerate(table[columns[0]].to_pylist()):
        content, name = (value or {}).get("bytes"), (value or {}).get("path")
        if content is None and not name:
            raise ValueError(f"{part}, row {n}: the image is empty; take the row out")
        files.append(inside(part, name, f"{part}, row {n}") if content is None else _written(folder, n, content))
    return files


def _written(folder: Path, n: int, content: bytes) -> Path:
    ending = next((ending for magic, ending in ENDINGS.items() if content.startswith(magic)), ".img")
    path = folder / f"{n:07d}{ending}"
    if not path.is_file() or path.stat().st_size != len(content):
        with store.atomic(path) as temporary:
            temporary.write_bytes(content)
    return path
