"""Many runs side by side: the same numbers as one by one, whatever was interrupted or killed on the way."""

import json
import os
import signal

import pandas as pd
import pytest

from galc import store
from galc.estimators.base import matrix_error
from galc.methods.base import METHODS
from galc.study import run as study
from galc.study import runs as grid
from galc.study import stages
from galc.study.params import ParameterError, Params
from galc.study.runs import estimator_errors, expand, finished, frame, from_file, histories, points_of, run_all
from galc.study.stages import Stages
from galc.study.workers import Outcome, WorkerError, Workers

GRID = {"noise": [0.2, 0.4], "method": ["asl", "clean-only", "galc-slr-literal"]}


@pytest.fixture
def trained(monkeypatch) -> list:
    """One entry for every training in this process."""
    seen, fit = [], stages.fit
    monkeypatch.setattr(stages, "fit", lambda *args, **options: seen.append(1) or fit(*args, **options))
    return seen


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory) -> pd.DataFrame:
    """The table of the grid, run by run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GALC_OUTPUTS", str(tmp_path_factory.mktemp("undisturbed")))
        return table([study.run(point) for point in expand(tiny, GRID)])


def table(records) -> pd.DataFrame:
    return frame(records).drop(columns="seconds")


# --- the grid ------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_the_last_key_fastest():
    points = expand({"epochs": 3}, {"noise": [0.1, 0.2], "seed": [0, 1, 2]})
    assert [(p.noise, p.seed, p.epochs) for p in points] == [(n, s, 3) for n in (0.1, 0.2) for s in (0, 1, 2)]
    assert [p.epochs for p in expand({"epochs": 3}, {})] == [3]
    assert [p.epochs for p in expand({"epochs": 3}, {"epochs": [4]})] == [4]


@pytest.mark.parametrize(
    ("base", "lists", "message"),
    [
        ({}, {"noise": [0.1, 1.5]}, "parameter 'noise' = 1.5"),
        ({}, {"method": ["asl", "als"]}, "parameter 'method' = 'als'"),
        ({}, {"nois": [0.1]}, "unknown parameter 'nois'; did you mean 'noise'"),
        ({}, {"noise": 0.1}, "grid 'noise' must be a list of values, got 0.1"),
        ({}, {"noise": []}, r"grid 'noise' must be a list of values, got \[\]"),
        ({}, {"noise": "0.1"}, "grid 'noise' must be a list"),
        ({"epochs": "many"}, {"noise": [0.1]}, "parameter 'epochs' = 'many'"),
    ],
)
def test_every_value_is_checked_before_anything_runs(base, lists, message):
    with pytest.raises(ParameterError, match=message):
        expand(base, {"seed": [0, 1]} | lists)


@pytest.fixture
def file(tmp_path) -> str:
    text = "base: {epochs: 3, folds: 2}\ngrid: {noise: [0.1, 0.2], seed: [0, 1]}\n"
    return str(store.write_text(tmp_path / "file.yaml", text))


def test_all_stands_for_every_method_in_the_table(tmp_path):
    path = store.write_text(tmp_path / "s.yaml", "grid: {method: all, seed: [0]}")
    assert [p.method for p in from_file(str(path))] == list(METHODS)


def test_a_study_file_gives_its_runs(file):
    found = [(p.epochs, p.noise, p.seed, p.hidden) for p in from_file(file, hidden=64)]
    assert found == [(3, noise, seed, 64) for noise in (0.1, 0.2) for seed in (0, 1)]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [(3, 0.1, 0), (3, 0.1, 1), (3, 0.2, 0), (3, 0.2, 1)]),
        ({"base": {"epochs": 2, "noise": 0.3}}, [(2, 0.3, 0), (2, 0.3, 1)]),  # no longer in the grid
        ({"grid": {"seed": [7], "method": ["asl"]}}, [(3, 0.1, 7), (3, 0.2, 7)]),  # the file's grid has no method
        ({"base": {"seed": 5}, "grid": {"seed": [7], "noise": [0.4]}}, [(3, 0.4, 5)]),
    ],
)
def test_the_environment_goes_before_a_study_file(file, environment, expected, monkeypatch):
    monkeypatch.setenv("GALC_PARAMS", json.dumps(environment))
    points = from_file(file)
    assert [(p.epochs, p.noise, p.seed) for p in points] == expected
    assert {p.method for p in points} == {Params().method} and {p.folds for p in points} == {2}


def test_after_failures_only_the_runs_in_the_cache_are_taken_and_the_others_are_counted(
    tiny, tmp_path, monkeypatch, capsys
):
    path = store.write_text(tmp_path / "s.yaml", json.dumps({"base": tiny, "grid": {"components": [8, 5000]}}))
    monkeypatch.setenv("GALC_PARAMS", json.dumps({"base": {"method": "gold-only"}, "partial": True}))
    with pytest.raises(ParameterError, match="none of its runs has finished"):
        from_file(str(path))
    study.run(expand(tiny, {"method": ["gold-only"]})[0])
    capsys.readouterr()
    assert [p.components for p in from_file(str(path))] == [8]
    assert "1 of 2 runs" in capsys.readouterr().out


def test_a_study_in_part_is_shown_in_part_and_one_not_begun_is_computed(tiny, tmp_path, trained, monkeypatch, capsys):
    monkeypatch.setenv("GALC_WORKERS", "1")
    path = str(store.write_text(tmp_path / "s.yaml", json.dumps({"base": tiny, "grid": {"method": ["bce", "asl"]}})))
    study.run(from_file(path)[1])
    records = finished(path)
    assert points_of(records) == points_of(records, "asl") == [from_file(path)[1]] and len(trained) == 1
    assert points_of(records, "bce") == []
    assert f"1 of 2 runs are there; galc sweep {path}" in capsys.readouterr().out
    assert [record.summary["method"] for record in finished(path, noise=0.2)] == ["bce", "asl"] and len(trained) == 3
    assert "runs are there" not in capsys.readouterr().out


# --- running it ----------------------------------------------------------------------------------------------------


def test_two_worker_processes_give_the_same_numbers_as_this_one(tiny, undisturbed, trained, capsys):
    points = expand(tiny, GRID)
    pd.testing.assert_frame_equal(table(run_all(points, workers=2, what="training")), undisturbed)
    assert not trained  # all of it in the workers
    assert "training: 5/5 runs" in capsys.readouterr().err  # clean-only once for both noise levels


def die_once(point) -> None:
    """Computes runs; killed at the first galc-slr-literal, but not again."""
    marker = store.outputs() / "killed"
    if point.method == "galc-slr-literal" and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    study.run(point)


def test_what_a_killed_worker_had_in_hand_is_computed_by_another(tiny, undisturbed, monkeypatch):
    monkeypatch.setattr(grid, "_compute", die_once)
    records = run_all(expand(tiny, GRID), workers=2)
    assert (store.outputs() / "killed").exists()
    pd.testing.assert_frame_equal(table(records), undisturbed)


def test_what_a_run_in_a_worker_raised_is_raised_here(tiny, monkeypatch):
    killed = WorkerError("its worker process was killed 3 times (out of memory?)")
    monkeypatch.setattr(Workers, "outcomes", lambda *_: iter([Outcome(1), Outcome(2, error=killed), Outcome(3)]))
    with pytest.raises(WorkerError, match="killed 3 times"):
        run_all(expand(tiny, {"seed": [0, 1, 2]}), workers=2)


def test_an_interrupted_grid_goes_on_from_where_it_was(tiny, undisturbed, trained, monkeypatch):
    points, started = expand(tiny, GRID), []

    def interrupted(point):
        started.append(point)
        if len(started) == 3:
            raise KeyboardInterrupt
        study.run(point)

    with monkeypatch.context() as patch:
        patch.setattr(grid, "_compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_all(points, workers=1)
    done = len(trained)
    assert done >= 2
    pd.testing.assert_frame_equal(table(run_all(points, workers=1)), undisturbed)
    assert len(trained) == 1 + 1 + 2 + 1 + 2  # nothing twice: asl, clean-only, f and g, asl, f and g
    run_all(points)
    assert len(trained) == 7


def test_a_run_that_fails_stops_the_rest_and_says_why(tiny, trained):
    points = expand(tiny | {"folds": 60}, {"method": ["asl", "galc-plus", *["bce"] * 3]})
    with pytest.raises(ValueError, match="cannot be split into 60 folds"):
        run_all(points, workers=1)
    assert study.Run(points[0]).is_cached


def test_the_silver_model_is_trained_once_for_all_single_label_limits_and_fold_counts(tiny, trained):
    points = expand(tiny, {"method": ["galc-slr"], "single_label_limit": [None, 2], "folds": [2, 3]})
    run_all(points, workers=1)
    assert len(trained) == 1 + 4  # f, and each point's g
    count = lambda stage: len(list((store.outputs() / "cache" / stage).glob("*.safetensors")))  # noqa: E731
    assert (count("silver"), count("clean"), count("estimate")) == (1, 4, 4)
    run_all(expand(tiny, {"method": ["galc-slr"], "noise": [0.2], "epochs": [3]}), workers=1)
    assert (count("silver"), count("clean")) == (2, 4)  # h knows nothing of the noise, and not how long g is trained


def test_a_single_run_a_single_worker_or_nothing_to_compute_needs_no_process(tiny, trained, monkeypatch):
    monkeypatch.setattr(grid.cluster, "Workers", None)
    (first,) = run_all(expand(tiny, {"method": ["gold-only"]}))
    (again,) = run_all(expand(tiny, {"method": ["gold-only"]}))
    assert again.summary == first.summary and len(trained) == 1
    assert run_all([]) == []
    monkeypatch.setenv("GALC_WORKERS", "1")
    run_all(expand(tiny, {"method": ["bce", "clean-only"]}))
    assert len(trained) == 3


def test_less_than_one_worker_is_refused(tiny):
    with pytest.raises(ParameterError, match="workers must be at least 1, got 0"):
        run_all(expand(tiny, {}), workers=0)


# --- tables --------------------------------------------------------------------------------------------------------


def test_tables_have_a_row_a_run_an_epoch_and_an_estimate(tiny):
    points = expand(tiny, {"noise": [0.2, 0.4], "method": ["asl", "galc-slr-literal", "true-correction"]})
    records = [study.run(point) for point in points]
    rows = frame(records)
    assert list(zip(rows.method, rows.noise, strict=True)) == [(p.method, p.noise) for p in points]
    epochs = histories(records)
    assert len(epochs) == 6 * 2 and epochs.epoch.tolist() == [1, 2] * 6
    assert epochs[epochs.epoch == 2].mAP.tolist() == pytest.approx(rows.mAP.tolist())

    errors = estimator_errors(points, ["glc", "algorithm-1"])
    assert sorted(zip(errors.estimator, errors.noise, errors.seed, strict=True)) == [
        (name, noise, 0) for name in ("algorithm-1", "glc") for noise in (0.2, 0.4)
    ]
    its = Stages.of(points[0])
    expected = matrix_error(its.estimate("glc").transition, its.inputs.true)["row_l1"]
    own = errors[(errors.estimator == "glc") & (errors.noise == 0.2)]
    assert own.row_l1.tolist() == pytest.approx([expected])


def test_estimators_at_hand_need_no_cross_fitting_that_no_method_needs(tiny):
    names = ["glc", "calibrated-regulators", "attribution"]
    assert grid.at_hand(expand(tiny, {"method": ["asl", "galc-slr"]}), names) == names[:2]
    assert grid.at_hand(expand(tiny, {"method": ["galc-slr", "small-loss"]}), names) == names
