"""Flips: labels that become other, wrong ones, under a transition matrix. An image keeps its number of labels."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from galc.checks import check_labels, check_transition
from galc.noise import draw as noise_draw

FLIPS = 10  # stream of random numbers, apart from those that draw the split and the other noise


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


def flip(labels: Tensor, transition: Tensor, seed: int, barred: Tensor | None = None) -> Flips:
    """Flip labels (N, K) under C (K, K), and say which became which. The same seed gives the same in any process.

    Which labels: systematic sampling of all labels in random order, with the inclusion probability 1 - C_ii of
    their class. So exactly round(sum of 1 - C_ii) labels are flipped; under symmetric noise they are a uniformly
    drawn round(rate * number of labels) of them. Into what: by row i of C, restricted to the classes that are
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
    matrix = check_transition(transition, labels.shape[1]).detach().cpu().double().numpy()
    clean = labels.cpu().numpy()
    barred = clean if barred is None else check_labels(barred, "barred").cpu().numpy()
    rate = 1 - matrix.diagonal()
    matrix = matrix * (1 - np.eye(len(matrix)))
    check_room(barred, rate)
    image, source = np.nonzero(clean)
    # counts of the absent classes that class i may be turned into, so that 0 is exact
    room = (~barred).astype(np.float32) @ (matrix.T > 0).astype(np.float32)
    targets = noise_draw.Targets(lambda labels: matrix[source[labels]], room[image, source] > 0)
    return flipped(clean, rate[source], targets, barred, seed)


def flipped(labels: np.ndarray, rate: np.ndarray, targets: noise_draw.Targets, barred: np.ndarray, seed: int) -> Flips:
    """Labels (N, K) with those flipped that `galc.noise.draw.flips` draws; ``rate`` (m,): of each label."""
    image, source = np.nonzero(labels)
    target = noise_draw.flips(image, source, rate, targets, barred, np.random.default_rng([seed, FLIPS]))
    moved = np.flatnonzero(target >= 0)
    image, source, target = image[moved], source[moved], target[moved]
    noisy = labels.copy()
    noisy[image, source] = False
    noisy[image, target] = True
    return Flips(*map(torch.from_numpy, (noisy, image, source, target)), noise_draw.total(rate))


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
