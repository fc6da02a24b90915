"""What the results of methods say, at one noise level and over all of them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.methods.base import METHODS
from galc.plots.groups import over_seeds
from galc.plots.style import method_title
from galc.results.significance import BOUNDS
from galc.results.words import Finding, join, percent, signed

BEST = "the best of them"
ALONE = "There is no run of another method to compare with."
OURS = ("galc-plus", "galc-slr")  # what a study is about, the first that it has


def memorization(history: pd.DataFrame, metric: str = "mAP") -> Finding:
    """Peak and last epoch of every series of ``history`` (method, epoch, seed, metric), as a list."""
    lines = []
    for name, curve in over_seeds(history, "epoch", metric).items():
        mean, last = curve["mean"], curve.index[-1]
        lost = mean.max() - mean[last]
        end = f"{lost:.1f} points lost" if lost >= 0.05 else "nothing lost"
        lines.append(
            f"- {method_title(name)}: highest {metric} {mean.max():.1f} in epoch {mean.idxmax()}, "
            f"the last epoch has {mean[last]:.1f}: {end}."
        )
    return Finding("\n".join(lines))


def methods(names: Sequence[str]) -> Finding:
    """What the rows of a table stand for, as a list."""
    return Finding("\n".join(f"- *{METHODS[name].title}*: {METHODS[name].about}" for name in names))


def ours(table: pd.DataFrame) -> str:
    """The method that a study is about: the first of `OURS` that was run, else the last method of ``table``."""
    names = list(dict.fromkeys(table["method"]))
    return next((name for name in OURS if name in names), names[-1])


def no_run(table: pd.DataFrame, *methods: str) -> Finding | None:
    """A sentence for methods that ``table`` has no run of; None where it has all of them."""
    missing = sorted(set(methods) - set(table["method"]))
    return Finding(f"There is no run of {join([method_title(name) for name in missing])}.") if missing else None


def comparison(table: pd.DataFrame, method: str, metric: str = "mAP") -> Finding:
    """One method against all others of ``table`` (a row per run) at one noise level."""
    means = table.groupby("method", sort=False)[metric].mean()
    others = means.drop(method)
    text = f"{method_title(method)} ends at {means[method]:.1f} {metric}"
    parts = [f"{signed(means[method] - value)} against {method_title(name)}" for name, value in others.items()]
    return Finding(text + (f": {join(parts)}." if parts else "."))


def gains(gain: ArrayLike, classes: Sequence[str]) -> Finding:
    """What differences of average precision (K,) in points say; NaN for a class without test images."""
    values = pd.Series(np.asarray(gain, dtype=float), list(classes)).dropna().sort_values(ascending=False)
    best = [f"{name} ({signed(value)})" for name, value in values.head(3).items()]
    worst = [f"{name} ({signed(value)})" for name, value in values.tail(3)[::-1].items()]
    return Finding(
        f"{(values > 0).sum()} of {len(values)} classes gain; the median is {signed(values.median())} points. "
        f"The most: {join(best)}; the least: {join(worst)}."
    )


def margins(
    table: pd.DataFrame, method: str, metric: str = "mAP", bounds: Sequence[str] = BOUNDS, by: str = "noise"
) -> pd.DataFrame:
    """Mean of ``method`` minus the mean of every other method: a row each, noise levels as columns, in points.

    ``bounds`` are left out. The last row, `BEST`, compares with the best of these at each noise level. ``by`` names
    another column whose groups become the columns.
    """
    means = pd.DataFrame({name: curve["mean"] for name, curve in over_seeds(table, by, metric).items()}).T
    gap = means.loc[method] - means.drop([method, *bounds], errors="ignore")
    gap.loc[BEST] = gap.min()
    return gap


def sweep(table: pd.DataFrame, method: str, baseline: str, metric: str = "mAP") -> Finding:
    """At how many noise levels ``method`` is above ``baseline``, and by how much."""
    if (nothing := no_run(table, method, baseline)) is not None:
        return nothing
    if method == baseline:
        return Finding(ALONE)
    gap = margins(table, method, metric, bounds=()).loc[baseline]
    where = gap.index[gap > 0]
    names = method_title(method), method_title(baseline)
    text = f"{names[0]} is above {names[1]} at {len(where)} of {len(gap)} noise levels"
    if len(where) < len(gap):
        text += f" (not at {join([percent(level) for level in gap.index.difference(where)])})"
    span = [f"{signed(gap[level])} at {percent(level)}" for level in dict.fromkeys([gap.index[0], gap.index[-1]])]
    return Finding(f"{text}: {join(span)}.")


def retention(table: pd.DataFrame, methods: Sequence[str], where: str = "here", metric: str = "mAP") -> Finding:
    """What share of its own result without noise each method keeps at the highest noise level of ``table``."""
    parts, curves = [], over_seeds(table, "noise", metric)
    for name in [m for m in methods if m in curves]:
        mean = curves[name]["mean"]
        parts.append(f"{method_title(name)} {percent(mean.iloc[-1] / mean.iloc[0])}")
    levels = [percent(level) for level in (table["noise"].max(), table["noise"].min())]
    return Finding(
        f"With {levels[0]} of the labels flipped, {metric} is this share of that with {levels[1]}, {where}: "
        f"{join(parts)}."
    )


def hardest(table: pd.DataFrame, method: str, lowest: float, metric: str = "mAP") -> Finding:
    """Where, at noise levels from ``lowest`` on, ``method`` is least above the best of all others (bounds left out)."""
    gap = margins(table, method, metric)
    if list(gap.index) == [BEST]:
        return Finding(ALONE)
    gap = gap.loc[:, gap.columns >= lowest - 1e-9]
    level = gap.loc[BEST].idxmin()
    rival, points = gap[level].drop(BEST).idxmin(), gap.loc[BEST, level]
    return Finding(
        f"From {percent(gap.columns[0])} noise on, the best of the other methods comes nearest at {percent(level)}: "
        f"there {method_title(method)} is {abs(points):.1f} points {'above' if points > 0 else 'below'} "
        f"{method_title(rival)}."
    )


def is_above(table: pd.DataFrame, method: str, baseline: str, lowest: float, metric: str = "mAP") -> bool:
    """Whether the mean of ``method`` is above that of ``baseline`` at every noise level from ``lowest`` on.

    True where one of them was not run: there is nothing to be below.
    """
    if method == baseline or no_run(table, method, baseline) is not None:
        return True
    gap = margins(table, method, metric, bounds=()).loc[baseline]
    return bool((gap[gap.index >= lowest - 1e-9] > 0).all())
