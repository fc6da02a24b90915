"""Every kind of noise through the stages of a study, on data that train in a blink."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch

from galc.checks import check_transition
from galc.data.pictograms import categories
from galc.estimators.base import limits
from galc.noise.kinds import KINDS, Request, make
from galc.study import run as study
from galc.study.inputs import Inputs, groups_of
from galc.study.params import ParameterError, checked
from galc.study.run import Run
from galc.study.stages import Stages


@pytest.fixture(scope="module")
def grouped(tiny, tmp_path_factory):
    """The coloured blocks in two supercategories, one class alone in a third."""
    from tests.conftest import write_colours

    root = write_colours(tmp_path_factory.mktemp("grouped") / "data")
    groups = ["warm", "cold", "cold", "warm", "warm", "cold", "alone"]
    for file in (root / "annotations").iterdir():
        content = json.loads(file.read_text())
        for category, group in zip(content["categories"], groups, strict=True):
            category["supercategory"] = group
        file.write_text(json.dumps(content))
    return tiny | {"data": str(root)}


def test_semantic_noise_knows_cocos_groups_by_name_where_the_data_name_none():
    names = tuple(category["name"] for category in categories())
    labels = torch.eye(80, dtype=torch.bool)
    groups = groups_of(SimpleNamespace(classes=names, groups=("",) * 80))
    matrix = make("semantic", Request(labels, 0.4, groups, 0)).transition
    cat, dog, chair, person = (names.index(name) for name in ("cat", "dog", "chair", "person"))
    assert matrix[cat, dog] == pytest.approx(0.4 / 9) and matrix[cat, chair] == 0  # ten animals
    assert matrix[person, chair] == matrix[person, cat] == pytest.approx(0.4 / 79)
    own = SimpleNamespace(classes=("cat", "dog", "mug"), groups=("", "mine", ""))
    assert groups_of(own) == ["animal", "mine", ""]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["true-correction", "galc-plus"])
def test_every_kind_goes_through_all_stages_and_reports_both_rates(kind, method, grouped):
    p = checked(grouped | {"noise_kind": kind, "noise": 0.3, "method": method})
    lines = []
    record = study.run(p, log=lines.append)
    its = Inputs(p)
    silver = its.split.silver
    clean, noisy = its.train.labels[silver], its.observed[silver]
    assert torch.equal(its.observed[its.clean], its.train.labels[its.clean])  # trusted labels stay as they are
    gone = float((clean & ~noisy).sum() / clean.sum())
    wrong = float((noisy & ~clean).sum() / noisy.sum())
    assert record.summary["labels_removed"] == pytest.approx(gone)
    assert record.summary["labels_added"] == pytest.approx(wrong)
    asked = {"missing": (0.3, 0.0), "additional": (0.0, 0.3)}.get(kind, (0.3, 0.3))
    # one label is 0.6 % of them; pairs onto present classes have nowhere to go, and five classes are no crowd
    assert (gone, wrong) == pytest.approx(asked, abs=0.05 if kind in ("pair", "semantic") else 0.007)
    check_transition(record.true, 7)
    check_transition(record.estimate, 7)

    limit = limits({"true-correction": "true", "galc-plus": study.METHODS[method].estimator}[method], kind)
    assert record.details["warnings"] == ([limit] if limit else [])
    assert [line for line in lines if line.startswith("note: ")] == ([f"note: {limit}"] if limit else [])


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_drawn_once_for_data_split_and_kind(kind, grouped):
    p = checked(grouped | {"noise_kind": kind, "noise": 0.3, "seed": 3, "split_seed": 0})
    first = Inputs(p).observed
    for change in ({"method": "asl"}, {"epochs": 7}, {"seed": 5}, {"single_label_limit": 1}):
        assert torch.equal(Inputs(p.replace(**change)).observed, first), change
    other = Inputs(p.replace(split_seed=1))
    silver = torch.tensor(sorted(set(other.split.silver.tolist()) & set(Inputs(p).split.silver.tolist())))
    assert not torch.equal(other.observed[silver], first[silver])


def test_without_noise_all_kinds_are_one(grouped):
    keys = [Inputs(checked(grouped | {"noise_kind": kind, "noise": 0.0})).noise_key for kind in KINDS]
    assert all(key == keys[0] for key in keys)
    its = Inputs(checked(grouped | {"noise_kind": "instance-dependent", "noise": 0.0}))
    assert torch.equal(its.observed, its.train.labels)
    assert its.noise_rates == {"labels_removed": 0, "labels_added": 0}


def test_labels_that_vanish_and_appear_enter_the_loss(grouped):
    """True-Correction knows of them: with its rates left out, the same matrix trains another model."""
    p = checked(grouped | {"noise_kind": "missing-additional", "noise": 0.4, "method": "true-correction"})
    whole = study.run(p)
    torch.testing.assert_close(whole.estimate, torch.eye(7))  # nothing is turned into something else
    assert not torch.equal(whole.scores, study.run(p.replace(method="asl")).scores)
    estimated = Stages.of(p).estimate("true").noise
    assert estimated.removed.min() > 0 and not estimated.keeps_count
    torch.testing.assert_close(estimated.arrivals.sum(1), 1 - Inputs(p).noise_model.removed)


def test_the_test_labels_get_the_same_noise(grouped):
    for kind in KINDS:
        its = Inputs(checked(grouped | {"noise_kind": kind, "noise": 0.3}))
        noisy = its.noisy_test
        assert torch.equal(noisy.clean, its.test.labels) and not torch.equal(noisy.noisy, its.test.labels)
        if kind != "instance-dependent":
            assert noisy.observed().transition.shape == (7, 7)


def test_the_noise_of_the_test_labels_follows_the_seed_of_the_split(grouped):
    p = checked(grouped | {"noise": 0.3, "seed": 3, "split_seed": 0})
    first = Inputs(p).noisy_test.noisy
    assert torch.equal(Inputs(p.replace(seed=4)).noisy_test.noisy, first)
    assert not torch.equal(Inputs(p.replace(split_seed=1)).noisy_test.noisy, first)


# --- a user's own file ---------------------------------------------------------------------------------------------


@pytest.fixture
def own(grouped, tmp_path):
    """Parameters with a noise file: red becomes blue, green vanishes, pink appears."""
    names = list(Inputs(checked(grouped)).train.classes)
    matrix = torch.eye(7)
    matrix[0, 0], matrix[0, 2] = 0.625, 0.375
    rates = {"removed": [0, 0.5, 0, 0, 0, 0, 0], "added": [0, 0, 0, 0, 0.2, 0, 0]}
    path = tmp_path / "noise.json"
    path.write_text(json.dumps({"classes": names, "transition": matrix.tolist(), **rates}))
    return checked(grouped | {"noise_kind": str(path), "method": "true-correction"}), path


def test_a_file_is_taken_as_it_is_whatever_the_level(own):
    p, _ = own
    record = study.run(p)
    changes = Inputs(p).changes
    for k, rate in {0: 0.375, 1: 0.5, 2: 0.0}.items():
        assert changes.removed[k].item() == pytest.approx(rate, abs=0.51 / changes.labels[k].item())
    assert changes.gained[4] > 0 and changes.gained[[0, 1, 3, 5, 6]].sum() == 0
    assert record.true[0, 2].item() == pytest.approx(0.375)
    assert study.run(p.replace(noise=0.9)).details["file"] == record.details["file"]
    assert torch.equal(Inputs(p.replace(noise=0.0)).observed, Inputs(p).train.labels)


def test_a_file_of_other_content_is_another_run(own):
    p, path = own
    key = Run(p).key
    copy = path.with_name("copy.json")
    copy.write_text(path.read_text())
    assert Run(p.replace(noise_kind=str(copy))).key == key
    path.write_text(path.read_text().replace("0.375", "0.370").replace("0.625", "0.630"))
    assert Run(p).key != key


def test_a_broken_file_stops_before_any_work(own, monkeypatch):
    p, path = own
    path.write_text("{")
    monkeypatch.setattr("galc.study.inputs._prepared", lambda _: pytest.fail("features before the file was read"))
    with pytest.raises(ValueError, match=r"noise\.json is no valid JSON"):
        study.run(p)


def test_limits_follow_from_what_is_in_the_file(own):
    p, path = own
    p = p.replace(method="galc-slr")
    assert "count-changing" in Run(p).limits[0]
    content = json.loads(path.read_text()) | {"removed": [0] * 7, "added": [0] * 7}
    path.write_text(json.dumps(content))
    assert "targets" in Run(p).limits[0]


def test_a_kind_that_there_is_not_is_refused_with_the_choices(tiny):
    with pytest.raises(ParameterError, match=r"'noise_kind' = 'pairs'.*symmetric, pair.*\.csv"):
        checked(tiny | {"noise_kind": "pairs"})


def test_an_image_with_all_classes_stops_flips_alone(tiny):
    its = Inputs(checked(tiny | {"noise_kind": "missing"}))
    labels = its.train.labels.clone()
    labels[its.split.silver[4]] = True
    its.__dict__["data"] = dataclasses.replace(
        its.data, train=dataclasses.replace(its.train, name="full", labels=labels)
    )
    assert its.injected.removed.any()
