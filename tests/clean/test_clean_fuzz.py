"""Whatever is written into the files that people bring: a clear message, or labels that were read; never anything else.

A message is a ValueError or a FileNotFoundError that names the file.
"""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from saved import write_saved

from galc.clean.pipeline import load
from galc.data.load import load as load_data

REFUSED = (ValueError, FileNotFoundError)
loose = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
CSV = b"image,labels\na.png,dog|cat\nb.png,dog\n"
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1}, {"id": 2, "image_id": 2, "category_id": 2}],
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@st.composite
def harmed(draw, content: bytes) -> bytes:
    """Content that was cut, or has other bytes somewhere."""
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 8)))
    return content[:start] + draw(st.binary(max_size=8)) + content[end:]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/a.png", "images/b.png", "a.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    return tmp_path


def read(path: Path, **options) -> None:
    try:
        loaded = load_data(path, **options)
    except REFUSED as error:
        assert path.stem in str(error)
    else:
        assert all(file.is_file() for file in loaded.labelled().files)


def coco(folder: Path, **changes) -> Path:
    """A COCO JSON whose first image and first category have other names."""
    document = json.loads(json.dumps(COCO))
    for part, name in changes.items():
        document[part][0]["file_name" if part == "images" else "name"] = name
    (folder / "mine.json").write_text(json.dumps(document))
    return folder / "mine.json"


@pytest.mark.parametrize("half", ["\ud800", "dog\udcff", "\udc00\ud800"])
def test_half_a_surrogate_pair_in_a_name_is_refused(folder, half):
    with pytest.raises(ValueError, match=r"mine: class '.*\\ud.*' holds half a character"):
        load_data(coco(folder, categories=half), images=folder)
    with pytest.raises(ValueError, match=r"mine\.json, image 1: image '.*\\ud.*' holds half a character"):
        load_data(coco(folder, images=half), images=folder)


def test_a_class_folder_in_another_encoding_is_refused(tmp_path):
    for name in (b"dog", b"\xe4"):
        os.makedirs(os.fsencode(tmp_path / "own") + b"/" + name)
        Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
        os.link(tmp_path / "a.png", os.fsencode(tmp_path / "own") + b"/" + name + b"/a.png")
    with pytest.raises(ValueError, match=r"own: class '\\udce4' holds half a character"):
        load_data(tmp_path / "own")


def test_a_whole_surrogate_pair_is_a_character_like_others(folder):
    assert load_data(coco(folder, categories="\U0001f600"), images=folder).classes[0] == "\U0001f600"


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "ü" * 150 + ".png", "d/" * 3000 + "a.png"])
def test_a_file_name_longer_than_the_system_allows_is_named_with_its_row(folder, name):
    with pytest.raises(ValueError, match=r"mine\.json, image 1: the image path .* longer than the system allows"):
        load_data(coco(folder, images=name), images=folder)
    (folder / "mine.csv").write_text(f"image,labels\nb.png,dog\n{name},dog\n")
    with pytest.raises(ValueError, match=r"mine\.csv, row 3: the image path .* longer than the system allows"):
        load_data(folder / "mine.csv")


def test_a_long_path_of_short_names_is_no_fault(folder):
    deep = folder.joinpath(*["d" * 50] * 8, "a.png")
    deep.parent.mkdir(parents=True)
    Image.new("RGB", (4, 4)).save(deep)
    name = str(deep.relative_to(folder))
    assert load_data(coco(folder, images=name), images=folder).files[0] == deep


@loose
@given(content=harmed(CSV))
def test_a_harmed_csv(folder, content):
    (folder / "mine.csv").write_bytes(content)
    read(folder / "mine.csv")


@loose
@given(content=harmed(json.dumps(COCO).encode()))
def test_a_harmed_coco_json(folder, content):
    (folder / "mine.json").write_bytes(content)
    read(folder / "mine.json", images=folder / "images")


@loose
@given(part=st.sampled_from(sorted(COCO)), place=st.integers(0, 1), key=st.sampled_from(["id", "name", "image_id", "category_id", "file_name", None]), value=VALUES)  # fmt: skip  # noqa: E501
def test_a_coco_json_with_any_value_anywhere(folder, part, place, key, value):
    document = json.loads(json.dumps(COCO))
    if key is None:
        document[part] = value
    else:
        document[part][place][key] = value
    (folder / "mine.json").write_text(json.dumps(document))
    read(folder / "mine.json", images=folder / "images")


@loose
@given(content=harmed(b"a.png\nb.png\n"))
def test_a_harmed_list_of_trusted_images(folder, content):
    (folder / "mine.csv").write_bytes(CSV)
    (folder / "list.txt").write_bytes(content)
    try:
        assert load(folder / "mine.csv", folder / "list.txt").trusted.sum() == 1
    except REFUSED as error:
        assert "list.txt" in str(error) or "all 2 images are trusted" in str(error)


@loose
@given(name=st.sampled_from(["dataset_info.json", "state.json", "data-00000-of-00001.arrow"]), harm=st.data())
def test_a_harmed_saved_data_set(tmp_path, name, harm):
    root = write_saved(tmp_path / "mine", shards=1)
    content = (root / name).read_bytes()
    (root / name).write_bytes(harm.draw(harmed(content)))
    read(root)


def test_a_thousand_classes_with_very_long_names_are_read(folder):
    names = [f"{n} " + "ü" * 400 for n in range(1000)]
    (folder / "mine.csv").write_text("image,labels\na.png," + "|".join(names) + "\nb.png," + names[0] + "\n")
    loaded = load_data(folder / "mine.csv")
    assert loaded.num_classes == 1000 and loaded.labels.sum(1).tolist() == [1000, 1]
