"""Tables: Table 1 with the paper's numbers beside ours, and the smaller ones of the notebooks.

Each function returns a Styler, which a notebook shows; `results_frame` and `overview_frame` return the text alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.results.groups import group_label, group_title, is_bound, method_title, over_seeds, plus_minus
from galc.results.significance import cube, setting_means

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

PAPER, METRICS = " (paper)", ("mAP", "CF1", "OF1")
BOLD, RED, GREY = "font-weight: bold", "color: #d55e00", "color: #777777; font-style: italic"
LINES = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums"},
    {"selector": "th, td", "props": "padding: 0.15em 0.7em; white-space: nowrap; text-align: right"},
    {"selector": "th.row_heading, th.index_name", "props": "text-align: left; font-weight: normal"},
    {"selector": "th.row_heading.level0", "props": "vertical-align: top; font-weight: bold"},
    {"selector": "thead tr:last-child > *", "props": "border-bottom: 1px solid #999999"},
]
GROUPS = {"selector": "tr:has(th.level0.row_heading) > *", "props": "border-top: 1px solid #999999"}
WRAPPED = {"selector": "td", "props": "text-align: left; white-space: normal; overflow-wrap: anywhere"}
# column of a table of runs -> (heading, digits); the overview has those that there are
MEASURES: Mapping[str, tuple[str, int]] = {
    "mAP": ("mAP", 1),
    "CF1_gold": ("CF1, gold threshold", 1),
    "OF1_gold": ("OF1, gold threshold", 1),
    "ECE": ("ECE", 2),
    "ECE_signed": ("ECE, signed", 2),
    "C_row_l1": ("C: row L1", 2),
    "C_diagonal": ("C: diagonal", 2),
    "C_off_diagonal_correlation": ("C: off-diagonal correlation", 2),
    "seconds": ("seconds", 1),
}
ERRORS = {
    "row_l1": "row L1 Σⱼ |Ĉᵢⱼ − Cᵢⱼ|",
    "diagonal": "|Ĉᵢᵢ − Cᵢᵢ|",
    "off_diagonal_correlation": "off-diagonal correlation",
}
RUN = {
    "mAP": "mAP",
    "CF1": "CF1",
    "OF1": "OF1",
    "CF1_calibrated": "CF1, calibrated",
    "OF1_calibrated": "OF1, calibrated",
    "best_mAP": "highest mAP",
    "best_epoch": "in epoch",
    "ema_mAP": "mAP, averaged weights",
}


def styled(frame: pd.DataFrame, formats: Mapping[str, str] | str | None = None, *more: dict) -> Styler:
    """A frame with the lines of all tables; "–" where there is no number."""
    style = frame.style if formats is None else frame.style.format(formats, na_rep="–")
    return style.set_table_styles([*LINES, *more])


def labelled(by: str, groups: Sequence[object]) -> pd.Index:
    """The groups of a column as a heading."""
    return pd.Index([group_label(by, group) for group in groups], name=group_title(by))


def titles(methods: Sequence[str]) -> pd.Index:
    return pd.Index([method_title(name) for name in methods])


# --- methods in groups of runs ---------------------------------------------------------------------------------------


def results_frame(
    table: pd.DataFrame, published: pd.DataFrame | None = None, metrics: Sequence[str] = METRICS, by: str = "noise"
) -> pd.DataFrame:
    """Table 1 as text: rows (metric, method), columns the noise levels, entries "51.3 ± 0.6" in percent.

    ``table`` has a row per run: method, noise in [0, 1], seed and the metrics. One seed gives no "±". The rows of
    ``published`` (`galc.results.about_the_paper.reported`) follow ours under "... (paper)". ``by`` names another
    column of both whose groups become the columns, numbers in their order, others in that of the table.
    """
    rows = {}
    for metric in metrics:
        for runs, end in ((table, ""), (published, PAPER)):
            for name, curve in over_seeds(runs, by, metric).items() if runs is not None else ():
                cells = [plus_minus(*row) for row in curve[["mean", "std", "seeds"]].to_numpy()]
                rows[metric, method_title(name) + end] = dict(zip(curve.index, cells, strict=True))
    frame = pd.DataFrame.from_dict(rows, orient="index")
    order = [group for group in table[by].unique() if group in frame] + [g for g in frame if g not in set(table[by])]
    frame = frame[sorted(order) if pd.api.types.is_numeric_dtype(frame.columns) else order].fillna("")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["metric (%)", "method"])
    frame.columns = labelled(by, frame.columns)
    return frame


def best_cells(frame: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Which cells of a `results_frame` hold our best of a metric and column: not a bound's, not the paper's."""
    ours = {method_title(name) for name in table["method"].unique() if not is_bound(name)}
    rows = frame.index.get_level_values("method").isin(ours)
    means = frame[rows].map(lambda text: float(text.split()[0].replace("−", "-")) if text else np.nan)
    return (means == means.groupby(level=0).transform("max")).reindex(frame.index, fill_value=False)


def results_table(
    table: pd.DataFrame, published: pd.DataFrame | None = None, metrics: Sequence[str] = METRICS, by: str = "noise"
) -> Styler:
    """`results_frame` for a notebook: our best of each metric and column in bold, the paper's rows in grey."""
    frame = results_frame(table, published, metrics, by)
    bold = best_cells(frame, table).replace({True: BOLD, False: ""})
    style = styled(frame, None, GROUPS).apply(lambda _: bold, axis=None).map_index(grey_paper, level=1)
    return style.apply(lambda row: [grey_paper(row.name[1])] * len(row), axis=1)


def grey_paper(name: str) -> str:
    return GREY if name.endswith(PAPER) else ""


def setting_table(
    table: pd.DataFrame, by: str = "setting", metric: str = "mAP", tests: pd.DataFrame | None = None
) -> Styler:
    """Settings as rows, methods as columns, mean ± std over seeds; the best of each row is bold, bounds aside.

    ``tests`` (`galc.results.significance.against_runner_up`): a star stands where the tested method differs from the
    best of all others.
    """
    frame = results_frame(table, None, [metric], by)
    best = best_cells(frame, table).droplevel(0).T
    frame = frame.droplevel(0).T
    frame.columns.name = best.columns.name = None
    for group in [] if tests is None else tests.index[tests["holm"] < 0.05]:
        frame.loc[group_label(by, group), best.loc[group_label(by, group)].idxmax()] += " *"
    bold = best.replace({True: BOLD, False: ""})
    return styled(frame).apply(lambda _: bold, axis=None)


def overview_frame(table: pd.DataFrame, by: str, measures: Sequence[str] = tuple(MEASURES)) -> pd.DataFrame:
    """All measures of each method as text, the highest mAP first: a seed's mean over settings, its mean ± std.

    Over the settings that every method has. "–" where a method has no such measure (no C, no held-out gold images).
    """
    complete = setting_means(table, by)
    table, order = table[table[by].isin(complete.index)], complete.mean().sort_values(ascending=False).index
    columns = {}
    for name in [name for name in measures if name in table and table[name].notna().any()]:
        heading, digits = MEASURES[name]
        seeds = cube(table, by, name).groupby(level=1).mean()[order].agg(["mean", "std", "count"]).T
        columns[heading] = [plus_minus(*row, digits) if row[2] else "–" for row in seeds.to_numpy()]
    return pd.DataFrame(columns, index=order)


def overview_table(table: pd.DataFrame, by: str = "setting") -> Styler:
    """`overview_frame` for a notebook."""
    return styled(overview_frame(table, by).rename(index=method_title).rename_axis(None))


def margin_table(margins: pd.DataFrame, by: str = "noise") -> Styler:
    """Differences in points (`galc.results.about_methods.margins`), losses in red; columns are the groups of ``by``."""
    table = margins.rename(index=method_title).set_axis(labelled(by, margins.columns), axis=1).rename_axis(index=None)
    return styled(table, "{:+.1f}").map(lambda value: RED if value < 0 else "")


def significance_table(tests: pd.DataFrame) -> Styler:
    """`galc.results.significance.against_runner_up` for a notebook: one row a setting."""
    gaps = [plus_minus(*row, 2, "+") for row in tests[["difference", "std", "seeds"]].to_numpy()]
    p_values = {"p, paired t": tests["t"], "p, Holm": tests["holm"], "p, Wilcoxon": tests["wilcoxon"]}
    rivals = {"best other method": titles(tests["rival"]), "difference (points)": gaps, "seeds": tests["seeds"]}
    frame = pd.DataFrame(rivals | p_values).set_axis(labelled(str(tests.index.name), tests.index))
    return styled(frame, dict.fromkeys(p_values, "{:.2g}"))


def decision_table(decisions: pd.DataFrame, within: float = 1.0) -> Styler:
    """`galc.results.about_methods.decisions` for a notebook: which method to take, and what a cheaper one costs."""
    frame = decisions.set_axis(labelled(str(decisions.index.name), decisions.index))
    for name in ("best", "next", "cheapest"):
        frame[name] = [method_title(method) if method else "–" for method in frame[name]]
    cheapest = f"cheapest within {within:g} point"
    frame.columns = ["take", "mAP", "seconds", "next best", "points below", cheapest, "its mAP", "its seconds"]
    return styled(frame, dict.fromkeys(frame.select_dtypes("number"), "{:.1f}"))


def noise_table(table: pd.DataFrame, by: str = "setting") -> Styler:
    """What the noise did in each setting, mean over seeds: labels removed (of the clean ones), added (of the noisy)."""
    rates = 100 * table.groupby(by, sort=False)[["labels_removed", "labels_added"]].mean()
    rates.columns = ["clean labels that are gone (%)", "noisy labels that are wrong (%)"]
    return styled(rates.set_axis(labelled(by, rates.index)), "{:.1f}")


# --- one thing each --------------------------------------------------------------------------------------------------


def part_table(parts: Mapping[str, ArrayLike], classes: Sequence[str]) -> Styler:
    """The parts of a data set, {name: labels (n, K) bool}: images, labels, and which class is missing or rarest."""
    rows = {}
    for name, labels in parts.items():
        counts = np.asarray(labels).sum(0)
        rows[name] = {
            "images": len(labels),
            "labels": counts.sum(),
            "labels an image": counts.sum() / max(len(labels), 1),
            "classes without one": (counts == 0).sum(),
            "rarest class": f"{classes[counts.argmin()]} ({counts.min()})",
            "most frequent class": f"{classes[counts.argmax()]} ({counts.max():,})",
        }
    formats = {"images": "{:,}", "labels": "{:,}", "labels an image": "{:.2f}"}
    return styled(pd.DataFrame.from_dict(rows, orient="index"), formats)


def error_table(errors: pd.DataFrame) -> Styler:
    """Errors of estimated matrices, the smallest row L1 first."""
    return styled(errors.sort_values("row_l1")[list(ERRORS)].rename(columns=ERRORS), "{:.3f}")


def run_table(table: pd.DataFrame) -> Styler:
    """Runs at one noise level, a row each (percent): last epoch, and beside it the highest and the averaged weights."""
    shown = table[list(RUN)].rename(columns=RUN).set_axis(titles(table["method"]))
    return styled(shown, dict.fromkeys(shown, "{:.1f}") | {"in epoch": "{:.0f}"})


def cost_table(runs: Sequence[Mapping]) -> Styler:
    """What each method costs on one core, medians; ``runs``: the record's summary and details of each.

    Steps 1 and 2 are all stages that a run needs before its own training, whether or not other runs share them.
    """
    frame = pd.DataFrame([{name: run[name] for name in ("method", "seconds", "images", "steps")} for run in runs])
    frame["own"] = [seconds["run"] for seconds in frame["seconds"]]
    frame["before"] = [sum(seconds.values()) - seconds["run"] for seconds in frame["seconds"]]
    costs = {"images": "max", "steps": "max", "before": "median", "own": "median"}
    table = frame.groupby("method", sort=False).agg(costs).rename(index=method_title).rename_axis(None)
    table.columns = ["training images", "gradient steps of g", "steps 1 and 2 (s)", "step 3 (s)"]
    return styled(table, dict(zip(table.columns, ["{:,}", "{:,}", "{:.1f}", "{:.1f}"], strict=True)))


def record_table(details: Mapping) -> Styler:
    """All that a run's record says of how it came about, one line each; groups are written "group: name"."""
    rows = {}
    for name, value in details.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        rows |= {f"{name}: {key}" if key else name: readable(part) for key, part in inner.items()}
    return styled(pd.DataFrame({"value": rows}), None, WRAPPED).hide(axis="columns")


def readable(value: object) -> str:
    """A value of a record as text: lists with commas, times with a few digits."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def peak_table(peaks: pd.DataFrame, published: Mapping) -> Styler:
    """Where each curve has its peak and what is lost from there to the last epoch (`about_the_paper.peaks`).

    ``published``: the entry "memorization" of `galc.results.about_the_paper.facts`; its epochs stand beside ours.
    """
    rows, theirs = {}, published["peak_epoch"]
    for title, row in zip(titles(peaks.index), peaks.to_dict("records"), strict=True):
        means = [plus_minus(row[name], row[f"{name}_std"], row["seeds"]) for name in ("peak", "last", "lost")]
        first, stable = (
            f"{row[name]}" + (f" (paper: {paper})" if title in theirs else "")
            for name, paper in (("peak_epoch", theirs.get(title)), ("stable_from", published["stable_after_epoch"]))
        )
        rows[title] = [first, *means, stable]
    columns = ["highest in epoch", "mAP there", "last mAP", "points lost", "settled from epoch"]
    return styled(pd.DataFrame.from_dict(rows, orient="index", columns=columns))


def budget_table(budgets: pd.DataFrame, published: Mapping[str, int]) -> Styler:
    """How many single-label images each limit leaves (`about_the_paper.budgets`), beside the paper's numbers."""
    table = {
        "images": budgets["images"],
        "images (paper)": [published.get(limit, np.nan) for limit in budgets.index],
        "classes with fewer": budgets["fewer"],
        "classes without one": budgets["none"],
    }
    frame = pd.DataFrame(table).set_axis(labelled("single_label_limit", budgets.index))
    return styled(frame, {"images": "{:,}", "images (paper)": "{:,.0f}"})
