"""The trusted part: a list, a column, a second annotation file, or none; and names that fit no image."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from galc.clean.pipeline import load
from galc.data.load import find_images

ROWS = "image,labels\nx/a.png,dog\nx/b.png,cat|dog\ny/a.png,cat\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("x/a.png", "x/b.png", "y/a.png", "y/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "mine.csv").write_text(ROWS + "y/c.png,\n")
    return tmp_path / "mine.csv"


def write(source: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    (source.parent / name).write_bytes(text.encode(encoding))
    return source.parent / name


def trusted(given) -> list[str]:
    return ["/".join(given.files[n].parts[-2:]) for n in given.trusted.nonzero()[:, 0].tolist()]


def test_every_path_starts_at_the_working_directory_and_the_source_stays_known_elsewhere(source, monkeypatch):
    write(source, "checked.txt", "x/a.png")
    second = write(source, "second.csv", "image,labels\nx/b.png,dog\n")
    second.rename(source.parent / "x" / "second.csv")
    monkeypatch.chdir(source.parent / "x")
    plain = load("../mine.csv", "../checked.txt", "..")
    other = load("../mine.csv", "second.csv", "..")
    assert trusted(plain) == ["x/a.png"] and trusted(other) == ["x/b.png"]
    assert plain.source == str(source)


def test_without_trusted_images_none_is_and_images_without_a_label_stay(source):
    given = load(source)
    assert not given.trusted.any() and [file.name for file in given.files] == ["a.png", "b.png", "a.png", "c.png"]
    assert given.labels.tolist() == [[0, 1], [1, 1], [1, 0], [0, 0]] and given.labels.dtype == torch.bool


@pytest.mark.parametrize("name, head", [("t.txt", ""), ("t.csv", "image\n"), ("t.txt", "\ufeff")])
def test_a_list_of_files_marks_them(source, name, head):
    given = load(source, write(source, name, f"{head}b.png\n\ny/a.png\n{source.parent}/y/c.png\n"))
    assert trusted(given) == ["x/b.png", "y/a.png", "y/c.png"]


def test_a_column_marks_images_and_is_no_class(source):
    text = "image,cat,checked,dog\nx/a.png,0,1,1\nx/b.png,1,0,1\ny/a.png,1,,0\ny/c.png,0,1,0\n"
    given = load(write(source, "flags.csv", text), trusted_column="checked")
    assert given.classes == ("cat", "dog") and trusted(given) == ["x/a.png", "y/c.png"]


def test_a_second_file_gives_the_true_labels_also_none(source):
    given = load(source, write(source, "true.csv", "image,labels\nx/a.png,cat\nx/b.png,\n"))
    assert trusted(given) == ["x/a.png", "x/b.png"]
    assert given.labels.tolist() == [[1, 0], [0, 0], [1, 0], [0, 0]]


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("t.txt", "a.png\n", "'a.png' fits 2 images"),
        ("t.txt", "z.png\nq.png\n", "2 of 2 images are not in the data: 'z.png', 'q.png'"),
        ("t.txt", "\n\n", "names no image"),
        ("t.txt", "\xe4", "not UTF-8"),
        ("t.csv", "image,labels\nx/a.png,bird\n", "unknown class 'bird'"),
        ("t.json", "{", "no valid JSON"),
        ("t.xls", "", "come as .txt"),
        ("t.txt", "x/a.png\nx/b.png\ny/a.png\ny/c.png\n", "all 4 images are trusted"),
    ],
)
def test_what_names_no_trusted_part_is_refused(source, name, text, message):
    path = write(source, name, text, "latin-1" if "\xe4" in text else "utf-8")
    with pytest.raises(ValueError, match=message):
        load(source, path)


def test_missing_files_and_columns_are_named(source):
    with pytest.raises(FileNotFoundError, match=r"t\.txt is missing"):
        load(source, source.parent / "t.txt")
    with pytest.raises(ValueError, match="no column 'checked'"):
        load(source, trusted_column="checked")
    (source.parent / "y" / "c.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"y/c\.png is missing"):
        load(source)


def test_the_column_that_names_the_images_cannot_mark_them(source):
    with pytest.raises(ValueError, match=r"--trusted-column image: that column names the images; pass one of 0 and 1"):
        load(source, trusted_column="image")
    with pytest.raises(ValueError, match=r"no column 'checked' beside image; it has: labels$"):
        load(source, trusted_column="checked")


def test_a_column_holds_0_and_1_alone(source):
    text = "image,cat,checked\nx/a.png,1,yes\n"
    with pytest.raises(ValueError, match="column 'checked': the value must be 0 or 1, got 'yes'"):
        load(write(source, "flags.csv", text), trusted_column="checked")


def test_a_longer_path_finds_the_one_that_is_meant():
    files = [Path("/d/x/a.png"), Path("/d/y/a.png"), Path("/d/b.png")]
    assert find_images(files, ["y/a.png", "b.png"], "here") == [1, 2]


def test_the_digest_knows_labels_and_trust(source):
    given = load(source)
    others = [replace(given, labels=~given.labels), replace(given, trusted=~given.trusted)]
    assert len({given.digest, *(other.digest for other in others)}) == 3


def test_a_second_file_that_lacks_a_class_of_the_data_is_refused(source):
    content = {"images": [{"id": 1, "file_name": "x/a.png"}], "categories": [{"id": 1, "name": "dog"}]}
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 1}]
    path = write(source, "second.json", json.dumps(content))
    with pytest.raises(ValueError, match=r"second.json lacks the 1 categories cat of mine, .*add them to its categ"):
        load(source, path)
    content["categories"].append({"id": 2, "name": "cat"})
    assert trusted(load(source, write(source, "second.json", json.dumps(content)))) == ["x/a.png"]
    flags = write(source, "second.csv", "image,dog\nx/a.png,1\n")
    with pytest.raises(ValueError, match="no column for class cat; add it"):
        load(source, flags)


@pytest.mark.parametrize("others", ["y/b.png,dog\n", "y/b.png,dog\nw/b.png,dog\n"])
def test_a_second_file_that_names_one_image_twice_is_refused(source, others):
    for name in ("y/b.png", "w/b.png"):
        (source.parent / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(source.parent / name)
    second = write(source, "second.csv", "image,labels\nx/b.png,cat\n" + others)
    with pytest.raises(ValueError, match=r"second\.csv: two of its images are called like one of mine"):
        load(source, second)
