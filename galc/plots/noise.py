"""What noise did to the labels of each class: `galc.noise.model.Changes` as figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from galc.plots.style import BLUE, GREY, LOOKS, RED, style

if TYPE_CHECKING:
    from galc.noise.model import Changes


@style()
def noise_by_class(changes: Changes, classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """The share of each class's clean labels that are gone, beside the share of its noisy labels that are wrong (%).

    Frequent classes first; dashed lines are the shares of all labels. A class without labels has no bar.
    Raises ``ValueError`` if the number of classes differs.
    """
    labels, gone, wrong = (np.asarray(part, dtype=float) for part in (changes.labels, changes.removed, changes.added))
    if len(labels) != len(classes):
        raise ValueError(f"changes of {len(labels)} classes do not fit {len(classes)} names")
    if ax is None:
        _, ax = plt.subplots(figsize=(11.5, 3.4), layout="constrained")
    order, place = np.argsort(-labels, kind="stable"), np.arange(len(labels))
    bars = (
        ("removed: clean labels that are gone", gone, changes.labels_removed, RED, -0.2),
        ("added: noisy labels that are wrong", wrong, changes.labels_added, BLUE, 0.2),
    )
    for name, shares, mean, colour, shift in bars:
        ax.bar(place + shift, 100 * shares[order], 0.4, color=colour, label=f"{name}, {100 * mean:.1f} % of all")
        ax.axhline(100 * mean, color=colour, linewidth=1, linestyle="--")
    ax.set_xticks(place, [classes[k] for k in order], rotation=90, fontsize=7)
    ax.set_xmargin(0.01)
    ax.grid(axis="x", visible=False)
    ax.set(ylim=(0, 100), ylabel="labels (%)", title="Noise of each class, the most frequent first")
    ax.legend(loc="lower left", bbox_to_anchor=(0.3, 1), ncols=2, borderaxespad=0.2)
    return ax


@style()
def requested_vs_observed(requested: Changes, observed: Changes, classes: Sequence[str]) -> Sequence[Axes]:
    """Whether injected noise is the noise one asked for: `galc.noise.model.Noise.expected` against
    `galc.noise.model.changes`.

    Left: the share of each class's labels that were kept. Right: the wrong labels that each class received; frequent
    classes receive fewer by flips, for no label flips onto a present one. The grey funnel (± 2 standard deviations of
    that many independent labels) is what chance explains. Returns the two axes.
    """
    sizes = np.maximum(np.asarray(requested.labels, dtype=float), 1)
    lost, seen_lost, gained, seen_gained = (
        np.asarray(part, dtype=float) for part in (requested.lost, observed.lost, requested.gained, observed.gained)
    )
    colour, marker = LOOKS["galc-slr"]
    _, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.3), layout="constrained")
    order = np.argsort(sizes)

    rate = lost / sizes
    width = 2 * np.sqrt(rate * (1 - rate) / sizes)
    left.plot(sizes, (lost - seen_lost) / sizes, marker=marker, color=colour, linestyle="", label="one class")
    left.set(ylabel="observed − requested share", title="Share of labels kept")

    expected = np.maximum(gained, 1e-9)
    excess = np.where(gained > 0, 100 * (seen_gained / expected - 1), 0)
    widths = width, np.where(gained > 0, 200 / np.sqrt(expected), 0)
    right.plot(sizes, excess, marker=marker, color=colour, linestyle="", label="one class")
    for k in np.flatnonzero(np.abs(excess) > 1.5 * widths[1])[:5]:
        right.annotate(classes[k], (sizes[k], excess[k]), (-5, 0), textcoords="offset points", ha="right", va="center")
    right.set(ylabel="observed / requested − 1 (%)", title="Wrong labels received")

    for ax, funnel in zip((left, right), widths, strict=True):
        ax.fill_between(
            sizes[order], -funnel[order], funnel[order], color=GREY, alpha=0.18, linewidth=0, label="± 2 sd"
        )
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(xscale="log", xlabel="clean labels of the class")
    left.legend()
    return left, right
