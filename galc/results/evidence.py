"""What runs over many settings say: leads and how sure they are, where methods stop working, what to choose."""

from collections.abc import Sequence

import pandas as pd

from galc.estimators import base as estimator
from galc.plots.groups import group_label, group_title, paired
from galc.plots.style import method_title
from galc.results.significance import BOUNDS, LEAST, Ranks, setting_means
from galc.results.words import Finding, join, signed
from galc.study.record import RunRecord

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


def verdict_of_tests(tests: pd.DataFrame, method: str, by: str, alpha: float = 0.05) -> Finding:
    """`galc.results.significance.against_runner_up` in words."""
    if tests["holm"].isna().all():
        return Finding("A single seed tells nothing of the spread, so no difference can be tested.")
    sure = tests["holm"] < alpha
    above, below = tests[sure & (tests["difference"] > 0)], tests[sure & (tests["difference"] < 0)]
    seeds = sorted(tests["seeds"].unique())
    text = (
        f"{method_title(method)} is above the best other method in {len(above)} of {len(tests)} settings, below it in "
        f"{len(below)}, and not told apart from it in {len(tests) - len(above) - len(below)} (paired t test over "
        f"{join([str(n) for n in seeds])} seeds, Holm over the settings, p < {alpha:g}). "
    )
    if len(below):
        parts = [f"*{group_label(by, s)}* ({signed(row.difference)} against {method_title(row.rival)})"
                 for s, row in below.iterrows()]  # fmt: skip
        text += f"It is below at {join(parts)}. "
    if tests["wilcoxon"].isna().all():
        text += f"Wilcoxon's test says nothing within a setting: it needs {LEAST} seeds at least."
    return Finding(text.strip())


def verdict_of_rivals(rivals: pd.DataFrame, method: str, alpha: float = 0.05) -> Finding:
    """`galc.results.significance.over_settings` in words, a line a rival, the strongest first."""
    lines = []
    for name, row in rivals.iterrows():
        sure = f"p = {row['holm']:.2g}" if pd.notna(row["holm"]) else f"fewer than {LEAST} settings, no test"
        lines.append(
            f"- {method_title(name)}: {signed(row['difference'])} points on average, {method_title(method)} is above "
            f"in {row['wins']:.0f} of {row['settings']:.0f} settings ({sure})"
        )
    head = f"{method_title(method)} against each other method over all settings (Wilcoxon, Holm over the rivals):\n\n"
    return Finding(head + "\n".join(lines))


def verdict_of_ranks(ranks: Ranks) -> Finding:
    """Who is best by mean rank, and who cannot be told from it (Nemenyi)."""
    best, mean = ranks.mean.index[0], ranks.mean
    near = [method_title(name) for name in mean.index[1:] if mean[name] - mean.iloc[0] <= ranks.critical]
    text = f"{method_title(best)} has the best mean rank, {mean.iloc[0]:.1f} of {len(mean)}, "
    text += f"over {ranks.settings} settings"
    text += f" (Friedman: p = {ranks.p:.2g}). " if pd.notna(ranks.p) else ". "
    text += f"Not told apart from it, within {ranks.critical:.2f} ranks: {join(near) if near else 'none'}."
    return Finding(text)


def ladder(table: pd.DataFrame, by: str, metric: str = "mAP", steps: Sequence[tuple] = STEPS) -> pd.DataFrame:
    """What each ingredient brings: the paired difference of two rows that differ in it; a row a step and group.

    Columns: step, method, base, ``by``, difference and std over seeds, seeds. Steps whose rows were not run are left
    out.
    """
    rows = []
    for method, base, text in steps:
        if not {method, base} <= set(table["method"]):
            continue
        gaps = paired(table[table["method"].isin([method, base])], "method", base, by, metric)
        for group, gap in gaps.groupby(by, sort=False)["difference"]:
            spread = gap.std() if len(gap) > 1 else 0.0
            step = f"{text}\n({method_title(base)} → {method_title(method)})"
            rows.append([step, text, method, base, group, gap.mean(), spread, len(gap)])
    return pd.DataFrame(rows, columns=["step", "text", "method", "base", by, "difference", "std", "seeds"])


def verdict_of_ladder(ladder: pd.DataFrame, by: str) -> Finding:
    """The ingredients in the order of what they bring on average over the groups."""
    if ladder.empty:
        return Finding("None of the pairs of methods that differ in one ingredient was run.")
    mean = ladder.groupby("text", sort=False)["difference"].mean().sort_values(ascending=False)
    parts = [f"{text} ({signed(points)})" for text, points in mean.items()]
    groups = join([group_label(by, group) for group in ladder[by].unique()])
    return Finding(f"Points that each ingredient brings, on average over {groups}: {join(parts)}.")


# --- where a method stops working ------------------------------------------------------------------------------------


def believing(records: Sequence[RunRecord]) -> float:
    """The row L1 error of the identity, of who believes every label: 2 (1 − C_ii), mean over classes and runs."""
    return sum(2 * (1 - float(record.true.diagonal().mean())) for record in records) / len(records)


def budget_limits(table: pd.DataFrame, by: str, method: str, believing: float, metric: str = "mAP") -> Finding:
    """From which budget of clean images on ``method`` is the best, and its C better than believing every label.

    ``table``: a row per run with ``by`` (gold_fraction, single_label_limit) and C_row_l1; ``believing``: the row L1
    error of the identity.
    """
    means = setting_means(table, by, metric, BOUNDS)
    if method not in means or len(means.columns) < 2:
        return Finding(f"There is no run of {method_title(method)} to compare.")
    errors = table[table["method"] == method].groupby(by, sort=False)["C_row_l1"].mean()
    rival, parts = means.drop(columns=method).idxmax(axis=1), []
    for budget, row in means.iterrows():
        gap, error = row[method] - row[rival[budget]], errors.get(budget, float("nan"))
        lines = [f"{signed(gap)} against {method_title(rival[budget])}"]
        if pd.notna(error):
            text = "no better than" if error >= 0.9 * believing else "against"
            lines.append(f"error of C {error:.2f} {text} {believing:.2f} of believing every label")
        parts.append(f"- {group_label(by, budget)}: {row[method]:.1f} {metric}, {', '.join(lines)}")
    return Finding(f"{method_title(method)} by {group_title(by)}:\n\n" + "\n".join(parts))


# --- which method to take --------------------------------------------------------------------------------------------


def decisions(table: pd.DataFrame, by: str, metric: str = "mAP", within: float = 1.0) -> pd.DataFrame:
    """Which method to take in each group of ``by``, bounds left out: a row a group that has all methods.

    best, value, seconds        the highest mean over seeds, and what a run costs (median over all runs)
    next, lead                  the second, and how many points below it is
    cheapest, its, its_seconds  the cheapest method that is at most ``within`` points below the best
    """
    means = setting_means(table, by, metric, BOUNDS)
    cost = table.groupby("method")["seconds"].median()
    rows = {}
    for group, row in means.iterrows():
        order = row.sort_values(ascending=False)
        best = order.index[0]
        cheapest = cost[order.index[order >= order.iloc[0] - within]].idxmin()
        second, lead = (order.index[1], order.iloc[0] - order.iloc[1]) if len(order) > 1 else (None, float("nan"))
        rows[group] = [best, order.iloc[0], cost[best], second, lead, cheapest, row[cheapest], cost[cheapest]]
    columns = ["best", "value", "seconds", "next", "lead", "cheapest", "its", "its_seconds"]
    return pd.DataFrame(rows.values(), index=pd.Index(list(rows), name=by), columns=columns)


def advice(decisions: pd.DataFrame, by: str, within: float = 1.0) -> Finding:
    """`decisions` in words: which method is best how often, and when something cheaper does."""
    counts = decisions["best"].value_counts()
    text = "Best: " + join(
        [f"{method_title(name)} in {count} of {len(decisions)} settings" for name, count in counts.items()]
    )
    cheaper = decisions[decisions["cheapest"] != decisions["best"]]
    if not len(cheaper):
        return Finding(f"{text}. Nothing cheaper comes within {within:g} point of the best anywhere.")
    parts = [f"{method_title(row.cheapest)} at *{group_label(by, group)}*" for group, row in cheaper.iterrows()]
    return Finding(f"{text}. Cheaper, and within {within:g} point of the best: {join(parts)}.")


# --- what estimators can say -----------------------------------------------------------------------------------------


def scopes(estimators: Sequence[str], kinds: Sequence[str]) -> Finding:
    """Which estimators can represent which kinds of noise (`galc.estimators.base.limits`): a table, then why not."""
    found = {name: [estimator.limits(name, kind) for kind in kinds] for name in estimators}
    rows = [["", *kinds], ["---", *[":---:"] * len(kinds)]]
    rows += [[f"*{name}*", *["–" if text else "yes" for text in texts]] for name, texts in found.items()]
    reasons = dict.fromkeys(text.split(": ", 1)[1] for texts in found.values() for text in texts if text)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    why = f"Why not: {'; '.join(reason.rstrip('.') for reason in reasons)}." if reasons else ""
    return Finding(f"{table}\n\n{why}".strip())
