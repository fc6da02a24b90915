"""Labels and their noise: pictures with wrong labels marked (Fig. 1), class frequencies, calibration."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from galc.plots.style import BLUE, GREY, LOOKS, RED, style


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
    _, axes = plt.subplots(
        rows, columns, figsize=(2.1 * columns, (2.1 + 0.15 * most) * rows), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
        ax.set_anchor("N")
    for ax, image, before, after in zip(axes.flat, images, clean, noisy, strict=False):
        ax.imshow(plt.imread(image) if isinstance(image, str | Path) else np.asarray(image))
        marks = [(k, "kept") for k in np.flatnonzero(before & after)]
        marks += [(k, "lost") for k in np.flatnonzero(before & ~after)]
        marks += [(k, "wrong") for k in np.flatnonzero(after & ~before)]
        for line, (k, mark) in enumerate(marks):
            write_label(ax, classes[k], mark, line)
    return axes.flat[: len(images)]


def write_label(ax: Axes, name: str, mark: str, line: int) -> None:
    """Write one label under a picture, as the given line of its list."""
    look = {
        "kept": {"color": "#333333"},
        "lost": {"color": RED},
        "wrong": {"color": RED, "weight": "bold"},
    }[mark]
    kind = StruckOut if mark == "lost" else Annotation
    text = kind(
        f"+ {name}" if mark == "wrong" else name,
        xy=(0, 0),
        xycoords="axes fraction",
        xytext=(1, -4 - 10.5 * line),
        textcoords="offset points",
        va="top",
        fontsize=8,
        clip_on=False,
        annotation_clip=False,
        **look,
    )
    ax.add_artist(text)


@style()
def label_statistics(labels: ArrayLike | Mapping[str, ArrayLike], classes: Sequence[str]) -> Sequence[Axes]:
    """How often each class occurs (log scale), and how many labels an image has. Returns the two axes.

    ``labels``: (N, K) bool, or several named ones ({"clean": ..., "noisy": ...}) to compare; classes are sorted by
    their frequency in the first.
    """
    sets = labels if isinstance(labels, Mapping) else {"": labels}
    sets = {name: np.asarray(array, dtype=bool) for name, array in sets.items()}
    _, (left, right) = plt.subplots(1, 2, figsize=(11.5, 3.8), width_ratios=(4, 1), layout="constrained")
    first = next(iter(sets.values()))
    order = np.argsort(-first.sum(0), kind="stable")
    most = int(max(array.sum(1).max() for array in sets.values()))
    looks = zip((BLUE, RED, GREY), "o^s", ("-", "--", ":"), strict=True)
    for (name, array), (colour, marker, line) in zip(sets.items(), looks, strict=False):
        counts, sizes = array.sum(0)[order], np.bincount(array.sum(1), minlength=most + 1)
        left.plot(np.arange(len(classes)), counts, marker, color=colour, label=name, markersize=4)
        title = f"{name + ': ' if name else ''}mean {array.sum(1).mean():.2f}"
        right.stairs(
            100 * sizes / len(array), np.arange(most + 2) - 0.5, color=colour, label=title, linewidth=1.6, ls=line
        )
    floor = 0.6 * max(1, min(array.sum(0).min() for array in sets.values()))
    left.vlines(np.arange(len(classes)), floor, first.sum(0)[order], color="#d9d9d9", linewidth=1.5, zorder=1)
    left.set_xticks(np.arange(len(classes)), [classes[k] for k in order], rotation=90, fontsize=7)
    left.set(yscale="log", ylabel="images", title=f"Images of each class (of {len(first):,})")
    left.set_ylim(floor, None)
    left.set_xmargin(0.01)
    left.grid(axis="x", visible=False)
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
    if ax is None:
        _, ax = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    truth = np.asarray(labels, dtype=bool).ravel()
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":", label="perfect")
    if theory is not None:
        ax.plot(*map(np.asarray, theory), color=LOOKS["asl"][0], linewidth=1.2, label="theory", zorder=2)
    for (name, values), colour, marker in zip(scores.items(), (RED, BLUE, GREY), "o^s", strict=False):
        values = np.asarray(values, dtype=float).ravel()
        place = np.minimum((values * bins).astype(int), bins - 1)
        count = np.bincount(place, minlength=bins)
        kept = count >= 20
        mean = np.bincount(place, values, minlength=bins)[kept] / count[kept]
        rate = np.bincount(place, truth, minlength=bins)[kept] / count[kept]
        error = 2 * np.sqrt(rate * (1 - rate) / count[kept])
        ax.errorbar(mean, rate, error, fmt=marker, color=colour, elinewidth=0.8, label=name, zorder=3)
    ax.set(xlabel="score", ylabel="share of labels that are present", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    ax.set_aspect("equal")
    ax.legend(loc="upper left")
    return ax
