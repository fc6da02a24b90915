"""What runs over many settings say, as sentences: leads and how sure they are, what brings them, what to choose."""

from collections.abc import Sequence

import pandas as pd

from galc.results.about_methods import ALONE, BEST, gap, margins, no_run
from galc.results.groups import Finding, group_label, group_title, join, method_title, paired, signed, without_bounds
from galc.results.significance import LEAST, Ranks, setting_means

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


def lead(table: pd.DataFrame, method: str, by: str, metric: str = "mAP") -> Finding:
    """In how many groups of ``by`` a method is above the best of all others (bounds left out), and where it is not."""
    points = margins(table, method, metric, by)
    if list(points.index) == [BEST]:
        return ALONE
    best, behind = points.loc[BEST], points.columns[points.loc[BEST] <= 0]
    places = {
        group: f"at *{group_label(by, group)}* by {signed(best[group])} points against {method_title(rival)}"
        for group, rival in points.drop(BEST).idxmin().items()
    }
    text = (
        f"{method_title(method)} is above the best of the other methods in {(best > 0).sum()} of {len(best)} settings"
    )
    end = (
        f"; it is not {join(places[group] for group in behind)}."
        if len(behind)
        else f", least {places[best.idxmin()]}."
    )
    return Finding(text + end)


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
        parts = [(group, signed(row.difference), method_title(row.rival)) for group, row in below.iterrows()]
        where = join(f"*{group_label(by, group)}* ({points} against {rival})" for group, points, rival in parts)
        text += f" It is below at {where}."
    if tests["wilcoxon"].isna().all():
        text += f" Wilcoxon's test says nothing within a setting: it needs {LEAST} seeds at least."
    return Finding(text)


def verdict_of_rivals(rivals: pd.DataFrame, method: str, alpha: float = 0.05) -> Finding:
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


def ladder(table: pd.DataFrame, by: str, metric: str = "mAP", steps: Sequence[tuple] = STEPS) -> pd.DataFrame:
    """What each ingredient brings: the paired difference of two rows that differ in it; a row a step and group.

    Columns: text, method, base, ``by``, difference and std over seeds, seeds. Steps whose rows were not run are left
    out.
    """
    found = []
    for method, base, text in steps:
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

    ``table``: a row per run with ``by`` (gold_fraction, single_label_limit) and C_row_l1; ``believing``: the row L1
    error of the identity.
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
