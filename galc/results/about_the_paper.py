"""What the ablations say, beside what the paper says (Secs. 4.2 and 4.3): memorization, true C, single-label images.

Every claim of the paper is put to the test by a rule; where it fails, the sentence stands among those that differ.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.methods.base import METHODS
from galc.results.groups import (
    Finding,
    group_label,
    join,
    method_title,
    over_seeds,
    paired,
    percent,
    plus_minus,
    signed,
)

OURS, BASELINE, BOUND = "galc-slr", "asl", "true-correction"  # what the paper's methods are called here
ALSO = (OURS, "galc-plus")  # methods with an estimate, whose need of clean images is looked into


@cache
def facts() -> dict:
    """The numbers of the paper (arXiv 2108.02032), published.json; ``where`` names the part of it a group is from."""
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


def reported(group: str = "noise_sweep") -> pd.DataFrame:
    """One published table, a row per measurement.

    ``"noise_sweep"`` (Table 1, Figs. 2 and 5): method, noise in [0, 1], mAP, CF1, OF1 in percent.
    ``"true_correction"`` (Fig. 6b): method, gold_fraction in [0, 1], mAP in percent.
    Raises ``ValueError`` for another name.
    """
    tables = {name: entry for name, entry in facts().items() if "rows" in entry}
    if group not in tables:
        raise ValueError(f"no published table {group!r}; there are {', '.join(sorted(tables))}")
    return pd.DataFrame(tables[group]["rows"], columns=tables[group]["columns"])


class Claim(NamedTuple):
    """Something the paper says, with our numbers in the text, and whether it is so here."""

    text: str
    holds: bool


def verdict(claims: Sequence[Claim]) -> Finding:
    """One paragraph: what agrees with the paper, and what does not."""
    if not claims:
        return Finding("None of these runs can be compared with the paper.")
    agree, differ = ([claim.text for claim in claims if claim.holds == held] for held in (True, False))
    text = f"**As in the paper:** {'; '.join(agree) or 'nothing'}."
    return Finding(text + (f" **Not as in the paper:** {'; '.join(differ)}." if differ else ""))


def peaks(history: pd.DataFrame, metric: str = "mAP", within: float = 1.0) -> pd.DataFrame:
    """Peak, end and plateau of every method's curve, the mean over seeds: a row a method.

    peak_epoch            where the mean is highest
    peak, last, lost      the metric there, in the last epoch, and the difference; *_std over seeds (0 for one)
    stable_from           the first epoch from which on the mean stays within ``within`` points of its last value
    seeds                 how many
    """
    rows = {}
    for name, curve in over_seeds(history, "epoch", metric).items():
        mean, peak, last = curve["mean"], curve["mean"].idxmax(), curve.index[-1]
        runs = history[history["method"] == name].pivot(index="seed", columns="epoch", values=metric)
        far = np.flatnonzero((mean - mean[last]).abs() > within)
        rows[name] = {
            "peak_epoch": peak,
            "peak": mean[peak],
            "peak_std": curve["std"][peak],
            "last": mean[last],
            "last_std": curve["std"][last],
            "lost": mean[peak] - mean[last],
            "lost_std": (runs[peak] - runs[last]).std() if len(runs) > 1 else 0.0,
            "stable_from": curve.index[far.max(initial=-1) + 1],
            "seeds": len(runs),
        }
    return pd.DataFrame(rows.values(), index=list(rows))


def lost(peaks: pd.DataFrame) -> Finding:
    """Which methods lose most and least after their `peaks`."""
    order = peaks["lost"].sort_values(ascending=False)
    most, least = (f"{method_title(name)} ({order[name]:.1f})" for name in order.index[[0, -1]])
    return Finding(f"From the highest to the last epoch, {most} loses most points and {least} fewest.")


def memorization_claims(peaks: pd.DataFrame, published: Mapping, within: float = 1.0) -> Finding:
    """The paper's account of Fig. 6a, put to the test with `peaks`; ``published``: its entry ``memorization``."""
    if not {OURS, BASELINE} <= set(peaks.index):
        return verdict([])
    own, other, theirs = method_title(OURS), method_title(BASELINE), published["peak_epoch"]
    asl, ours, plateau = peaks.loc[BASELINE], peaks.loc[OURS], published["stable_after_epoch"]
    higher, above = ours["peak"] - asl["peak"], ours["last"] - asl["last"]
    latest = max(peaks["stable_from"][[BASELINE, OURS]])
    claims = []
    for name, row in ((other, asl), (own, ours)):
        change = plus_minus(-row["lost"], row["lost_std"], row["seeds"], sign="+")
        text = f"from its peak to the last epoch {name} goes {change} points (paper: down)"
        claims.append(Claim(text, row["lost"] > within))
    return verdict(
        [
            *claims,
            Claim(
                f"the peak of {own} is in epoch {ours['peak_epoch']:.0f}, that of {other} in epoch "
                f"{asl['peak_epoch']:.0f} (paper: {theirs[own]} and {theirs[other]}, a slight delay)",
                ours["peak_epoch"] > asl["peak_epoch"],
            ),
            Claim(
                f"from epoch {latest:.0f} on both stay within {within:g} point of their last value (paper: stable "
                f"after epoch {plateau})",
                latest <= plateau,
            ),
            Claim(
                f"at its peak {own} is {signed(higher)} points from the peak of {other} (paper: the correction does "
                "not help to reach more during training)",
                higher <= within,
            ),
            Claim(
                f"in the last epoch {own} is {signed(above)} points from {other} (paper: well above)", above > within
            ),
        ]
    )


# --- the true C and the number of trusted images -------------------------------------------------------------------


def bound_claims(table: pd.DataFrame, errors: pd.DataFrame, published: pd.DataFrame, small: float = 0.5) -> Finding:
    """The paper's account of Fig. 6b, put to the test.

    ``table``: a row per run with its gold_fraction; ``errors``: `galc.study.runs.estimator_errors` of the same runs;
    ``published``: ``reported("true_correction")``; ``small``: the gap in points that the paper stays below.
    """
    by, own = "gold_fraction", method_title(OURS)
    if not {OURS, BOUND} <= set(table["method"]):
        return verdict([])
    paper = paired(published.assign(seed=0), "method", method_title(BOUND), by).set_index(by)["difference"]
    gap = over_seeds(paired(table, "method", BOUND, by), by, "difference")[OURS]
    claims = []
    for group, row in gap.iterrows():
        theirs = signed(paper[group], 2) if group in paper.index else f"less than {small:g}"
        text = f"with {group_label(by, group)} of the images trusted, {own} is {plus_minus(*row, 2, '+')} points"
        claims.append(Claim(f"{text} from the true C (paper: {theirs})", abs(row["mean"]) < small))
    above = [group_label(by, group) for group in gap.index[gap["mean"] > 0]]
    text = f"with {join(above)}, the true C is no upper bound" if above else "the true C is an upper bound"
    return verdict([*claims, Claim(text, not above), *gold_claims(table, published), *error_claims(errors, by, [OURS])])


def gold_claims(table: pd.DataFrame, published: pd.DataFrame) -> list[Claim]:
    """What more trusted images bring to the paper's method, from the smallest to the largest share."""
    by, low, high = "gold_fraction", table["gold_fraction"].min(), table["gold_fraction"].max()
    if low == high:
        return []
    gain = over_seeds(paired(table, by, low, "method"), by, "difference")[OURS].loc[high]
    paper = published[published["method"] == method_title(OURS)].set_index(by)["mAP"]
    theirs = f" (paper: {signed(paper[high] - paper[low], 2)})" if {low, high} <= set(paper.index) else ""
    text = f"{group_label(by, high)} instead of {group_label(by, low)} bring {method_title(OURS)}"
    return [Claim(f"{text} {plus_minus(*gain, 2, '+')} points{theirs}", gain["mean"] > 0)]


def error_claims(errors: pd.DataFrame, by: str, methods: Sequence[str], most: float = 0.25) -> list[Claim]:
    """That few trusted images are enough to estimate C: fewest against most, its error rises by ``most`` at most."""
    claims, curves = [], over_seeds(errors, by, "row_l1", series="estimator")
    for method in [method for method in methods if METHODS[method].estimator in curves]:
        error = curves[METHODS[method].estimator]["mean"]
        rich, poor = ("all", error.index[-1]) if "all" in error.index else (error.index.max(), error.index.min())
        text = f"the row L1 error of C in {method_title(method)} is {error[rich]:.2f} with "
        text += f"{group_label(by, rich)} and {error[poor]:.2f} with {group_label(by, poor)} (paper: few are enough)"
        claims.append(Claim(text, error[poor] <= (1 + most) * error[rich]))
    return claims


# --- single-label images -------------------------------------------------------------------------------------------


def budgets(single_labels: ArrayLike, limits: Sequence[object]) -> pd.DataFrame:
    """What a limit of single-label images a class leaves, a row a limit ("all", or a number, also as text).

    ``single_labels`` (n, K) bool, one label a row: all there are. Columns: images, fewer (classes that have fewer than
    the limit, so that it takes nothing from them), none (classes without any).
    """
    counts, rows = np.asarray(single_labels).sum(0), {}
    for limit in limits:
        most = counts.max(initial=0) if limit == "all" else int(limit)
        fewer = 0 if limit == "all" else (counts < most).sum()
        rows[limit] = {"images": np.minimum(counts, most).sum(), "fewer": fewer, "none": (counts == 0).sum()}
    return pd.DataFrame(rows.values(), index=list(rows), dtype=int)


def pool(budgets: pd.DataFrame, num_classes: int) -> Finding:
    """What each limit takes away: `budgets`, with "all" in its index."""
    whole, none = budgets.loc["all", "images"], budgets.loc["all", "none"]
    text = f"There are {whole:,} single-label images, and {none} of {num_classes} classes have none."
    for limit, row in budgets.drop("all").iterrows():
        text += f" A limit of {limit} a class leaves {row['images']:,} of them, {percent(row['images'] / whole)}: "
        text += f"{row['fewer']} classes have fewer than that anyway."
    return Finding(text)


def budget_claims(table: pd.DataFrame, errors: pd.DataFrame, minor: float = 1.0) -> Finding:
    """The paper's account of Fig. 6c, put to the test with the runs of `bound_claims`, by their single_label_limit.

    ``minor``: the change in points that counts as a minor one.
    """
    by, claims = "single_label_limit", []
    losses = over_seeds(paired(table, by, "all", "method"), by, "difference")
    names = [name for name in ALSO if name in losses]
    for name in names:
        rows = losses[name].iterrows()
        changes = join(f"{plus_minus(*row, sign='+')} points with {group_label(by, limit)}" for limit, row in rows)
        text = f"fewer single-label images change {method_title(name)} by {changes} (paper: a minor impact)"
        claims.append(Claim(text, (losses[name]["mean"].abs() <= minor).all()))
    return verdict([*claims, *error_claims(errors, by, names)])
