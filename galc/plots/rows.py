"""One row of a corruption matrix: what a class was turned into, true against estimated."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from galc.plots.matrices import as_matrix
from galc.plots.style import BLUE, style
from galc.results import matrices as confusion


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
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(10, 2.9), width_ratios=(1, 6), layout="constrained")
    targets = confusion.targets(true[k], estimate[k], k, most)
    for ax, shown in zip(axes, (np.array([k]), targets), strict=True):
        places = np.arange(len(shown))
        ax.bar(places - 0.19, estimate[k, shown], 0.36, color=BLUE, label="estimated")
        ax.bar(places + 0.19, true[k, shown], 0.36, color="white", edgecolor="#222222", hatch="////", label="true")
        ax.axhline(0, color="black", linewidth=0.8)
        ax.grid(axis="x", visible=False)
        ax.set_xticks(places, [classes[j] for j in shown], rotation=0 if len(shown) == 1 else 30,
                      ha="center" if len(shown) == 1 else "right", rotation_mode="anchor")  # fmt: skip
    left, right = axes
    left.set(title="kept", ylabel="entry of C", xlim=(-0.6, 0.6))
    right.set(title=f"{name} turned into" + (f" ({images})" if images else ""))
    right.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2)
    return axes
