"""Label noise: transition matrices, and the corruption of labels that follows them.

A transition matrix C is row-stochastic (K, K), C[i, j] = P(label i was turned into label j): rows are the true class,
columns the noisy class. Noise keeps the number of labels of every image, and a flipped label is always wrong: its
new class is in neither the image's clean label set nor among its other new labels (paper, Sec. 4.1).
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from galc.checks import check_labels, check_transition

__all__ = ["Flips", "check_transition", "flip", "inject", "observed", "pair_flip", "symmetric"]


def symmetric(num_classes: int, rate: float) -> Tensor:
    """C (K, K) with 1 - rate on the diagonal and rate / (K - 1) elsewhere; float64, rows sum to 1.

    Raises ValueError for a rate outside [0, 1] or fewer than two classes.
    """
    _check_kind(num_classes, rate)
    matrix = torch.full((num_classes, num_classes), rate / (num_classes - 1), dtype=torch.float64)
    return matrix.fill_diagonal_(1 - rate)


def pair_flip(num_classes: int, rate: float) -> Tensor:
    """C (K, K) that turns class i into class i + 1 (mod K) with probability ``rate``; float64, rows sum to 1.

    Raises ValueError for a rate outside [0, 1] or fewer than two classes.
    """
    _check_kind(num_classes, rate)
    identity = torch.eye(num_classes, dtype=torch.float64)
    return (1 - rate) * identity + rate * identity.roll(1, dims=1)


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
    """Noisy labels (N, K) bool of clean ``labels`` (N, K) under C (K, K); see `flip`. The input is untouched."""
    return flip(labels, transition, seed).noisy


def flip(labels: Tensor, transition: Tensor, seed: int) -> Flips:
    """Flip labels (N, K) under C (K, K), and say which became which. The same seed gives the same in any process.

    Which labels: systematic sampling of all labels in random order, with the inclusion probability 1 - C_ii of
    their class. So exactly round(sum of 1 - C_ii) labels are flipped; under symmetric noise they are a uniformly
    drawn round(rate * number of labels) of them. Into what: by row i of C, restricted to the classes that are
    neither in the image's clean label set nor already a target there, one label of an image after the other.

    Where that leaves no class of positive probability (pair flip with class i + 1 in the image, or a crowded
    image), the label stays, and its flip passes to another label: of its own class if the clean set forbids it;
    if an earlier flip in the image does, of its own class or else of any. What nobody can take is left out:
    `observed` and ``requested`` show the shortfall.

    Raises ValueError for a matrix that is no transition matrix of K classes, and, naming image and class, for an
    image that has every class (no absent one to flip to) while one of its classes has C_ii < 1.
    """
    clean = check_labels(labels).cpu().numpy()
    matrix = check_transition(transition, clean.shape[1]).detach().cpu().double().numpy()
    rate = 1 - matrix.diagonal()
    matrix = matrix * (1 - np.eye(len(matrix)))
    _check_room(clean, rate)

    image, source = np.nonzero(clean)
    requested = round(round(float(rate[source].sum()), 6))  # 6 digits: 0.1 * 25 must tie as 2.5 does
    possible = (rate[source] > 0) & (_free_mass(clean, matrix)[image, source] > 0)
    generator = np.random.default_rng(seed)
    order = generator.permutation(np.flatnonzero(possible))
    chosen = _systematic(_passed_on(rate, source, order), order)

    taken, target = clean.copy(), np.full(len(image), -1)
    waiting = order[~np.isin(order, chosen)]
    while len(chosen):
        _draw_targets(chosen, image, source, target, taken, matrix, generator)
        failed = chosen[target[chosen] < 0]
        chosen, waiting = _replacements(source[failed], waiting, source)
    flipped = np.flatnonzero(target >= 0)
    image, source, target = image[flipped], source[flipped], target[flipped]
    noisy = clean.copy()
    noisy[image, source] = False
    noisy[image, target] = True
    return Flips(*map(torch.from_numpy, (noisy, image, source, target)), requested)


def observed(clean: Tensor, noisy: Tensor | Flips) -> Tensor:
    """The C (K, K) that the flips really had: row i is the fate of the labels of class i; float64, rows sum to 1.

    From `Flips` it is exact. From two label matrices (N, K), which do not say which label became which, every
    label that an image lost counts as turned into each of the m classes the image gained with weight 1 / m; the
    diagonal is exact then as well. A class without labels gets the identity row.

    Raises ValueError where shapes differ or an image has not kept its number of labels.
    """
    clean = check_labels(clean, "clean").cpu()
    noisy_labels = check_labels(noisy.noisy if isinstance(noisy, Flips) else noisy, "noisy").cpu()
    if clean.shape != noisy_labels.shape:
        raise ValueError(f"clean {tuple(clean.shape)} and noisy {tuple(noisy_labels.shape)} differ in shape")
    lost, gained = (clean & ~noisy_labels).double(), (noisy_labels & ~clean).double()
    differ = lost.sum(1) != gained.sum(1)
    if differ.any():
        row = int(differ.nonzero()[0])
        raise ValueError(
            f"image {row} has {int(clean[row].sum())} clean and {int(noisy_labels[row].sum())} noisy labels; "
            "noise keeps their number"
        )
    if isinstance(noisy, Flips):
        counts = torch.zeros(clean.shape[1], clean.shape[1], dtype=torch.float64)
        counts.index_put_((noisy.source, noisy.target), torch.ones(len(noisy.source)).double(), accumulate=True)
    else:
        counts = lost.T @ (gained / gained.sum(1, keepdim=True).clamp(min=1))
    counts += torch.diag((clean & noisy_labels).sum(0).double())
    total = clean.sum(0).double()[:, None]
    return torch.where(total > 0, counts / total.clamp(min=1), torch.eye(len(counts), dtype=torch.float64))


def _check_kind(num_classes: int, rate: float) -> None:
    if num_classes < 2:
        raise ValueError(f"noise needs at least 2 classes, got num_classes={num_classes}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")


def _check_room(clean: np.ndarray, rate: np.ndarray) -> None:
    full = clean.all(1) & (rate > 0).any()
    if full.any():
        row, column = int(np.flatnonzero(full)[0]), int(np.flatnonzero(rate > 0)[0])
        raise ValueError(
            f"image {row} has all {clean.shape[1]} classes: class {column} has no absent class to be flipped to; "
            "leave the image out, or add classes"
        )


def _free_mass(clean: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(N, K): how many classes absent from image n class i may be turned into. Counts, so that 0 is exact."""
    return (~clean).astype(np.float32) @ (matrix.T > 0).astype(np.float32)


def _passed_on(rate: np.ndarray, source: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Inclusion probabilities of the labels in ``order``, raised so that they carry their whole class's flips."""
    wanted = rate * np.bincount(source, minlength=len(rate))
    possible = np.bincount(source[order], minlength=len(rate))
    return np.minimum(wanted / np.maximum(possible, 1), 1)[source[order]]


def _systematic(probability: np.ndarray, order: np.ndarray) -> np.ndarray:
    """round(sum of ``probability``) labels of ``order``: those under the points 0.5, 1.5, ... of the running sum."""
    running = np.cumsum(probability)
    total = round(round(float(running[-1]), 6)) if len(order) else 0
    where = np.searchsorted(running, np.arange(total) + 0.5)
    return order[np.unique(where.clip(max=len(order) - 1))]


def _draw_targets(chosen, image, source, target, taken, matrix, generator) -> None:
    """Fill ``target`` and ``taken`` for the ``chosen`` labels, one label of every image at a time."""
    turn = _rank(image[chosen])
    for now in range(turn.max() + 1):
        labels = chosen[turn == now]
        running = np.cumsum(np.where(taken[image[labels]], 0, matrix[source[labels]]), axis=1)
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
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    start = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, np.arange(len(values)), 0))
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values)) - start
    return rank
