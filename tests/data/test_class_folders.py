"""A folder for each class with further tags: what is read, and what is refused."""

from pathlib import Path

import pytest
from PIL import Image

from galc.data.dataset import Dataset
from galc.data.load import load, write_like


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


# --- what would pass for classes and is none -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files, message",
    [
        (["train/1.jpg", "test/2.jpg"], "test, train would pass for classes.*pass a COCO JSON or a CSV"),
        (["train/cat/1.jpg", "val/dog/2.jpg"], r"train, val would pass.*pass one of its parts, .*/train, .*/val"),
        (["Valid/1.jpg", "TRAIN2017/1.jpg"], "TRAIN2017, Valid would pass"),
        (["train/1.jpg", "train/_annotations.coco.json", "valid/2.jpg"], r"pass the file .*_annotations.coco.json"),
        (["JPEGImages/1.jpg", "SegmentationClass/1.png", "Annotations/1.xml"], r"VOC's \.xml, YOLO's \.txt"),
        (["images/1.jpg", "labels/1.txt"], r"images, labels would pass.*VOC's \.xml, YOLO's \.txt"),
        (["images/1.jpg", "labels.csv"], r"images would pass.*pass the file that has the labels \(.*/labels\.csv\)"),
        (["cat/1.jpg", "dog/2.jpg", "train/3.jpg"], "train would pass for classes"),
    ],
)
def test_folders_of_parts_or_of_another_layout_are_no_classes(tmp_path, files, message):
    pictures = [name for name in files if name.endswith(("jpg", "png"))]
    root = tree(tmp_path / "mine", *pictures)
    for name in set(files) - set(pictures):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
    with pytest.raises(ValueError, match=message):
        load(root)


def test_who_insists_has_a_class_that_is_called_train(tmp_path):
    root = tree(tmp_path / "mine", "bus/1.jpg", "train/2.jpg")
    assert named(load(root, folders_are_classes=True)) == {"bus/1.jpg": ["bus"], "train/2.jpg": ["train"]}


def test_all_that_pillow_opens_is_an_image_and_what_is_left_out_is_counted_and_named(tmp_path):
    kinds = {".jfif": "JPEG", ".jpe": "JPEG", ".JP2": "JPEG2000", ".mpo": "JPEG", ".ppm": "PPM", ".apng": "PNG"}
    root = tree(tmp_path / "mine", "cat/1.jpg", "dog/1.jpg")
    for ending, kind in kinds.items():
        Image.new("RGB", (8, 8)).save(root / "cat" / f"2{ending}", format=kind)
    for name in ("cat/3.heic", "cat/4.heic", "dog/notes.txt", "star/5.heic"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"")
    loaded = load(root)
    assert len(loaded) == 2 + len(kinds) and loaded.classes == ("cat", "dog")
    assert loaded.notes == (
        "4 files are no images and were left out: .heic (3), .txt (1)",
        "no image in the folders star, so they are no classes",
    )
    assert loaded.notes[0] in str(loaded)


def test_what_is_written_is_read_again(tmp_path):
    root = tree(tmp_path / "mine", "cat/1.jpg", "dog/2.jpg", "a|b/3.jpg", "bird, other/4.jpg")
    names = load(root).names()
    plain = write_like(root, names, (), tmp_path / "plain")
    assert sorted(load(plain).names().values()) == sorted(names.values()) and not (plain / "tags.csv").exists()
    (plain / "tags.csv").write_text("image,labels\n")  # as older ones have it
    assert sorted(load(plain).names().values()) == sorted(names.values())
    more = names | {root / "cat/1.jpg": ["cat", "a|b", "bird, other"], root / "dog/2.jpg": ["dog", "other"]}
    again = load(write_like(root, more, (), tmp_path / "more"))
    assert {file.name: sorted(its) for file, its in again.names().items()} == {
        file.name: sorted(its) for file, its in more.items()
    }
