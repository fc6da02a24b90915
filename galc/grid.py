"""Many runs: a grid of parameters, computed side by side on the cores of this machine, as one table."""

import itertools
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import pandas as pd
import torch

from galc import estimator, study
from galc.params import ParameterError, Params, checked, from_environment, load_study
from galc.progress import track
from galc.record import RunRecord


def expand(base: dict, grid: dict[str, list]) -> list[Params]:
    """Every combination of the lists in ``grid`` on top of ``base``, the last key varying fastest.

    Raises ParameterError naming the key, before anything runs, if a name or a value does not fit.
    """
    for name, values in grid.items():
        if not isinstance(values, list | tuple) or not values:
            raise ParameterError(f"grid {name!r} must be a list of values, got {values!r}")
    return [checked(base | dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def from_file(file: str, **base) -> list[Params]:
    """The runs of a study file, or of $GALC_PARAMS where that is set; ``base`` goes before the study's own.

    Raises ParameterError as `expand` does.
    """
    study = from_environment() or load_study(file)
    return expand(study["base"] | base, study["grid"])


def run_all(points: Sequence[Params], workers: int | None = None, what: str = "runs") -> list[RunRecord]:
    """The records of all points, in their order; each one computed by its first caller and read by all others.

    ``workers`` processes (default: one a core) use one core each; with nothing to compute none is started. A run that
    fails stops the rest; what has finished stays in the cache, and the next call goes on from there.
    """
    todo = [point for point in points if not study.Study(point).is_cached]
    if todo:
        workers = min(workers or len(os.sched_getaffinity(0)), len(todo))
        context = multiprocessing.get_context("spawn")  # torch and forked threads do not mix
        with ProcessPoolExecutor(workers, context, _one_core) as pool:
            futures = [pool.submit(_compute, point) for point in todo]
            try:
                for future in track(as_completed(futures), len(todo), what, "run"):
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
    return [study.run(point) for point in points]


def frame(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row a run: method, noise, seed and the metrics."""
    return pd.DataFrame([record.summary for record in records])


def histories(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row an epoch of each run: method, noise, seed, epoch and the metrics of that epoch."""
    rows = [
        {name: record.summary[name] for name in ("method", "noise", "seed")} | epoch
        for record in records
        for epoch in record.history
    ]
    return pd.DataFrame(rows)


def _one_core() -> None:
    torch.set_num_threads(1)


def _compute(point: Params) -> None:
    study.run(point)


def estimator_errors(points: Sequence[Params], names: Sequence[str]) -> pd.DataFrame:
    """One row an estimator and point: how far its C is from the injected one (`galc.estimator.matrix_error`).

    The silver models and posteriors come from the cache where runs have left them. Points that differ in their
    method alone count once.
    """
    points = list(dict.fromkeys(point.replace(method="asl") for point in points))
    rows = []
    for point in track(points, len(points), "estimators", "point"):
        stages = study.Study(point)
        for name in names:
            error = estimator.matrix_error(stages.estimate(name), stages.true)
            rows.append({"estimator": name, "noise": point.noise, "seed": point.seed} | error)
    return pd.DataFrame(rows)
