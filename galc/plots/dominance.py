"""Many methods over many settings: mean ranks with their critical difference, and who beats whom how often."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from galc.plots.style import BLUE, GREY, method_style, method_title, style
from galc.results.significance import Ranks


@style()
def rank_intervals(ranks: Ranks, ax: Axes | None = None) -> Axes:
    """Mean ranks (`galc.results.significance.ranks`), best at the top; two methods whose bars overlap are not told
    apart.

    Each bar is its rank ± half of Nemenyi's critical difference: what a critical-difference diagram says (Demšar
    2006), in a form that stays legible with thirty methods. The grey band is the bar of the best.
    """
    mean, half = ranks.mean, ranks.critical / 2
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 0.9 + 0.27 * len(mean)), layout="constrained")
    ax.axvspan(mean.iloc[0] - half, mean.iloc[0] + half, color="#ececec", zorder=0)
    for row, (name, rank) in enumerate(mean.items()):
        look = method_style(str(name))
        ax.plot([rank - half, rank + half], [row, row], color=look.colour, linewidth=1.4)
        ax.plot(rank, row, marker=look.marker, color=look.colour, markersize=6)
        ax.annotate(f"{rank:.1f}", (rank, row), (0, 5), textcoords="offset points", ha="center", fontsize=7)
    ax.set_yticks(range(len(mean)), [method_title(name) for name in mean.index])
    ax.set_ylim(len(mean) - 0.4, -0.8)
    ax.grid(axis="y", visible=False)
    title = f"{ranks.settings} settings; critical difference {ranks.critical:.2f}"
    ax.set(xlabel="mean rank (1: always the best)", title=title)
    return ax


@style()
def dominance_matrix(won: pd.DataFrame, sure: pd.DataFrame, settings: int, ax: Axes | None = None) -> Axes:
    """Share of ``settings`` in which the method of the row beats that of the column
    (`galc.results.significance.dominance`).

    Blue: the row wins; red: the column does. The number is how many settings the row wins by more than the spread of
    the seeds. Both frames have methods as rows and columns, in one order.
    """
    count = len(won)
    if ax is None:
        side = 2.2 + 0.34 * count
        _, ax = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    share = (won / settings).to_numpy(dtype=float, copy=True)
    np.fill_diagonal(share, np.nan)
    titles = [method_title(name) for name in won.index]
    numbers = sure.astype(str).to_numpy(copy=True)
    np.fill_diagonal(numbers, "")
    bar = {"label": "share of settings that the row wins", "shrink": 0.6}
    options = dict(vmin=0, vmax=1, cmap="RdBu", linewidths=0.5, cbar_kws=bar)
    sns.heatmap(share, ax=ax, annot=numbers, fmt="", annot_kws={"fontsize": 7}, square=True, **options)
    ax.set_xticks(np.arange(count) + 0.5, titles, rotation=90)
    ax.set_yticks(np.arange(count) + 0.5, titles, rotation=0)
    ax.tick_params(length=0)
    ax.set_title(f"Wins in {settings} settings (number: significant ones)")
    return ax


@style()
def lead_intervals(tests: pd.DataFrame, method: str, label=str, alpha: float = 0.05, ax: Axes | None = None) -> Axes:
    """``method`` minus the best of all others in each setting, mean ± std over seeds (`against_runner_up`).

    Filled where Holm's adjusted p is below ``alpha``. The rival's name stands at the right; ``label`` names a setting.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.6, 0.9 + 0.3 * len(tests)), layout="constrained")
    for row, test in enumerate(tests.itertuples()):
        sure = test.holm < alpha
        colour = GREY if not sure else BLUE if test.difference > 0 else "#d55e00"
        face = colour if sure else "white"
        ax.errorbar(test.difference, row, xerr=test.std, fmt="o", color=colour, markerfacecolor=face, zorder=3)
        where = dict(xycoords=ax.get_yaxis_transform(), va="center", fontsize=7.5, color=colour)
        number = f"{test.difference:+.1f}".replace("-", "−")
        ax.annotate(f"{number}  {method_title(test.rival)}", (1.02, row), **where)
    ax.axvline(0, color="black", linewidth=0.8, zorder=1)
    ax.set_yticks(range(len(tests)), [label(setting) for setting in tests.index])
    ax.set_ylim(len(tests) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    title = f"{method_title(method)} against the best other method (filled: p < {alpha:g}, Holm)"
    ax.set(xlabel="difference in mAP (points)", title=title)
    return ax
