"""Average precision, class by class."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from galc.plots.style import BLUE, RED, style


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
    gain, sizes, names = gain[order], sizes[order], names[order]
    _, (left, right) = plt.subplots(1, 2, figsize=(11.5, 3.8), width_ratios=(4, 1), sharey=True, layout="constrained")
    left.bar(np.arange(len(gain)), gain, color=np.where(gain > 0, BLUE, RED), width=0.8)
    left.set_xticks(np.arange(len(gain)), names, rotation=90, fontsize=7)
    left.set_xmargin(0.01)
    left.grid(axis="x", visible=False)
    left.set(ylabel="gain in average precision (points)", title="Gain of each class")
    sns.scatterplot(x=sizes, y=gain, ax=right, s=18, color=BLUE, legend=False)
    right.set(xscale="log", xlabel="training labels of the class", title="Against the class's size")
    for ax in (left, right):
        ax.axhline(0, color="black", linewidth=0.8)
    return left, right
