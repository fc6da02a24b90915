"""Choose a recipe on gold images: ``galc select params/selection/recipe.yaml``.

A selection file holds ``candidates``, each a name and the parameters that it changes, beside ``base`` and ``grid`` as
every study file has them. Each candidate is trained at every point of the grid, with ``gold_holdout`` of the trusted
images kept from all of it (training, cross-fitting, calibration, estimate of C), and judged by the mAP on these, in
the mean over the grid: what all rows share is chosen for several of them. The seeds of the grid draw other gold images
each. Test images have no part in it.
"""

import pandas as pd

from galc.study import params
from galc.study import runs as grid
from galc.study.params import ParameterError, Params

KEYS = ("base", "grid", "candidates")
SCORE = "mAP_gold"


def read(file: str, overrides: dict | None = None) -> dict[str, list[Params]]:
    """The runs of each candidate of a selection file; ``overrides`` go before its base, and before its grid.

    Raises ParameterError for whatever does not fit, such as gold images that are not held out.
    """
    spec = params.load_yaml(file)
    if unknown := [key for key in spec if key not in KEYS]:
        raise ParameterError(f"{file}: {params.unknown_message(unknown, list(KEYS)).replace('parameter', 'key')}")
    candidates, overrides = spec.get("candidates"), overrides or {}
    if not isinstance(candidates, dict) or len(candidates) < 2:
        raise ParameterError(f"{file}: 'candidates' must map two names or more to parameters")
    study = {"base": spec.get("base", {}), "grid": {"seed": [0]} | spec.get("grid", {})}
    study = params.overridden(study, {"base": overrides})
    base, lists = study["base"], study["grid"]
    if not base.get("gold_holdout"):
        raise ParameterError(f"{file}: set 'gold_holdout' in its base, the share of the gold images to judge by")
    changed = {name for changes in candidates.values() for name in changes or {}}
    for where, names in (("in the grid", lists), ("set by -p", overrides)):
        if twice := sorted(changed & set(names)):
            raise ParameterError(f"{file}: {', '.join(twice)} {where} and in a candidate; leave it in one of them")
    return {name: grid.expand(base | (changes or {}), lists) for name, changes in candidates.items()}


def scores(candidates: dict[str, list[Params]], workers: int | None = None) -> pd.DataFrame:
    """One row a run: candidate, method, noise, seed and its mAP (percent) on held-out gold images, in ``mAP_gold``."""
    points = [(name, point) for name, its in candidates.items() for point in its]
    records = grid.run_all([point for _, point in points], workers, "candidates")
    rows = [
        {
            "candidate": name,
            "method": point.method,
            "noise": point.noise,
            "seed": point.seed,
            SCORE: record.summary[SCORE],
        }
        for (name, point), record in zip(points, records, strict=True)
    ]
    return pd.DataFrame(rows)


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a candidate, the best first: mAP of each method at each noise level, their mean, the lag behind the best.

    ``behind`` is the mean over seeds of the difference to the best one with the same seed, ``error`` the standard
    error of that mean (NaN for a single seed). A candidate that is behind by less than its error is as good.
    """
    each = runs.pivot_table(SCORE, "candidate", ["method", "noise"], sort=False)
    by_seed = runs.pivot_table(SCORE, "candidate", "seed", sort=False)
    behind = by_seed.loc[by_seed.mean(axis=1).idxmax()] - by_seed
    each.columns = [f"{method} {100 * noise:g} %" for method, noise in each.columns]
    columns = {"mean": by_seed.mean(axis=1), "behind": behind.mean(axis=1), "error": behind.sem(axis=1)}
    return each.assign(**columns).sort_values("mean", ascending=False)


def command(file: str, overrides: dict, workers: int | None = None) -> None:
    """``galc select``: the table of the candidates, and the best of them. Raises as `read` and the runs do."""
    result = table(scores(read(file, overrides), workers))
    print(result.round(2).to_string(na_rep=""))
    print(f"best of {len(result)} on held-out gold images: {result.index[0]}")
