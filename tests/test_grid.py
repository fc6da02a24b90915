"""Many runs side by side: the same numbers as one by one, whatever was interrupted or killed on the way."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from galc import estimator, grid, stages, store, study
from galc.grid import WorkerError, estimator_errors, expand, frame, from_file, histories, run_all
from galc.params import ParameterError, Params

GRID = {"noise": [0.2, 0.4], "method": ["asl", "clean-only", "galc-slr-literal"]}


class InThreads(ThreadPoolExecutor):
    """One worker in this process: quick, and a test can look into it."""

    def __init__(self, workers, context, initializer):
        super().__init__(1)


@pytest.fixture
def in_threads(monkeypatch):
    monkeypatch.setattr(grid, "ProcessPoolExecutor", InThreads)


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


# --- running it ----------------------------------------------------------------------------------------------------


def test_two_worker_processes_give_the_same_numbers_as_this_one(tiny, undisturbed, trained, capsys):
    points = expand(tiny, GRID)
    pd.testing.assert_frame_equal(table(run_all(points, workers=2, what="training")), undisturbed)
    assert not trained  # all of it in the workers
    assert "training: 5/5 runs" in capsys.readouterr().err  # clean-only once for both noise levels


def die_at_the_third_run(point) -> None:
    """Computes runs; gone without a word at the first galc-slr-literal."""
    if point.method == "galc-slr-literal":
        os.kill(os.getpid(), signal.SIGKILL)
    study.run(point)


def test_a_killed_worker_is_said_and_the_next_call_goes_on(tiny, undisturbed, trained, monkeypatch):
    points = expand(tiny, GRID)
    with monkeypatch.context() as patch:
        patch.setattr(grid, "_compute", die_at_the_third_run)
        with pytest.raises(WorkerError, match=r"a worker process was killed .* what has finished is kept"):
            run_all(points, workers=1)
    assert [study.Study(point).is_cached for point in points[:3]] == [True, True, False]
    monkeypatch.setattr(grid, "ProcessPoolExecutor", InThreads)
    pd.testing.assert_frame_equal(table(run_all(points)), undisturbed)
    assert len(trained) == 2 + 1 + 2  # f and g of the literal method twice, asl at 0.4


def test_an_interrupted_grid_goes_on_from_where_it_was(tiny, undisturbed, trained, in_threads, monkeypatch):
    points, started = expand(tiny, GRID), []

    def interrupted(point):
        started.append(point)
        if len(started) == 3:
            raise KeyboardInterrupt
        study.run(point)

    with monkeypatch.context() as patch:
        patch.setattr(grid, "_compute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_all(points)
    done = len(trained)
    assert done >= 2
    pd.testing.assert_frame_equal(table(run_all(points)), undisturbed)
    assert len(trained) == 1 + 1 + 2 + 1 + 2  # nothing twice: asl, clean-only, f and g, asl, f and g
    run_all(points)
    assert len(trained) == 7


def test_a_run_that_fails_stops_the_rest_and_says_why(tiny, trained, in_threads):
    points = expand(tiny | {"single_label_limit": 0}, {"method": ["asl", "galc-slr", *["bce"] * 3]})
    with pytest.raises(ValueError, match="no single-label image: raise single_label_limit"):
        run_all(points)
    assert study.Study(points[0]).is_cached


def test_with_nothing_to_compute_no_process_is_started(tiny, monkeypatch):
    points = expand(tiny, {"method": ["gold-only"]})
    first = study.run(points[0])
    monkeypatch.setattr(grid, "ProcessPoolExecutor", None)
    (again,) = run_all(points)
    assert again.summary == first.summary
    assert run_all([]) == []


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
    its = study.Study(points[0])
    expected = estimator.matrix_error(its.estimate("glc"), its.true)["row_l1"]
    own = errors[(errors.estimator == "glc") & (errors.noise == 0.2)]
    assert own.row_l1.tolist() == pytest.approx([expected])
