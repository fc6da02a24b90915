"""Many items on Dask: failures are reported, killed workers are made up for, nothing is left running."""

import os
from queue import Empty, SimpleQueue
from types import SimpleNamespace

import psutil
import pytest
from distributed.core import Status
from on_workers import die, die_once, inverse, sleep, where

from galc.study import workers as cluster
from galc.study.params import ParameterError
from galc.study.workers import WorkerError, Workers, gpus, worker_count

DEVICES = ["3", "GPU-8a"]


@pytest.fixture(scope="module")
def workers():
    """Two worker processes with a GPU each, as far as they know."""
    with Workers(2, devices=DEVICES) as workers:
        yield workers


def results(outcomes) -> tuple[dict, dict]:
    """{item: value} of what went well, {item: error} of the rest."""
    outcomes = list(outcomes)
    good = {outcome.item: outcome.value for outcome in outcomes if outcome.error is None}
    return good, {outcome.item: outcome.error for outcome in outcomes if outcome.error is not None}


def test_what_fails_is_reported_and_the_rest_goes_on(workers, capsys):
    good, bad = results(workers.outcomes(inverse, [1, 0, 2, 4], "inverting", "numbers"))
    assert good == {1: 1, 2: 0.5, 4: 0.25}
    assert list(bad) == [0] and isinstance(bad[0], ZeroDivisionError)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("inverting: 4/4 numbers, 1 failed, ") and last.endswith(" left")


def test_outcomes_come_as_they_finish(workers):
    first = next(iter(workers.outcomes(sleep, [0.5, 0.0])))
    assert first.value == 0.0


def test_each_worker_is_a_process_with_one_thread_and_a_device_in_turn(workers):
    list(workers.outcomes(sleep, [0.1] * 4))
    found, _ = results(workers.outcomes(where, range(20)))
    assert len({pid for pid, *_ in found.values()} | {os.getpid()}) == 3
    assert {(device, threads) for _, device, threads, _ in found.values()} == {(name, "1") for name in DEVICES}
    assert all(int(kept) >= 2**28 for *_, kept in found.values())  # else each step takes its memory anew


def test_the_item_of_a_killed_worker_is_computed_again(workers, tmp_path):
    markers = [str(tmp_path / f"{n}") for n in range(2)]
    good, bad = results(workers.outcomes(die_once, markers))
    assert good == dict.fromkeys(markers, "second call") and not bad


def test_an_item_that_kills_its_workers_is_given_up_and_the_others_are_not(workers):
    names = ["a", "bad", *"bcdef"]
    good, bad = results(workers.outcomes(die, names))
    assert sorted(good) == list("abcdef")
    assert list(bad) == ["bad"] and isinstance(bad["bad"], WorkerError)
    assert "killed 3 times (out of memory?)" in str(bad["bad"])


def test_a_running_cluster_is_used_and_left_running(workers):
    address = workers._client.scheduler.address
    with Workers(scheduler=address) as others:
        assert results(others.outcomes(inverse, [2])) == ({2: 0.5}, {})
    assert results(workers.outcomes(inverse, [4])) == ({4: 0.25}, {})


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.2)
    with pytest.raises(ParameterError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        Workers(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(ParameterError, match="no Dask scheduler answers at 'gpfs'"):
        Workers(scheduler="gpfs")


def test_a_lost_cluster_is_an_error_and_no_failure_of_the_items():
    with pytest.raises(WorkerError, match="the Dask cluster was lost; what has finished is kept"):
        cluster._outcome("item", SimpleNamespace(status="cancelled"))


def test_a_result_that_is_lost_with_its_worker_is_waited_for_again():
    finished, asked = SimpleQueue(), []

    def finishes(put):
        asked.append(put)
        future.status = "finished"
        put(future)

    future = SimpleNamespace(status="lost", add_done_callback=finishes)
    finished.put(future)
    assert Workers(1)._next(finished) is future and len(asked) == 1


def test_an_interrupted_loop_leaves_no_process_behind():
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with pytest.raises(KeyboardInterrupt), Workers(1) as workers:
        for _ in workers.outcomes(sleep, [0.0, 60.0, 60.0]):
            raise KeyboardInterrupt
    assert not [p for p in psutil.Process().children(recursive=True) if p.pid not in before and p.is_running()]


def test_workers_that_cannot_be_started_are_not_waited_for():
    dead = {0: SimpleNamespace(status=Status.closed)}
    workers = Workers(1)
    workers._client = SimpleNamespace(cluster=SimpleNamespace(workers=dead))
    with pytest.raises(WorkerError, match="no worker process can be started"):
        workers._next(SimpleNamespace(get=lambda timeout: (_ for _ in ()).throw(Empty)))


def test_the_environment_of_this_process_is_left_as_it_was(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    with cluster._own_environment():
        os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"
    assert "MALLOC_TRIM_THRESHOLD_" not in os.environ


def test_nothing_is_started_for_nothing(monkeypatch):
    monkeypatch.setattr(cluster, "_local", None)
    with Workers(2) as workers:
        assert list(workers.outcomes(inverse, [])) == []


def test_the_number_of_workers_is_asked_for_or_in_the_environment_or_that_of_devices_or_cores(monkeypatch):
    monkeypatch.delenv("GALC_WORKERS", raising=False)
    monkeypatch.setattr(cluster.joblib, "cpu_count", lambda: 5)
    assert (worker_count(3), worker_count(None), worker_count(None, ["0", "1"])) == (3, 5, 2)
    monkeypatch.setenv("GALC_WORKERS", "4")
    assert (worker_count(3), worker_count(None), worker_count(None, ["0", "1"])) == (3, 4, 4)
    for wrong in ("0", "-1", "many"):
        monkeypatch.setenv("GALC_WORKERS", wrong)
        with pytest.raises(ParameterError, match=f"GALC_WORKERS must be .*{wrong}"):
            worker_count(None)
    with pytest.raises(ParameterError, match="workers must be at least 1, got 0"):
        worker_count(0)


def test_the_gpus_are_those_that_are_visible(monkeypatch):
    monkeypatch.setattr(cluster.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cluster.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8a")
    assert gpus() == ["5", "GPU-8a"]
    monkeypatch.setattr(cluster.torch.cuda, "is_available", lambda: False)
    assert gpus() == []
