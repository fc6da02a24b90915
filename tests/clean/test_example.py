"""The noisy copy to try the tool on: a COCO data set like any other, noisy as asked for, and true where it says so."""

import json
import os
from pathlib import Path

import pytest
import torch
from cleaned import example as made_up

from galc import store
from galc.clean import Cleaned, Rates
from galc.clean.example import corrupted, judged, places
from galc.data import coco
from galc.data.class_folders import link
from galc.data.load import load


@pytest.fixture(scope="module")
def shared_outputs(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def copy(shared_outputs, monkeypatch):
    monkeypatch.setenv("GALC_OUTPUTS", str(shared_outputs))
    return places("pictograms-tiny")


def names(copy) -> set[str]:
    return set(Path(copy.trusted).read_text(encoding="utf-8").splitlines())


def test_a_users_own_paths_are_left_as_they_are(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert places("my/labels.csv", "good.txt", "/x") == ("my/labels.csv", "good.txt", Path("/x"))
    assert places("my/labels.csv", out="here") == ("my/labels.csv", None, tmp_path / "here")
    assert places("my/labels.csv").out == store.outputs() / "your_data" and not store.outputs().exists()


def test_the_copy_is_a_coco_data_set_of_the_same_images_with_a_fifth_of_the_labels_wrong(copy):
    clean, noisy = load("pictograms-tiny"), load(copy.data)
    assert [file.name for file in noisy.files] == [file.name for file in clean.files]
    assert noisy.classes == clean.classes and torch.equal(noisy.counts, clean.counts)
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(clean.files[:5], noisy.files[:5], strict=True))
    other = torch.tensor([file.name not in names(copy) for file in clean.files])
    wrong = (noisy.labels & ~clean.labels)[other].sum() / noisy.labels[other].sum()
    assert 0.17 < wrong < 0.23
    assert torch.equal(noisy.labels[~other], clean.labels[~other]) and int((~other).sum()) == 24
    truth = coco.read(Path(copy.data).parents[1] / "truth.json", noisy.files[0].parent, "truth")
    assert torch.equal(truth.labels, clean.labels)


def test_it_is_made_once_and_anew_where_it_is_broken_off(copy):
    annotations = Path(copy.data)
    before = annotations.stat().st_mtime_ns
    assert places("pictograms-tiny") == copy and annotations.stat().st_mtime_ns == before
    content = annotations.read_bytes()
    annotations.unlink()  # written last: without it, nothing else counts
    assert places("pictograms-tiny") == copy and annotations.read_bytes() == content


def test_trusted_images_of_ones_own_are_taken(copy):
    assert places("pictograms-tiny", "mine.txt")[:2] == (copy.data, "mine.txt")


def test_where_the_disk_knows_no_second_names_images_are_copied(copy, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links here")))
    (tmp_path / "a").write_bytes(b"1")
    link(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"1"


CONTENT = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 30, "height": 20} for n in (7, 8)],
    "categories": [{"id": 5, "name": "dog"}, {"id": 2, "name": "cat"}, {"id": 9, "name": "cup"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [1, 2, 3, 4]},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [5, 6, 7, 8]},
        {"id": 4, "image_id": 8, "category_id": 9, "bbox": [9, 9, 9, 9], "score": 1},
    ],
}


@pytest.mark.parametrize(
    ("noisy", "wanted"),
    [
        ([[1, 0, 0], [0, 0, 1]], [(1, 7, 2), (2, 7, 2), (4, 8, 9)]),
        ([[0, 1, 0], [0, 0, 1]], [(1, 7, 5), (2, 7, 5), (4, 8, 9)]),  # all boxes of the cat are a dog's
        ([[0, 0, 0], [0, 0, 1]], [(4, 8, 9)]),
        ([[1, 0, 0], [1, 1, 0]], [(1, 7, 2), (2, 7, 2), (4, 8, 2), (5, 8, 5)]),
    ],
)
def test_annotations_follow_the_labels_and_keep_what_else_they_hold(noisy, wanted):
    clean, noisy = torch.tensor([[1, 0, 0], [0, 0, 1]]).bool(), torch.tensor(noisy).bool()
    before = json.dumps(CONTENT)
    made = corrupted(CONTENT, ["7.png", "8.png"], clean, noisy)
    assert [(a["id"], a["image_id"], a["category_id"]) for a in made["annotations"]] == wanted
    assert json.dumps(CONTENT) == before
    boxes = {a["id"]: a for a in CONTENT["annotations"]}
    for annotation in made["annotations"]:
        old = boxes.get(annotation["id"], {"bbox": [0, 0, 30, 20]})
        assert annotation["bbox"] == old["bbox"] and annotation.get("score") == old.get("score")


def test_the_truth_judges_a_ranking(copy):
    clean, noisy = load("pictograms-tiny"), load(copy.data)
    trusted = torch.tensor([file.name in names(copy) for file in noisy.files])
    size = noisy.num_classes
    eye, rates = Rates(*[torch.eye(size).double()] * 3), Rates(*[torch.zeros(size).double()] * 3)

    def found(posterior):
        parts = {"name": noisy.name, "source": copy.data, "classes": noisy.classes, "files": noisy.files}
        parts |= {"labels": noisy.labels, "trusted": trusted, "posterior": posterior.float(), "transition": eye}
        return judged(Cleaned(**parts, **{name: rates for name in ("removed", "added", "wrong", "missing")}))

    perfect = found(clean.labels)
    assert "100 % are at fault" in perfect and "wrong labels: 100 %, the missing ones: 100 %" in perfect
    assert "100 %" not in found(torch.rand(clean.labels.shape))


def test_of_other_data_it_says_that_the_truth_is_not_known(tmp_path):
    assert "not known" in judged(made_up(tmp_path, 3))
