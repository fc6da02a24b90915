"""Labels and their noise: pictures with wrong labels marked (Fig. 1), class by class, and what scores mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from galc.plots.style import BLUE, GREY, RED, method_style, name_classes, panels, style

if TYPE_CHECKING:
    from galc.noise import Changes

MARKS = {  # of labels under a picture: what is written before the name, and how
    "kept": ("", {"color": "#333333"}),
    "lost": ("", {"color": RED}),
    "wrong": ("+ ", {"color": RED, "weight": "bold"}),
}


class StruckOut(Annotation):
    """An annotation with a line through it."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the text, then the line through its middle."""
        super().draw(renderer)
        box, gc = self.get_window_extent(renderer), renderer.new_gc()
        gc.set_foreground(self.get_color())
        gc.set_linewidth(renderer.points_to_pixels(0.9))
        middle = box.y0 + 0.46 * box.height
        path = plt.matplotlib.path.Path([(box.x0, middle), (box.x1, middle)])
        renderer.draw_path(gc, path, plt.matplotlib.transforms.IdentityTransform())
        gc.restore()


@style()
def label_montage(
    images: Sequence[ArrayLike | str | Path],
    clean: ArrayLike,
    noisy: ArrayLike,
    classes: Sequence[str],
    columns: int = 4,
) -> Sequence[Axes]:
    """Fig. 1: pictures with their noisy labels. Kept: grey. Lost: red, struck out. Wrong: red, bold, "+" before it.

    ``images``: n arrays (H, W, 3) uint8, or files. ``clean`` and ``noisy``: (n, K) bool. Returns one axes a picture.
    Raises ``ValueError`` if the shapes do not fit together.
    """
    clean, noisy = np.asarray(clean, dtype=bool), np.asarray(noisy, dtype=bool)
    if clean.shape != noisy.shape or clean.shape != (len(images), len(classes)):
        raise ValueError(
            f"{len(images)} images and {len(classes)} classes, but clean labels {clean.shape}, noisy {noisy.shape}"
        )
    columns = min(columns, len(images))
    rows, most = -(-len(images) // columns), int((clean | noisy).sum(1).max())
    axes = panels(columns, (2.1 * columns, (2.1 + 0.15 * most) * rows), rows)
    for ax in axes:
        ax.axis("off")
        ax.set_anchor("N")
    for ax, image, before, after in zip(axes, images, clean, noisy, strict=False):
        ax.imshow(plt.imread(image) if isinstance(image, str | Path) else np.asarray(image))
        parts = {"kept": before & after, "lost": before & ~after, "wrong": after & ~before}
        marks = [(classes[k], mark) for mark, part in parts.items() for k in np.flatnonzero(part)]
        for line, (name, mark) in enumerate(marks):
            start, look = MARKS[mark]
            place = dict(xy=(0, 0), xycoords="axes fraction", xytext=(1, -4 - 10.5 * line), textcoords="offset points")
            kind = StruckOut if mark == "lost" else Annotation
            ax.add_artist(
                kind(start + name, va="top", fontsize=8, clip_on=False, annotation_clip=False, **place, **look)
            )
    return axes[: len(images)]


@style()
def label_statistics(labels: ArrayLike | Mapping[str, ArrayLike], classes: Sequence[str]) -> Sequence[Axes]:
    """How often each class occurs (log scale), and how many labels an image has. Returns the two axes.

    ``labels``: (N, K) bool, or several named ones ({"clean": ..., "noisy": ...}) to compare; classes are sorted by
    their frequency in the first.
    """
    sets = labels if isinstance(labels, Mapping) else {"": labels}
    sets = {name: np.asarray(array, dtype=bool) for name, array in sets.items()}
    left, right = panels(2, (11.5, 3.8), width_ratios=(4, 1))
    first = next(iter(sets.values()))
    order = np.argsort(-first.sum(0), kind="stable")
    most = int(max(array.sum(1).max() for array in sets.values()))
    for (name, array), colour, marker, line in zip(
        sets.items(), (BLUE, RED, GREY), "o^s", ("-", "--", ":"), strict=False
    ):
        left.plot(range(len(classes)), array.sum(0)[order], marker, color=colour, label=name, markersize=4)
        shares = 100 * np.bincount(array.sum(1), minlength=most + 1) / len(array)
        title = f"{name + ': ' if name else ''}mean {array.sum(1).mean():.2f}"
        right.stairs(shares, np.arange(most + 2) - 0.5, color=colour, label=title, linewidth=1.6, ls=line)
    floor = 0.6 * max(1, min(array.sum(0).min() for array in sets.values()))
    left.vlines(range(len(classes)), floor, first.sum(0)[order], color="#d9d9d9", linewidth=1.5, zorder=1)
    left.set(yscale="log", ylabel="images", title=f"Images of each class (of {len(first):,})")
    left.set_ylim(floor, None)
    name_classes(left, [classes[k] for k in order])
    right.set(xlabel="labels of an image", ylabel="images (%)", title="Labels of an image")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.legend()
    if len(sets) > 1:
        left.legend()
    return left, right


@style()
def calibration_curve(
    scores: Mapping[str, ArrayLike],
    labels: ArrayLike,
    theory: tuple[ArrayLike, ArrayLike] | None = None,
    bins: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """What a score means: how often a label is present (%) where the classifier says p, ± 2 standard errors.

    ``scores``: {"ASL output p": (N, K), "calibrated q": (N, K)} in [0, 1]; ``labels``: (N, K) bool; bins of equal
    width, those with fewer than 20 entries are left out. ``theory``: (p, q) arrays of the expected curve of the first.
    """
    ax, truth = ax or panels(1, (4.6, 4.2))[0], np.asarray(labels, dtype=bool).ravel()
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":", label="perfect")
    if theory is not None:
        ax.plot(*map(np.asarray, theory), color=method_style("asl").colour, linewidth=1.2, label="theory", zorder=2)
    for (name, values), colour, marker in zip(scores.items(), (RED, BLUE, GREY), "o^s", strict=False):
        values = np.asarray(values, dtype=float).ravel()
        place = np.minimum((values * bins).astype(int), bins - 1)
        count = np.bincount(place, minlength=bins)
        kept = count >= 20
        mean, rate = (np.bincount(place, part, minlength=bins)[kept] / count[kept] for part in (values, truth))
        error = 2 * np.sqrt(rate * (1 - rate) / count[kept])
        ax.errorbar(mean, rate, error, fmt=marker, color=colour, elinewidth=0.8, label=name, zorder=3)
    ax.set(xlabel="score", ylabel="share of labels that are present", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return ax


# --- what noise did: `galc.noise.Changes` ----------------------------------------------------------------------


@style()
def noise_by_class(changes: Changes, classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """The share of each class's clean labels that are gone, beside the share of its noisy labels that are wrong (%).

    Frequent classes first; dashed lines are the shares of all labels. A class without labels has no bar.
    Raises ``ValueError`` if the number of classes differs.
    """
    labels, gone, wrong = (np.asarray(part, dtype=float) for part in (changes.labels, changes.removed, changes.added))
    if len(labels) != len(classes):
        raise ValueError(f"changes of {len(labels)} classes do not fit {len(classes)} names")
    ax, order, place = ax or panels(1, (11.5, 3.4))[0], np.argsort(-labels, kind="stable"), np.arange(len(labels))
    bars = (
        ("removed: clean labels that are gone", gone, changes.labels_removed, RED, -0.2),
        ("added: noisy labels that are wrong", wrong, changes.labels_added, BLUE, 0.2),
    )
    for name, shares, mean, colour, shift in bars:
        ax.bar(place + shift, 100 * shares[order], 0.4, color=colour, label=f"{name}, {100 * mean:.1f} % of all")
        ax.axhline(100 * mean, color=colour, linewidth=1, linestyle="--")
    name_classes(ax, [classes[k] for k in order])
    ax.set(ylim=(0, 100), ylabel="labels (%)", title="Noise of each class, the most frequent first")
    ax.legend(loc="lower left", bbox_to_anchor=(0.3, 1), ncols=2, borderaxespad=0.2)
    return ax


@style()
def requested_vs_observed(requested: Changes, observed: Changes, classes: Sequence[str]) -> Sequence[Axes]:
    """Whether injected noise is what one asked for: `galc.noise.Noise.expected` against `changes` beside it.

    Left: the share of each class's labels that were kept. Right: the wrong labels that each class received; frequent
    classes receive fewer by flips, for no label flips onto a present one. The grey funnel (± 2 standard deviations of
    that many independent labels) is what chance explains. Returns the two axes.
    """
    sizes = np.maximum(np.asarray(requested.labels, dtype=float), 1)
    lost, seen_lost, gained, seen_gained = (
        np.asarray(part, dtype=float) for part in (requested.lost, observed.lost, requested.gained, observed.gained)
    )
    rate, expected = lost / sizes, np.maximum(gained, 1e-9)
    excess = np.where(gained > 0, 100 * (seen_gained / expected - 1), 0)
    widths = 2 * np.sqrt(rate * (1 - rate) / sizes), np.where(gained > 0, 200 / np.sqrt(expected), 0)
    left, right = panels(2, (8.4, 3.3))
    left.set(ylabel="observed − requested share", title="Share of labels kept")
    right.set(ylabel="observed / requested − 1 (%)", title="Wrong labels received")
    for k in np.flatnonzero(np.abs(excess) > 1.5 * widths[1])[:5]:
        right.annotate(classes[k], (sizes[k], excess[k]), (-5, 0), textcoords="offset points", ha="right", va="center")
    order, look = np.argsort(sizes), method_style("galc-slr")
    for ax, gaps, funnel in zip((left, right), ((lost - seen_lost) / sizes, excess), widths, strict=True):
        ax.plot(sizes, gaps, marker=look.marker, linestyle="", color=look.colour, label="one class")
        funnel = dict(y1=-funnel[order], y2=funnel[order], label="± 2 sd")
        ax.fill_between(sizes[order], **funnel, color=GREY, alpha=0.18, linewidth=0)
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xscale="log", xlabel="clean labels of the class")
    left.legend()
    return left, right
