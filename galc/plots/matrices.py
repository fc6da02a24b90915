"""Transition matrices: C[i, j] = P(label i was turned into label j); rows, the true class, sum to 1 (Fig. 4)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from galc.plots.style import method_styles, style
from galc.results.matrices import row_errors

FLOOR = 1e-3  # smaller probabilities share the darkest colour: symmetric noise of 8 % over 80 classes is just above it


def as_matrix(matrix: ArrayLike, classes: Sequence[str]) -> np.ndarray:
    """(K, K) float64. Raises ``ValueError`` if it is not square of the classes' number."""
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(classes), len(classes)):
        raise ValueError(f"a matrix of shape {matrix.shape} does not fit {len(classes)} classes")
    return matrix


@style()
def transition_heatmap(
    matrix: ArrayLike,
    classes: Sequence[str],
    ax: Axes | None = None,
    title: str = "",
    groups: Sequence[str] | None = None,
    norm: Normalize | None = None,
    cmap: str = "viridis",
    colorbar: bool = True,
    names: str = "xy",
) -> Axes:
    """One (K, K) matrix: rows the true class, columns the noisy class, colours on a log scale from 0.001 to 1.

    ``groups``: one name a class (the supercategory); runs of equal names are parted by lines. Class names are written
    where they can be read (``names``: along which axes), and always shown on hover. ``norm`` and ``cmap`` replace the
    scale (for differences).
    """
    matrix = as_matrix(matrix, classes)
    if ax is None:
        _, ax = plt.subplots(figsize=(8.2, 7.4), layout="constrained")
    scale = norm or LogNorm(FLOOR, 1, clip=True)
    sns.heatmap(matrix, norm=scale, cmap=cmap, square=True, cbar=False, ax=ax, xticklabels=False, yticklabels=False)
    ax.set(title=title, xlabel="noisy label", ylabel="true label")
    ax.grid(False)
    write_names(ax, classes, groups, names)

    def at(x: float, y: float) -> str:
        row, column = int(y // 1), int(x // 1)  # a cell reaches from its index to the next
        if not (0 <= row < len(classes) and 0 <= column < len(classes)):
            return ""
        return f"{classes[row]} → {classes[column]}: {matrix[row, column]:.4f}"

    ax.format_coord = at
    if colorbar:
        bar = ax.figure.colorbar(ax.collections[0], ax=ax, shrink=0.8, pad=0.02, label="probability")
        if norm is None:
            bar.set_ticks([0.001, 0.01, 0.1, 1], labels=["≤ 0.001", "0.01", "0.1", "1"])
    return ax


def write_names(ax: Axes, classes: Sequence[str], groups: Sequence[str] | None, along: str = "xy") -> None:
    """Class names: all where a row is at least 4 points high, else the groups, or every n-th class without any.

    Groups are parted by lines, too. ``along``: the axes that get names, "xy", "x", "y" or "".
    """
    runs = [(name, len(list(run))) for name, run in groupby(groups or [])]
    stops = np.cumsum([length for _, length in runs], dtype=int)
    for stop in stops[:-1]:
        ax.axhline(stop, color="white", linewidth=0.4)
        ax.axvline(stop, color="white", linewidth=0.4)
    height = 0.95 * ax.get_window_extent().height * 72 / ax.figure.dpi / len(classes)  # of a row, in points
    if height < 4 and groups:
        places, names = stops - np.array([length for _, length in runs]) / 2, [name for name, _ in runs]
    else:
        shown = np.arange(0, len(classes), 1 if height >= 4 else int(-(-6 // height)))
        places, names = shown + 0.5, [classes[k] for k in shown]
    size = min(8.0, height) if height >= 4 else 6.0
    if "y" in along:
        ax.set_yticks(places, names, fontsize=size)
    if "x" in along:
        ax.set_xticks(places, names, fontsize=size, rotation=90)
    ax.tick_params(length=0, pad=1)


@style()
def transition_comparison(
    matrices: Mapping[str, ArrayLike],
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """Fig. 4: the first matrix (the truth) beside the estimates; below each estimate its difference from the truth.

    The upper row shares one log scale, the lower one a diverging scale centred at 0, linear within ± 0.01. Each
    estimate's title gives its mean row L1 error and its mean diagonal error. Returns the (2, n) axes.
    """
    names = list(matrices)
    truth = as_matrix(matrices[names[0]], classes)
    figure, axes = plt.subplots(2, len(names), figsize=(2.5 * len(names) + 0.8, 6.2), squeeze=False)
    differences = {name: as_matrix(matrices[name], classes) - truth for name in names[1:]}
    centred = centred_norm(differences.values())
    for column, name in enumerate(names):
        drawn = {"groups": groups, "colorbar": False}
        transition_heatmap(matrices[name], classes, axes[0, column], name, names="" if column else "xy", **drawn)
        if column:
            row_error, diagonal_error = row_errors(matrices[name], truth)
            below = f"minus {names[0]}\nrow L1 {row_error:.2f}, diagonal {diagonal_error:.3f}"
            drawn |= {"norm": centred, "cmap": "RdBu_r", "names": "x" if column > 1 else "xy"}
            transition_heatmap(differences[name], classes, axes[1, column], below, **drawn)
    figure.set_layout_engine("constrained")  # not before: seaborn draws the whole figure for each heatmap
    for ax in (*axes[0, 1:], *axes[1, 2:]):
        ax.set_ylabel("")
    for ax in axes[0, 1:]:
        ax.set_xlabel("")
    axes[1, 0].axis("off")
    probability_bar(axes[0, 0], axes[0, :])
    if differences:
        difference_bar(axes[1, 1], axes[1, :])
    return axes


@style()
def transition_panels(
    true: ArrayLike,
    estimate: ArrayLike,
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
    title: str = "estimated",
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """The estimate, the truth, and their difference beside each other; entries that are NaN are left out.

    Scales as in `transition_comparison`. Returns the three axes (or draws on the given ones).
    """
    true, estimate = as_matrix(true, classes), as_matrix(estimate, classes)
    if axes is None:
        _, axes = plt.subplots(1, 3, figsize=(11.5, 4.1))
    drawn = {"groups": groups, "colorbar": False}
    norm = centred_norm([estimate - true])
    transition_heatmap(estimate, classes, axes[0], title, **drawn)
    transition_heatmap(true, classes, axes[1], "true", names="x", **drawn)
    transition_heatmap(estimate - true, classes, axes[2], "difference", norm=norm, cmap="RdBu_r", names="x", **drawn)
    axes[0].figure.set_layout_engine("constrained")
    for ax in axes[1:]:
        ax.set_ylabel("")
    probability_bar(axes[0], axes[:2], shrink=0.85, labelpad=-22)  # the label between its ticks, not at the next panel
    difference_bar(axes[2], axes[2], shrink=0.85)
    return axes


@style()
def transition_levels(
    pairs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """One estimator at several noise levels, {"40 % flipped": (true, estimate)}: estimates above, their errors below.

    Scales and titles as in `transition_comparison`; each estimate is held against the truth of its own level. Returns
    the (2, n) axes.
    """
    figure, axes = plt.subplots(2, len(pairs), figsize=(2.5 * len(pairs) + 0.8, 6.2), squeeze=False)
    norm = centred_norm([as_matrix(b, classes) - as_matrix(a, classes) for a, b in pairs.values()])
    for column, (name, (true, estimate)) in enumerate(pairs.items()):
        true, estimate = as_matrix(true, classes), as_matrix(estimate, classes)
        along = "" if column else "y"
        row_error, diagonal_error = row_errors(estimate, true)
        below = f"error: row L1 {row_error:.2f},\ndiagonal {diagonal_error:.3f}"
        drawn = {"groups": groups, "colorbar": False}
        transition_heatmap(estimate, classes, axes[0, column], name, names=along, **drawn)
        drawn |= {"norm": norm, "cmap": "RdBu_r", "names": along + "x"}
        transition_heatmap(estimate - true, classes, axes[1, column], below, **drawn)
    figure.set_layout_engine("constrained")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    for ax in axes[0]:
        ax.set_xlabel("")
    probability_bar(axes[0, 0], axes[0, :])
    difference_bar(axes[1, 0], axes[1, :])
    return axes


def centred_norm(differences: Iterable[np.ndarray]) -> SymLogNorm:
    """A scale for differences: centred at 0, linear within ± 0.01, as wide as the largest of them (NaN left out)."""
    limit = max([0.02, *(float(np.nanmax(np.abs(d))) for d in differences)])
    return SymLogNorm(0.01, vmin=-limit, vmax=limit)


def probability_bar(drawn: Axes, beside: Sequence[Axes], shrink: float = 1.0, labelpad: float = 4.0) -> None:
    """The colour bar of probabilities on the log scale of `transition_heatmap`."""
    bar = drawn.figure.colorbar(drawn.collections[0], ax=beside, pad=0.01, shrink=shrink)
    bar.set_ticks([0.001, 0.01, 0.1, 1], labels=["≤ 0.001", "0.01", "0.1", "1"])
    bar.set_label("probability", labelpad=labelpad)


def difference_bar(drawn: Axes, beside: Axes | Sequence[Axes], shrink: float = 1.0) -> None:
    """The colour bar of differences."""
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    bar = drawn.figure.colorbar(drawn.collections[0], ax=beside, pad=0.01, shrink=shrink, format=plain)
    bar.set_label("difference")


@style()
def diagonal_scatter(
    truth: ArrayLike, estimates: Mapping[str, ArrayLike], sizes: ArrayLike, classes: Sequence[str]
) -> Sequence[Axes]:
    """C_kk, the share of labels of class k that were kept, against the class's size: one panel an estimator.

    ``truth`` and each estimate: (K, K); ``sizes``: (K,) labels of each class. Black dashes are the truth, the titles
    give the mean diagonal error, the three classes that are farthest off are named.
    """
    sizes, kept = np.asarray(sizes, dtype=float), as_matrix(truth, classes).diagonal()
    _, axes = plt.subplots(
        1, len(estimates), figsize=(2.9 * len(estimates) + 0.4, 3.2), sharey=True, layout="constrained", squeeze=False
    )
    looks = method_styles(estimates)
    for ax, (name, estimate) in zip(axes[0], estimates.items(), strict=True):
        _, colour, marker = looks[name]
        values = as_matrix(estimate, classes).diagonal()
        ax.vlines(sizes, kept, values, color="#d9d9d9", linewidth=0.8, zorder=1)
        ax.plot(sizes, kept, "_", color="black", markersize=6, label="true C")
        ax.plot(sizes, values, marker=marker, color=colour, linestyle="", markersize=4, label="estimate")
        for k in np.argsort(-np.abs(values - kept))[:3]:
            ax.annotate(
                classes[k], (sizes[k], values[k]), (4, 0), textcoords="offset points", fontsize=6.5, va="center"
            )
        ax.set(xscale="log", xlabel="labels of the class", title=f"{name}\nerror {row_errors(estimate, truth)[1]:.3f}")
    axes[0, 0].set_ylabel("share of labels kept, C$_{kk}$")
    axes[0, 0].legend()
    return axes[0]
