"""The drawing of noise: which labels it takes, and what it makes of them. The same seed gives the same anywhere.

Sampling is systematic: of labels with inclusion probabilities p exactly round(sum p) are drawn.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from galc.checks import as_tensor, check_labels, check_transition

FLIPS = 10  # stream of random numbers, apart from those that draw the split and the other noise


class Targets(NamedTuple):
    """Where labels may go: what `flip` needs to know of the noise, whatever its form."""

    rows: Callable[[np.ndarray], np.ndarray]  # (m,) label index -> (m, K) weights of the classes it may be turned into
    has_any: np.ndarray  # (m,) bool, whether any class of positive weight is not barred


class Flips(NamedTuple):
    """What `flip` did: the noisy labels (N, K) bool, and one entry of (F,) int64 for every flipped label.

    ``requested`` is the number of flips asked for; it exceeds F where images had no room for more wrong labels.
    """

    noisy: Tensor
    image: Tensor
    source: Tensor
    target: Tensor
    requested: int


def inject(labels: Tensor, transition: Tensor, seed: int) -> Tensor:
    """Noisy labels (N, K) bool of clean ``labels`` (N, K) under C (K, K), rows sum to 1; see `flip`, also for errors.

    >>> inject([[1, 0, 0], [1, 0, 1]], [[0, 1, 0], [0, 1, 0], [0, 0, 1]], seed=0).int()
    tensor([[0, 1, 0],
            [0, 1, 1]], dtype=torch.int32)
    """
    return flip(labels, transition, seed).noisy


def flip(labels: Tensor, transition: Tensor, seed: int, barred: Tensor | None = None) -> Flips:
    """Flip labels (N, K) under C (K, K), and say which became which. The same seed gives the same in any process.

    Which labels: systematic sampling of all labels in random order, with the inclusion probability 1 - C_ii of
    their class, so exactly round(sum of 1 - C_ii). Into what: by row i of C, restricted to the classes that are
    neither in the image's clean label set nor already a target there, one label of an image after the other.
    ``barred`` (N, K) is that clean set where it is larger than ``labels``, because some of it was removed before.

    Where that leaves no class of positive probability (pair flip with class i + 1 in the image, or a crowded
    image), the label stays, and its flip passes to another label: of its own class if the clean set forbids it;
    if an earlier flip in the image does, of its own class or else of any. What nobody can take is left out:
    `observed` and ``requested`` show the shortfall.

    Raises ValueError for a matrix that is no transition matrix of K classes, and, naming image and class, for an
    image that has every class (no absent one to flip to) while one of its classes has C_ii < 1.
    """
    labels = check_labels(labels)
    matrix = check_transition(as_tensor(transition, torch.float64), labels.shape[1]).detach().cpu().numpy()
    clean = labels.cpu().numpy()
    barred = clean if barred is None else check_labels(barred, "barred").cpu().numpy()
    rate = 1 - matrix.diagonal()
    matrix = matrix * (1 - np.eye(len(matrix)))
    check_room(barred, rate)
    image, source = np.nonzero(clean)
    # counts of the absent classes that class i may be turned into, so that 0 is exact
    room = (~barred).astype(np.float32) @ (matrix.T > 0).astype(np.float32)
    targets = Targets(lambda labels: matrix[source[labels]], room[image, source] > 0)
    return flipped(clean, rate[source], targets, barred, seed)


def flipped(labels: np.ndarray, rate: np.ndarray, targets: Targets, barred: np.ndarray, seed: int) -> Flips:
    """Labels (N, K) with those flipped that `_targets` draws; ``rate`` (m,): of each label."""
    image, source = np.nonzero(labels)
    target = _targets(image, source, rate, targets, barred, seed)
    moved = np.flatnonzero(target >= 0)
    image, source, target = image[moved], source[moved], target[moved]
    noisy = labels.copy()
    noisy[image, source] = False
    noisy[image, target] = True
    return Flips(*map(torch.from_numpy, (noisy, image, source, target)), _total(rate))


def check_room(clean: np.ndarray, rate: np.ndarray) -> None:
    full = clean.all(1) & (rate > 0).any()
    if full.any():
        row, column = int(np.flatnonzero(full)[0]), int(np.flatnonzero(rate > 0)[0])
        raise ValueError(
            f"image {row} has all {clean.shape[1]} classes: class {column} has no absent class to be flipped to; "
            "leave the image out, or add classes"
        )


def observed(clean: Tensor, noisy: Tensor | Flips) -> Tensor:
    """The C (K, K) that the flips really had: row i is the fate of the labels of class i; float64, rows sum to 1.

    From `Flips` it is exact. From two label matrices (N, K), which do not say which label became which, every
    label that an image lost counts as turned into each of the m classes the image gained with weight 1 / m; the
    diagonal is exact then as well. A class without labels gets the identity row.

    Raises ValueError where shapes differ or an image has not kept its number of labels.
    """
    clean = check_labels(clean, "clean").cpu()
    noisy_labels = check_labels(noisy.noisy if isinstance(noisy, Flips) else noisy, "noisy").cpu()
    check_same_shape(clean, noisy_labels)
    lost, gained = (clean & ~noisy_labels).double(), (noisy_labels & ~clean).double()
    differ = lost.sum(1) != gained.sum(1)
    if differ.any():
        row = int(differ.nonzero()[0])
        raise ValueError(
            f"image {row} has {int(clean[row].sum())} clean and {int(noisy_labels[row].sum())} noisy labels; "
            "flips keep their number (for other noise: changes, or Injected.observed)"
        )
    if isinstance(noisy, Flips):
        counts = torch.zeros(clean.shape[1], clean.shape[1], dtype=torch.float64)
        counts.index_put_((noisy.source, noisy.target), torch.ones(len(noisy.source)).double(), accumulate=True)
    else:
        counts = lost.T @ (gained / gained.sum(1, keepdim=True).clamp(min=1))
    counts += torch.diag((clean & noisy_labels).sum(0).double())
    total = clean.sum(0).double()[:, None]
    return torch.where(total > 0, counts / total.clamp(min=1), torch.eye(len(counts), dtype=torch.float64))


def check_same_shape(clean: Tensor, noisy: Tensor) -> None:
    if clean.shape != noisy.shape:
        raise ValueError(f"clean {tuple(clean.shape)} and noisy {tuple(noisy.shape)} differ in shape")


# --- on NumPy arrays -------------------------------------------------------------------------------------------------


def by_class(where: Tensor, rate: Tensor, seed: list[int]) -> Tensor:
    """(N, K) bool: entries of ``where`` (N, K) bool drawn with the ``rate`` (K,) of their class.

    Classes one after the other, so the number drawn is within one of rate * count in every class and in all together.
    """
    chosen, rate = torch.zeros_like(where), rate.numpy()
    image, k = np.nonzero(where.numpy() & (rate > 0))
    order = np.random.default_rng(seed).permutation(len(image))
    order = order[np.argsort(k[order], kind="stable")]
    drawn = _systematic(rate[k[order]], order)
    chosen[image[drawn], k[drawn]] = True
    return chosen


def _targets(
    image: np.ndarray, source: np.ndarray, rate: np.ndarray, targets: Targets, barred: np.ndarray, seed: int
) -> np.ndarray:
    """(m,) int64: the class that each of m labels is turned into, -1 where it stays.

    Label l is class ``source[l]`` of image ``image[l]`` and flips with the chance ``rate[l]``; ``barred`` as in `flip`.
    """
    generator = np.random.default_rng([seed, FLIPS])
    order = generator.permutation(np.flatnonzero((rate > 0) & targets.has_any))
    chosen = _systematic(_passed_on(rate, source, order), order)
    taken, target = barred.copy(), np.full(len(image), -1)
    waiting = order[~np.isin(order, chosen)]
    while len(chosen):
        _draw_targets(chosen, image, target, taken, targets.rows, generator)
        failed = chosen[target[chosen] < 0]
        chosen, waiting = _replacements(source[failed], waiting, source)
    return target


def _total(rate: np.ndarray) -> int:
    """How many are drawn: the rounded sum of inclusion probabilities."""
    return round(round(float(rate.sum()), 6))  # 6 digits: 0.1 * 25 must tie as 2.5 does


def _passed_on(rate: np.ndarray, source: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Inclusion probabilities of the labels in ``order``, raised so that they carry their whole class's flips."""
    wanted = np.bincount(source, rate)
    possible = np.bincount(source[order], rate[order], minlength=len(wanted))
    more = np.divide(wanted, possible, out=np.ones(len(wanted)), where=possible > 0)
    return np.minimum(rate[order] * more[source[order]], 1)


def _systematic(probability: np.ndarray, order: np.ndarray) -> np.ndarray:
    """round(sum of ``probability``) labels of ``order``: those under the points 0.5, 1.5, ... of the running sum."""
    running = np.cumsum(probability)
    points = np.arange(_total(running[-1:])) + 0.5
    return order[np.unique(np.searchsorted(running, points).clip(max=len(order) - 1))]


def _draw_targets(chosen, image, target, taken, rows, generator) -> None:
    """Fill ``target`` and ``taken`` for the ``chosen`` labels, one label of every image at a time."""
    turn = _rank(image[chosen])
    for now in range(turn.max() + 1):
        labels = chosen[turn == now]
        running = np.cumsum(np.where(taken[image[labels]], 0, rows(labels)), axis=1)
        mass = running[:, -1]
        labels, running = labels[mass > 0], running[mass > 0]
        point = generator.random(len(labels)) * running[:, -1]
        target[labels] = np.minimum((running <= point[:, None]).sum(1), (running < running[:, -1:]).sum(1))
        taken[image[labels], target[labels]] = True


def _replacements(failed: np.ndarray, waiting: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As many of the ``waiting`` labels as ``failed`` classes: of the same classes first, then of any."""
    if not len(failed):
        return waiting[:0], waiting
    classes = source[waiting]
    take = _rank(classes) < np.bincount(failed, minlength=source.max() + 1)[classes]
    rest = np.flatnonzero(~take)
    take[rest[: len(failed) - np.count_nonzero(take)]] = True
    return waiting[take], waiting[~take]


def _rank(values: np.ndarray) -> np.ndarray:
    """How many equal values stand before each one."""
    return pd.Series(values).groupby(values).cumcount().to_numpy()
