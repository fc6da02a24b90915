"""What the numbers say, as sentences: computed from the data that a notebook shows, never written by hand.

Each function takes plain tables or arrays and returns a `Finding`. Shares are of 1 in the arguments, percent in the
text; labels are bool (N, K); transition matrices are (K, K), rows the true class.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.methods import METHODS
from galc.plots.curves import over_seeds
from galc.plots.style import method_style

BOUNDS = ("true-correction",)  # methods that know what no method can
BEST = "the best of them"


class Finding(str):
    """A computed text in Markdown; a notebook shows it as prose."""

    def _repr_markdown_(self) -> str:
        return str(self)


# --- labels and noise ----------------------------------------------------------------------------------------------


def noise(clean: ArrayLike, noisy: ArrayLike, transition: ArrayLike, classes: Sequence[str]) -> Finding:
    """What noise did to labels (N, K) under C (K, K): how much was flipped, and where C could not be followed."""
    clean, noisy, transition = np.asarray(clean), np.asarray(noisy), np.asarray(transition, dtype=float)
    sizes, kept = clean.sum(0), (clean & noisy).sum(0)
    wanted, flipped = (sizes * (1 - transition.diagonal())).sum(), int((sizes - kept).sum())
    text = (
        f"{flipped:,} of {sizes.sum():,} labels were flipped: {percent(flipped / sizes.sum(), 1)}, where C asks for "
        f"{percent(wanted / sizes.sum(), 1)}. "
    )
    expected = transition.T @ sizes - transition.diagonal() * sizes
    most = int(np.argmax(sizes))
    if expected[most] >= 1:
        excess = (noisy & ~clean).sum(0)[most] / expected[most] - 1
        text += (
            f"The most frequent class, *{classes[most]}*, received {percent(abs(excess))} "
            f"{'fewer' if excess < 0 else 'more'} wrong labels than C by itself would send there: it is in "
            f"{percent(sizes[most] / len(clean))} of the images, and a label never flips onto one that is present."
        )
    return Finding(text.strip())


def calibration(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> Finding:
    """What the scores (N, K) of an image add up to, by name, beside the number of labels (N, K) that it has."""
    sums = [f"{name} {np.asarray(values).sum(1).mean():.2f}" for name, values in scores.items()]
    return Finding(
        f"An image has {np.asarray(labels).sum(1).mean():.2f} labels. Added up over the classes: {join(sums)}."
    )


def memorization(history: pd.DataFrame, metric: str = "mAP") -> Finding:
    """Peak and last epoch of every series of ``history`` (method, epoch, seed, metric), as a list."""
    lines = []
    for name, curve in over_seeds(history, "epoch", metric).items():
        mean, last = curve["mean"], curve.index[-1]
        lost = mean.max() - mean[last]
        end = f"{lost:.1f} points lost" if lost >= 0.05 else "nothing lost"
        lines.append(
            f"- {method_style(name).title}: highest {metric} {mean.max():.1f} in epoch {mean.idxmax()}, "
            f"the last epoch has {mean[last]:.1f}: {end}."
        )
    return Finding("\n".join(lines))


# --- corruption matrices -------------------------------------------------------------------------------------------


def no_transition(matrix: ArrayLike) -> Finding:
    """Why a matrix (K, K) is no transition matrix, or that it is one."""
    matrix = np.asarray(matrix, dtype=float)
    sums, off = matrix.sum(1), matrix[~np.eye(len(matrix), dtype=bool)]
    if off.min() >= 0 and np.allclose(sums, 1, atol=1e-4):
        return Finding("Its rows sum to 1: a transition matrix.")
    return Finding(
        f"Half of its rows sum to {np.median(sums):.1f} or more, where a transition matrix has 1; "
        f"half of its off-diagonal entries are {np.median(off):.2f} or more."
    )


def fallbacks(parts: Mapping[str, ArrayLike], classes: Sequence[str]) -> Finding:
    """Which classes have no image in a part of the data: {what is missing: labels (n, K) bool of the part}."""
    lines = []
    for what, labels in parts.items():
        names = [classes[k] for k in np.flatnonzero(np.asarray(labels).sum(0) == 0)]
        lines.append(f"- no {what}: " + (f"{len(names)} of {len(classes)} ({shorten(names)})" if names else "none"))
    return Finding("Classes whose row is a fallback:\n\n" + "\n".join(lines))


def estimators(errors: pd.DataFrame) -> Finding:
    """The order of the estimators: ``errors`` has a row each, indexed by name, with ``row_l1``; "true" is left out."""
    order = errors["row_l1"].drop("true", errors="ignore").sort_values()
    text = f"Nearest to the true C: {join([f'*{name}* ({error:.2f})' for name, error in order.head(3).items()])}. "
    if "identity" in order:
        worse = [str(name) for name in order.index[order > order["identity"]]]
        text += f"Believing every label (*identity*) errs by {order['identity']:.2f}"
        text += f"; {len(worse)} of the estimators err more: {join([f'*{name}*' for name in worse])}." if worse else "."
    return Finding(text.strip())


# --- methods -------------------------------------------------------------------------------------------------------


def methods(names: Sequence[str]) -> Finding:
    """What the rows of a table stand for, as a list."""
    return Finding("\n".join(f"- *{METHODS[name].title}*: {METHODS[name].about}" for name in names))


def comparison(table: pd.DataFrame, method: str, metric: str = "mAP") -> Finding:
    """One method against all others of ``table`` (a row per run) at one noise level."""
    means = table.groupby("method", sort=False)[metric].mean()
    others = means.drop(method)
    text = f"{method_style(method).title} ends at {means[method]:.1f} {metric}"
    parts = [f"{signed(means[method] - value)} against {method_style(name).title}" for name, value in others.items()]
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


def margins(table: pd.DataFrame, method: str, metric: str = "mAP", bounds: Sequence[str] = BOUNDS) -> pd.DataFrame:
    """Mean of ``method`` minus the mean of every other method: a row each, noise levels as columns, in points.

    ``bounds`` are left out. The last row, `BEST`, compares with the best of these at each noise level.
    """
    means = pd.DataFrame({name: curve["mean"] for name, curve in over_seeds(table, "noise", metric).items()}).T
    gap = means.loc[method] - means.drop([method, *bounds], errors="ignore")
    gap.loc[BEST] = gap.min()
    return gap


def sweep(table: pd.DataFrame, method: str, baseline: str, metric: str = "mAP") -> Finding:
    """At how many noise levels ``method`` is above ``baseline``, and by how much."""
    gap = margins(table, method, metric, bounds=()).loc[baseline]
    where = gap.index[gap > 0]
    names = method_style(method).title, method_style(baseline).title
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
        parts.append(f"{method_style(name).title} {percent(mean.iloc[-1] / mean.iloc[0])}")
    levels = [percent(level) for level in (table["noise"].max(), table["noise"].min())]
    return Finding(
        f"With {levels[0]} of the labels flipped, {metric} is this share of that with {levels[1]}, {where}: "
        f"{join(parts)}."
    )


def hardest(table: pd.DataFrame, method: str, lowest: float, metric: str = "mAP") -> Finding:
    """Where, at noise levels from ``lowest`` on, ``method`` is least above the best of all others (bounds left out)."""
    gap = margins(table, method, metric)
    gap = gap.loc[:, gap.columns >= lowest - 1e-9]
    level = gap.loc[BEST].idxmin()
    rival, points = gap[level].drop(BEST).idxmin(), gap.loc[BEST, level]
    return Finding(
        f"From {percent(gap.columns[0])} noise on, the best of the other methods comes nearest at {percent(level)}: "
        f"there {method_style(method).title} is {abs(points):.1f} points {'above' if points > 0 else 'below'} "
        f"{method_style(rival).title}."
    )


def is_above(table: pd.DataFrame, method: str, baseline: str, lowest: float, metric: str = "mAP") -> bool:
    """Whether the mean of ``method`` is above that of ``baseline`` at every noise level from ``lowest`` on."""
    gap = margins(table, method, metric, bounds=()).loc[baseline]
    return bool((gap[gap.index >= lowest - 1e-9] > 0).all())


# --- words ---------------------------------------------------------------------------------------------------------


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def join(parts: Sequence[str]) -> str:
    """ "a, b and c" """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def shorten(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
