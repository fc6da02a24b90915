"""Transition matrices: C[i, j] = P(label i was turned into label j); rows, the true class, sum to 1 (Fig. 4)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize, SymLogNorm
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from galc.estimators.base import row_errors
from galc.plots.style import BLUE, method_styles, panels, style
from galc.results import matrices as confusion

FLOOR = 1e-3  # smaller probabilities share the darkest colour: symmetric noise of 8 % over 80 classes is just above it


def as_matrix(matrix: ArrayLike, classes: Sequence[str]) -> np.ndarray:
    """(K, K) float64. Raises ``ValueError`` if it is not square of the classes' number."""
    return confusion.checked(matrix, len(classes), "matrix", finite=False)


@style()
def transition_heatmap(
    matrix: ArrayLike,
    classes: Sequence[str],
    ax: Axes | None = None,
    title: str = "",
    groups: Sequence[str] | None = None,
    norm: Normalize | None = None,
    colorbar: bool = True,
    names: str = "xy",
) -> Axes:
    """One (K, K) matrix: rows the true class, columns the noisy class, colours on a log scale from 0.001 to 1.

    ``groups``: one name a class (the supercategory); runs of equal names are parted by lines. Class names are written
    where they can be read (``names``: along which axes), and always shown on hover. ``norm`` is the scale of
    differences, and from blue to red.
    """
    matrix, ax = as_matrix(matrix, classes), ax or panels(1, (8.2, 7.4))[0]
    scale, colours = (LogNorm(FLOOR, 1, clip=True), "viridis") if norm is None else (norm, "RdBu_r")
    sns.heatmap(matrix, norm=scale, cmap=colours, square=True, cbar=False, ax=ax, xticklabels=False, yticklabels=False)
    ax.set(title=title, xlabel="noisy label" * ("x" in names), ylabel="true label" * ("y" in names))
    ax.grid(False)
    write_names(ax, classes, groups, names)

    def at(x: float, y: float) -> str:
        row, column = int(y // 1), int(x // 1)  # a cell reaches from its index to the next
        if not (0 <= row < len(classes) and 0 <= column < len(classes)):
            return ""
        return f"{classes[row]} → {classes[column]}: {matrix[row, column]:.4f}"

    ax.format_coord = at
    if colorbar:
        probability_bar(ax, [ax], shrink=0.8, pad=0.02)
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
    (first, truth), *estimates = matrices.items()
    columns = [(first, truth, "", None)]
    for name, estimate in estimates:
        row, diagonal = row_errors(estimate, truth)
        columns.append((name, estimate, f"minus {first}\nrow L1 {row:.2f}, diagonal {diagonal:.3f}", truth))
    return _over_differences(columns, classes, groups)


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
    columns = []
    for name, (true, estimate) in pairs.items():
        row, diagonal = row_errors(estimate, true)
        columns.append((name, estimate, f"error: row L1 {row:.2f},\ndiagonal {diagonal:.3f}", true))
    return _over_differences(columns, classes, groups)


def _over_differences(columns: Sequence[tuple], classes: Sequence[str], groups: Sequence[str] | None) -> np.ndarray:
    """A column each of (title, matrix, title below, truth): the matrix, and its difference from the truth, if any."""
    axes = np.array(panels(len(columns), (2.5 * len(columns) + 0.8, 6.2), rows=2, layout=None)).reshape(2, -1)
    gaps = [None if truth is None else as_matrix(m, classes) - as_matrix(truth, classes) for _, m, _, truth in columns]
    norm = centred_norm(gap for gap in gaps if gap is not None)
    below = [ax for ax, gap in zip(axes[1], gaps, strict=True) if gap is not None]
    for (upper, lower), gap, (title, matrix, error, _) in zip(axes.T, gaps, columns, strict=True):
        names = "" if upper is not axes[0, 0] else "xy" if gap is None else "y"
        transition_heatmap(matrix, classes, upper, title, groups, colorbar=False, names=names)
        if gap is None:
            lower.axis("off")
        else:
            names = "xy" if lower is below[0] else "x"
            transition_heatmap(gap, classes, lower, error, groups, norm, colorbar=False, names=names)
    axes[0, 0].figure.set_layout_engine("constrained")  # only now: seaborn draws the whole figure for each heatmap
    probability_bar(axes[0, 0], axes[0])
    if below:
        difference_bar(below[0], axes[1])
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
    axes = panels(3, (11.5, 4.1), layout=None) if axes is None else axes
    gap = as_matrix(estimate, classes) - as_matrix(true, classes)
    drawn = ((estimate, title, "xy", None), (true, "true", "x", None), (gap, "difference", "x", centred_norm([gap])))
    for ax, (matrix, name, names, norm) in zip(axes, drawn, strict=True):
        transition_heatmap(matrix, classes, ax, name, groups, norm, colorbar=False, names=names)
    axes[0].figure.set_layout_engine("constrained")
    probability_bar(axes[0], axes[:2], labelpad=-22, shrink=0.85)  # the label between its ticks, not at the next panel
    difference_bar(axes[2], [axes[2]], shrink=0.85)
    return axes


def centred_norm(differences: Iterable[np.ndarray]) -> SymLogNorm:
    """A scale for differences: centred at 0, linear within ± 0.01, as wide as the largest of them (NaN left out)."""
    limit = max([0.02, *(float(np.nanmax(np.abs(d))) for d in differences)])
    return SymLogNorm(0.01, vmin=-limit, vmax=limit)


def probability_bar(drawn: Axes, beside: Sequence[Axes], labelpad: float = 4.0, pad: float = 0.01, **options) -> None:
    """The colour bar of probabilities on the log scale of `transition_heatmap`."""
    bar = drawn.figure.colorbar(drawn.collections[0], ax=beside, pad=pad, **options)
    bar.set_ticks([0.001, 0.01, 0.1, 1], labels=["≤ 0.001", "0.01", "0.1", "1"])
    bar.set_label("probability", labelpad=labelpad)


def difference_bar(drawn: Axes, beside: Sequence[Axes], **options) -> None:
    """The colour bar of differences."""
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    drawn.figure.colorbar(drawn.collections[0], ax=beside, pad=0.01, format=plain, label="difference", **options)


@style()
def transition_row(
    true: ArrayLike,
    estimate: ArrayLike,
    name: str,
    classes: Sequence[str],
    images: str = "",
    most: int = 10,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """Row ``name`` of two matrices (K, K). Left: the share of labels kept. Right: the ``most`` largest other entries.

    The two panels have scales of their own: what is kept is often a hundred times what goes to any one class.
    ``images`` says in words what is behind the row. Returns the two axes (or draws on the given ones). Raises
    ``ValueError`` if a matrix does not fit the classes, or ``name`` is none of them.
    """
    true, estimate = as_matrix(true, classes), as_matrix(estimate, classes)
    if name not in classes:
        raise ValueError(f"no class {name!r}; there are {', '.join(classes)}")
    k = list(classes).index(name)
    axes = panels(2, (10, 2.9), width_ratios=(1, 6)) if axes is None else axes
    targets = confusion.targets(true[k], estimate[k], k, most)
    for ax, shown in zip(axes, (np.array([k]), targets), strict=True):
        places = np.arange(len(shown))
        ax.bar(places - 0.19, estimate[k, shown], 0.36, color=BLUE, label="estimated")
        ax.bar(places + 0.19, true[k, shown], 0.36, color="white", edgecolor="#222222", hatch="////", label="true")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.grid(axis="x", visible=False)
        turned = {} if len(shown) == 1 else {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(places, [classes[j] for j in shown], **turned)
    left, right = axes
    left.set(title="kept", ylabel="entry of C", xlim=(-0.6, 0.6))
    right.set(title=f"{name} turned into" + (f" ({images})" if images else ""))
    right.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return axes


@style()
def diagonal_scatter(
    truth: ArrayLike, estimates: Mapping[str, ArrayLike], sizes: ArrayLike, classes: Sequence[str]
) -> Sequence[Axes]:
    """C_kk, the share of labels of class k that were kept, against the class's size: one panel an estimator.

    ``truth`` and each estimate: (K, K); ``sizes``: (K,) labels of each class. Black dashes are the truth, the titles
    give the mean diagonal error, the three classes that are farthest off are named.
    """
    sizes, kept = np.asarray(sizes, dtype=float), as_matrix(truth, classes).diagonal()
    axes, looks = panels(len(estimates), (2.9 * len(estimates) + 0.4, 3.2), sharey=True), method_styles(estimates)
    for ax, (name, estimate) in zip(axes, estimates.items(), strict=True):
        values, look = as_matrix(estimate, classes).diagonal(), looks[name]
        ax.vlines(sizes, kept, values, color="#d9d9d9", linewidth=0.8, zorder=1)
        ax.plot(sizes, kept, "_", color="black", markersize=6, label="true C")
        mark = dict(marker=look.marker, linestyle="", color=look.colour, markersize=4)
        ax.plot(sizes, values, label="estimate", **mark)
        for k in np.argsort(-np.abs(values - kept))[:3]:
            where = dict(xytext=(4, 0), textcoords="offset points", va="center")
            ax.annotate(classes[k], (sizes[k], values[k]), fontsize=6.5, **where)
        ax.set(xscale="log", xlabel="labels of the class", title=f"{name}\nerror {row_errors(estimate, truth)[1]:.3f}")
    axes[0].set_ylabel("share of labels kept, C$_{kk}$")
    axes[0].legend()
    return axes
