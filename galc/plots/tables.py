"""Table 1: every method at every noise level, mean ± std over seeds, the paper's numbers beside ours."""

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from galc.plots.curves import over_seeds
from galc.plots.style import method_style

PAPER = " (paper)"
GREYS = "color: #777777; font-style: italic"
LINES = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums"},
    {"selector": "th, td", "props": "padding: 0.15em 0.7em; white-space: nowrap; text-align: right"},
    {"selector": "th.row_heading, th.index_name", "props": "text-align: left; font-weight: normal"},
    {"selector": "th.row_heading.level0", "props": "vertical-align: top; font-weight: bold"},
    {"selector": "tr:has(th.level0.row_heading) > *", "props": "border-top: 1px solid #999999"},
]


def results_frame(
    table: pd.DataFrame, published: pd.DataFrame | None = None, metrics: Sequence[str] = ("mAP", "CF1", "OF1")
) -> pd.DataFrame:
    """Table 1 as text: rows (metric, method), columns the noise levels, entries "51.3 ± 0.6" in percent.

    ``table`` has a row per run: method, noise in [0, 1], seed and the metrics. One seed gives no "±". The rows of
    ``published`` (``galc.published.table()``) follow ours under "... (paper)".
    """
    rows = {}
    for metric in metrics:
        for name, curve in over_seeds(table, "noise", metric).items():
            seeds = table[table["method"] == name].groupby("noise")[metric].count()
            rows[metric, method_style(name).title] = {
                noise: f"{mean:.1f}" + (f" ± {std:.1f}" if seeds[noise] > 1 else "")
                for noise, (mean, std) in zip(curve.index, curve[["mean", "std"]].to_numpy(), strict=True)
            }
        for name, curve in (over_seeds(published, "noise", metric) if published is not None else {}).items():
            rows[metric, method_style(name).title + PAPER] = curve["mean"].map("{:.1f}".format).to_dict()
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame = frame[sorted(frame.columns)].fillna("")
    frame.index = pd.MultiIndex.from_tuples(frame.index, names=["metric (%)", "method"])
    frame.columns = pd.Index([f"{100 * noise:g} %" for noise in frame.columns], name="labels flipped")
    return frame


def results_table(
    table: pd.DataFrame,
    published: pd.DataFrame | None = None,
    metrics: Sequence[str] = ("mAP", "CF1", "OF1"),
    bounds: Sequence[str] = ("true-correction",),
) -> Styler:
    """``results_frame`` for a notebook: our best of each metric and noise level in bold, the paper's rows in grey.

    ``bounds`` names methods that know what no method can (the true C): shown, but never the best.
    """
    frame = results_frame(table, published, metrics)
    outside = {method_style(name).title for name in bounds}
    ours = [name for name in frame.index if not name[1].endswith(PAPER) and name[1] not in outside]

    def weights(column: pd.Series) -> pd.Series:
        means = column[ours].str.split(" ").str[0].replace("", "nan").astype(float)
        best = means == means.groupby(level=0).transform("max")
        return best.map({True: "font-weight: bold", False: ""}).reindex(column.index, fill_value="")

    def greys(row: pd.Series) -> list[str]:
        return [GREYS if row.name[1].endswith(PAPER) else ""] * len(row)

    styler = frame.style.apply(weights, axis=0).apply(greys, axis=1).set_table_styles(LINES)
    return styler.apply_index(lambda names: [GREYS if str(name).endswith(PAPER) else "" for name in names], level=1)
