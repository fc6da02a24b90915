"""What the results of methods say as sentences: at one noise level, over many settings, and what to choose.

Tables have a row per run: method, noise in [0, 1], seed and the metrics in percent.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.methods.base import METHODS
from galc.results.groups import (
    Finding,
    group_label,
    group_title,
    join,
    means,
    method_title,
    over_seeds,
    paired,
    percent,
    signed,
    without_bounds,
)
from galc.results.significance import LEAST, Ranks, setting_means

BEST = "the best of them"
ALONE = Finding("There is no run of another method to compare with.")
OURS = ("galc-plus", "galc-slr")  # what a study is about, the first that it has
# (method, the method it is compared with, what it has beside that one)
STEPS = (
    ("bce-everything", "bce", "single-label images as training data"),
    ("forward-noisy-or", "bce-everything", "the estimated C in the loss"),
    ("galc-plus-bce", "forward-noisy-or", "posterior labels, in place of a corrected loss"),
    ("galc-plus-fixed", "galc-plus-bce", "ASL as the last loss"),
    ("galc-plus", "galc-plus-fixed", "labels that the model in training revises"),
    ("galc-plus-iterated", "galc-plus-fixed", "a second round of posteriors"),
    ("asl", "asl-no-dropout", "dropout (ASL)"),
    ("asl-mixup", "asl", "mixup (ASL)"),
    ("asl", "silver-only", "gold images as training data (ASL)"),
    ("galc-slr", "asl", "the estimated C in ASL"),
    ("galc-slr-attribution", "galc-slr", "the C of attribution in place of that of the regulators"),
    ("true-correction", "galc-slr", "the true C in place of the estimate"),
)


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
    return Finding(
        f"With {high} of the labels flipped, {metric} is this share of that with {low}, {where}: {join(shares)}."
    )


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


def lead(table: pd.DataFrame, method: str, by: str, metric: str = "mAP") -> Finding:
    """In how many groups of ``by`` a method is above the best of all others (bounds left out), and where it is not."""
    points = margins(table, method, metric, by)
    if list(points.index) == [BEST]:
        return ALONE
    best = points.loc[BEST]
    places = {
        group: f"at *{group_label(by, group)}* by {signed(best[group])} points against {method_title(rival)}"
        for group, rival in points.drop(BEST).idxmin().items()
    }
    won, lost = f"{(best > 0).sum()} of {len(best)} settings", [places[group] for group in best.index[best <= 0]]
    end = f"; it is not {join(lost)}." if lost else f", least {places[best.idxmin()]}."
    return Finding(f"{method_title(method)} is above the best of the other methods in {won}{end}")


def against(table: pd.DataFrame, method: str, rival: str, by: str, metric: str = "mAP") -> Finding:
    """How far a method is from one other in each group of ``by`` that has both; also from one that is a bound."""
    if (nothing := no_run(table, method, rival)) is not None:
        return nothing
    points = gap(table, method, rival, by, metric).items()
    parts = [f"{signed(value)} at *{group_label(by, group)}*" for group, value in points]
    return Finding(f"{method_title(method)} against {method_title(rival)}: {join(parts)}.")


# --- how sure it is --------------------------------------------------------------------------------------------------


def verdict_of_tests(tests: pd.DataFrame, method: str, by: str, alpha: float = 0.05) -> Finding:
    """`galc.results.significance.against_runner_up` in words."""
    if tests["holm"].isna().all():
        return Finding("A single seed tells nothing of the spread, so no difference can be tested.")
    sure = tests[tests["holm"] < alpha]
    below, above = sure[sure["difference"] < 0], (sure["difference"] > 0).sum()
    text = (
        f"{method_title(method)} is above the best other method in {above} of {len(tests)} settings, below it in "
        f"{len(below)}, and not told apart from it in {len(tests) - above - len(below)} (paired t test over "
        f"{join(sorted(tests['seeds'].unique()))} seeds, Holm over the settings, p < {alpha:g})."
    )
    if len(below):
        parts = [
            f"*{group_label(by, row.Index)}* ({signed(row.difference)} against {method_title(row.rival)})"
            for row in below.itertuples()
        ]
        text += f" It is below at {join(parts)}."
    if tests["wilcoxon"].isna().all():
        text += f" Wilcoxon's test says nothing within a setting: it needs {LEAST} seeds at least."
    return Finding(text)


def verdict_of_rivals(rivals: pd.DataFrame, method: str) -> Finding:
    """`galc.results.significance.over_settings` in words, a line a rival, the strongest first."""
    title = method_title(method)
    lines = [f"{title} against each other method over all settings (Wilcoxon, Holm over the rivals):\n"]
    for name, row in rivals.iterrows():
        sure = f"p = {row['holm']:.2g}" if pd.notna(row["holm"]) else f"fewer than {LEAST} settings, no test"
        wins = f"{title} is above in {row['wins']:.0f} of {row['settings']:.0f} settings ({sure})"
        lines.append(f"- {method_title(name)}: {signed(row['difference'])} points on average, {wins}")
    return Finding("\n".join(lines))


def verdict_of_ranks(ranks: Ranks) -> Finding:
    """Who is best by mean rank, and who cannot be told from it (Nemenyi)."""
    mean = ranks.mean
    near = [method_title(name) for name in mean.index[1:] if mean[name] - mean.iloc[0] <= ranks.critical]
    friedman = f" (Friedman: p = {ranks.p:.2g})" if pd.notna(ranks.p) else ""
    return Finding(
        f"{method_title(mean.index[0])} has the best mean rank, {mean.iloc[0]:.1f} of {len(mean)}, over "
        f"{ranks.settings} settings{friedman}. Not told apart from it, within {ranks.critical:.2f} ranks: "
        f"{join(near) if near else 'none'}."
    )


# --- what brings it --------------------------------------------------------------------------------------------------


def ladder(table: pd.DataFrame, by: str, metric: str = "mAP") -> pd.DataFrame:
    """What each ingredient brings: the paired difference of two methods that differ in it; a row a step and group.

    Columns: text, method, base, ``by``, difference, std and number of seeds. Steps that were not run are left out.
    """
    found = []
    for method, base, text in STEPS:
        pair = table[table["method"].isin([method, base])]
        if pair["method"].nunique() == 2:
            gaps = paired(pair, "method", base, by, metric).groupby(by, sort=False)["difference"]
            gaps = gaps.agg(difference="mean", std="std", seeds="count").reset_index()
            found.append(gaps.assign(text=text, method=method, base=base).fillna({"std": 0.0}))
    columns = ["text", "method", "base", by, "difference", "std", "seeds"]
    return pd.concat(found, ignore_index=True)[columns] if found else pd.DataFrame(columns=columns)


def verdict_of_ladder(ladder: pd.DataFrame, by: str) -> Finding:
    """The ingredients in the order of what they bring on average over the groups."""
    if ladder.empty:
        return Finding("None of the pairs of methods that differ in one ingredient was run.")
    mean = ladder.groupby("text", sort=False)["difference"].mean().sort_values(ascending=False)
    groups = join(group_label(by, group) for group in ladder[by].unique())
    parts = join(f"{text} ({signed(points)})" for text, points in mean.items())
    return Finding(f"Points that each ingredient brings, on average over {groups}: {parts}.")


def budget_limits(table: pd.DataFrame, by: str, method: str, believing: float, metric: str = "mAP") -> Finding:
    """From which budget of clean images on ``method`` is the best, and its C better than believing every label.

    ``by``: gold_fraction or single_label_limit; ``believing``: the row L1 error of the identity.
    """
    means = setting_means(without_bounds(table), by, metric)
    if method not in means or len(means.columns) < 2:
        return Finding(f"There is no run of {method_title(method)} to compare.")
    errors = table[table["method"] == method].groupby(by)["C_row_l1"].mean()
    lines = [f"{method_title(method)} by {group_title(by)}:\n"]
    for budget, row in means.iterrows():
        rival, error = row.drop(method).idxmax(), errors.get(budget, float("nan"))
        text = f"{row[method]:.1f} {metric}, {signed(row[method] - row[rival])} against {method_title(rival)}"
        if pd.notna(error):
            worse = "no better than" if error >= 0.9 * believing else "against"
            text += f", error of C {error:.2f} {worse} {believing:.2f} of believing every label"
        lines.append(f"- {group_label(by, budget)}: {text}")
    return Finding("\n".join(lines))


# --- which method to take --------------------------------------------------------------------------------------------


def decisions(table: pd.DataFrame, by: str, metric: str = "mAP", within: float = 1.0) -> pd.DataFrame:
    """Which method to take in each group of ``by``, bounds left out: a row a group that has all methods.

    best, value, seconds        the highest mean over seeds, and what a run costs (median over all runs)
    next, lead                  the second, and how many points below it is
    cheapest, its, its_seconds  the cheapest method that is at most ``within`` points below the best
    """
    cost, rows = table.groupby("method")["seconds"].median(), {}
    for group, row in setting_means(without_bounds(table), by, metric).iterrows():
        order = row.sort_values(ascending=False)
        best, value = order.index[0], order.iloc[0]
        cheapest = cost[order.index[order >= value - within]].idxmin()
        second, lead = (order.index[1], value - order.iloc[1]) if len(order) > 1 else (None, float("nan"))
        rows[group] = [best, value, cost[best], second, lead, cheapest, row[cheapest], cost[cheapest]]
    columns = ["best", "value", "seconds", "next", "lead", "cheapest", "its", "its_seconds"]
    return pd.DataFrame(rows.values(), index=pd.Index(list(rows), name=by), columns=columns)


def advice(decisions: pd.DataFrame, by: str, within: float = 1.0) -> Finding:
    """`decisions` in words: which method is best how often, and when something cheaper does."""
    counts = decisions["best"].value_counts().items()
    best = join(f"{method_title(name)} in {count} of {len(decisions)} settings" for name, count in counts)
    cheaper = decisions[decisions["cheapest"] != decisions["best"]]
    if not len(cheaper):
        return Finding(f"Best: {best}. Nothing cheaper comes within {within:g} point of the best anywhere.")
    parts = [f"{method_title(name)} at *{group_label(by, group)}*" for group, name in cheaper["cheapest"].items()]
    return Finding(f"Best: {best}. Cheaper, and within {within:g} point of the best: {join(parts)}.")
