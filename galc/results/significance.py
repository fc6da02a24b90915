"""Whether differences between methods are more than the spread of seeds: paired tests, ranks, dominance.

Tables have a row per run: method, seed, ``by`` (the setting) and the metric. Runs of one setting and seed share split,
noise and first weights, so they are compared in pairs. Settings share images, so tests over settings say how general a
lead is among them, not that it holds on other data.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from galc.results.groups import check_seeds, without_bounds

LEAST = 6  # pairs: with five, Wilcoxon's two-sided p cannot fall below 1/16


def cube(table: pd.DataFrame, by: str, metric: str = "mAP") -> pd.DataFrame:
    """Runs as rows (``by``, seed) and methods as columns, both in the table's order; NaN where a run is missing.

    Raises ValueError as `galc.results.groups.check_seeds` does.
    """
    check_seeds(table, ["method", by])
    wide = table.pivot(index=[by, "seed"], columns="method", values=metric)
    return wide.reindex(index=table.set_index([by, "seed"]).index.unique(), columns=table["method"].unique())


def setting_means(table: pd.DataFrame, by: str, metric: str = "mAP") -> pd.DataFrame:
    """Means over seeds, settings as rows and methods as columns; a setting that lacks a method is left out."""
    return cube(table, by, metric).groupby(level=0, sort=False).mean().dropna()


def paired_t(differences: np.ndarray) -> float:
    """Two-sided p of Student's paired t test that the mean difference is 0; NaN for less than two pairs."""
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return float("nan")
    error = values.std(ddof=1) / np.sqrt(len(values))
    if error <= 1e-12 * np.abs(values).max(initial=1e-300):  # equal differences: certain, or no difference at all
        return 0.0 if np.abs(values).max() > 0 else 1.0
    return float(2 * stats.t.sf(abs(values.mean()) / error, len(values) - 1))


def wilcoxon(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; NaN for fewer than `LEAST` pairs, 1 where all differences are 0."""
    values = np.asarray(differences, dtype=float)
    values = values[~np.isnan(values)]
    if len(values) < LEAST:
        return float("nan")
    return float(stats.wilcoxon(values).pvalue) if values.any() else 1.0


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values adjusted for their number (Holm 1979): those below alpha are significant together. NaN stay, uncounted.

    The i-th smallest of m is multiplied by m − i + 1, never below the one before it, never above 1.
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def rivals(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The runs of ``method`` and of all that are no bounds. Raises ValueError where there is no run of ``method``."""
    if method not in set(table["method"]):
        raise ValueError(f"there is no run of {method} to compare; the table has {', '.join(table['method'].unique())}")
    return without_bounds(table, but=method)


def against_runner_up(table: pd.DataFrame, method: str, by: str, metric: str = "mAP") -> pd.DataFrame:
    """``method`` against the best of all others, bounds aside, in every setting: a row a setting that has both.

    rival              the other method with the highest mean there
    difference, std    mean over the seeds of (method − rival), and its deviation (0 for one seed); seeds: how many
    wilcoxon           two-sided p of the signed-rank test; NaN for fewer than `LEAST` seeds
    t, holm            two-sided p of the paired t test, and adjusted for the number of settings

    The rival is chosen by the same runs, in its favour: the strictest comparison, not an unbiased one.
    """
    rows = {}
    for setting, runs in cube(rivals(table, method), by, metric).groupby(level=0, sort=False):
        others = runs.drop(columns=method).mean().dropna()
        if not len(others) or runs[method].isna().all():
            continue
        rival = str(others.idxmax())
        gap = (runs[method] - runs[rival]).dropna().to_numpy()
        spread = gap.std(ddof=1) if len(gap) > 1 else 0.0
        rows[setting] = [rival, gap.mean() if len(gap) else np.nan, spread, len(gap), wilcoxon(gap), paired_t(gap)]
    columns = ["rival", "difference", "std", "seeds", "wilcoxon", "t"]
    frame = pd.DataFrame(rows.values(), index=pd.Index(list(rows), name=by), columns=columns)
    return frame.assign(holm=holm(frame["t"]))


def over_settings(table: pd.DataFrame, method: str, by: str, metric: str = "mAP") -> pd.DataFrame:
    """``method`` against every other one, bounds aside, over all settings (Demšar 2006, Sec. 3.1.3): a row a rival.

    difference     mean over settings of the means' difference
    wins, settings in how many settings ``method`` has the higher mean, of how many that have both
    wilcoxon, holm two-sided p of the signed-rank test over settings, and adjusted for the number of rivals
    """
    means = cube(rivals(table, method), by, metric).groupby(level=0, sort=False).mean()
    rows = {}
    for rival in means.columns.drop(method):
        gap = (means[method] - means[rival]).dropna().to_numpy()
        if len(gap):
            rows[rival] = [gap.mean(), int((gap > 0).sum()), len(gap), wilcoxon(gap)]
    frame = pd.DataFrame(rows.values(), index=list(rows), columns=["difference", "wins", "settings", "wilcoxon"])
    return frame.assign(holm=holm(frame["wilcoxon"])).sort_values("difference")


class Ranks(NamedTuple):
    """Mean ranks of methods over settings, and how far apart they must be."""

    mean: pd.Series  # by method, 1 = always best; ties share their ranks
    critical: float  # two methods whose mean ranks differ by more are different (Nemenyi, at ``alpha``)
    p: float  # of Friedman's test that all methods are alike; NaN for fewer than three
    settings: int  # how many were ranked


def ranks(means: pd.DataFrame, alpha: float = 0.05) -> Ranks:
    """Friedman's test with Nemenyi's critical difference (Demšar 2006, Sec. 3.2.2) of `setting_means`, best first.

    CD = q sqrt(k (k + 1) / (6 n)), q the studentized range at ``alpha`` for k methods, divided by sqrt(2). Raises
    ValueError without a setting, or for a single method.
    """
    settings, methods = means.shape
    if not settings or methods < 2:
        raise ValueError(f"ranks need two methods with a setting in common; there are {methods} and {settings}")
    ranked = means.rank(axis=1, ascending=False)
    critical = stats.studentized_range.ppf(1 - alpha, methods, np.inf) / np.sqrt(2)
    critical *= np.sqrt(methods * (methods + 1) / (6 * settings))
    alike = methods < 3 or (ranked.nunique(axis=1) == 1).all()
    p = float("nan") if alike else float(stats.friedmanchisquare(*means.to_numpy().T).pvalue)
    return Ranks(ranked.mean().sort_values(kind="stable"), float(critical), p, settings)


def dominance(table: pd.DataFrame, by: str, alpha: float = 0.05) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """In how many settings the method of the row beats that of the column: by its mean, and significantly.

    Over the settings that have all methods; the third value is their number. Significant: the paired t test over seeds,
    adjusted by Holm for the settings of a pair, is below ``alpha``. Methods in the order of their mean rank.
    """
    means = setting_means(table, by)
    order = list(ranks(means).mean.index)
    runs = cube(table[table[by].isin(means.index)], by)
    won = pd.DataFrame(0, index=order, columns=order)
    sure = won.copy()
    for row, column in permutations(order, 2):
        p = (runs[row] - runs[column]).groupby(level=0, sort=False).agg(paired_t)
        better = (means[row] > means[column]).to_numpy()
        won.loc[row, column] = better.sum()
        sure.loc[row, column] = (better & (holm(p) < alpha)).sum()
    return won, sure, len(means)
