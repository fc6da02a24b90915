"""Data sets: what loads, what is refused and how, and the paper's counts on the real labels."""

import json
import math
import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from galc.checks import MissingPackage
from galc.data.dataset import Dataset, check_pair, multi_label, split
from galc.data.load import load, write_like


def picture(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(file)
    return file


def coco_document() -> dict:
    """Three labelled images (2, 1 and 1 classes) and one without; category ids in descending order."""
    return {
        "images": [{"id": n, "file_name": f"{n}.png"} for n in (7, 3, 5, 9)],
        "categories": [
            {"id": 30, "name": "dog", "supercategory": "animal"},
            {"id": 4, "name": "car"},
            {"id": 2, "name": "cat", "supercategory": "animal"},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 30},
            {"id": 2, "image_id": 7, "category_id": 2},
            {"id": 3, "image_id": 7, "category_id": 2},
            {"id": 4, "image_id": 3, "category_id": 4, "iscrowd": 1},
            {"id": 5, "image_id": 5, "category_id": 30},
        ],
    }


def write_coco(root: Path, document: dict | None = None, part: str = "train", images: str = "images/train") -> Path:
    document = coco_document() if document is None else document
    file = root / "annotations" / f"instances_{part}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    for n in (7, 3, 5, 9):
        picture(root / images / f"{n}.png")
    return file


def write_csv(root: Path, text: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    for letter in "abc":
        picture(root / f"{letter}.png")
    (root / name).write_bytes(text.encode(encoding))
    return root / name


def made_of(labels: torch.Tensor) -> Dataset:
    names = tuple(f"class {k}" for k in range(labels.shape[1]))
    return Dataset("made", names, tuple(Path(f"{n}.jpg") for n in range(len(labels))), labels)


# --- COCO ----------------------------------------------------------------------------------------------------------


def check_coco(loaded: Dataset):
    assert loaded.classes == ("cat", "car", "dog")  # ascending category id
    assert loaded.groups == ("animal", "", "animal")
    assert [file.name for file in loaded.files] == ["7.png", "3.png", "5.png", "9.png"]
    assert loaded.labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0]] and not loaded.trusted.any()
    assert loaded.counts.tolist() == [2, 1, 1, 0] and loaded.multi_label().tolist() == [0]
    assert len(loaded) == 4 and loaded.num_classes == 3 and "1 images without labels" in str(loaded)
    assert [file.name for file in loaded.labelled().files] == ["7.png", "3.png", "5.png"]


@pytest.mark.parametrize(
    "part, images", [("train", "images/train"), ("train2014", "train2014"), ("train2017", "images")]
)
def test_a_coco_folder_loads_with_crowds_as_labels_and_images_without_labels(tmp_path, part, images):
    write_coco(tmp_path / "mine", part=part, images=images)
    loaded = load(tmp_path / "mine")
    check_coco(loaded)
    assert loaded.name == "mine/train"


def test_one_coco_json_loads_with_its_image_folder(tmp_path):
    file = write_coco(tmp_path, images="pictures")
    check_coco(load(file, images=tmp_path / "pictures"))


def test_the_test_split_is_val_or_test(tmp_path):
    write_coco(tmp_path)
    write_coco(tmp_path, part="val", images="images/val")
    assert load(tmp_path, "test").files[0] == tmp_path / "images" / "val" / "7.png"


def test_loading_prints_nothing(tmp_path, capsys):
    load(write_coco(tmp_path).parents[1])
    assert capsys.readouterr() == ("", "")


def test_official_coco2014_layout_loads_and_its_absence_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("GALC_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=rf"galc download coco2014 --root {tmp_path}/coco2014"):
        load("coco2014")
    write_coco(tmp_path / "coco2014", part="train2014", images="train2014")
    write_coco(tmp_path / "coco2014", part="val2014", images="val2014")
    check_coco(load("coco2014"))
    assert load("coco2014", "test", root=tmp_path / "coco2014").files[0].parent.name == "val2014"


def broken(change) -> dict:
    document = coco_document()
    change(document)
    return document


@pytest.mark.parametrize(
    "document, message",
    [
        (broken(lambda d: d["annotations"][1].update(category_id=77)), "annotation 2 is of the unknown category 77"),
        (broken(lambda d: d["annotations"][1].update(image_id=77)), "annotation 2 is of the unknown image 77"),
        (broken(lambda d: d["images"][1].update(id=7)), "image id '7' comes 2 times"),
        (broken(lambda d: d["categories"][1].update(id=30)), "category id '30' comes 2 times"),
        (broken(lambda d: d["categories"][1].update(name="dog")), "class 'dog' comes 2 times"),
        (broken(lambda d: d["images"][1].update(file_name="x/../7.png")), r"image file '.*7.png' comes 2 times"),
        (broken(lambda d: d["images"][1].update(file_name="../../7.png")), "image 3: image '../../7.png' lies outside"),
        (
            broken(lambda d: d["images"][1].update(file_name="/etc/hosts")),
            "lies outside of .*--images FOLDER",
        ),
        (broken(lambda d: d["images"][1].pop("file_name")), "image 3: the image has no file name"),
        (broken(lambda d: d["annotations"][1].pop("image_id")), "lacks its field 'image_id'"),
        (broken(lambda d: d.update(annotations=[])), "none of its 4 images has a label"),
        (broken(lambda d: d.update(images=[], annotations=[])), "there is no image"),
        (broken(lambda d: d.pop("categories")), "it has no categories"),
        ([], "not in COCO layout"),
        ({"images": 3, "annotations": 3, "categories": 3}, "not in COCO layout"),
    ],
)
def test_a_faulty_coco_file_is_refused_with_its_fault(tmp_path, document, message):
    with pytest.raises(ValueError, match=message) as error:
        load(write_coco(tmp_path, document).parents[1])
    assert "instances_train.json" in str(error.value) or "/train" in str(error.value)


@pytest.mark.parametrize("first", [0, 5, 2016])
def test_categories_called_by_numbers_or_not_at_all_are_read_and_written(tmp_path, first):
    document = coco_document()
    for category, name in zip(document["categories"], (first, 7, None), strict=True):
        category.update(name=name)
    document["categories"][1]["id"] = 0
    document["annotations"][3]["category_id"] = 0
    file = write_coco(tmp_path, document)
    loaded = load(file)
    assert loaded.classes == ("7", "2", str(first))
    names = loaded.names() | {loaded.files[3]: [str(first), "2"]}
    written = write_like(file, names, loaded.classes, tmp_path / "out")
    assert load(written, images=tmp_path / "images" / "train").names() == {
        file: sorted(its, key=loaded.classes.index) for file, its in names.items()
    }
    assert json.loads(written.read_text())["categories"] == document["categories"]


def test_annotations_without_an_id_or_with_one_twice_are_labels_and_stay_as_they_are(tmp_path):
    document = coco_document()
    document["annotations"][0].pop("id")
    document["annotations"][4]["id"] = 4
    file = write_coco(tmp_path, document)
    check_coco(loaded := load(file))
    written = write_like(file, loaded.names(), loaded.classes, tmp_path / "out")
    assert json.loads(written.read_text()) == document


def test_without_pycocotools_a_coco_file_names_the_extra_that_brings_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(MissingPackage, match=r'pycocotools is needed here .*pip install "galc\[images\]"'):
        load(write_coco(tmp_path))


def test_broken_json_names_file_and_place(tmp_path):
    file = write_coco(tmp_path)
    file.write_text(file.read_text()[:100])
    with pytest.raises(ValueError, match=r"instances_train.json is no valid JSON .*line 1"):
        load(tmp_path)
    file.write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="is no valid JSON"):
        load(tmp_path)


def test_missing_images_are_named_at_load(tmp_path):
    file = write_coco(tmp_path)
    (tmp_path / "images/train/3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of 3 image files are missing: .*3.png"):
        load(file)


def test_an_unlabelled_image_may_be_missing(tmp_path):
    file = write_coco(tmp_path)
    (tmp_path / "images/train/9.png").unlink()
    check_coco(load(file))


def test_ambiguous_or_absent_parts_of_a_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"instances_train\*.json \(found: none\)"):
        load(tmp_path)
    write_coco(tmp_path)
    write_coco(tmp_path, part="train2014")
    with pytest.raises(FileNotFoundError, match=r"found: instances_train.json, instances_train2014.json"):
        load(tmp_path)


def test_a_coco_json_without_image_folder_names_the_option(tmp_path):
    file = write_coco(tmp_path, images="elsewhere")
    with pytest.raises(FileNotFoundError, match=r"name the folder that file names start at \(--images"):
        load(file)


# --- load ----------------------------------------------------------------------------------------------------------


def test_unknown_sources_splits_and_options_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither one of pictograms, .*voc2007.* nor a folder"):
        load("pictogram")
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'val'"):
        load(tmp_path, "val")
    with pytest.raises(ValueError, match="has no option colour; it has: classes, encoding, images, trusted_column"):
        load(write_csv(tmp_path, "image,labels\na.png,dog\n"), colour=1)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_single_file_is_never_its_own_test_set(tmp_path, suffix):
    file = write_coco(tmp_path) if suffix == "json" else write_csv(tmp_path, "image,labels\na.png,dog\n")
    with pytest.raises(ValueError, match="has no test part"):
        load(file, "test")


def test_relative_paths_start_at_the_working_directory(tmp_path, monkeypatch):
    write_csv(tmp_path, "image,labels\na.png,dog\n")
    monkeypatch.chdir(tmp_path)
    assert load("labels.csv").files == (tmp_path / "a.png",)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert load("../labels.csv", images="..").files == (tmp_path / "a.png",)
    with pytest.raises(FileNotFoundError, match=r"below/labels\.csv"):
        load("labels.csv")


def test_pictograms_are_rendered_where_outputs_go_and_read_back(private_outputs):
    loaded = load("pictograms", "test", train=3, test=3, size=32, seed=5)
    assert loaded.name == "pictograms/test" and loaded.num_classes == 80
    assert loaded.files[0].is_relative_to(private_outputs / "data" / "pictograms-3-3-32-5")


def test_pairs_must_share_classes_and_no_image():
    a, b = made_of(torch.eye(3, dtype=torch.bool)), made_of(torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="differ in their classes: class 2"):
        check_pair(a, b)
    with pytest.raises(ValueError, match="share 2 images"):
        check_pair(a, a.subset([0, 2]))
    check_pair(a.subset([0]), a.subset([1, 2]))


# --- VOC -----------------------------------------------------------------------------------------------------------


def voc_xml(*objects: tuple[str, int]) -> str:
    body = "".join(f"<object><name>{n}</name><difficult>{d}</difficult></object>" for n, d in objects)
    return f"<annotation>{body}</annotation>"


def write_voc(root: Path, part: str, annotations: dict[str, str]) -> Path:
    base = root / "VOCdevkit" / "VOC2007"
    for folder in ("ImageSets/Main", "Annotations"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "ImageSets/Main" / f"{part}.txt").write_text("".join(f"{name}\n" for name in annotations))
    for name, text in annotations.items():
        picture(base / "JPEGImages" / f"{name}.jpg")
        (base / "Annotations" / f"{name}.xml").write_text(text)
    return root


def test_voc_labels_come_from_objects_that_are_not_difficult(tmp_path):
    annotations = {
        "000001": voc_xml(("dog", 0), ("person", 0), ("dog", 0)),
        "000002": voc_xml(("cat", 1), ("aeroplane", 0)),
        "000003": voc_xml(("cat", 1)),
    }
    loaded = load("voc2007", root=write_voc(tmp_path, "trainval", annotations))
    assert loaded.num_classes == 20 and list(loaded.classes) == sorted(loaded.classes)
    present = [[loaded.classes[k] for k in row.nonzero().flatten()] for row in loaded.labels]
    assert present == [["dog", "person"], ["aeroplane"], []]
    assert loaded.groups[loaded.classes.index("tvmonitor")] == "indoor"
    assert load("voc2007", "test", root=write_voc(tmp_path, "test", annotations)).name == "voc2007/test"


def test_voc_faults_name_file_and_mend(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"galc download voc2007 --root {tmp_path}"):
        load("voc2007", root=tmp_path)
    with pytest.raises(ValueError, match=r"000001.xml: unknown class 'dragon'"):
        load("voc2007", root=write_voc(tmp_path, "trainval", {"000001": voc_xml(("dragon", 0))}))
    with pytest.raises(ValueError, match=r"000001.xml is no readable XML"):
        load("voc2007", root=write_voc(tmp_path, "trainval", {"000001": "<annotation>"}))


# --- CSV -----------------------------------------------------------------------------------------------------------

NAMED = "image,labels\na.png,dog|cat\n\nb.png, dog \nc.png,\n"
FLAGS = "image,cat,dog\na.png,1,1\nb.png,0,1\nc.png,0,0\n"


@pytest.mark.parametrize("text", [NAMED, FLAGS, "\ufeff" + NAMED, NAMED.replace("\n", "\r\n")])
def test_both_csv_forms_load_alike(tmp_path, text):
    loaded = load(write_csv(tmp_path, text))
    assert loaded.classes == ("cat", "dog") and loaded.groups == ("", "")
    assert loaded.labels.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert loaded.files == tuple(tmp_path / f"{letter}.png" for letter in "abc")


def test_csv_options_fix_folder_classes_and_encoding(tmp_path):
    write_csv(tmp_path / "pictures", "")
    file = write_csv(tmp_path, "image,labels\na.png,Büro|dog\n", encoding="latin-1")
    loaded = load(file, images=tmp_path / "pictures", classes=("dog", "cat", "Büro"), encoding="latin-1")
    assert loaded.classes == ("dog", "cat", "Büro") and loaded.labels.tolist() == [[True, False, True]]
    assert loaded.files == (tmp_path / "pictures" / "a.png",)


@pytest.mark.parametrize("test", ["image,labels\nb.png,dog\n", "image,dog,cat\nb.png,1,0\n"])
def test_in_a_folder_the_training_csv_fixes_the_classes_of_the_test_csv(tmp_path, test):
    write_csv(tmp_path, "image,labels\na.png,cat|dog\n", "train.csv")
    write_csv(tmp_path, test, "test.csv")
    loaded = load(tmp_path, "test")
    assert loaded.classes == load(tmp_path).classes == ("cat", "dog")
    assert loaded.labels.tolist() == [[False, True]]
    check_pair(load(tmp_path), loaded)


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "is empty"),
        ("image,labels\n", "there is no image"),
        ("image,labels\na.png,\n", "none of its 1 images has a label"),
        ("file,labels\na.png,dog\n", r"header must be image,labels or image,CLASS.* got \['file', 'labels'\]"),
        ("image\na.png\n", "header must be"),
        ("image;labels\na.png;dog\n", r"\(commas\), got \['image;labels'\]"),
        ("image,dog,cat,dog\na.png,1,0,1\n", "column 'dog' comes 2 times"),
        ("image,dog,\na.png,1,0\n", "class 1 has no name"),
        ("image,dog,cat\na.png,1,0\nb.png,1\n", "row 3: 2 cells under 3 columns"),
        ("image,dog,cat\na.png,1,0\n\nb.png,1,0,1\n", "row 4: 4 cells under 3 columns"),
        ("image,dog,cat\na.png,1,yes\n", "row 2, column 'cat': the value must be 0 or 1, got 'yes'"),
        ("image,dog,cat\na.png,1,\n", "row 2, column 'cat': the value must be 0 or 1, got ''"),
        ("image,labels\na.png,dog||cat\n", "row 2: an empty class name in 'dog||cat'"),
        ("image,labels\na.png,dog|dog\n", "row 2: class 'dog' comes 2 times"),
        ("image,labels\na.png,dog\n./a.png,cat\n", "image '.*a.png' comes 2 times; merge"),
        ("image,labels\n../a.png,dog\n", "row 2: image '../a.png' lies outside of"),
        ("image,labels\n,dog\n", "row 2: the image has no file name"),
        ('image,labels\n"a.png,dog\n', "no valid CSV .*check the quotes"),
    ],
)
def test_a_faulty_csv_is_refused_with_its_row_and_column(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        load(write_csv(tmp_path, text))
    assert "labels" in str(error.value)


def test_other_csv_faults_are_named(tmp_path):
    file = write_csv(tmp_path, "image,labels\na.png,Büro\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"labels.csv is not utf-8-sig text .*encoding= in Python"):
        load(file)
    with pytest.raises(ValueError, match="is not klingon text"):
        load(file, encoding="klingon")
    with pytest.raises(ValueError, match=r"row 2: unknown class 'dgo'; did you mean 'dog'\?"):
        load(write_csv(tmp_path, "image,labels\na.png,dgo\n"), classes=("cat", "dog"))
    with pytest.raises(ValueError, match="no column for class bird"):
        load(write_csv(tmp_path, FLAGS), classes=("cat", "dog", "bird"))
    with pytest.raises(FileNotFoundError, match=r"1 of 1 image files are missing: .*d.png"):
        load(write_csv(tmp_path, "image,labels\nd.png,dog\n"))
    write_csv(tmp_path, NAMED, "train.csv")
    with pytest.raises(FileNotFoundError, match=r"test.csv is missing"):
        load(tmp_path, "test")


@pytest.mark.parametrize(
    "cells, message",
    [
        (["dog,cat", "dog", "cat"], "separated by commas, e.g. 'dog,cat'; separate them by |"),
        (["dog, cat", "cat, bird", "bird, dog"], "separated by commas"),
        (["dog; cat", "dog", "cat"], "separated by semicolons"),
        (["dog cat", "cat bird", "dog", "cat", "bird"], "separated by blanks"),
    ],
)
def test_names_that_are_separated_by_something_else_are_asked_about(tmp_path, cells, message):
    text = "image,labels\n" + "".join(f'{n}.png,"{cell}"\n' for n, cell in enumerate(cells))
    with pytest.raises(ValueError, match=re.escape(message)):
        load(write_csv(tmp_path, text))
    for n in range(len(cells)):
        picture(tmp_path / f"{n}.png")
    kept = load(write_csv(tmp_path, text), classes=sorted({*cells, "bird"}))
    assert kept.counts.tolist() == [1] * len(cells)


@pytest.mark.parametrize(
    "cells", [["traffic light", "stop sign|hot dog", "dog"], ["tench, fish", "dog"], ["sea lion|sea", "lion"]]
)
def test_names_with_commas_and_blanks_in_them_are_names(tmp_path, cells):
    text = "image,labels\n" + "".join(f'{letter}.png,"{cell}"\n' for letter, cell in zip("abc", cells, strict=False))
    assert load(write_csv(tmp_path, text)).classes == tuple(sorted("|".join(cells).split("|")))


def test_a_missing_cell_is_no_class_however_it_is_written_and_stays_as_it_is(tmp_path):
    text = "image,labels\na.png,dog\nb.png,nan\nc.png,NaN\n"
    loaded = load(file := write_csv(tmp_path, text))
    assert loaded.classes == ("dog",) and loaded.counts.tolist() == [1, 0, 0]
    assert loaded.notes == ("2 cells with nan are no label",)
    assert write_like(file, loaded.names(), loaded.classes, tmp_path / "out").read_text() == text
    assert load(file, classes=("dog", "nan")).counts.tolist() == [1, 1, 0]


def test_folders_of_images_that_are_none_are_named(tmp_path):
    file = write_csv(tmp_path, "image,labels\na.png,dog\n")
    with pytest.raises(FileNotFoundError, match=r"the folder of images .*a\.png is no folder"):
        load(file, images=tmp_path / "a.png")


# --- Dataset ------------------------------------------------------------------------------------------------


def test_subsets_keep_rows_and_files_together():
    whole = made_of(torch.tensor([[1, 0], [1, 1], [0, 1]], dtype=torch.bool))
    for part in (whole.subset([2, 0]), whole.subset(torch.tensor([2, 0]))):
        assert [file.name for file in part.files] == ["2.jpg", "0.jpg"]
        assert part.labels.tolist() == [[False, True], [True, False]]
    assert whole.subset(torch.tensor([False, True, True])).labels.tolist() == whole.labels[1:].tolist()
    with pytest.raises(ValueError, match="there is no image"):
        whole.subset([])


def test_the_digest_follows_labels_trust_names_and_classes_and_nothing_else():
    one = made_of(torch.eye(3, dtype=torch.bool))
    moved = Dataset("other", one.classes, tuple("/x" / f for f in one.files), one.labels)
    assert one.digest == moved.digest
    swapped = one.labels[[1, 0, 2]]
    others = [
        Dataset("made", one.classes, one.files, swapped),
        Dataset("made", one.classes, one.files[::-1], one.labels),
        Dataset("made", one.classes[::-1], one.files, one.labels),
        Dataset("made", one.classes, one.files, one.labels, trusted=torch.tensor([True, False, False])),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 5


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"labels": torch.ones(2, 2)},
            r"labels must be bool \(2, 2\) .*got torch.float32 \(2, 2\)",
        ),
        ({"labels": torch.ones(3, 2, dtype=torch.bool)}, r"got torch.bool \(3, 2\)"),
        ({"trusted": torch.ones(3, dtype=torch.bool)}, r"trusted must be bool \(2,\) .*got torch.bool \(3,\)"),
        ({"classes": ("x", "")}, "class 1 has no name"),
        ({"groups": ("",)}, "1 groups for 2 classes"),
        ({"classes": ("x", "x")}, "class 'x' comes 2 times"),
        ({"files": (Path("a"), Path("a"))}, "image 'a' comes 2 times"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    parts = {"classes": ("x", "y"), "groups": ("", ""), "files": (Path("a"), Path("b"))}
    parts |= {"labels": torch.ones(2, 2, dtype=torch.bool)} | change
    with pytest.raises(ValueError, match=message):
        Dataset("made", **parts)


# --- the split -----------------------------------------------------------------------------------------------------


@st.composite
def label_matrices(draw) -> torch.Tensor:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    size = draw(st.integers(25, 80)), draw(st.integers(2, 6))
    return torch.from_numpy(rng.random(size) < draw(st.floats(0.35, 0.7)))


@given(label_matrices(), st.sampled_from([0.1, 0.29, 0.5]), st.sampled_from([None, 0, 1, 3]), st.integers(0, 9))
def test_the_split_is_disjoint_complete_sorted_and_of_the_right_size(labels, fraction, limit, seed):
    counts = labels.sum(1)
    multi = [n for n in range(len(labels)) if counts[n] >= 2]
    gold = math.floor(Fraction(str(fraction)) * len(multi))
    if not 0 < gold < len(multi):
        with pytest.raises(ValueError, match="both need one at least"):
            split(labels, fraction, limit, seed)
        return
    got = split(labels, fraction, limit, seed)
    assert sorted(got.gold.tolist() + got.silver.tolist()) == multi and len(got.gold) == gold
    for part in (got.gold, got.silver, got.single):
        assert part.dtype == torch.int64 and part.tolist() == sorted(set(part.tolist()))
    for k in range(labels.shape[1]):
        alone = [n for n in range(len(labels)) if counts[n] == 1 and labels[n, k]]
        chosen = set(got.single.tolist()) & set(alone)
        assert len(chosen) == (len(alone) if limit is None else min(limit, len(alone)))
    assert (counts[got.single] == 1).all()
    assert multi_label(labels).tolist() == multi


@given(label_matrices(), st.integers(0, 9))
def test_lower_limits_and_fractions_give_subsets_with_the_same_seed(labels, seed):
    assume(len(multi_label(labels)) >= 4)
    small, large = split(labels, 0.3, 1, seed), split(labels, 0.5, 4, seed)
    assert set(small.single.tolist()) <= set(large.single.tolist())
    assert set(small.gold.tolist()) <= set(large.gold.tolist())


@given(label_matrices(), st.sampled_from([0.0, 0.01, 0.2, 0.5]), st.integers(0, 9))
def test_a_holdout_is_taken_from_the_gold_images_alone_and_is_rounded_up(labels, holdout, seed):
    assume(len(multi_label(labels)) >= 8)
    whole, parted = split(labels, 0.5, 3, seed), split(labels, 0.5, 3, seed, holdout)
    assert sorted(parted.gold.tolist() + parted.held.tolist()) == whole.gold.tolist() and len(parted.gold)
    assert len(parted.held) == math.ceil(Fraction(str(holdout)) * len(whole.gold))
    assert parted.silver.tolist() == whole.silver.tolist() and parted.single.tolist() == whole.single.tolist()


def test_a_single_gold_image_is_not_held_out():
    alone = split(torch.ones(4, 2, dtype=torch.bool), 0.3, gold_holdout=0.5)
    assert len(alone.gold) == 1 and len(alone.held) == 0
    with pytest.raises(ValueError, match="gold_holdout must be at least 0 and below 1, got 1"):
        split(torch.ones(4, 2, dtype=torch.bool), 0.5, gold_holdout=1)


def test_a_fraction_of_a_round_number_loses_no_image():
    labels = torch.ones(100, 2, dtype=torch.bool)
    assert [len(split(labels, fraction).gold) for fraction in (0.29, 0.57, 0.58)] == [29, 57, 58]


def test_the_split_is_the_same_in_another_process_and_differs_by_seed():
    code = "import torch; from galc.data.dataset import split\nl = torch.ones(300, 3, dtype=torch.bool)\n"
    code += "l[200:, 1:] = False\n"
    code += "s = split(l, 0.1, 5, 3); print(s.gold.tolist() + s.single.tolist())"
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    labels = torch.ones(300, 3, dtype=torch.bool)
    labels[200:, 1:] = False
    here, other = split(labels, 0.1, 5, 3), split(labels, 0.1, 5, 4)
    assert json.loads(there.stdout) == here.gold.tolist() + here.single.tolist()
    assert here.gold.tolist() != other.gold.tolist() and here.single.tolist() != other.single.tolist()


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_gold_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="gold_fraction must be above 0 and below 1"):
        split(torch.ones(9, 2, dtype=torch.bool), fraction)


def test_other_split_parameters_out_of_range_are_refused():
    labels = torch.ones(9, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="makes 0 gold and 9 silver images"):
        split(labels, 0.1)
    with pytest.raises(ValueError, match="single_label_limit must be None"):
        split(labels, 0.5, -1)
    with pytest.raises(ValueError, match="seed must be at least 0"):
        split(labels, 0.5, seed=-1)


# --- real data -----------------------------------------------------------------------------------------------------


def real_labels(shared: Path, part: str) -> torch.Tensor:
    packed = np.load(shared / "coco2014_labels" / f"{part}.npz")["Y"]
    return torch.from_numpy(np.unpackbits(packed, axis=1)[:, :80].astype(bool))


def test_the_real_training_labels_give_the_counts_of_the_paper(shared_data):
    labels = made_of(real_labels(shared_data, "train2014")).labels
    parts = {limit: split(labels, 0.1, limit) for limit in (None, 50, 10)}
    assert len(labels) == 82_081 and len(multi_label(labels)) == 65_268
    assert [len(part.single) for part in parts.values()] == [16_813, 2_824, 721]
    assert (len(parts[None].gold), len(parts[None].silver)) == (6_526, 58_742)
    assert len(split(labels, 0.05).gold) == 3_263
    assert set(parts[10].single.tolist()) <= set(parts[50].single.tolist())


def test_the_real_test_labels_give_the_counts_of_the_paper(shared_data):
    labels = real_labels(shared_data, "val2014")
    assert len(labels) == 40_137 and len(multi_label(labels)) == 31_739
    assert int((labels.sum(1) == 1).sum()) == 8_398


def test_the_small_real_set_loads_from_its_folder(shared_data):
    train, test = (load(shared_data / "coco2014_mini", part).labelled() for part in ("train", "test"))
    assert (len(train), len(train.multi_label())) == (4_948, 3_922)
    assert (len(test), len(test.multi_label())) == (1_220, 963)
    assert train.classes == tuple(json.loads((shared_data / "coco2014_labels" / "classes.json").read_text()))
    check_pair(train, test)
