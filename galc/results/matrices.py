"""Looking into a corruption matrix: its scale, the order of its classes, its strongest confusions, one row of it.

Pure functions on arrays. Matrices are (K, K): C[i, j] = P(label i was turned into label j), rows the true class. Those
of Algorithm 1 need not be probabilities, so nothing here asks for rows that sum to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from galc.estimators import algorithm_1
from galc.estimators.base import row_errors

SCALES = {"raw": "as estimated", "sigmoid": "sigmoid", "rows": "rows sum to 1"}
ORDERS = ("data set", "frequency", "supercategory", "clustering")


def checked(matrix: ArrayLike, size: int, what: str, finite: bool = True) -> np.ndarray:
    """(size, size) float64. Raises ValueError, beginning with ``what``, for another shape or entries not ``finite``."""
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (size, size):
        raise ValueError(f"{what}: shape {matrix.shape} does not fit {size} classes; it must be ({size}, {size})")
    if finite and not np.isfinite(matrix).all():
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(f"{what}: entry [{row}, {column}] is {matrix[row, column]}; all must be finite")
    return matrix


def scaled(matrix: np.ndarray, scale: str) -> np.ndarray:
    """A matrix (K, K) of Algorithm 1 on a scale of SCALES. Raises ValueError for another one."""
    return algorithm_1.scaled(torch.from_numpy(matrix), scale).numpy()


def ordered(
    how: str, matrix: np.ndarray, sizes: ArrayLike | None = None, groups: Sequence[str] | None = None
) -> np.ndarray:
    """(K,) index of the classes in one of ORDERS; ties stay in the order of the data set.

    "frequency": the largest of ``sizes`` (K,) first. "supercategory": equal ``groups`` (K,) together, in the order in
    which they first appear. "clustering": classes that ``matrix`` often turns into one another stand together
    (average linkage). Raises ValueError for another order, or one whose sizes or groups are not given.
    """
    if how == "data set":
        return np.arange(len(matrix))
    if how == "frequency" and sizes is not None:
        return np.argsort(-np.asarray(sizes), kind="stable")
    if how == "supercategory" and groups is not None:
        first = {name: place for place, name in reversed(list(enumerate(groups)))}
        return np.argsort([first[name] for name in groups], kind="stable")
    if how == "clustering":
        return clustered(matrix)
    if how in ORDERS:
        raise ValueError(f"order {how!r} needs {'sizes' if how == 'frequency' else 'groups'} of the classes")
    raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {how!r}")


def clustered(matrix: np.ndarray) -> np.ndarray:
    """(K,) index: leaves of an average-linkage tree, classes being the closer the more they are confused."""
    if len(matrix) < 3:
        return np.arange(len(matrix))
    confusion = (matrix + matrix.T) / 2
    np.fill_diagonal(confusion, 0)
    distance = confusion.max() - confusion
    np.fill_diagonal(distance, 0)
    return leaves_list(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))


def strongest(matrix: np.ndarray, most: int) -> np.ndarray:
    """(K, K) bool: the ``most`` largest of the off-diagonal entries above 0; of equal ones those that come first."""
    off = np.where(np.eye(len(matrix), dtype=bool), -np.inf, matrix)
    chosen = np.argsort(-off, axis=None, kind="stable")[:most]
    mask = np.zeros(matrix.shape, dtype=bool)
    mask.flat[chosen[off.flat[chosen] > 0]] = True
    return mask


@dataclass(frozen=True, eq=False)
class View:
    """What is shown of two matrices: k of the K classes, in some order; NaN where an entry is left out."""

    index: np.ndarray  # (k,) the classes
    true: np.ndarray  # (k, k), as the others
    estimate: np.ndarray
    difference: np.ndarray  # estimate − true


def view(true: np.ndarray, estimate: np.ndarray, order: np.ndarray, most: int | None = None) -> View:
    """Both matrices (K, K) in the given ``order`` (K,).

    ``most`` leaves the strongest confusions of the estimate alone, the classes in them, and their diagonal; without
    any, all classes stay.
    """
    index, hidden = order, np.zeros(true.shape, dtype=bool)
    if most is not None and (kept := strongest(estimate, most)).any():
        index = order[(kept.any(0) | kept.any(1))[order]]
        hidden = ~kept & ~np.eye(len(true), dtype=bool)
    cells = np.ix_(index, index)
    true, estimate = (np.where(hidden, np.nan, matrix)[cells] for matrix in (true, estimate))
    return View(index, true, estimate, estimate - true)


def targets(true: ArrayLike, estimate: ArrayLike, k: int, most: int = 10) -> np.ndarray:
    """Up to ``most`` classes other than k, the largest entries of either row (K,) first."""
    order = np.argsort(-np.maximum(true, estimate), kind="stable")
    return order[order != k][:most]


def row_text(true: np.ndarray, estimate: np.ndarray, k: int, classes: Sequence[str]) -> str:
    """How far row k of an estimate is from the true one (both (K,)): its L1 error, its diagonal, its worst excess."""
    difference = estimate - true
    text = (
        f"{classes[k]}: row L1 error {np.abs(difference).sum():.3f}; "
        f"kept {estimate[k]:.3f}, true {true[k]:.3f} (error {abs(difference[k]):.3f}); "
    )
    excess = np.delete(difference, k)
    if not excess.size or excess.max() < 5e-5:
        return text + "no wrong label is overestimated."
    j = int(np.argmax(np.where(np.arange(len(true)) == k, -np.inf, difference)))
    return text + f"most overestimated: {classes[k]} → {classes[j]}, {estimate[j]:.4f}, true {true[j]:.4f}."


def matrix_text(true: np.ndarray, estimate: np.ndarray) -> str:
    """The mean errors of a whole matrix, as in `galc.estimators.base.matrix_error`."""
    row_error, diagonal_error = row_errors(estimate, true)
    return f"mean row L1 error {row_error:.3f}, mean diagonal error {diagonal_error:.3f}"
