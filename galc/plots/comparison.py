"""Tables of comparisons: all measures of each method, settings against methods, tests, and which method to take."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from galc.plots.groups import group_label, group_title
from galc.plots.style import method_title
from galc.plots.tables import LINES, deviating
from galc.results.significance import BOUNDS, cube, setting_means

# summary column -> (heading, digits)
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


def overview_frame(table: pd.DataFrame, by: str, measures: Sequence[str] = tuple(MEASURES)) -> pd.DataFrame:
    """All measures of each method as text, the highest mAP first: a seed's mean over settings, its mean ± std.

    Over the settings that every method has. "–" where a method has no such measure (no C, no held-out gold images).
    """
    complete = setting_means(table, by).index
    table = table[table[by].isin(complete)]
    order = setting_means(table, by).mean().sort_values(ascending=False).index
    columns = {}
    for name in [name for name in measures if name in table and table[name].notna().any()]:
        heading, digits = MEASURES[name]
        seeds = cube(table, by, name).groupby(level=1).mean()
        columns[heading] = {method: spread_text(seeds[method].dropna(), digits) for method in order}
    return pd.DataFrame(columns, index=order)


def spread_text(values: pd.Series, digits: int) -> str:
    if not len(values):
        return "–"
    return f"{values.mean():.{digits}f}" + (f" ± {values.std():.{digits}f}" if len(values) > 1 else "")


def overview_table(table: pd.DataFrame, by: str = "setting") -> Styler:
    """`overview_frame` for a notebook."""
    frame = overview_frame(table, by)
    return frame.set_axis([method_title(name) for name in frame.index]).style.set_table_styles(LINES)


def setting_table(
    table: pd.DataFrame, by: str = "setting", metric: str = "mAP", tests: pd.DataFrame | None = None
) -> Styler:
    """Settings as rows and methods as columns, "51.3 ± 0.6" over seeds; the best of each row in bold, bounds aside.

    ``tests`` (`galc.results.significance.against_runner_up`): an asterisk where the tested method differs from the
    best other one with an adjusted p below 0.05, at the higher of the two.
    """
    runs = cube(table, by, metric)
    mean, std, seeds = (runs.groupby(level=0, sort=False).agg(name) for name in ("mean", "std", "count"))
    text = mean.astype(object)
    for row in mean.index:
        for column in mean.columns:
            value = mean.loc[row, column]
            text.loc[row, column] = (
                "" if np.isnan(value) else deviating(value, std.loc[row, column], seeds.loc[row, column])
            )
    best = mean.drop(columns=list(BOUNDS), errors="ignore").idxmax(axis=1)
    for row in [] if tests is None else tests.index[tests["holm"] < 0.05]:
        text.loc[row, best[row]] += " *"
    bold = pd.DataFrame("", index=text.index, columns=text.columns)
    for row, column in best.items():
        bold.loc[row, column] = "font-weight: bold"
    text.index = bold.index = pd.Index([group_label(by, group) for group in text.index], name=group_title(by))
    text.columns = bold.columns = [method_title(name) for name in text.columns]
    return text.style.apply(lambda _: bold, axis=None).set_table_styles(LINES)


def significance_table(tests: pd.DataFrame) -> Styler:
    """`galc.results.significance.against_runner_up` for a notebook: one row a setting."""
    by = str(tests.index.name)
    frame = pd.DataFrame(
        {
            "best other method": [method_title(name) for name in tests["rival"]],
            "difference (points)": [
                f"{gap:+.2f}" + (f" ± {std:.2f}" if n > 1 else "")
                for gap, std, n in zip(tests["difference"], tests["std"], tests["seeds"], strict=True)
            ],
            "seeds": tests["seeds"],
            "p, paired t": tests["t"],
            "p, Holm": tests["holm"],
            "p, Wilcoxon": tests["wilcoxon"],
        }
    ).set_axis(pd.Index([group_label(by, group) for group in tests.index], name=group_title(by)))
    numbers = [name for name in frame.columns if name.startswith("p, ")]
    return frame.style.format("{:.2g}", subset=numbers, na_rep="–").set_table_styles(LINES)


def decision_table(decisions: pd.DataFrame, within: float = 1.0) -> Styler:
    """`galc.results.decisions` for a notebook: which method to take, and what something cheaper costs."""
    by = str(decisions.index.name)
    frame = pd.DataFrame(
        {
            "take": [method_title(name) for name in decisions["best"]],
            "mAP": decisions["value"].map("{:.1f}".format),
            "seconds": decisions["seconds"].map("{:.1f}".format),
            "next best": [method_title(name) if name else "–" for name in decisions["next"]],
            "points below": decisions["lead"].map("{:.1f}".format).replace("nan", "–"),
            f"cheapest within {within:g} point": [method_title(name) for name in decisions["cheapest"]],
            "its mAP": decisions["its"].map("{:.1f}".format),
            "its seconds": decisions["its_seconds"].map("{:.1f}".format),
        }
    ).set_axis(pd.Index([group_label(by, group) for group in decisions.index], name=group_title(by)))
    return frame.style.set_table_styles(LINES)


def noise_table(table: pd.DataFrame, by: str = "setting") -> Styler:
    """What the noise did in each setting, mean over seeds: labels removed (of the clean ones), added (of the noisy)."""
    rates = 100 * table.groupby(by, sort=False)[["labels_removed", "labels_added"]].mean()
    rates.columns = ["clean labels that are gone (%)", "noisy labels that are wrong (%)"]
    rates.index = pd.Index([group_label(by, group) for group in rates.index], name=group_title(by))
    return rates.style.format("{:.1f}").set_table_styles(LINES)
