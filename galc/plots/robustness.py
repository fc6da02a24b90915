"""Methods over settings, budgets and costs: where each is strong, where it stops working, what it takes."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from galc.plots.ablation import AXES, write_number
from galc.plots.groups import group_label, group_title, over_seeds
from galc.plots.style import BLUE, RED, label_ends, method_styles, style


@style()
def setting_dots(
    table: pd.DataFrame, by: str = "setting", metric: str = "mAP", series: str = "method", ax: Axes | None = None
) -> Axes:
    """One row a setting, one mark a method (or estimator, in ``series``): mean ± std over seeds, a row per run."""
    curves = over_seeds(table, by, metric, series)
    groups, looks = list(table[by].unique()), method_styles(curves)
    if ax is None:
        size = (8.6, 1.5 + (0.14 + 0.04 * len(curves)) * len(groups))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    places = np.linspace(-0.36, 0.36, len(curves)) if len(curves) > 1 else [0.0]
    for (name, curve), place in zip(curves.items(), places, strict=True):
        rows = [groups.index(group) + place for group in curve.index]
        look = looks[name]
        mark = dict(marker=look.marker, linestyle="", color=look.colour, label=look.title, markersize=4.2)
        ax.errorbar(curve["mean"], rows, xerr=curve["std"], elinewidth=0.9, zorder=3, **mark)
    for row in range(len(groups) - 1):
        ax.axhline(row + 0.5, color="#dddddd", linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(groups)), [group_label(by, group) for group in groups])
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.set(xlabel=AXES.get(metric, metric), ylabel=group_title(by))
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    return ax


@style()
def budget_curves(
    table: pd.DataFrame,
    by: str,
    metrics: Sequence[str] = ("mAP", "C_row_l1"),
    believing: float | None = None,
) -> Sequence[Axes]:
    """Metrics against a budget of clean images (gold_fraction, single_label_limit), one line a method, mean ± std.

    Methods without a metric (no C) are left out of its panel, and a metric that none has altogether. ``believing``: the
    row L1 error of the identity, of who takes every label as it is; above it, an estimate is worse than none. Budgets
    are evenly spaced, as in the table.
    """
    metrics = [metric for metric in metrics if metric in table and table[metric].notna().any()]
    figure, axes = plt.subplots(1, len(metrics), figsize=(5.2 * len(metrics) + 0.6, 4.0), layout="constrained")
    axes, handles = list(np.atleast_1d(axes)), {}
    for ax, metric in zip(axes, metrics, strict=True):
        known = table.dropna(subset=metric)
        curves = over_seeds(known, by, metric)
        groups = sorted(known[by].unique()) if pd.api.types.is_numeric_dtype(known[by]) else list(table[by].unique())
        looks = method_styles(curves)
        for name, curve in curves.items():
            look, x = looks[name], np.array([groups.index(group) for group in curve.index])
            low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
            (handles[look.title],) = ax.plot(x, curve["mean"], color=look.colour, marker=look.marker, label=look.title)
            ax.fill_between(x, low, high, color=look.colour, alpha=0.15, linewidth=0)
        if metric == "C_row_l1" and believing is not None:
            handles["every label believed"] = ax.axhline(believing, color="black", linestyle=":", linewidth=1.1)
        ax.set_xticks(range(len(groups)), [group_label(by, group) for group in groups])
        ax.set(xlabel=group_title(by), ylabel=AXES.get(metric.removeprefix("C_"), metric))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 5))
    return axes


@style()
def cost_scatter(table: pd.DataFrame, by: str = "setting", metric: str = "mAP", ax: Axes | None = None) -> Axes:
    """A metric, its mean over settings and seeds, against the seconds of a run (median), a mark a method.

    ``table`` has a row per run with ``seconds``, what the method costs with all stages that it needs. The line joins
    the methods that no cheaper one reaches.
    """
    means = table.groupby(["method", by], sort=False)[metric].mean().groupby(level=0, sort=False).mean()
    seconds = table.groupby("method", sort=False)["seconds"].median()
    if ax is None:
        _, ax = plt.subplots(figsize=(7.4, max(4.2, 1.2 + 0.2 * len(means))), layout="constrained")
    looks, ends = method_styles(means.index), []
    for name, value in means.items():
        look = looks[str(name)]
        ax.plot(seconds[name], value, marker=look.marker, color=look.colour, markersize=6, zorder=3)
        ends.append((seconds[name], value, f"{look.title}  {value:.1f}", look.colour))
    front = means[seconds.sort_values().index].pipe(lambda found: found[found > found.cummax().shift(fill_value=-1)])
    ax.plot(seconds[front.index], front, color="#999999", linewidth=0.9, drawstyle="steps-post", zorder=1)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="seconds of a run on one core (median)", ylabel=AXES.get(metric, metric))
    ax.margins(0.06)
    label_ends(ax, ends)
    return ax


@style()
def ladder_bars(ladder: pd.DataFrame, by: str = "setting") -> Sequence[Axes]:
    """What each ingredient brings (`galc.results.ladder`): a bar a step, one panel a group of ``by``, mean ± std.

    Without any step there is one empty panel.
    """
    groups = list(ladder[by].unique()) or [""]
    size = (2.8 + 3.0 * len(groups), 1.1 + 0.42 * ladder["step"].nunique())
    _, axes = plt.subplots(1, len(groups), figsize=size, sharex=True, sharey=True, layout="constrained")
    axes, steps = list(np.atleast_1d(axes)), list(ladder["step"].unique())
    for ax, group in zip(axes, groups, strict=True):
        for step in ladder[ladder[by] == group].itertuples():
            row = steps.index(step.step)
            ax.barh(row, step.difference, 0.62, color=BLUE if step.difference > 0 else RED, zorder=2)
            ax.errorbar(step.difference, row, xerr=step.std, color="black", linewidth=0.9, zorder=3)
            write_number(ax, step.difference, row - 0.3, f"{step.difference:+.1f}", "black")
        ax.axvline(0, color="black", linewidth=0.8, zorder=1)
        ax.set(title=f"{group_label(by, group)}", xlabel="difference in mAP (points)")
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(steps)), steps)
    axes[0].set_ylim(max(len(steps), 1) - 0.4, -0.8)
    axes[0].set_xmargin(0.12)
    axes[0].autoscale_view(scaley=False)
    return axes
