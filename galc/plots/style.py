"""How every figure looks: one colour and marker a method, the same in all figures, for colour-blind readers too."""

import io
import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from galc.methods.base import METHODS
from galc.results.groups import method_row

STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "figure.dpi": 110,
    "font.size": 9,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "image.cmap": "viridis",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "savefig.bbox": "tight",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}

# Okabe and Ito's colours and shades of them: told apart in print and by colour-blind readers, the marker besides.
RED, BLUE, GREY = "#d55e00", "#0072b2", "#6b6b6b"
AXES = {
    "mAP": "mAP on the clean test set (%)",
    "difference": "difference in mAP (points)",
    "row_l1": "mean row L1 error of C",
    "C_row_l1": "mean row L1 error of C",
    "ECE": "expected calibration error (%)",
}
# for what is no method of the study, in this order
FREE = ["galc-plus", "galc-slr", "asl", "bce", "asl-no-dropout", "galc-slr-literal", "bce-everything"]


class Look(NamedTuple):
    """How one method is drawn in every figure."""

    title: str
    colour: str
    marker: str


@contextmanager
def style() -> Iterator[None]:
    """The study's Matplotlib settings, as a context manager or decorator: ``with plots.style(): ...``.

    It restores these settings alone. ``matplotlib.rc_context`` would also undo what a notebook's backend sets when
    it draws its first figure, and every later figure would not be shown.
    """
    before = {name: mpl.rcParams[name] for name in STYLE}
    mpl.rcParams.update(STYLE)
    try:
        yield
    finally:
        mpl.rcParams.update(before)


def method_style(name: object) -> Look:
    """Title, colour and marker of a method by its name or the paper's ("ASL"); an unknown one gets a fixed guess."""
    looks = [row.look for row in METHODS.values()]
    return known_style(name) or Look(str(name), *looks[zlib.crc32(str(name).encode()) % len(looks)])


def known_style(name: object) -> Look | None:
    row = method_row(name)
    return Look(row.title, *row.look) if row else None


def method_styles(names: Iterable[str]) -> dict[str, Look]:
    """The looks of all names in one figure: no two alike while there are enough; a method of the study has its own."""
    found = {name: known_style(name) for name in names}
    taken = [look[1:] for look in found.values() if look]
    unused = [METHODS[name].look for name in FREE if METHODS[name].look not in taken]
    free = itertools.cycle(unused or [row.look for row in METHODS.values()])
    return {name: look or Look(name, *next(free)) for name, look in found.items()}


# --- what figures share ----------------------------------------------------------------------------------------------


def panels(count: int, size: tuple[float, float], rows: int = 1, layout: str | None = "constrained", **options) -> list:
    """The axes of a new figure, ``count`` in each of ``rows`` rows; ``size`` in inches."""
    _, axes = plt.subplots(rows, count, figsize=size, layout=layout, squeeze=False, **options)
    return list(axes.flat)


def name_rows(axes: Sequence[Axes], names: Sequence[str], above: float = 0.6) -> None:
    """Rows that stand for something, the first on top: their names at the left, room ``above``, no lines along them."""
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(max(len(names), 1) - 0.4, -above)
    for ax in axes:
        ax.grid(axis="y", visible=False)


def name_classes(ax: Axes, names: Sequence[str]) -> None:
    """Classes along the horizontal axis, upright, and no lines across."""
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    ax.set_xmargin(0.01)
    ax.grid(axis="x", visible=False)


def band(ax: Axes, curve: pd.DataFrame, look: Look, x: ArrayLike | None = None, **line) -> tuple:
    """A line through the means of a curve (`galc.results.groups.over_seeds`), ± std as a band around it.

    ``x``: places on the axis, instead of the curve's index. Returns the end of the line for `label_ends`.
    """
    x, mean = np.asarray(curve.index if x is None else x), curve["mean"].to_numpy()
    ax.plot(x, mean, color=look.colour, **{"marker": look.marker, "label": look.title, "zorder": 3} | line)
    ax.fill_between(x, mean - curve["std"], mean + curve["std"], color=look.colour, alpha=0.18, linewidth=0)
    return x[-1], mean[-1], look.title, look.colour


def write_number(ax: Axes, x: float, row: float, text: str, colour: str, below: bool = False) -> None:
    """A number above its marker, or below it."""
    place = dict(xytext=(0, -8 if below else 4.5), va="top" if below else "bottom", ha="center")
    ax.annotate(text, (x, row), textcoords="offset points", fontsize=7, color=colour, **place)


def label_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]], size: float = 8) -> None:
    """Write each line's name beside its right end, moved apart where they would overlap.

    ``ends`` holds (x, y, text, colour) in data coordinates. The axes' limits must be final: they set the distances.
    """
    low, high = ax.get_ylim()
    height = ax.get_window_extent().height * 72 / ax.figure.dpi
    ends = sorted(ends, key=lambda end: end[1])
    heights = spread([end[1] for end in ends], 1.3 * size * (high - low) / height)
    for (x, y, text, colour), where in zip(ends, heights, strict=True):
        ax.annotate(
            text,
            xy=(x, y),
            xytext=(1.05, where),
            textcoords=ax.get_yaxis_transform(),
            color=colour,
            fontsize=size,
            va="center",
            arrowprops=dict(arrowstyle="-", color=colour, linewidth=0.5, shrinkA=0, shrinkB=3, relpos=(0, 0.5)),
        )


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move sorted heights apart to at least ``gap``: those that would overlap are stacked around their mean."""
    groups: list[tuple[float, int]] = []
    for height in heights:
        centre, count = height, 1
        while groups and centre - groups[-1][0] < gap * (count + groups[-1][1]) / 2:
            other, others = groups.pop()
            centre, count = (centre * count + other * others) / (count + others), count + others
        groups.append((centre, count))
    return [c + gap * (i - (n - 1) / 2) for c, n in groups for i in np.arange(n)]


def rendered(figure: Figure, kind: str = "png") -> bytes:
    """A figure as the content of a PNG or SVG file."""
    with style():
        figure.savefig(buffer := io.BytesIO(), format=kind, dpi=110 if kind == "png" else 250)
    return buffer.getvalue()
