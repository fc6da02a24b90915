"""Many runs: a grid of parameters, computed side by side on the cores of this machine, as one table."""

import itertools
import os
from collections.abc import Sequence

import pandas as pd

from galc import store
from galc.estimators.base import matrix_error, named
from galc.methods.base import METHODS
from galc.progress import track
from galc.study import run as study
from galc.study import workers as cluster
from galc.study.params import EVERY, PARTIAL, ParameterError, Params, checked, from_environment, load_study, overridden
from galc.study.run import RunRecord
from galc.study.stages import Stages


def expand(base: dict, grid: dict[str, list]) -> list[Params]:
    """Every combination of the lists in ``grid`` on top of ``base``, the last key varying fastest.

    The word "all" in place of the list of methods is every method that there is, those of plug-ins included. Raises
    ParameterError naming the key, before anything runs, if a name or a value does not fit.
    """
    if grid.get("method") == EVERY:
        checked({"plugins": base.get("plugins", ())})  # loads them
        grid = grid | {"method": list(METHODS)}
    for name, values in grid.items():
        if not isinstance(values, list | tuple) or not values:
            raise ParameterError(f"grid {name!r} must be a list of values, got {values!r}")
    return [checked(base | dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def from_file(file: str, own: Params | None = None, **base) -> list[Params]:
    """The runs of a study file. $GALC_PARAMS goes before its values (`galc.study.params.overridden`), what is set in
    ``own`` (and no default) before both, ``base`` before all.

    Where a sweep had runs that failed, those that are not in the cache are left out, and their number is printed.
    Raises ParameterError as `expand` does, and where no run is left.
    """
    environment = from_environment() or {}
    base = (own.model_dump(exclude_unset=True) if own else {}) | base
    spec = overridden(load_study(file), environment)
    points = expand(spec["base"] | base, {name: values for name, values in spec["grid"].items() if name not in base})
    if not environment.get(PARTIAL):
        return points
    finished = [point for point in points if is_finished(point)]
    if missing := len(points) - len(finished):
        print(f"{missing} of {len(points)} runs of {file} are missing: they failed, and what follows goes without them")
    if not finished:
        raise ParameterError(f"{file}: none of its runs has finished")
    return finished


def finished(file: str, own: Params | None = None, **base) -> list[RunRecord]:
    """The records of those runs of a study file (as `from_file`) that are in the cache; where there is none, of all.

    So a notebook shows the studies that have been computed, in whole or in part, and starts no other one. Says how
    many are missing, and how to compute them.
    """
    points = from_file(file, own, **base)
    found = [point for point in points if is_finished(point)]
    if found and len(found) < len(points):
        print(f"{file}: {len(found)} of {len(points)} runs are there; galc sweep {file} computes the others")
    return run_all(found or points)


def points_of(records: Sequence[RunRecord], method: str | None = None) -> list[Params]:
    """The parameters of runs, or of those of one method."""
    return [checked(r.details["params"]) for r in records if method in (None, r.summary["method"])]


def is_finished(point: Params) -> bool:
    """Whether the record of a run is in the cache; False as well where its data cannot be used."""
    try:
        return study.Run(point).is_cached
    except (ValueError, OSError):
        return False


def prepare(point: Params, outputs: str | None = None) -> None:
    """Load the data of a run, split it, and make what its model takes, through the caches (of ``outputs``).

    Raises ValueError or OSError, naming the file, class or parameter, where that is impossible.
    """
    if outputs is not None:
        os.environ["GALC_OUTPUTS"] = outputs  # this is a worker on another machine
    _ = study.Run(point).key


def run_all(points: Sequence[Params], workers: int | None = None, what: str = "runs") -> list[RunRecord]:
    """The records of all points, in their order; each one computed by its first caller and read by all others.

    ``workers`` processes (default: $GALC_WORKERS, or one a GPU, or one a core) use one core each; a single one, or a
    single run, is this process itself. A run that fails stops the rest; what has finished stays in the cache, and the
    next call goes on from there. Raises whatever the run raised, WorkerError where its process was killed again and
    again, ParameterError for ``workers`` below 1.
    """
    count = cluster.worker_count(workers, cluster.gpus())
    todo: dict[str, Params] = {}  # a run that serves several noise levels is computed once
    for its in map(study.Run, points):
        if not its.is_cached:
            todo.setdefault(store.digest(its.key), its.params)
    _compute_all(list(todo.values()), min(count, len(todo)), what)
    return [study.run(point) for point in points]


def _compute_all(points: list[Params], workers: int, what: str) -> None:
    if workers <= 1:
        for point in track(points, len(points), what, "runs"):
            _compute(point)
        return
    with cluster.Workers(workers) as side_by_side:
        for outcome in side_by_side.outcomes(_compute, points, what, "runs"):
            if outcome.error is not None:
                raise outcome.error


def _compute(point: Params) -> None:
    study.run(point)


def frame(records: Sequence[RunRecord], always: Sequence[str] = ()) -> pd.DataFrame:
    """One row a run: method, noise, seed, whatever else differs between the runs, and the metrics.

    ``always`` names parameters that get a column even where they are the same for all runs.
    """
    settings = _settings([record.details["params"] for record in records], always)
    return pd.DataFrame([own | record.summary for own, record in zip(settings, records, strict=True)])


def histories(records: Sequence[RunRecord]) -> pd.DataFrame:
    """One row an epoch of each run: the columns before the metrics in `frame`, epoch and the metrics of that epoch."""
    settings = _settings([record.details["params"] for record in records])
    rows = [own | epoch for own, record in zip(settings, records, strict=True) for epoch in record.history]
    return pd.DataFrame(rows)


def at_hand(points: Sequence[Params], names: Sequence[str]) -> list[str]:
    """The estimators of ``names`` that can be compared at ``points`` without training anything more.

    Posteriors of noisy images take a cross-fitting of their own, which a study has where one of its methods needs it.
    """
    used = {METHODS[point.method].estimator for point in points} - {None}
    asks = {name: "silver_posterior" in named(name).needs for name in {*names, *used}}
    return [name for name in names if not asks[name] or any(asks[one] for one in used)]


def estimator_errors(points: Sequence[Params], names: Sequence[str]) -> pd.DataFrame:
    """One row an estimator and point: how far its C is from the injected one (`galc.estimators.base.matrix_error`).

    Columns: estimator, noise, seed, whatever else differs between the points, and the errors. The silver models and
    posteriors come from the cache where runs have left them. Points that differ in their method alone count once.
    """
    points = list(dict.fromkeys(point.replace(method="asl") for point in points))
    rows = []
    for point, own in zip(points, _settings([point.model_dump() for point in points]), strict=True):
        stages = Stages.of(point)
        del own["method"]
        for name in names:
            rows.append(
                {"estimator": name} | own | matrix_error(stages.estimate(name).transition.float(), stages.inputs.true)
            )
    return pd.DataFrame(rows)


UNSET = {"single_label_limit": "all"}


def _settings(params: Sequence[dict], always: Sequence[str] = ()) -> list[dict]:
    """Of each run: method, noise, seed, and the parameters that differ between the runs.

    A column with a value that is not set is text, so that it is neither dropped nor sorted as a number.
    """
    names = ["method", "noise", "seed"]
    differ = [name for name in Params.model_fields if name in always or len({p[name] for p in params}) > 1]
    names += [name for name in differ if name not in names]
    unset = {name: UNSET.get(name, "default") for name in names if any(p[name] is None for p in params)}

    def shown(name: str, value: object) -> object:
        return value if name not in unset else unset[name] if value is None else str(value)

    return [{name: shown(name, p[name]) for name in names} for p in params]
