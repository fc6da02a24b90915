"""Corrected labels in the format that came in: what changes, and above all what does not."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from saved import NAMES, ROWS, write_saved

from galc.data import class_folders, csv, hugging_face
from galc.data.load import load, write_like


def wanted_of(source: Path, change=None, **options) -> tuple[dict[Path, list[str]], tuple[str, ...]]:
    """What a data set says, with ``change`` (image name -> class names) in its place."""
    loaded = load(source, **options)
    names = {file: (change or {}).get(file.name, names) for file, names in loaded.names().items()}
    return names, loaded.classes


def picture(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), "red").save(file)


# --- COCO ----------------------------------------------------------------------------------------------------------

DOCUMENT = {
    "info": {"year": 2026, "note": "keep ü"},
    "licenses": [{"id": 1}],
    "images": [
        {"id": 7, "file_name": "7.png", "width": 8, "height": 6, "flickr": "x"},
        {"id": 3, "file_name": "3.png"},
        {"id": 5, "file_name": "5.png", "width": 8, "height": 6},
    ],
    "categories": [
        {"id": 30, "name": "dog", "supercategory": "animal", "colour": 1},
        {"id": 4, "name": "car"},
    ],
    "annotations": [
        {"id": 11, "image_id": 7, "category_id": 30, "bbox": [1, 2, 3.5, 4], "area": 14.0, "mine": {"a": [None]}},
        {"id": 12, "image_id": 7, "category_id": 30, "bbox": [0, 0, 1, 1]},
        {"id": 9, "image_id": 3, "category_id": 4},
    ],
    "extra": [1, 2],
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    for name in (7, 3, 5):
        picture(tmp_path / "images" / f"{name}.png")
    file = tmp_path / "annotations" / "instances_train.json"
    file.parent.mkdir()
    file.write_text(json.dumps(DOCUMENT))
    return file


def test_coco_without_a_change_says_what_it_said(coco, tmp_path):
    written = write_like(coco, *wanted_of(coco), tmp_path / "out")
    assert written.name == coco.name and json.loads(written.read_text()) == DOCUMENT


def test_coco_keeps_every_field_that_does_not_change(coco, tmp_path):
    change = {"7.png": ["car"], "5.png": ["car", "dog"]}
    written = write_like(coco, *wanted_of(coco, change), tmp_path / "out")
    document = json.loads(written.read_text())
    assert {k: v for k, v in document.items() if k != "annotations"} == {
        k: v for k, v in DOCUMENT.items() if k != "annotations"
    }
    whole = {"bbox": [0, 0, 8, 6], "area": 48, "segmentation": [], "iscrowd": 0}
    assert document["annotations"] == [
        DOCUMENT["annotations"][2],
        {"id": 13, "image_id": 7, "category_id": 4} | whole,
        {"id": 14, "image_id": 5, "category_id": 30} | whole,
        {"id": 15, "image_id": 5, "category_id": 4} | whole,
    ]
    assert wanted_of(written, images=coco.parents[1] / "images")[0] == wanted_of(coco, change)[0]


def test_an_image_without_a_size_is_measured(coco, tmp_path):
    written = write_like(coco, *wanted_of(coco, {"3.png": ["dog", "car"]}), tmp_path / "out")
    assert json.loads(written.read_text())["annotations"][-1]["bbox"] == [0, 0, 8, 6]


# --- CSV -----------------------------------------------------------------------------------------------------------


def csv_source(tmp_path: Path, content: bytes) -> Path:
    for name in "abc":
        picture(tmp_path / f"{name}.png")
    (tmp_path / "mine.csv").write_bytes(content)
    return tmp_path / "mine.csv"


def test_a_csv_of_names_changes_where_labels_change_and_nowhere_else(tmp_path):
    content = b'\xef\xbb\xbfimage,labels\r\n"a.png","dog|cat"\r\n\r\n b.png , cat \r\nc.png,"d, or ""e"""\r\n'
    source = csv_source(tmp_path, content)
    assert write_like(source, *wanted_of(source), tmp_path / "out").read_bytes() == content
    written = write_like(source, *wanted_of(source, {"b.png": ["dog", "cat"]}), tmp_path / "out")
    assert written.read_bytes() == content.replace(b" b.png , cat ", b" b.png ,cat|dog")


def test_a_csv_of_flags_keeps_its_columns_in_order_and_those_that_are_no_class(tmp_path):
    content = b"image,zebra,trusted,cat\na.png,1,1,0\nb.png, 0 ,0,1\nc.png,0,,0"
    source = csv_source(tmp_path, content)
    options = {"trusted_column": "trusted"}
    assert write_like(source, *wanted_of(source, **options), tmp_path / "out").read_bytes() == content
    change = {"a.png": ["cat"], "c.png": ["zebra"]}
    written = write_like(source, *wanted_of(source, change, **options), tmp_path / "out")
    assert written.read_bytes() == b"image,zebra,trusted,cat\na.png,0,1,1\nb.png, 0 ,0,1\nc.png,1,,0"


NAME = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="|"), min_size=1, max_size=300)
TAGS = st.lists(NAME.map(str.strip).filter(bool), min_size=1, max_size=4, unique=True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.tuples(TAGS, TAGS), after=st.tuples(TAGS, TAGS))
def test_whatever_classes_are_called_a_csv_comes_back_as_wanted(tmp_path, before, after):
    for name in "ab":
        picture(tmp_path / f"{name}.png")
    source = tmp_path / "any.csv"
    table = pd.DataFrame({"image": ["a.png", "b.png"], "labels": ["|".join(names) for names in before]})
    table.to_csv(source, index=False)
    classes = sorted(set().union(*before, *after))
    wanted = {tmp_path / "a.png": after[0], tmp_path / "b.png": after[1]}
    written = csv.write(source, tmp_path, wanted, classes, tmp_path / "out.csv")
    again = load(written, images=tmp_path, classes=classes)
    rows = [{again.classes[k] for k in row.nonzero()[:, 0].tolist()} for row in again.labels]
    assert rows == [set(names) for names in after]


# --- folders -------------------------------------------------------------------------------------------------------


def test_folders_of_classes_are_sorted_anew_with_tags_for_the_rest(tmp_path):
    source = tmp_path / "mine"
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/sub/3.png"):
        picture(source / name)
    wanted = dict(zip(sorted(source.rglob("*.png")), (["dog"], ["cat", "dog"], [], ["zebra", "dog"]), strict=True))
    written = write_like(source, wanted, ("cat", "dog", "zebra"), tmp_path / "out")
    files = {str(file.relative_to(written)) for file in written.rglob("*.png")}
    assert files == {"dog/cat/1.png", "cat/2.png", "dog/sub/3.png"}
    assert (written / "unlabelled.txt").read_text() == "dog/1.png\n"
    again = wanted_of(written)[0]
    assert sorted(map(sorted, again.values())) == [["cat", "dog"], ["dog"], ["dog", "zebra"]]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mine"]  # nothing half-made beside it


def test_a_saved_data_set_changes_in_its_labels_alone(tmp_path):
    source = write_saved(tmp_path / "mine")
    names, classes = wanted_of(source)
    files = load(source).files
    names[files[0]], names[files[2]] = ["dog"], ["ü", "cat"]
    written = write_like(source, names, classes, tmp_path / "out")
    before, after = (pa.concat_tables(hugging_face._tables(part)[0].values()) for part in (source, written))
    assert after["labels"].to_pylist() == [[1], ROWS[1], [2, 0], ROWS[3]]
    assert after.schema.equals(before.schema, check_metadata=True)
    assert after.drop_columns("labels").equals(before.drop_columns("labels"))
    state = json.loads((written / "state.json").read_text())
    assert state["_fingerprint"] != "0123456789abcdef" and len(state["_fingerprint"]) == 16
    assert load(written).classes == tuple(NAMES)


def test_a_full_disk_leaves_what_was_there(coco, tmp_path, monkeypatch):
    written = write_like(coco, *wanted_of(coco), tmp_path / "out")
    before = written.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_like(coco, *wanted_of(coco, {"7.png": ["car"]}), tmp_path / "out")
    assert written.read_bytes() == before and [file.name for file in (tmp_path / "out").iterdir()] == [coco.name]


def test_folders_that_fail_midway_leave_what_was_there(tmp_path, monkeypatch):
    source = tmp_path / "mine"
    for name in ("cat/1.png", "dog/2.png"):
        picture(source / name)
    names, classes = wanted_of(source)
    written = write_like(source, names, classes, tmp_path / "out")
    before = sorted(written.rglob("*"))
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(class_folders, "link", fail)
    with pytest.raises(OSError, match="No space left"):
        write_like(source, names, classes, tmp_path / "out")
    assert sorted(written.rglob("*")) == before and [p.name for p in (tmp_path / "out").iterdir()] == ["mine"]
