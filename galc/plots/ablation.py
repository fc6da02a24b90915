"""Ablations: methods side by side in each group of runs (Fig. 6b), and their curves group by group (Fig. 6c)."""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from galc.plots.groups import group_label, group_title, over_seeds
from galc.plots.style import GREY, Look, label_ends, method_style, method_styles, method_title, style

AXES = {
    "mAP": "mAP on the clean test set (%)",
    "difference": "difference in mAP (points)",
    "row_l1": "mean row L1 error of C",
    "ECE": "expected calibration error (%)",
}


@style()
def dot_panels(
    table: pd.DataFrame,
    by: str,
    metric: str = "mAP",
    published: pd.DataFrame | None = None,
    series: str = "method",
    digits: int = 1,
) -> Sequence[Axes]:
    """Fig. 6b: one panel a group of ``by``, one row a method. Mean ± std over seeds, every seed as a small dot.

    ``table`` has a row per run: the columns ``series`` (method), ``by``, seed and ``metric``. ``published``
    (``galc.results.published.table("true_correction")``) is drawn hollow in the row of the same name. A vertical line
    marks 0 for differences. Raises ``ValueError`` as `over_seeds` does. Returns one axes a panel.
    """
    curves = over_seeds(table, by, metric, series)
    papers = over_seeds(published, by, metric) if published is not None else {}
    papers = {method_title(name): curve["mean"] for name, curve in papers.items()}
    looks, groups = method_styles(curves), list(dict.fromkeys(g for curve in curves.values() for g in curve.index))
    size = (1.9 + min(2.7 * len(groups), 9.8), 1.15 + 0.42 * len(curves))
    figure, axes = plt.subplots(1, len(groups), figsize=size, sharex=True, sharey=True, layout="constrained")
    axes = list(np.atleast_1d(axes))
    number = f"{{:{'+' if metric == 'difference' else ''}.{digits}f}}".format
    for ax, group in zip(axes, groups, strict=True):
        for row, (name, curve) in enumerate(curves.items()):
            paper = papers.get(looks[name].title, {})
            if group in curve.index:
                runs = table.loc[(table[series] == name) & (table[by] == group), metric]
                draw_dot(ax, row, curve.loc[group], runs, looks[name], number)
            if group in paper:
                ax.plot(
                    paper[group],
                    row,
                    marker=looks[name].marker,
                    linestyle="",
                    color=looks[name].colour,
                    fillstyle="none",
                    zorder=3,
                )
                write_number(ax, paper[group], row, number(paper[group]), looks[name].colour, below=True)
        if metric == "difference":
            ax.axvline(0, color="black", linewidth=0.8, zorder=1)
        ax.set(title=f"{group_title(by)}: {group_label(by, group)}", xlabel=AXES.get(metric, metric))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(curves)), [look.title for look in looks.values()])
    axes[0].set_ylim(len(curves) - 0.4, -0.7)
    axes[0].set_xmargin(0.2)
    axes[0].autoscale_view(scaley=False)
    figure.legend(handles=legend_handles(bool(papers)), loc="outside lower center", ncols=2)
    return axes


def draw_dot(ax: Axes, row: int, curve: pd.Series, runs: pd.Series, look: Look, number: Callable[[float], str]) -> None:
    """One mean with its deviation and number, and the runs behind it."""
    mean, several = curve["mean"], curve["seeds"] > 1
    if several:
        ax.plot(runs, np.full(len(runs), row + 0.22), ".", color=look.colour, markersize=3, alpha=0.6)
    ax.errorbar(
        mean, row, xerr=curve["std"] if several else None, marker=look.marker, linestyle="", color=look.colour, zorder=3
    )
    deviation = f" ± {number(curve['std']).lstrip('+')}" if several else ""
    write_number(ax, mean, row, number(mean) + deviation, look.colour)


def write_number(ax: Axes, x: float, row: int, text: str, colour: str, below: bool = False) -> None:
    """A number above its marker, or below it."""
    place = dict(xytext=(0, -8 if below else 4.5), va="top" if below else "bottom", ha="center")
    ax.annotate(text.replace("-", "−"), (x, row), textcoords="offset points", fontsize=7, color=colour, **place)


def legend_handles(with_paper: bool) -> list[Line2D]:
    look = dict(marker="o", color=GREY, linestyle="")
    handles = [Line2D([], [], label="here: mean ± std over seeds, small: each seed", **look)]
    return [*handles, Line2D([], [], label="paper", fillstyle="none", **look)] if with_paper else handles


@style()
def learning_panels(
    history: pd.DataFrame, by: str, metric: str = "mAP", reference: pd.DataFrame | None = None
) -> Sequence[Axes]:
    """Fig. 6c: a metric against epochs, one panel a method, one line a group of ``by``, mean ± std over seeds.

    ``history`` has a row per run and epoch: method, ``by``, epoch (from 1), seed and ``metric`` in percent. The groups
    share the method's colour and differ in shade and dashes. ``reference``, the same for one method that does not
    depend on ``by``, is drawn in every panel. Returns one axes a method.
    """
    names = list(history["method"].unique())
    size = (4.6 * len(names) + 0.4, 3.9)
    _, axes = plt.subplots(1, len(names), figsize=size, sharex=True, sharey=True, layout="constrained")
    axes, ends = list(np.atleast_1d(axes)), {}
    for ax, name in zip(axes, names, strict=True):
        method = method_style(name)
        curves = over_seeds(history[history["method"] == name], "epoch", metric, series=by)
        looks = shades(method.colour, len(curves))
        ends[ax] = [
            draw_line(ax, curve, group_label(by, group), *look)
            for (group, curve), look in zip(curves.items(), looks, strict=True)
        ]
        for other, curve in (over_seeds(reference, "epoch", metric) if reference is not None else {}).items():
            look = method_style(other)
            ends[ax].append(draw_line(ax, curve, look.title, look.colour, (0, (1, 1))))
        ax.set(title=f"{method.title}, {group_title(by)}", xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel(f"{metric} on the clean test set (%)")
    axes[0].set_xmargin(0.02)
    for ax in axes:  # only now are the limits final
        label_ends(ax, ends[ax])
    return axes


def draw_line(ax: Axes, curve: pd.DataFrame, title: str, colour: tuple | str, dashes: tuple) -> tuple:
    """One line and its band; returns the end of the line, for `label_ends`."""
    x, mean = curve.index.to_numpy(), curve["mean"]
    ax.plot(x, mean, color=colour, linestyle=dashes, label=title, zorder=3)
    ax.fill_between(x, mean - curve["std"], mean + curve["std"], color=colour, alpha=0.15, linewidth=0)
    return x[-1], mean.iloc[-1], f"{title}  {mean.iloc[-1]:.1f}", colour


def shades(colour: str, count: int) -> list[tuple[tuple, tuple]]:
    """(colour, dashes) of ``count`` lines of one method, from its dark to its light shade."""
    dashes = [(0, ()), (0, (5, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1, 1.5))]
    dark = 0.75 * np.array(to_rgb(colour))
    light = 0.45 * np.array(to_rgb(colour)) + 0.55
    weights = np.linspace(0, 0.9, count) if count > 1 else [0.3]
    return [(tuple((1 - w) * dark + w * light), dashes[n % len(dashes)]) for n, w in enumerate(weights)]
