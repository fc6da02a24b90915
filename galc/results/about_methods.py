"""What the results of methods say, at one noise level and over all of them, as sentences.

Tables have a row per run: method, noise in [0, 1], seed and the metrics in percent.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.methods.base import METHODS
from galc.results.groups import Finding, join, means, method_title, over_seeds, percent, signed, without_bounds

BEST = "the best of them"
ALONE = Finding("There is no run of another method to compare with.")
OURS = ("galc-plus", "galc-slr")  # what a study is about, the first that it has


def methods(names: Sequence[str]) -> Finding:
    """What the rows of a table stand for, as a list."""
    return Finding("\n".join(f"- *{METHODS[name].title}*: {METHODS[name].about}" for name in names))


def ours(table: pd.DataFrame) -> str:
    """The method that a study is about: the first of `OURS` that was run, else the last method of ``table``."""
    names = list(table["method"].unique())
    return next((name for name in OURS if name in names), names[-1])


def no_run(table: pd.DataFrame, *methods: str) -> Finding | None:
    """A sentence for methods that ``table`` has no run of; None where it has all of them."""
    missing = sorted(set(methods) - set(table["method"]))
    return Finding(f"There is no run of {join(map(method_title, missing))}.") if missing else None


# --- one noise level -------------------------------------------------------------------------------------------------


def memorization(history: pd.DataFrame, metric: str = "mAP") -> Finding:
    """Peak and last epoch of every series of ``history`` (method, epoch, seed, metric), as a list."""
    lines = []
    for name, curve in over_seeds(history, "epoch", metric).items():
        mean, last = curve["mean"], curve["mean"].iloc[-1]
        lost = f"{mean.max() - last:.1f} points lost" if mean.max() - last >= 0.05 else "nothing lost"
        peak = f"highest {metric} {mean.max():.1f} in epoch {mean.idxmax()}"
        lines.append(f"- {method_title(name)}: {peak}, the last epoch has {last:.1f}: {lost}.")
    return Finding("\n".join(lines))


def comparison(table: pd.DataFrame, method: str, metric: str = "mAP") -> Finding:
    """One method against all others of ``table`` at one noise level."""
    ends = table.groupby("method", sort=False)[metric].mean()
    parts = [f"{signed(ends[method] - end)} against {method_title(name)}" for name, end in ends.drop(method).items()]
    text = f"{method_title(method)} ends at {ends[method]:.1f} {metric}"
    return Finding(text + (f": {join(parts)}." if parts else "."))


def gains(gain: ArrayLike, classes: Sequence[str]) -> Finding:
    """What differences of average precision (K,) in points say; NaN for a class without test images."""
    values = pd.Series(np.asarray(gain, dtype=float), list(classes)).dropna().sort_values(ascending=False)
    best, worst = ([f"{k} ({signed(v)})" for k, v in part.items()] for part in (values.head(3), values.tail(3)[::-1]))
    return Finding(
        f"{(values > 0).sum()} of {len(values)} classes gain; the median is {signed(values.median())} points. "
        f"The most: {join(best)}; the least: {join(worst)}."
    )


# --- over noise levels, or other groups of runs ----------------------------------------------------------------------


def margins(table: pd.DataFrame, method: str, metric: str = "mAP", by: str = "noise") -> pd.DataFrame:
    """Mean of ``method`` minus the mean of every other method, bounds aside: a row each, in points.

    The columns are the groups of ``by``. The last row, `BEST`, compares with the best of the others in each.
    """
    level = means(table, by, metric)
    gap = level.loc[method] - means(without_bounds(table), by, metric).drop(method, errors="ignore")
    gap.loc[BEST] = gap.min()
    return gap


def gap(table: pd.DataFrame, method: str, rival: str, by: str = "noise", metric: str = "mAP") -> pd.Series:
    """Mean of one method minus that of another, in each group of ``by`` that has both."""
    level = means(table, by, metric)
    return (level.loc[method] - level.loc[rival]).dropna()


def sweep(table: pd.DataFrame, method: str, baseline: str, metric: str = "mAP") -> Finding:
    """At how many noise levels ``method`` is above ``baseline``, and by how much."""
    if (nothing := no_run(table, method, baseline)) is not None:
        return nothing
    if method == baseline:
        return ALONE
    points = gap(table, method, baseline, metric=metric)
    names = f"{method_title(method)} is above {method_title(baseline)}"
    text = f"{names} at {(points > 0).sum()} of {len(points)} noise levels"
    if (behind := points.index[points <= 0]).size:
        text += f" (not at {join(map(percent, behind))})"
    ends = [f"{signed(points[level])} at {percent(level)}" for level in dict.fromkeys(points.index[[0, -1]])]
    return Finding(f"{text}: {join(ends)}.")


def is_above(table: pd.DataFrame, method: str, baseline: str, lowest: float, metric: str = "mAP") -> bool:
    """Whether the mean of ``method`` is above that of ``baseline`` at every noise level from ``lowest`` on.

    True where one of them was not run: there is nothing to be below.
    """
    if method == baseline or no_run(table, method, baseline) is not None:
        return True
    points = gap(table, method, baseline, metric=metric)
    return bool((points[points.index >= lowest - 1e-9] > 0).all())


def retention(table: pd.DataFrame, methods: Sequence[str], where: str = "here", metric: str = "mAP") -> Finding:
    """What share of its own result without noise each method keeps at the highest noise level of ``table``."""
    level = means(table, "noise", metric)
    ends = {name: level.loc[name].dropna().iloc[[0, -1]] for name in methods if name in level.index}
    shares = [f"{method_title(name)} {percent(last / first)}" for name, (first, last) in ends.items()]
    low, high = percent(table["noise"].min()), percent(table["noise"].max())
    text = f"With {high} of the labels flipped, {metric} is this share of that with {low}, {where}: {join(shares)}."
    return Finding(text)


def hardest(table: pd.DataFrame, method: str, lowest: float, metric: str = "mAP") -> Finding:
    """Where, at noise levels from ``lowest`` on, ``method`` is least above the best of all others (bounds left out)."""
    points = margins(table, method, metric)
    if list(points.index) == [BEST]:
        return ALONE
    points = points.loc[:, points.columns >= lowest - 1e-9]
    level = points.loc[BEST].idxmin()
    rival, least = points[level].drop(BEST).idxmin(), points.loc[BEST, level]
    return Finding(
        f"From {percent(points.columns[0])} noise on, the best of the other methods comes nearest at {percent(level)}: "
        f"there {method_title(method)} is {abs(least):.1f} points {'above' if least > 0 else 'below'} "
        f"{method_title(rival)}."
    )
