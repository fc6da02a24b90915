"""Many methods over many settings: marks, ranks with their critical difference, who beats whom, leads and costs."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from galc.plots.style import AXES, BLUE, GREY, RED, label_ends, method_style, method_styles, name_rows, panels, style
from galc.results.groups import group_label, group_title, method_title, over_seeds, signed
from galc.results.significance import Ranks


@style()
def setting_dots(
    table: pd.DataFrame, by: str = "setting", metric: str = "mAP", series: str = "method", ax: Axes | None = None
) -> Axes:
    """One row a setting, one mark a method (or estimator, in ``series``): mean ± std over seeds, a row per run."""
    curves, groups = over_seeds(table, by, metric, series), list(table[by].unique())
    ax = ax or panels(1, (8.6, 1.5 + (0.14 + 0.04 * len(curves)) * len(groups)))[0]
    looks, places = method_styles(curves), np.linspace(-0.36, 0.36, len(curves)) if len(curves) > 1 else [0.0]
    for (name, curve), place in zip(curves.items(), places, strict=True):
        rows, look = [groups.index(group) + place for group in curve.index], looks[name]
        mark = dict(marker=look.marker, linestyle="", color=look.colour, label=look.title, markersize=4.2)
        ax.errorbar(curve["mean"], rows, xerr=curve["std"], elinewidth=0.9, zorder=3, **mark)
    for row in range(len(groups) - 1):
        ax.axhline(row + 0.5, color="#dddddd", linewidth=0.8, zorder=0)
    name_rows([ax], [group_label(by, group) for group in groups])
    ax.set(xlabel=AXES.get(metric, metric), ylabel=group_title(by), ylim=(len(groups) - 0.5, -0.5))
    ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0))
    return ax


@style()
def cost_scatter(table: pd.DataFrame, by: str = "setting", metric: str = "mAP", ax: Axes | None = None) -> Axes:
    """A metric, its mean over settings and seeds, against the seconds of a run (median), a mark a method.

    ``table`` has a row per run with ``seconds``, what the method costs with all stages that it needs. The line joins
    the methods that no cheaper one reaches.
    """
    means = table.groupby(["method", by], sort=False)[metric].mean().groupby(level=0, sort=False).mean()
    seconds = table.groupby("method", sort=False)["seconds"].median()
    ax, ends = ax or panels(1, (7.4, max(4.2, 1.2 + 0.2 * len(means))))[0], []
    for name, look in method_styles(means.index).items():
        ax.plot(seconds[name], means[name], marker=look.marker, color=look.colour, markersize=6, zorder=3)
        ends.append((seconds[name], means[name], f"{look.title}  {means[name]:.1f}", look.colour))
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
def rank_intervals(ranks: Ranks, ax: Axes | None = None) -> Axes:
    """Mean ranks (`galc.results.significance.ranks`), best on top; two methods whose bars overlap are not told apart.

    Each bar is its rank ± half of Nemenyi's critical difference: what a critical-difference diagram says (Demšar
    2006), in a form that stays legible with thirty methods. The grey band is the bar of the best.
    """
    mean, half = ranks.mean, ranks.critical / 2
    ax = ax or panels(1, (7.2, 0.9 + 0.27 * len(mean)))[0]
    ax.axvspan(mean.iloc[0] - half, mean.iloc[0] + half, color="#ececec", zorder=0)
    for row, (name, rank) in enumerate(mean.items()):
        look = method_style(name)
        ax.plot([rank - half, rank + half], [row, row], color=look.colour, linewidth=1.4)
        ax.plot(rank, row, marker=look.marker, color=look.colour, markersize=6)
        ax.annotate(f"{rank:.1f}", (rank, row), (0, 5), textcoords="offset points", ha="center", fontsize=7)
    name_rows([ax], [method_title(name) for name in mean.index], above=0.8)
    title = f"{ranks.settings} settings; critical difference {ranks.critical:.2f}"
    ax.set(xlabel="mean rank (1: always the best)", title=title)
    return ax


@style()
def dominance_matrix(won: pd.DataFrame, sure: pd.DataFrame, settings: int, ax: Axes | None = None) -> Axes:
    """Share of ``settings`` in which the method of the row beats that of the column (`significance.dominance`).

    Blue: the row wins; red: the column does. The number is how many settings the row wins by more than the spread of
    the seeds. Both frames have methods as rows and columns, in one order.
    """
    ax = ax or panels(1, (2.8 + 0.34 * len(won), 2.2 + 0.34 * len(won)))[0]
    diagonal, titles = np.eye(len(won), dtype=bool), [method_title(name) for name in won.index]
    share, numbers = (won / settings).mask(diagonal), sure.astype(str).mask(diagonal, "")
    bar = {"label": "share of settings that the row wins", "shrink": 0.6}
    options = dict(vmin=0, vmax=1, cmap="RdBu", linewidths=0.5, cbar_kws=bar, xticklabels=titles, yticklabels=titles)
    sns.heatmap(share, ax=ax, annot=numbers, fmt="", annot_kws={"fontsize": 7}, square=True, **options)
    ax.tick_params(length=0)
    ax.set(title=f"Wins in {settings} settings (number: significant ones)", xlabel="", ylabel="")
    return ax


@style()
def lead_intervals(
    tests: pd.DataFrame, method: str, label: Callable = str, alpha: float = 0.05, ax: Axes | None = None
) -> Axes:
    """``method`` minus the best of all others in each setting, mean ± std over seeds (`against_runner_up`).

    Filled where Holm's adjusted p is below ``alpha``. The rival's name stands at the right; ``label`` names a setting.
    """
    ax = ax or panels(1, (7.6, 0.9 + 0.3 * len(tests)))[0]
    for row, test in enumerate(tests.itertuples()):
        sure = test.holm < alpha
        colour = GREY if not sure else BLUE if test.difference > 0 else RED
        face = colour if sure else "white"
        ax.errorbar(test.difference, row, xerr=test.std, fmt="o", color=colour, markerfacecolor=face, zorder=3)
        where = dict(xycoords=ax.get_yaxis_transform(), va="center", fontsize=7.5, color=colour)
        ax.annotate(f"{signed(test.difference)}  {method_title(test.rival)}", (1.02, row), **where)
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    name_rows([ax], [label(setting) for setting in tests.index])
    title = f"{method_title(method)} against the best other method (filled: p < {alpha:g}, Holm)"
    ax.set(xlabel=AXES["difference"], title=title)
    return ax
