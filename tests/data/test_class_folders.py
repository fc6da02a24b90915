"""A folder for each class with further tags: what is read, and what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from galc.data.dataset import Dataset
from galc.data.load import load


def tree(root: Path, *files: str) -> Path:
    for n, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if Path(name).suffix:
            Image.new("RGB", (8, 8), (n, 0, 0)).save(root / name)
    return root


def named(loaded: Dataset) -> dict[str, list[str]]:
    """{folder and name of an image: its class names}"""
    rows = ([loaded.classes[k] for k in row.nonzero()[:, 0].tolist()] for row in loaded.labels)
    return {"/".join(file.parts[-2:]): names for file, names in zip(loaded.files, rows, strict=True)}


def test_each_folder_is_a_class_and_tags_add_labels(tmp_path):
    root = tree(tmp_path / "mine", "cat/1.png", "dog/1.png", "dog/deep/2.PNG", "ä b/3.jpg", ".hidden/4.png")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "tags.csv").write_text("image,labels\ndog/1.png,cat|zebra\n")
    loaded = load(root)
    assert loaded.classes == ("cat", "dog", "zebra", "ä b")
    assert named(loaded) == {
        "cat/1.png": ["cat"],
        "dog/1.png": ["cat", "dog", "zebra"],
        "deep/2.PNG": ["dog"],
        "ä b/3.jpg": ["ä b"],
    }


def test_a_loop_of_links_ends(tmp_path):
    root = tree(tmp_path / "mine", "cat/1.png")
    (root / "cat" / "again").symlink_to(root / "cat", target_is_directory=True)
    assert named(load(root)) == {"cat/1.png": ["cat"]}


@pytest.mark.parametrize(
    "tags, message",
    [
        ("image,labels\ncat/9.png,dog\n", "9.png' is in no class's folder"),
        ("image,labels\n../x.png,dog\n", "row 2: image '../x.png' lies outside"),
        ("image,labels\ncat/1.png,dog\ncat/1.png,cat\n", "comes 2 times"),
        ("file,labels\n", "the header must be image,labels"),
    ],
)
def test_tags_that_fit_no_image_are_refused(tmp_path, tags, message):
    root = tree(tmp_path / "mine", "cat/1.png", "dog/2.png")
    (root / "tags.csv").write_text(tags)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_a_folder_of_classes_has_no_test_part_and_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="single file and has no test part"):
        load(tree(tmp_path / "mine", "cat/1.png"), "test")
    with pytest.raises(FileNotFoundError, match="must hold one annotations"):
        load(tree(tmp_path / "bare", "cat/none"))
