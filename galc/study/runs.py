"""Many runs: a grid of parameters, computed side by side on the cores of this machine, as one table.

Also ``galc select``, which chooses a recipe by such runs. A selection file holds ``candidates``, each a name and the
parameters that it changes, beside ``base`` and ``grid``. Each is trained at every point of the grid, with
``gold_holdout`` of the trusted images kept from all of it (training, cross-fitting, calibration, estimate of C), and
judged by its mean mAP on these. Test images have no part in it.
"""

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
from galc.study.params import (
    EVERY,
    PARTIAL,
    ParameterError,
    Params,
    check_keys,
    checked,
    from_environment,
    load_study,
    load_yaml,
    overridden,
)
from galc.study.run import RunRecord
from galc.study.stages import Stages


def expand(base: dict, grid: dict[str, list]) -> list[Params]:
    """Every combination of the lists in ``grid`` on top of ``base``, the last key varying fastest.

    The word "all" in place of the list of methods is every one, those of plug-ins included. Raises ParameterError
    naming the key, before anything runs, if a name or a value does not fit.
    """
    if grid.get("method") == EVERY:
        checked({"plugins": base.get("plugins", ())})  # loads them
        grid = grid | {"method": list(METHODS)}
    for name, values in grid.items():
        if not isinstance(values, list | tuple) or not values:
            raise ParameterError(f"grid {name!r} must be a list of values, got {values!r}")
    return [checked(base | dict(zip(grid, values, strict=True))) for values in itertools.product(*grid.values())]


def from_file(file: str, own: Params | None = None, **base) -> list[Params]:
    """The runs of a study file. $GALC_PARAMS goes before its values, what ``own`` sets before both, ``base`` first.

    Where runs of a sweep failed, those that are not in the cache are left out, and their number is printed. Raises
    ParameterError as `expand` does, and where no run is left.
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
    """The records of those runs of a study file (`from_file`) that are in the cache; where there is none, of all.

    So a notebook shows a study as far as it has been computed. Says how many runs are missing, and the mend.
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

    ``workers`` processes (`galc.study.workers.worker_count`) use one core each; a single one, or a single run, is this
    process itself. A run that fails stops the rest; the next call goes on from there. Raises whatever the run raised,
    WorkerError where its process was killed again and again, ParameterError for ``workers`` below 1.
    """
    count = cluster.worker_count(workers, cluster.gpus())
    todo: dict[str, Params] = {}  # a run that serves several noise levels is computed once
    for its in map(study.Run, points):
        if not its.is_cached:
            todo.setdefault(store.digest(its.key), its.params)
    waiting, count = list(todo.values()), min(count, len(todo))
    if count <= 1:
        for point in track(waiting, len(waiting), what, "runs"):
            _compute(point)
    else:
        with cluster.Workers(count) as side_by_side:
            for outcome in side_by_side.outcomes(_compute, waiting, what, "runs"):
                if outcome.error is not None:
                    raise outcome.error
    return [study.run(point) for point in points]


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
    """The estimators of ``names`` that ask for no cross-fitting of noisy images beside those of the ``points``."""
    used = {METHODS[point.method].estimator for point in points} - {None}
    asks = {name: "silver_posterior" in named(name).needs for name in {*names, *used}}
    return [name for name in names if not asks[name] or any(asks[one] for one in used)]


def estimator_errors(points: Sequence[Params], names: Sequence[str]) -> pd.DataFrame:
    """One row an estimator and point: how far its C is from the injected one (`galc.estimators.base.matrix_error`).

    Columns: estimator, noise, seed, whatever else differs between the points, and the errors. Points that differ in
    their method alone count once.
    """
    points = list(dict.fromkeys(point.replace(method="asl") for point in points))
    rows = []
    for point, own in zip(points, _settings([point.model_dump() for point in points]), strict=True):
        stages = Stages.of(point)
        for name in names:
            errors = matrix_error(stages.estimate(name).transition.float(), stages.inputs.true)
            rows.append({"estimator": name} | own | errors)
    return pd.DataFrame(rows).drop(columns="method", errors="ignore")


def _settings(params: Sequence[dict], always: Sequence[str] = ()) -> list[dict]:
    """Of each run: method, noise, seed, and the parameters that differ between the runs.

    A column with a value that is not set is text, so that it is neither dropped nor sorted as a number.
    """
    table = pd.DataFrame(params, columns=list(Params.model_fields), dtype=object)
    differ = [name for name in table if name in always or table[name].nunique(dropna=False) > 1]
    table = table[list(dict.fromkeys(["method", "noise", "seed", *differ]))]
    for name in table.columns[table.isna().any()]:
        unset = "all" if name == "single_label_limit" else "default"
        table = table.assign(**{name: table[name].map(str, na_action="ignore").fillna(unset)})
    return table.to_dict("records")


# --- galc select -----------------------------------------------------------------------------------------------------

SCORE = "mAP_gold"


def candidates(file: str, overrides: dict | None = None) -> dict[str, list[Params]]:
    """The runs of each candidate of a selection file; ``overrides`` go before its base, and before its grid.

    Raises ParameterError for whatever does not fit, such as gold images that are not held out.
    """
    spec, overrides = load_yaml(file), overrides or {}
    check_keys(spec, file, ("base", "grid", "candidates"))
    named = spec.get("candidates")
    if not isinstance(named, dict) or len(named) < 2:
        raise ParameterError(f"{file}: 'candidates' must map two names or more to parameters")
    spec = {"base": spec.get("base", {}), "grid": {"seed": [0]} | spec.get("grid", {})}
    base, lists = map(overridden(spec, {"base": overrides}).get, ("base", "grid"))
    if not base.get("gold_holdout"):
        raise ParameterError(f"{file}: set 'gold_holdout' in its base, the share of the gold images to judge by")
    changed = {name for changes in named.values() for name in changes or {}}
    for where, names in (("in the grid", lists), ("set by -p", overrides)):
        if twice := sorted(changed & set(names)):
            raise ParameterError(f"{file}: {', '.join(twice)} {where} and in a candidate; leave it in one of them")
    return {name: expand(base | (changes or {}), lists) for name, changes in named.items()}


def compared(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a candidate, the best first: mAP of each method at each noise level, their mean, the lag behind the best.

    ``runs`` has a row a run: candidate, method, noise, seed, and its mAP (percent) on held-out gold images, in
    ``mAP_gold``. ``behind`` is the mean over seeds of the difference to the best one with the same seed, ``error`` the
    standard error of that mean (NaN for a single seed). A candidate that is behind by less than its error is as good.
    """
    each = runs.pivot_table(SCORE, "candidate", ["method", "noise"], sort=False)
    by_seed = runs.pivot_table(SCORE, "candidate", "seed", sort=False)
    behind = by_seed.loc[by_seed.mean(axis=1).idxmax()] - by_seed
    each.columns = [f"{method} {100 * noise:g} %" for method, noise in each.columns]
    columns = {"mean": by_seed.mean(axis=1), "behind": behind.mean(axis=1), "error": behind.sem(axis=1)}
    return each.assign(**columns).sort_values("mean", ascending=False)


def select(file: str, overrides: dict, workers: int | None = None) -> None:
    """``galc select``: the table of the candidates, and the best of them. Raises as `candidates` and the runs do."""
    named = candidates(file, overrides)
    records = run_all([point for points in named.values() for point in points], workers, "candidates")
    names = [name for name, points in named.items() for _ in points]
    result = compared(pd.DataFrame([record.summary for record in records]).assign(candidate=names))
    print(result.round(2).to_string(na_rep=""))
    print(f"best of {len(result)} on held-out gold images: {result.index[0]}")
