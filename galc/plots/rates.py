"""Shares of wrong and of missing labels, class by class, with their intervals."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from galc.plots.style import BLUE, RED, style

LONG = 40  # letters of a name that are written
SHOWN = {"wrong": ("of the given labels are wrong", RED), "missing": ("of the true labels are missing", BLUE)}


@style()
def rate_intervals(rates: pd.DataFrame, most: int = 40) -> Sequence[Axes]:
    """A dot a class with its interval, wrong and missing labels side by side; the worst class on top.

    ``rates``: one row a class with the columns class, given (number of labels), and wrong, wrong_low, wrong_high,
    missing, missing_low, missing_high, as fractions. Of more than ``most`` classes those with the most labels are
    shown, and the title says so. Returns the two axes.
    """
    often = rates.nlargest(most, "given")
    shown = often.sort_values("wrong", kind="stable")
    places = range(len(shown))
    size = (9.5, 1.2 + 0.16 * len(shown))
    _, axes = plt.subplots(1, 2, figsize=size, sharex=True, sharey=True, layout="constrained")
    for ax, (name, (words, colour)) in zip(axes, SHOWN.items(), strict=True):
        rate, low, high = (100 * shown[name + end] for end in ("", "_low", "_high"))
        ax.hlines(places, low, high, color=colour, alpha=0.35, linewidth=3)
        ax.plot(rate, places, "o", color=colour, markersize=4)
        ax.set(xlabel=f"% {words} (bar: 90 % interval)", xlim=(-2, 102), ylim=(-0.7, len(shown) - 0.3))
        ax.set_title(f"{name.capitalize()}, {_of(len(shown), len(rates))}")
    names = [name if len(name) <= LONG else name[: LONG - 1] + "…" for name in map(str, shown["class"])]
    axes[0].set_yticks(places, names, fontsize=7, parse_math=False)  # a name with two $ is no formula
    return axes


def _of(shown: int, number: int) -> str:
    classes = "class" if number == 1 else "classes"
    return f"{number} {classes}" if shown == number else f"the {shown} of {number} classes with the most labels"
