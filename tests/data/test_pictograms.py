"""The embedded data set: its pictures, its labels, and that it is whole or absent."""

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from galc.data import pictograms
from galc.data.pictograms import categories, draw_sets, sample, scenes, statistics
from galc.store import ROOT

SMALL = {"train": 7, "test": 3, "size": 48}
OFFICIAL_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
REAL = ROOT.parent / "shared" / "data" / "coco2014_labels"


def contents(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    return pictograms.render(tmp_path_factory.mktemp("small") / "set", **SMALL, workers=1)


# The data set as files


def test_bytes_do_not_depend_on_processes_or_batches(small, tmp_path, monkeypatch):
    monkeypatch.setattr(pictograms, "BATCH", 2)
    assert contents(pictograms.render(tmp_path / "again", **SMALL, workers=2)) == contents(small)


def test_another_seed_gives_other_pictures_of_other_labels(small, tmp_path):
    first, second = contents(small), contents(pictograms.render(tmp_path / "set", **SMALL, seed=1, workers=1))
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())


def test_it_is_a_valid_coco_data_set(small, capsys):
    sets = {split: COCO(small / "annotations" / f"instances_{split}.json") for split in ("train", "val")}
    assert [len(coco.imgs) for coco in sets.values()] == [7, 3]
    assert not set(sets["train"].imgs) & set(sets["val"].imgs)
    for split, coco in sets.items():
        assert sorted(coco.cats) == [id for id in range(1, 91) if id not in OFFICIAL_GAPS]
        assert coco.dataset["licenses"][0]["name"] == "CC BY-SA 4.0" and "OpenMoji" in coco.dataset["info"]["source"]
        assert len(coco.anns) == len(coco.dataset["annotations"]) and len(coco.imgs) == len(coco.dataset["images"])
        for image in coco.imgs.values():
            with Image.open(small / "images" / split / image["file_name"]) as picture:
                assert picture.format == "JPEG" and picture.mode == "RGB"
                assert picture.size == (image["width"], image["height"]) == (48, 48)
            assert coco.getAnnIds(imgIds=image["id"])
        for annotation in coco.anns.values():
            x, y, width, height = annotation["bbox"]
            assert 0 <= x < x + width <= 48 and 0 <= y < y + height <= 48
            assert 0 < annotation["area"] <= width * height and annotation["iscrowd"] == 0


def test_annotations_are_the_sampled_label_sets(small):
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(0,)))
    sampled = sample(7, rng)
    coco = COCO(small / "annotations" / "instances_train.json")
    column = {id: k for k, id in enumerate(sorted(coco.cats))}
    annotated = np.zeros_like(sampled)
    for annotation in coco.anns.values():
        annotated[annotation["image_id"] - 1, column[annotation["category_id"]]] = True
    assert np.array_equal(annotated, sampled)


def test_a_second_call_touches_nothing(small):
    before = {path: path.stat().st_mtime_ns for path in [small, *small.rglob("*")]}
    assert pictograms.render(small, **SMALL) == small
    assert {path: path.stat().st_mtime_ns for path in [small, *small.rglob("*")]} == before


@pytest.mark.parametrize("damage", ["lost image", "cut image", "lost annotations", "broken manifest"])
def test_a_damaged_data_set_is_rendered_again(small, tmp_path, damage):
    root = pictograms.render(tmp_path / "set", train=2, test=1, size=32, workers=1)
    whole = contents(root)
    image, manifest = root / "images" / "val" / "000001.jpg", root / "manifest.json"
    if damage == "lost image":
        image.unlink()
    elif damage == "cut image":
        image.write_bytes(image.read_bytes()[:-1])
    elif damage == "lost annotations":
        (root / "annotations" / "instances_train.json").unlink()
    else:
        manifest.write_text(manifest.read_text()[:-5])
    pictograms.render(root, train=2, test=1, size=32, workers=1)
    assert contents(root) == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == [".set.lock", "set"]


def test_other_parameters_replace_the_data_set(tmp_path):
    root = pictograms.render(tmp_path / "set", train=2, test=1, size=32, workers=1)
    pictograms.render(root, train=1, test=1, size=32, workers=1)
    assert json.loads((root / "manifest.json").read_text())["train"] == 1
    assert len(list((root / "images" / "train").iterdir())) == 1


def test_a_data_set_drawn_by_other_code_is_rendered_again(tmp_path, monkeypatch):
    root = pictograms.render(tmp_path / "set", train=2, test=1, size=32, workers=1)
    before = root.stat().st_ino
    shutil.copytree(pictograms.HERE, tmp_path / "code")
    (tmp_path / "code" / "pictograms.yaml").write_text("another table")
    monkeypatch.setattr(pictograms, "HERE", tmp_path / "code")
    pictograms.render(root, train=2, test=1, size=32, workers=1)
    assert root.stat().st_ino != before


def test_a_killed_render_leaves_nothing_and_its_remains_are_swept(tmp_path):
    code = "import sys; from galc.data.pictograms import render; render(sys.argv[1], 3000, 1, 32, workers=1)"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "set")], stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 60
        while not list(tmp_path.glob(".set.*.tmp/new/images/train/*.jpg")) and time.monotonic() < give_up:
            assert process.poll() is None, "the render ended before it could be killed"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "set").exists() and list(tmp_path.glob(".set.*.tmp"))
    pictograms.render(tmp_path / "set", train=1, test=1, size=32, workers=1)
    assert not list(tmp_path.glob(".set.*.tmp"))


def test_an_error_while_rendering_leaves_the_old_data_set(tmp_path, monkeypatch):
    root = pictograms.render(tmp_path / "set", train=2, test=1, size=32, workers=1)
    whole = contents(root)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pictograms, "_annotations", full_disk)
    with pytest.raises(OSError, match="No space left"):
        pictograms.render(root, train=3, test=1, size=32, workers=1)
    assert contents(root) == whole and not list(tmp_path.glob(".set.*.tmp"))


def test_of_two_callers_at_once_one_renders_and_one_waits(tmp_path, monkeypatch):
    renders, write = [], pictograms._write
    monkeypatch.setattr(pictograms, "_write", lambda *arguments: (renders.append(1), write(*arguments)))
    callers = [
        threading.Thread(target=pictograms.render, args=(tmp_path / "set", 4, 1, 32), kwargs={"workers": 1})
        for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(renders) == 1 and (tmp_path / "set" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train", 0),
        ("train", 2.5),
        ("test", -1),
        ("test", "10"),
        ("size", 31),
        ("size", 2000),
        ("size", True),
        ("seed", -1),
        ("workers", 0),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number in .*, not {value!r}"):
        pictograms.render(tmp_path / "set", **{**SMALL, name: value})
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_refused_and_kept(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="other files"):
        pictograms.render(tmp_path, **SMALL)
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"


# Pictures


@pytest.mark.parametrize("symbol", [s for row in scenes.SYMBOLS for s in row])
def test_every_symbol_of_a_class_is_really_drawn(symbol):
    picture = scenes.bitmap(symbol, 64)
    ink = np.asarray(picture)[..., 3] > 127
    assert ink.mean() > 0.08 and min(picture.size) >= 8 and max(picture.size) >= 32
    if len(symbol) == 1:
        missing = scenes.bitmap("\U0010fffe", 64)  # no font has this code point: the font's "tofu" box
        assert missing.tobytes() != picture.tobytes()


def test_no_symbol_stands_for_two_things():
    every = [s for row in scenes.SYMBOLS for s in row] + scenes.DISTRACTORS
    assert len(every) == len(set(every))
    assert len({scenes.bitmap(s, 48).tobytes() for s in scenes.DISTRACTORS}) > 100


def test_an_unknown_symbol_is_named():
    with pytest.raises(ValueError, match="no drawing 'unicorn'"):
        scenes.bitmap("unicorn", 64)
    with pytest.raises(ValueError, match=r"draws nothing for U\+FE0F"):
        scenes.bitmap("\ufe0f", 64)


@settings(deadline=None, max_examples=25)
@given(
    labels=st.sets(st.integers(0, 79), min_size=1, max_size=18), size=st.integers(32, 100), seed=st.integers(0, 2**31)
)
def test_a_scene_shows_every_label_inside_the_picture(labels, size, seed):
    picture, boxes = scenes.draw(sorted(labels), size, np.random.default_rng(seed))
    assert picture.size == (size, size) and picture.mode == "RGB"
    assert {k for k, _, _ in boxes} == labels
    for _, (x, y, width, height), area in boxes:
        assert x >= 0 and y >= 0 and x + width <= size and y + height <= size and 0 < area <= width * height


def test_a_later_thing_cannot_hide_an_earlier_one():
    scene = scenes.Scene(np.random.default_rng(0), 64)
    square = Image.new("RGBA", (20, 20), "red")
    assert scene.put(square, 10, 10, 3, keep=0.65)
    assert not scene.put(square, 12, 12, 4, keep=0.65)  # would leave 76 of 400 pixels
    assert scene.put(square, 26, 10, 4, keep=0.65)  # leaves 320
    assert scene.boxes() == [(3, [10, 10, 16, 20], 320), (4, [26, 10, 20, 20], 400)]


# Labels


@settings(deadline=None, max_examples=20)
@given(sizes=st.lists(st.integers(0, 6), max_size=30), seed=st.integers(0, 2**31))
def test_drawn_sets_have_the_sizes_asked_for(sizes, seed):
    rng = np.random.default_rng(seed)
    coupling = rng.normal(size=(6, 6))
    labels = draw_sets(rng, np.array(sizes, dtype=int), rng.normal(size=6), coupling + coupling.T)
    assert labels.sum(axis=1).tolist() == sizes


def test_drawn_sets_follow_the_sequential_model():
    bias, coupling = np.array([0.0, 0.5, -1.0]), np.array([[0, 1.0, 0], [1.0, 0, -0.5], [0, -0.5, 0]])
    expected = np.zeros((3, 3))
    first = np.exp(bias) / np.exp(bias).sum()
    for i in range(3):
        rest = [j for j in range(3) if j != i]
        weights = np.exp(bias + coupling[i])[rest]
        for j, share in zip(rest, weights / weights.sum(), strict=True):
            expected[min(i, j), max(i, j)] += first[i] * share
    labels = draw_sets(np.random.default_rng(0), np.full(40_000, 2), bias, coupling).astype(int)
    assert np.triu(labels.T @ labels / 40_000, 1) == pytest.approx(expected, abs=0.01)


def counts(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair counts (K, K) among images with ≥2 labels, and counts (K,) of single labels."""
    size = labels.sum(axis=1)
    many = labels[size > 1].astype(np.float64)  # exact, and far quicker than integers
    return many.T @ many, labels[size == 1].sum(axis=0)


@pytest.mark.parametrize("images", [4_000, 20_000])
def test_sampled_labels_have_cocos_statistics(images):
    real = statistics()
    labels = sample(images, np.random.default_rng(1))
    pairs, single = counts(labels)
    upper = np.triu_indices(80, 1)

    def alike(a, b):
        return np.corrcoef(a, b)[0, 1]

    assert alike(np.diag(pairs), np.diag(real["pairs"])) > 0.99
    assert alike(np.sqrt(np.diag(pairs)), np.sqrt(np.diag(real["pairs"]))) > 0.99
    assert alike(pairs[upper], real["pairs"][upper]) > 0.95
    assert alike(np.sqrt(pairs[upper]), np.sqrt(real["pairs"][upper])) > 0.95
    assert alike(single, real["single"]) > 0.99
    sizes = labels.sum(axis=1)
    assert (sizes == 1).mean() == pytest.approx(0.2048, abs=0.001)
    expected = real["label_counts"] @ np.arange(len(real["label_counts"])) / real["images"]
    assert sizes.mean() == pytest.approx(expected, abs=0.01) and sizes.min() == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("images", "floor"), [(4_000, 5), (1_000, 3), (300, 1)])
def test_no_class_is_missing_among_images_of_several_labels(images, floor, seed):
    pairs, _ = counts(sample(images, np.random.default_rng(seed)))
    assert np.diag(pairs).min() >= floor


def test_a_single_image_can_be_sampled():
    assert sample(1, np.random.default_rng(0)).sum() >= 1


def test_the_shipped_counts_are_those_of_the_real_labels():
    if not REAL.exists():
        pytest.skip(f"the real COCO labels are not at {REAL}")
    real = statistics()
    with np.load(REAL / "train2014.npz") as packed:
        labels = np.unpackbits(packed["Y"], axis=1)[:, :80].astype(bool)
    pairs, single = counts(labels)
    assert real["images"] == len(labels) == 82_081
    assert np.array_equal(pairs, real["pairs"]) and np.array_equal(single, real["single"])
    assert np.array_equal(np.bincount(labels.sum(axis=1)), real["label_counts"])
    assert real["classes"] == [category["name"] for category in categories()]
