"""The stages and the runs: everything recorded, everything shared that can be, nothing trusted that is broken."""

import dataclasses
import json
import multiprocessing
import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import galc.training.crossfit
from galc import metrics, noise, store
from galc.checks import check_transition
from galc.data.dataset import Dataset
from galc.estimators.algorithm_1 import calibrated_regulators
from galc.estimators.base import Estimate
from galc.methods.base import METHODS
from galc.methods.cleanlab_filter import suspicious
from galc.study import run as study
from galc.study import stage_cache, stages
from galc.study.params import Params, checked
from galc.study.run import Run
from galc.study.stages import Stages
from galc.training.loop import fit
from galc.training.models import predict


def explode(*_, **__):
    """A training that must not happen."""
    raise AssertionError("trained again")


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    """One run of every method, and the folder of their outputs."""
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GALC_OUTPUTS", str(folder))
        return folder, {name: study.run(checked(tiny | {"method": name})) for name in METHODS}


@pytest.fixture
def kept(done, monkeypatch):
    """The records of all methods; the cache that they came from; and no training any more."""
    monkeypatch.setenv("GALC_OUTPUTS", str(done[0]))
    monkeypatch.setattr(stages, "fit", explode)
    monkeypatch.setattr(galc.training.crossfit, "fit", explode)
    return done[1]


def numbers(record) -> dict:
    """What must be the same in two runs of the same parameters."""
    summary, history = dict(record.summary), [dict(epoch) for epoch in record.history]
    for row in (summary, *history):
        row.pop("seconds")
    return {"summary": summary, "history": history, "scores": record.scores.tolist()}


def same(first, second) -> bool:
    """Equal, NaN included."""
    return json.dumps(numbers(first)) == json.dumps(numbers(second))


# --- records -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_and_leaves_a_complete_record(name, done, tiny):
    folder, records = done
    record, method, p = records[name], METHODS[name], checked(tiny | {"method": name})
    labels = Stages.of(p).test.labels
    assert (record.summary["method"], record.summary["noise"], record.summary["seed"]) == (name, 0.4, 0)
    last = metrics.evaluate(record.scores, labels)
    assert {k: record.summary[k] for k in last} == pytest.approx(last)  # the numbers are those of the stored scores
    assert [epoch["epoch"] for epoch in record.history] == [1, 2]
    assert method.gold_stop or record.summary["epoch"] == 2  # the LAST epoch is reported
    assert record.history[record.summary["epoch"] - 1]["mAP"] == pytest.approx(record.summary["mAP"])
    best = max(record.history, key=lambda epoch: epoch["mAP"])
    assert (record.summary["best_epoch"], record.summary["best_mAP"]) == (best["epoch"], best["mAP"])
    assert {"CF1_calibrated", "OF1_calibrated", "ema_mAP", "seconds"} <= set(record.summary)

    details = record.details
    assert details["params"] == p.model_dump() and checked(details["params"]) == p
    assert len(details["split"]) == 20 and details["git"] and details["machine"]
    assert {"torch", "timm", "numpy", "python", "cleanlab"} <= set(details["versions"])
    assert details["seconds"]["run"] > 0 and record.summary["seconds"] == sum(details["seconds"].values())
    assert details["steps"] == 2 * -(-details["images"] // 16)
    entry = store.read(folder / "cache" / "run" / details["file"])
    assert {"data", "held", "code", "seed", "method", "epochs", "learning_rate"} <= set(entry.record["key"])

    check_transition(record.true, 7)
    assert (record.estimate is None) == (method.estimator is None)
    if method.estimator is not None:
        assert record.estimate.shape == (7, 7) and record.summary["C_row_l1"] >= 0
        if not name.startswith("galc-slr-literal"):
            check_transition(record.estimate, 7)


def test_methods_train_on_the_images_they_name(done, tiny):
    split = Stages.of(checked(tiny)).split
    gold, silver, single = (len(part) for part in (split.gold, split.silver, split.single))
    sizes = {"all": gold + silver, "gold": gold, "clean": gold + single, "everything": gold + silver + single}
    sizes["silver"] = silver
    for name, record in done[1].items():
        assert record.details["images"] + record.details["held_out"] == sizes[METHODS[name].data], name
        assert record.details["held_out"] == (-(-gold // 5) if METHODS[name].gold_stop else 0)


@pytest.mark.parametrize("holdout", [0.0, 0.4])
def test_an_epoch_is_chosen_on_gold_images_that_are_not_trained_on(holdout, tiny, monkeypatch):
    its = Stages.of(
        checked(tiny | {"method": "asl-gold-stop", "gold_holdout": holdout, "gold_fraction": 0.3, "epochs": 3})
    )
    trained, scores = [], iter([1.0, 5.0, 2.0])
    monkeypatch.setattr(Stages, "gold_mAP", lambda *_: next(scores))
    monkeypatch.setattr(
        stages, "fit", lambda model, data, *rest, **more: trained.append(data) or fit(model, data, *rest, **more)
    )
    record = study.run(its.params)
    fold = its.gold_fold
    assert len(fold) and set(fold.tolist()) <= set(its.split.held.tolist() if holdout else its.split.gold.tolist())
    assert not torch.isin(fold, trained[0].index).any()
    assert record.summary["epoch"] == 2 and record.summary["mAP"] == pytest.approx(record.history[1]["mAP"])
    assert [row["choice"] for row in record.history] == [1.0, 5.0, 2.0]


def test_the_choice_of_an_epoch_is_by_the_labels_of_the_held_out_images(tiny):
    its = Stages.of(checked(tiny | {"method": "asl-gold-stop", "gold_fraction": 0.5}))
    model = its.build()
    scores = predict(model, its.inputs.data.x)[its.gold_fold].sigmoid()
    expected = metrics.evaluate(scores, its.train.labels[its.gold_fold])["mAP"]
    assert its.gold_mAP(model) == pytest.approx(expected)


def test_true_correction_has_the_true_matrix_and_the_literal_one_is_no_transition_matrix(done):
    records = done[1]
    torch.testing.assert_close(records["true-correction"].estimate, records["asl"].true.float())
    assert records["true-correction"].summary["C_row_l1"] == pytest.approx(0, abs=1e-6)
    assert records["galc-slr-literal"].estimate[:6].sum(1).min() > 2  # the last row is the fallback


def test_every_method_pays_for_the_stages_it_needs_whoever_computed_them(done, tiny):
    needed = {name: set(record.details["seconds"]) - {"run"} for name, record in done[1].items()}
    assert needed["asl"] == needed["clean-only"] == set()
    assert needed["galc-slr"] == {"silver", "clean", "estimate"}
    assert needed["galc-plus"] >= {"clean", "posterior", "estimate"}
    shared = {record.details["seconds"]["clean"] for record in done[1].values() if "clean" in record.details["seconds"]}
    assert len(shared) == 1 and shared.pop() > 0


def test_held_out_gold_images_are_in_no_training_and_no_estimate_and_choose_the_threshold(tiny, monkeypatch):
    p = checked(tiny | {"gold_fraction": 0.3, "gold_holdout": 0.25, "method": "galc-plus"})
    its, seen = Stages.of(p), []
    fit_, crossfit, fitted = stages.fit, galc.training.crossfit.fit, galc.training.crossfit.Platt.fit
    monkeypatch.setattr(
        stages, "fit", lambda model, data, *a, **o: seen.append(data.index) or fit_(model, data, *a, **o)
    )
    monkeypatch.setattr(
        galc.training.crossfit,
        "fit",
        lambda model, data, *a, **o: seen.append(data.index) or crossfit(model, data, *a, **o),
    )
    platt = []
    monkeypatch.setattr(
        galc.training.crossfit.Platt, "fit", lambda s, x, y, *a: platt.append(y.shape[0]) or fitted(s, x, y, *a)
    )
    record = study.run(its.params)
    held, gold = set(its.split.held.tolist()), its.split.gold
    assert len(seen) > 4 and platt and held
    assert not held & set(torch.cat(seen).tolist()) and set(platt) == {len(gold)}
    whole = Stages.of(p.replace(gold_holdout=0.0)).split
    assert sorted([*held, *gold.tolist()]) == whole.gold.tolist() and torch.equal(whole.silver, its.split.silver)

    at_gold = metrics.evaluate(record.scores, its.test.labels, record.summary["threshold_gold"])
    assert (record.summary["CF1_gold"], record.summary["OF1_gold"]) == (at_gold["CF1"], at_gold["OF1"])
    assert not {"CF1_gold", "OF1_gold"} & set(study.run(checked(tiny | {"method": "gold-only"})).summary)


def test_classes_without_gold_or_single_label_images_are_reported_and_stop_nothing(done, tiny):
    its = Stages.of(checked(tiny))
    assert not its.train.labels[its.split.gold][:, 6].any()
    for record in done[1].values():
        assert record.details["fallback"] == {"no gold image": ["rare"], "no single-label image": ["rare"]}


def test_scores_are_of_the_clean_test_images_with_two_labels_or_more(done, tiny):
    its = Stages.of(checked(tiny))
    assert its.test.labels.sum(1).min() >= 2
    assert all(len(record.scores) == len(its.test) for record in done[1].values())


def test_a_study_learns(tiny):
    record = study.run(checked(tiny | {"method": "asl", "noise": 0.0, "epochs": 40}))
    assert record.summary["mAP"] > 80 and record.history[0]["mAP"] < 70


@pytest.mark.parametrize("name", ["asl", "galc-plus"])
def test_fine_tuning_runs_the_same_stages(name, tiny):
    record = study.run(
        checked(tiny | {"method": name, "mode": "finetune", "epochs": 1, "fold_epochs": 1, "batch_size": 14})
    )
    assert 0 < record.summary["mAP"] < 100 and len(record.history) == 1


# --- noise ---------------------------------------------------------------------------------------------------------


def test_all_methods_share_the_noise_whatever_the_recipe(tiny):
    first = Stages.of(checked(tiny)).observed
    for change in ({"method": "asl"}, {"epochs": 7}, {"seed": 3, "split_seed": 0}, {"learning_rate": 0.1}):
        assert torch.equal(Stages.of(checked(tiny | change)).observed, first), change
    for change in ({"split_seed": 1}, {"seed": 1}, {"noise": 0.3}, {"noise_kind": "pair"}):
        assert not torch.equal(Stages.of(checked(tiny | change)).observed, first), change


def test_only_silver_labels_are_noisy(tiny):
    its = Stages.of(checked(tiny))
    labels, silver = its.train.labels, its.split.silver
    assert torch.equal(its.observed[its.inputs.clean], labels[its.inputs.clean])
    assert torch.equal(its.observed[silver].sum(1), labels[silver].sum(1))
    wrong = (its.observed & ~labels)[silver].sum()
    assert wrong == round(0.4 * int(labels[silver].sum()))
    trusted = its.training_set(torch.arange(len(its.train))).trusted
    assert torch.equal(trusted.nonzero()[:, 0], its.inputs.clean.sort().values)


def test_the_split_follows_the_split_seed_and_that_the_seed(tiny):
    def gold(**change):
        return Stages.of(checked(tiny | change)).split.gold.tolist()

    assert gold(seed=1) == gold(split_seed=1) == gold(seed=5, split_seed=1) != gold()


def test_the_image_that_leaves_no_room_for_noise_is_named(tiny):
    its = Stages.of(checked(tiny))
    labels = its.train.labels.clone()
    labels[its.split.silver[4]] = True
    train = Dataset("full", its.train.classes, its.train.files, labels)
    its.inputs.__dict__["data"] = dataclasses.replace(its.inputs.data, train=train)
    with pytest.raises(
        ValueError, match=rf"{train.files[its.split.silver[4]].name} has all 7 classes.*leave the image"
    ):
        _ = its.observed


def last_training(its: Stages, name: str, estimate: Estimate | None = None) -> tuple:
    """What a method trains on, and its loss; by another estimate than its own, if one is given."""
    row = METHODS[name]
    estimate = its.estimate(row.estimator) if row.estimator and estimate is None else estimate
    return row.training(its, estimate, its.training_set(Run(its.params.replace(method=name)).images))


def test_posterior_labels_are_clean_where_images_are_trusted_and_probabilities_elsewhere(kept, tiny):
    its = Stages.of(checked(tiny))
    data, _ = last_training(its, "galc-plus-fixed")
    assert torch.equal(data.targets[data.trusted], its.train.labels[data.index[data.trusted]].float())
    silver = data.targets[~data.trusted]
    assert silver.min() >= 0 and silver.max() <= 1 and not torch.equal(silver, silver.round())


def test_a_label_of_the_second_round_does_not_vouch_for_itself(tiny, monkeypatch, tmp_path):
    """Whatever an image's own noisy label says, its posterior is the same: no model on the way has learnt from it."""
    transition, image = noise.symmetric(7, 0.4).float(), None
    posteriors = []
    monkeypatch.setattr(Stages, "calibrated", lambda its, logits: logits.sigmoid())  # calibration is on gold images
    for turn in range(2):
        monkeypatch.setenv("GALC_OUTPUTS", str(tmp_path / str(turn)))
        its = Stages.of(checked(tiny | {"dropout": 0.0}))
        image = int(its.split.silver[0])
        if turn:
            its.observed[image] = ~its.observed[image]
        posteriors.append(its.second_posterior(Estimate(transition)))
    assert torch.equal(posteriors[0][image], posteriors[1][image])
    assert (posteriors[0] != posteriors[1]).any(1).sum() > 20  # others have learnt from it


def test_the_second_round_learns_posterior_labels_and_is_not_the_first(kept, tiny, monkeypatch):
    its = Stages.of(checked(tiny))
    first, second = (last_training(its, name)[0] for name in ("galc-plus-fixed", "galc-plus-iterated"))
    assert torch.equal(first.index, second.index)
    assert torch.equal(first.targets[first.trusted], second.targets[first.trusted])
    assert not torch.allclose(first.targets[~first.trusted], second.targets[~first.trusted], atol=1e-3)


def test_weights_are_one_where_images_are_trusted(kept, tiny):
    its = Stages.of(checked(tiny))
    trained = {name: last_training(its, name) for name in ("cleanlab", "reweighting")}
    for data, loss in trained.values():
        assert loss.weights.shape == data.targets.shape and (loss.weights[data.trusted] == 1).all()
    (data, masked), (_, weighed) = trained["cleanlab"], trained["reweighting"]
    silver, noisy = ~data.trusted, data.targets[~data.trusted].bool()
    expected = suspicious(its.given_probability[data.index[silver]], noisy)
    assert torch.equal(masked.weights[silver] == 0, expected)
    assert 0 < expected.sum() < noisy.numel() / 2
    assert weighed.weights[silver][noisy].std() > 0.1 and (weighed.weights > 0).all()
    assert (last_training(its, "reweighting", Estimate(torch.eye(7)))[1].weights == 1).all()


def test_a_missing_cleanlab_is_said_before_anything_is_trained(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    monkeypatch.setattr(galc.training.crossfit, "fit", explode)
    with pytest.raises(ImportError, match=r'pip install "galc\[compare\]"'):
        study.run(checked(tiny | {"method": "cleanlab"}))


# --- the cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_second_call_trains_nothing_and_gives_the_same_record(name, kept, tiny):
    its = Run(checked(tiny | {"method": name}))
    assert its.is_cached and same(its.record(), kept[name])


def test_estimators_share_the_silver_model(kept, tiny):
    its = Stages.of(checked(tiny | {"method": "asl"}))
    for name in ("algorithm-1", "algorithm-1-rows", "glc", "glc-calibrated", "pooled-rate", "attribution"):
        assert its.estimate(name).transition.shape == (7, 7)
    torch.testing.assert_close(its.estimate("algorithm-1").transition, kept["galc-slr-literal"].estimate)


def test_runs_on_clean_images_are_shared_by_all_noise_levels(tiny, monkeypatch):
    for name in ("gold-only", "clean-only"):
        p = checked(tiny | {"method": name, "noise": 0.2})
        first = study.run(p)
        with monkeypatch.context() as patch:
            patch.setattr(stages, "fit", explode)
            second = study.run(p.replace(noise=0.6))
            pair = study.run(p.replace(noise_kind="pair"))
        assert first.details["file"] == second.details["file"] == pair.details["file"]
        assert torch.equal(first.scores, second.scores)
        assert (second.summary["noise"], second.details["params"]["noise"]) == (0.6, 0.6)
        assert (first.summary["noise"], first.details["params"]["noise"]) == (0.2, 0.2)
        assert second.true[0, 0].item() == pytest.approx(0.4)


def test_a_broken_entry_is_reported_and_computed_again(tiny):
    p = checked(tiny | {"method": "asl"})
    first = study.run(p)
    path = store.outputs() / "cache" / "run" / first.details["file"]
    os.truncate(path, path.stat().st_size - 9)
    with pytest.warns(UserWarning, match=f"{path.name} is broken"):
        assert same(study.run(p), first)
    assert store.read(path) is not None


def test_a_broken_shared_stage_is_computed_again(tiny):
    p = checked(tiny | {"method": "galc-slr-literal"})
    study.run(p)
    (silver,) = (store.outputs() / "cache" / "silver").glob("*.safetensors")
    whole = silver.read_bytes()
    silver.write_bytes(whole[:-4] + b"\0\0\0\0")
    with pytest.warns(UserWarning, match="is broken"):
        again = Stages.of(p).silver
    assert store.read(silver).record["key"] == again.record["key"] and silver.read_bytes()[-4:] == whole[-4:]


# a value of every parameter that is not the one of `tiny`
OTHER = {
    "gold_fraction": 0.3,
    "gold_holdout": 0.2,
    "single_label_limit": 2,
    "split_seed": 5,
    "noise": 0.2,
    "noise_kind": "pair",
    "method": "asl",
    "seed": 5,
    "mode": "finetune",
    "backbone": "test_resnet",
    "image_size": 48,
    "mirror": True,
    "components": 7,
    "hidden": 17,
    "input_dropout": 0.2,
    "dropout": 0.4,
    "epochs": 3,
    "batch_size": 15,
    "learning_rate": 0.02,
    "weight_decay": 0.0,
    "ema_decay": 0.99,
    "bf16": True,
    "compile": True,
    "folds": 3,
    "fold_epochs": 3,
}


def test_the_key_of_a_run_changes_with_every_parameter_and_with_the_code(tiny, colours, tmp_path, monkeypatch):
    assert set(OTHER) == set(Params.model_fields) - {"data", "weights", "plugins"}  # these: tests/methods/test_plugins
    first = Run(checked(tiny)).key
    keys = {name: Run(checked(tiny | {name: value})).key for name, value in OTHER.items()}
    monkeypatch.setattr(stages, "code_digest", lambda: "other")
    keys["code"] = Run(checked(tiny)).key
    monkeypatch.undo()
    monkeypatch.setenv("GALC_OUTPUTS", str(tmp_path / "outputs"))
    content = shutil.copytree(colours, tmp_path / "copy") / "annotations" / "instances_train.json"
    content.write_text(content.read_text().replace('"category_id": 1,', '"category_id": 2,', 1))
    keys["data"] = Run(checked(tiny | {"data": str(tmp_path / "copy")})).key
    digests = {name: store.digest(key) for name, key in {"first": first, **keys}.items()}
    twice = [name for name, count in Counter(digests.values()).items() if count > 1]
    assert not twice, [name for name, digest in digests.items() if digest in twice]


def test_the_same_data_in_another_folder_is_the_same_run(tiny, colours, tmp_path):
    moved = shutil.copytree(colours, tmp_path / "moved")
    assert Run(checked(tiny | {"data": str(moved)})).key == Run(checked(tiny)).key


def test_the_code_of_every_room_that_decides_a_result_is_part_of_the_key_and_that_of_bookkeeping_is_not(monkeypatch):
    room, read = Path(stage_cache.__file__).parent, []
    digest = lambda file: read.append(file.relative_to(room.parent)) or "same"  # noqa: E731
    monkeypatch.setattr(store, "file_digest", digest)
    first = stage_cache.code_digest.__wrapped__()
    assert {file.parts[0] for file in read} == set(stage_cache.SCIENCE)
    own = {file.stem for file in read if file.parts[0] == "study"}
    books = {file.stem for file in room.glob("*.py")} - own
    assert books == set(stage_cache.BOOKS) and {"stages", "inputs", "run"} < own
    monkeypatch.setattr(store, "file_digest", lambda file: str(file == room / "run.py"))
    assert stage_cache.code_digest.__wrapped__() != first


def changes_of(method: str, tiny: dict, **changes) -> set[str]:
    """The parameters of ``changes`` that make another run of a method."""
    first = Run(checked(tiny | {"method": method})).key
    return {n for n, value in changes.items() if Run(checked(tiny | {"method": method, n: value})).key != first}


def test_a_run_on_labels_as_they_are_is_shared_by_all_settings_that_it_makes_no_use_of(tiny):
    unused = {"folds": 3, "fold_epochs": 7, "single_label_limit": 2, "noise": 0.2}
    assert changes_of("asl", tiny, **unused) == {"noise"}
    assert changes_of("bce-everything", tiny, **unused) == {"noise", "single_label_limit"}
    assert changes_of("clean-only", tiny, **unused) == {"single_label_limit"}
    assert changes_of("gold-only", tiny, **unused) == set()
    assert changes_of("galc-plus", tiny, **unused) == set(unused)
    shared = study.run(checked(tiny | {"method": "asl"}))
    other = study.run(checked(tiny | {"method": "asl", "single_label_limit": 0}))
    assert shared.details["file"] == other.details["file"] and shared.details["split"] != other.details["split"]
    assert other.details["fallback"]["no single-label image"] == list(Stages.of(checked(tiny)).train.classes)


def test_an_estimate_is_shared_by_all_settings_that_its_evidence_makes_no_use_of(tiny):
    def files(name, **changes) -> Path:
        return Stages.of(checked(tiny | changes)).estimate_entry(name).path

    changes = {"folds": 3, "single_label_limit": 2, "epochs": 3}
    used = {"glc": {"epochs"}, "algorithm-1": {"single_label_limit", "epochs"}, "true": set()}
    used["calibrated-regulators"] = set(changes)
    for name, expected in used.items():
        assert {n for n, value in changes.items() if files(name, **{n: value}) != files(name)} == expected, name


# --- interruptions, parallel calls, errors -------------------------------------------------------------------------


def test_a_run_that_was_interrupted_goes_on_from_its_checkpoint(tiny, monkeypatch):
    p = checked(tiny | {"method": "asl", "epochs": 4})
    epochs = []

    def interrupted(*arguments, monitor, **options):
        def watch(model):
            epochs.append(1)
            if len(epochs) == 3:
                raise KeyboardInterrupt
            return monitor(model)

        return fit(*arguments, monitor=watch, checkpoint_seconds=0, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.run(p)
        assert not Run(p).is_cached
        (checkpoint,) = (store.outputs() / "checkpoints").iterdir()
        resumed = study.run(p)
    assert len(epochs) == 3 + 2 and not checkpoint.exists()
    monkeypatch.setenv("GALC_OUTPUTS", str(store.outputs() / "anew"))
    assert same(study.run(p), resumed)


def run_at_the_same_moment(values: dict, gate, log: Path, outputs: Path | None = None) -> np.ndarray:
    """Run a study together with another process; note every training in a log."""
    if outputs is not None:
        os.environ["GALC_OUTPUTS"] = str(outputs)
    train = fit

    def noted(*arguments, **options):
        with open(log, "a") as file:
            file.write("trained\n")
        return train(*arguments, **options)

    its = Run(checked(values))
    its.stages.inputs.data  # noqa: B018 - the data are ready
    stages.fit = noted
    try:
        gate.wait()
        scores = its.record().scores.numpy()
    finally:
        stages.fit = train
    if outputs is not None:
        np.save(log.with_suffix(".npy"), scores)
    return scores


def test_two_processes_with_the_same_parameters_train_once_and_get_the_same(tiny, tmp_path):
    context, log = multiprocessing.get_context("spawn"), tmp_path / "log"
    values, gate = tiny | {"method": "galc-slr-literal"}, context.Barrier(2)
    Stages.of(checked(values)).inputs.data  # noqa: B018 - computed before the other process starts
    other = context.Process(target=run_at_the_same_moment, args=(values, gate, log, store.outputs()))
    other.start()
    own = run_at_the_same_moment(values, gate, log)
    other.join(120)
    assert other.exitcode == 0
    assert log.read_text().splitlines() == ["trained"] * 2  # f and g
    np.testing.assert_array_equal(own, np.load(log.with_suffix(".npy")))


def test_without_single_label_images_every_method_runs_with_gold_images_as_regulators(tiny):
    none = tiny | {"single_label_limit": 0}
    assert len(Stages.of(checked(none)).split.single) == 0
    for name in ("asl", "clean-only", "galc-slr-literal", "galc-slr", "galc-plus"):
        assert study.run(checked(none | {"method": name})).details["fallback"]["no single-label image"] == list(
            Stages.of(checked(none)).train.classes
        )
    its = Stages.of(checked(none))
    logits, gold = torch.from_numpy(its.silver.arrays["logits"]), its.split.gold
    expected = calibrated_regulators(logits[gold], its.clean_posterior[gold], its.train.labels[gold])
    torch.testing.assert_close(its.estimate("calibrated-regulators").transition, expected)


def test_cross_fitted_models_train_for_fold_epochs_however_long_the_others_train(tiny):
    short, long = (Stages.of(checked(tiny | {"epochs": epochs})) for epochs in (2, 6))
    other = Stages.of(checked(tiny | {"fold_epochs": 6}))
    assert torch.equal(short.clean_posterior, long.clean_posterior)
    assert torch.equal(short.noisy_posterior, long.noisy_posterior)
    assert not torch.equal(short.clean_posterior, other.clean_posterior)


def test_more_folds_than_clean_images_is_said(tiny):
    with pytest.raises(ValueError, match=r"images cannot be split into 60 folds; use fewer folds"):
        study.run(checked(tiny | {"method": "galc-plus", "folds": 60}))


def test_an_unknown_method_is_refused(tiny):
    with pytest.raises(ValueError, match="choose one of asl"):
        study.run(Params(**tiny, method="galc"))


def test_labels_that_vanish_are_estimated_apart_from_flips(tiny):
    summary = study.run(checked(tiny | {"method": "galc-plus", "noise_kind": "missing", "noise": 0.4})).summary
    assert summary["labels_removed"] > 0.35 and summary["labels_added"] == 0
    assert 0 <= summary["C_removed"] <= 0.4 and 0 <= summary["C_added"] < 0.3
    flips = study.run(checked(tiny | {"method": "galc-slr", "noise": 0.4})).summary
    assert "C_removed" not in flips and "C_row_l1" in flips  # an estimator of C alone does not say


def test_a_run_says_what_it_does(tiny):
    lines = []
    study.run(checked(tiny | {"method": "galc-plus"}), log=lines.append)
    text = "\n".join(lines)
    for part in (
        "cross-fitting a model of the clean labels",
        "corrected by a first C",
        "step 3: training g, GALC-p",
    ):
        assert part in text
    assert sum(line.startswith("epoch") for line in lines) == 2


def test_an_installed_galc_names_no_commit_of_a_repository_around_it(monkeypatch):
    monkeypatch.setattr(store, "CHECKOUT", None)  # store.ROOT still lies in one
    assert study.git_revision() == "unknown"
