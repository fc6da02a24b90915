"""Data sets saved by Hugging Face's ``datasets``: every way to write a list of labels, and every broken part."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from saved import NAMES, ROWS, WAYS, png, write_saved

from galc.data.load import load


@pytest.mark.parametrize("way", WAYS)
def test_lists_of_class_labels_are_read_with_the_images_inside(tmp_path, way):
    loaded = load(write_saved(tmp_path / "mine", way))
    assert loaded.classes == tuple(NAMES)
    found = [row.nonzero()[:, 0].tolist() for row in loaded.labels]
    assert found == ROWS
    assert [file.read_bytes() for file in loaded.files] == [png(n) for n in range(len(ROWS))]


def test_texts_and_single_labels_are_read(tmp_path):
    text = {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"}
    texts = write_saved(tmp_path / "t", rows=[["b", "a"], ["c"]], feature=text, kind=pa.list_(pa.string()))
    assert load(texts).classes == ("a", "b", "c")
    single = {"names": NAMES, "_type": "ClassLabel"}
    one = load(write_saved(tmp_path / "s", rows=[2, 0], feature=single, kind=pa.int64()))
    assert one.labels.tolist() == [[0, 0, 1], [1, 0, 0]]


def test_a_dict_of_parts_is_read_by_split(tmp_path):
    for split in ("train", "validation"):
        write_saved(tmp_path / "mine" / split)
    (tmp_path / "mine" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    assert len(load(tmp_path / "mine")) == len(load(tmp_path / "mine", "test")) == len(ROWS)


def change(root: Path, file: str, **values) -> None:
    (root / file).write_text(json.dumps(json.loads((root / file).read_text()) | values))


SHARD = "data-00001-of-00002.arrow"


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda root: (root / SHARD).write_bytes((root / SHARD).read_bytes()[:200]), f"{SHARD} is no whole Arrow"),
        (lambda root: (root / SHARD).unlink(), f"{SHARD} is no whole Arrow"),
        (lambda root: (root / SHARD).write_bytes(b""), f"{SHARD} is no whole Arrow"),
        (lambda root: (root / "state.json").write_text("{"), r"state.json cannot be read"),
        (lambda root: (root / "state.json").write_text("[]"), r"state.json holds no object"),
        (lambda root: change(root, "state.json", _data_files=[]), "names no data file"),
        (lambda root: change(root, "state.json", _data_files=[{"filename": "../x.arrow"}]), "outside of its folder"),
        (lambda root: change(root, "state.json", _indices_data_files=[{"filename": "x"}]), "flatten_indices"),
        (lambda root: change(root, "dataset_info.json", features=None), "names no features"),
        (lambda root: change(root, "dataset_info.json", features={"labels": WAYS["List"]}), "one column of images"),
        (lambda root: change(root, "dataset_info.json", features={"image": {"_type": "Image"}}), "no column of class"),
    ],
)  # fmt: skip
def test_a_broken_data_set_is_refused_by_name(tmp_path, harm, message):
    root = write_saved(tmp_path / "mine")
    harm(root)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_labels_out_of_range_and_columns_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="row 1, column 'labels': 3 is none of the 3 classes"):
        load(write_saved(tmp_path / "mine", rows=[[0], [3]]))
    with pytest.raises(ValueError, match="has no column 'tags'; it has: image, labels, note"):
        load(write_saved(tmp_path / "two"), label_column="tags")


def test_an_image_that_was_half_written_is_written_again(tmp_path):
    root = write_saved(tmp_path / "mine")
    file = load(root).files[0]
    file.write_bytes(b"half")
    assert load(root).files[0].read_bytes() == png(0)
