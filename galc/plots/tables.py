"""Tables: Table 1 with the paper's numbers beside ours, and the smaller ones of the notebooks."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from pandas.io.formats.style import Styler

from galc.plots.groups import group_label, group_title, over_seeds
from galc.plots.style import method_title

PAPER = " (paper)"
GREYS = "color: #777777; font-style: italic"
LINES = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums"},
    {"selector": "th, td", "props": "padding: 0.15em 0.7em; white-space: nowrap; text-align: right"},
    {"selector": "th.row_heading, th.index_name", "props": "text-align: left; font-weight: normal"},
    {"selector": "th.row_heading.level0", "props": "vertical-align: top; font-weight: bold"},
    {"selector": "thead tr:last-child > *", "props": "border-bottom: 1px solid #999999"},
]
GROUPS = [{"selector": "tr:has(th.level0.row_heading) > *", "props": "border-top: 1px solid #999999"}]


def results_frame(
    table: pd.DataFrame,
    published: pd.DataFrame | None = None,
    metrics: Sequence[str] = ("mAP", "CF1", "OF1"),
    by: str = "noise",
) -> pd.DataFrame:
    """Table 1 as text: rows (metric, method), columns the noise levels, entries "51.3 ± 0.6" in percent.

    ``table`` has a row per run: method, noise in [0, 1], seed and the metrics. One seed gives no "±". The rows of
    ``published`` (``galc.results.published.table()``) follow ours under "... (paper)". ``by`` names another column of
    both whose groups become the columns, numbers in their order, others in that of the table.
    """
    rows = {}
    for metric in metrics:
        for name, curve in over_seeds(table, by, metric).items():
            rows[metric, method_title(name)] = {
                group: deviating(row["mean"], row["std"], row["seeds"]) for group, row in curve.iterrows()
            }
        for name, curve in (over_seeds(published, by, metric) if published is not None else {}).items():
            rows[metric, method_title(name) + PAPER] = curve["mean"].map("{:.1f}".format).to_dict()
    frame = pd.DataFrame.from_dict(rows, orient="index")
    if pd.api.types.is_numeric_dtype(frame.columns):
        frame = frame[sorted(frame.columns)]
    frame = frame.fillna("")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["metric (%)", "method"])
    frame.columns = pd.Index([group_label(by, group) for group in frame.columns], name=group_title(by))
    return frame


def deviating(mean: float, std: float, seeds: int) -> str:
    """ "51.3 ± 0.6", without the deviation for one seed."""
    return f"{mean:.1f}" + (f" ± {std:.1f}" if seeds > 1 else "")


def results_table(
    table: pd.DataFrame,
    published: pd.DataFrame | None = None,
    metrics: Sequence[str] = ("mAP", "CF1", "OF1"),
    bounds: Sequence[str] = ("true-correction",),
    by: str = "noise",
) -> Styler:
    """``results_frame`` for a notebook: our best of each metric and column in bold, the paper's rows in grey.

    ``bounds`` names methods that know what no method can (the true C): shown, but never the best.
    """
    frame = results_frame(table, published, metrics, by)
    outside = {method_title(name) for name in bounds}
    ours = [name for name in frame.index if not name[1].endswith(PAPER) and name[1] not in outside]

    def weights(column: pd.Series) -> pd.Series:
        means = column[ours].str.split(" ").str[0].replace("", "nan").astype(float)
        best = means == means.groupby(level=0).transform("max")
        return best.map({True: "font-weight: bold", False: ""}).reindex(column.index, fill_value="")

    def greys(row: pd.Series) -> list[str]:
        return [GREYS if row.name[1].endswith(PAPER) else ""] * len(row)

    styler = frame.style.apply(weights, axis=0).apply(greys, axis=1).set_table_styles(LINES + GROUPS)
    return styler.apply_index(lambda names: [GREYS if str(name).endswith(PAPER) else "" for name in names], level=1)


def history_frame(histories: Mapping[str, Sequence[Mapping]]) -> pd.DataFrame:
    """{name: one dict an epoch} as the frame that `learning_curves` takes; the names stand in its column method."""
    return pd.DataFrame([{"method": name, "seed": 0} | epoch for name, epochs in histories.items() for epoch in epochs])


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
    whole = "{:,}".format
    formats = {"images": whole, "labels": whole, "labels an image": "{:.2f}"}
    return pd.DataFrame.from_dict(rows, orient="index").style.format(formats).set_table_styles(LINES)


def error_table(errors: pd.DataFrame) -> Styler:
    """Errors of estimated matrices, the smallest row L1 first (`galc.estimators.base.matrix_error`)."""
    titles = {
        "row_l1": "row L1 Σⱼ |Ĉᵢⱼ − Cᵢⱼ|",
        "diagonal": "|Ĉᵢᵢ − Cᵢᵢ|",
        "off_diagonal_correlation": "off-diagonal correlation",
    }
    table = errors.sort_values("row_l1")[list(titles)].rename(columns=titles)
    return table.style.format("{:.3f}", na_rep="–").set_table_styles(LINES)


def run_table(table: pd.DataFrame) -> Styler:
    """Runs at one noise level, a row each (percent): last epoch, and beside it the highest and the averaged weights."""
    shown = pd.DataFrame(
        {
            "mAP": table["mAP"],
            "CF1": table["CF1"],
            "OF1": table["OF1"],
            "CF1, calibrated": table["CF1_calibrated"],
            "OF1, calibrated": table["OF1_calibrated"],
            "highest mAP": table["best_mAP"],
            "in epoch": table["best_epoch"].astype(int),
            "mAP, averaged weights": table["ema_mAP"],
        }
    ).set_index(pd.Index([method_title(name) for name in table["method"]]))
    numbers = [name for name in shown.columns if name != "in epoch"]
    return shown.style.format("{:.1f}", subset=numbers).set_table_styles(LINES)


def cost_table(runs: Sequence[Mapping]) -> Styler:
    """What each method costs on one core, medians; ``runs``: the record's summary and details of each.

    Steps 1 and 2 are all stages that a run needs before its own training, whether or not other runs share them.
    """
    rows = [{name: run[name] for name in ("method", "seconds", "images", "steps")} for run in runs]
    frame = pd.DataFrame(rows)
    frame["own"] = [seconds["run"] for seconds in frame["seconds"]]
    frame["before"] = [sum(seconds.values()) - seconds["run"] for seconds in frame["seconds"]]
    groups = frame.groupby("method", sort=False)
    table = pd.DataFrame(
        {
            "training images": groups["images"].max(),
            "gradient steps of g": groups["steps"].max(),
            "steps 1 and 2 (s)": groups["before"].median(),
            "step 3 (s)": groups["own"].median(),
        }
    )
    table.index = pd.Index([method_title(name) for name in table.index])
    whole = {name: "{:,}" for name in table.columns[:2]}
    return table.style.format(whole | {name: "{:.1f}" for name in table.columns[2:]}).set_table_styles(LINES)


def record_table(details: Mapping) -> Styler:
    """All that a run's record says of how it came about, one line each; groups are written "group: name"."""
    rows = {}
    for name, value in details.items():
        parts = (
            {f"{name}: {key}": inner for key, inner in value.items()} if isinstance(value, Mapping) else {name: value}
        )
        rows |= {key: readable(inner) for key, inner in parts.items()}
    left = {"selector": "td", "props": "text-align: left; white-space: normal"}
    return pd.DataFrame({"value": rows}).style.hide(axis="columns").set_table_styles([*LINES, left])


def readable(value: object) -> str:
    """A value of a record as text: lists with commas, times with a few digits."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def margin_table(margins: pd.DataFrame, by: str = "noise") -> Styler:
    """Differences in points (`galc.results.margins`): rows methods, columns the groups of ``by``; losses in red."""
    columns = {group: group_label(by, group) for group in margins.columns}
    table = margins.rename(index=method_title, columns=columns)
    table.columns.name, table.index.name = group_title(by), None
    losses = table.style.format("{:+.1f}").map(lambda value: "color: #d55e00" if value < 0 else "")
    return losses.set_table_styles(LINES)


def peak_table(peaks: pd.DataFrame, published: Mapping) -> Styler:
    """Where each curve has its peak and what is lost from there to the last epoch (`galc.results.peaks`).

    ``published``: the entry "memorization" of ``galc.results.published.facts()``; its epochs stand beside ours.
    """
    titles = [method_title(name) for name in peaks.index]
    theirs = published["peak_epoch"]

    def mean(name: str) -> list[str]:
        return [deviating(*row) for row in peaks[[name, f"{name}_std", "seeds"]].to_numpy()]

    def epoch(name: str, paper: Mapping[str, int]) -> list[str]:
        beside = [f" (paper: {paper[title]})" if title in paper else "" for title in titles]
        return [f"{number}{text}" for number, text in zip(peaks[name], beside, strict=True)]

    table = pd.DataFrame(
        {
            "highest in epoch": epoch("peak_epoch", theirs),
            "mAP there": mean("peak"),
            "last mAP": mean("last"),
            "points lost": mean("lost"),
            "settled from epoch": epoch("stable_from", dict.fromkeys(theirs, published["stable_after_epoch"])),
        },
        index=titles,
    )
    return table.style.set_table_styles(LINES)


def budget_table(budgets: pd.DataFrame, published: Mapping[str, int]) -> Styler:
    """How many single-label images each limit leaves (`galc.results.budgets`), beside the paper's numbers."""
    by = "single_label_limit"
    table = pd.DataFrame(
        {
            "images": budgets["images"].map("{:,}".format),
            "images (paper)": [f"{published[limit]:,}" if limit in published else "–" for limit in budgets.index],
            "classes with fewer": budgets["fewer"],
            "classes without one": budgets["none"],
        }
    )
    table.index = pd.Index([group_label(by, limit) for limit in budgets.index], name=group_title(by))
    return table.style.set_table_styles(LINES)
