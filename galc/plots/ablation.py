"""Rows and bars beside each other: methods in each group of runs (Fig. 6b), ingredients, classes."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from galc.plots.style import AXES, BLUE, GREY, RED, method_styles, name_classes, name_rows, panels, style, write_number
from galc.results.groups import group_label, group_title, method_title, over_seeds, plus_minus

LONG = 40  # letters of a name that are written
RATES = {"wrong": ("of the given labels are wrong", RED), "missing": ("of the true labels are missing", BLUE)}


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
    (`galc.results.about_the_paper.reported`) is drawn hollow in the row of the same name. A vertical line marks 0 for
    differences. Raises ``ValueError`` as `over_seeds` does. Returns one axes a panel.
    """
    curves = over_seeds(table, by, metric, series)
    papers = over_seeds(published, by, metric) if published is not None else {}
    papers = {method_title(name): curve["mean"] for name, curve in papers.items()}
    looks, groups = method_styles(curves), list(dict.fromkeys(g for curve in curves.values() for g in curve.index))
    size = (1.9 + min(2.7 * len(groups), 9.8), 1.15 + 0.42 * len(curves))
    axes, sign = panels(len(groups), size, sharex=True, sharey=True), "+" if metric == "difference" else ""
    for ax, group in zip(axes, groups, strict=True):
        for row, (name, curve) in enumerate(curves.items()):
            look = looks[name]
            mark = dict(marker=look.marker, linestyle="", color=look.colour, zorder=3)
            if group in curve.index:
                mean, std, seeds = curve.loc[group]
                if seeds > 1:
                    runs = table.loc[(table[series] == name) & (table[by] == group), metric]
                    ax.plot(runs, np.full(len(runs), row + 0.22), ".", color=look.colour, markersize=3, alpha=0.6)
                ax.errorbar(mean, row, xerr=std if seeds > 1 else None, **mark)
                write_number(ax, mean, row, plus_minus(mean, std, seeds, digits, sign), look.colour)
            if group in (paper := papers.get(look.title, {})):
                ax.plot(paper[group], row, fillstyle="none", **mark)
                write_number(
                    ax, paper[group], row, plus_minus(paper[group], 0, 1, digits, sign), look.colour, below=True
                )
        if metric == "difference":
            ax.axvline(0, color="black", linewidth=0.8, zorder=1)
        ax.set(title=f"{group_title(by)}: {group_label(by, group)}", xlabel=AXES.get(metric, metric))
    name_rows(axes, [look.title for look in looks.values()], above=0.7)
    axes[0].set_xmargin(0.2)
    axes[0].autoscale_view(scaley=False)
    look = dict(marker="o", color=GREY, linestyle="")
    handles = [Line2D([], [], label="here: mean ± std over seeds, small: each seed", **look)]
    handles += [Line2D([], [], label="paper", fillstyle="none", **look)] if papers else []
    axes[0].figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return axes


@style()
def ladder_bars(ladder: pd.DataFrame, by: str = "setting") -> Sequence[Axes]:
    """What each ingredient brings (`galc.results.about_methods.ladder`): a bar a step, a panel a group, mean ± std.

    Without any step there is one empty panel.
    """
    pairs = zip(ladder["base"], ladder["method"], strict=True)
    names = [
        f"{text}\n({method_title(a)} → {method_title(b)})" for text, (a, b) in zip(ladder["text"], pairs, strict=True)
    ]
    steps, groups = list(dict.fromkeys(names)), list(ladder[by].unique()) or [""]
    axes = panels(len(groups), (2.8 + 3.0 * len(groups), 1.1 + 0.42 * len(steps)), sharex=True, sharey=True)
    for ax, group in zip(axes, groups, strict=True):
        for name, step in zip(names, ladder.itertuples(), strict=True):
            if getattr(step, by) == group:
                row = steps.index(name)
                ax.barh(row, step.difference, 0.62, color=BLUE if step.difference > 0 else RED, zorder=2)
                ax.errorbar(step.difference, row, xerr=step.std, color="black", linewidth=0.9, zorder=3)
                write_number(ax, step.difference, row - 0.3, plus_minus(step.difference, 0, 1, sign="+"), "black")
        ax.axvline(0, color="black", linewidth=0.8, zorder=1)
        ax.set(title=group_label(by, group), xlabel=AXES["difference"])
    name_rows(axes, steps, above=0.8)
    axes[0].set_xmargin(0.12)
    axes[0].autoscale_view(scaley=False)
    return axes


@style()
def class_gains(gain: ArrayLike, sizes: ArrayLike, classes: Sequence[str]) -> Sequence[Axes]:
    """What a method gains over another one in each class: sorted bars, and the gain against the class's size.

    ``gain``: (K,) difference of average precision in points, NaN for a class without test images, which is left out;
    ``sizes``: (K,) training labels of each class. Returns the two axes.
    Raises ``ValueError`` if the lengths differ.
    """
    gain, sizes, names = np.asarray(gain, dtype=float), np.asarray(sizes), np.asarray(classes)
    if not len(gain) == len(sizes) == len(names):
        raise ValueError(f"{len(gain)} gains, {len(sizes)} sizes and {len(names)} classes: one of each a class")
    order = np.argsort(-gain, kind="stable")[: np.isfinite(gain).sum()]  # NaN sorts last
    left, right = panels(2, (11.5, 3.8), width_ratios=(4, 1), sharey=True)
    left.bar(range(len(order)), gain[order], color=np.where(gain[order] > 0, BLUE, RED), width=0.8)
    name_classes(left, names[order])
    left.set(ylabel="gain in average precision (points)", title="Gain of each class")
    right.scatter(sizes[order], gain[order], s=18, color=BLUE, edgecolor="white", linewidth=0.3)
    right.set(xscale="log", xlabel="training labels of the class", title="Against the class's size")
    for ax in (left, right):
        ax.axhline(0, color="black", linewidth=0.8)
    return left, right


@style()
def rate_intervals(rates: pd.DataFrame, most: int = 40) -> Sequence[Axes]:
    """A dot a class with its interval, wrong and missing labels side by side; the worst class on top.

    ``rates``: one row a class with the columns class, given (number of labels), and wrong, wrong_low, wrong_high,
    missing, missing_low, missing_high, as fractions. Of more than ``most`` classes those with the most labels are
    shown, and the title says so. Returns the two axes.
    """
    shown = rates.nlargest(most, "given").sort_values("wrong", kind="stable")
    count = f"{len(rates)} {'class' if len(rates) == 1 else 'classes'}"
    of = count if len(shown) == len(rates) else f"the {len(shown)} of {count} with the most labels"
    axes = panels(2, (9.5, 1.2 + 0.16 * len(shown)), sharex=True, sharey=True)
    for ax, (name, (words, colour)) in zip(axes, RATES.items(), strict=True):
        rate, low, high = (100 * shown[name + end] for end in ("", "_low", "_high"))
        ax.hlines(range(len(shown)), low, high, color=colour, alpha=0.35, linewidth=3)
        ax.plot(rate, range(len(shown)), "o", color=colour, markersize=4)
        ax.set(xlabel=f"% {words} (bar: 90 % interval)", xlim=(-2, 102), ylim=(-0.7, len(shown) - 0.3))
        ax.set_title(f"{name.capitalize()}, {of}")
    names = [name if len(name) <= LONG else name[: LONG - 1] + "…" for name in map(str, shown["class"])]
    axes[0].set_yticks(range(len(shown)), names, fontsize=7, parse_math=False)  # a name with two $ is no formula
    return axes
