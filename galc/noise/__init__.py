"""Label noise: what it is, and the corruption of labels that follows it.

A transition matrix C is row-stochastic (K, K), C[i, j] = P(label i was turned into label j): rows are the true class.
A flipped label is always wrong: its new class is in neither the image's clean label set nor among its other new labels
(paper, Sec. 4.1).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from galc.checks import as_tensor, check_labels, check_rates, check_transition
from galc.noise.draw import Flips, by_class, check_same_shape, flip, observed

REMOVAL, ADDITION = 11, 12  # streams of random numbers, apart from that of the flips


def symmetric(num_classes: int, rate: float) -> Tensor:
    """C (K, K) with 1 - rate on the diagonal and rate / (K - 1) elsewhere; float64, rows sum to 1.

    Raises ValueError for a rate outside [0, 1] or fewer than two classes.

    >>> symmetric(3, 0.4)
    tensor([[0.6000, 0.2000, 0.2000],
            [0.2000, 0.6000, 0.2000],
            [0.2000, 0.2000, 0.6000]], dtype=torch.float64)
    """
    _check_kind(num_classes, rate)
    matrix = torch.full((num_classes, num_classes), rate / (num_classes - 1), dtype=torch.float64)
    return matrix.fill_diagonal_(1 - rate)


def pair_flip(num_classes: int, rate: float) -> Tensor:
    """C (K, K) that turns class i into class i + 1 (mod K) with probability ``rate``; float64, rows sum to 1.

    Raises ValueError for a rate outside [0, 1] or fewer than two classes.

    >>> pair_flip(3, 0.25)
    tensor([[0.7500, 0.2500, 0.0000],
            [0.0000, 0.7500, 0.2500],
            [0.2500, 0.0000, 0.7500]], dtype=torch.float64)
    """
    _check_kind(num_classes, rate)
    identity = torch.eye(num_classes, dtype=torch.float64)
    return (1 - rate) * identity + rate * identity.roll(1, dims=1)


def _check_kind(num_classes: int, rate: float) -> None:
    if num_classes < 2:
        raise ValueError(f"noise needs at least 2 classes, got num_classes={num_classes}")
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must lie in [0, 1], got {rate}")


@dataclass(frozen=True, eq=False)
class Noise:
    """What happens to labels. Labels are removed, those that are left are flipped, and wrong ones are added.

    transition : (K, K), C[i, j] = P(label i was turned into label j | it was not removed); rows sum to 1
    removed    : (K,), P(a label of the class vanishes); None: 0
    added      : (K,), P(the class appears from nowhere on an image that has it neither truly nor by a flip); None: 0

    All float64. Raises ValueError, naming row or class, for what are no probabilities.

    >>> noise = Noise([[0.8, 0.2], [0.0, 1.0]], removed=[0.5, 0.0], added=[0.0, 0.1])
    >>> noise.fate  # of a label of class 0, 40 % stay, 10 % become class 1, half vanish
    tensor([[0.4000, 0.1000, 0.5000],
            [0.0000, 1.0000, 0.0000]], dtype=torch.float64)
    """

    transition: Tensor
    removed: Tensor | None = None
    added: Tensor | None = None

    def __post_init__(self):
        transition = check_transition(as_tensor(self.transition, torch.float64)).detach().cpu()
        object.__setattr__(self, "transition", transition)
        for name in ("removed", "added"):
            given = torch.zeros(len(transition)) if getattr(self, name) is None else getattr(self, name)
            object.__setattr__(self, name, check_rates(given, len(transition), name).cpu())

    @property
    def fate(self) -> Tensor:
        """(K, K + 1) float64: what becomes of a label of class i, rows sum to 1. Column K: it vanishes."""
        stays = (1 - self.removed)[:, None] * self.transition
        return torch.cat([stays, self.removed[:, None]], dim=1)

    @property
    def arrivals(self) -> Tensor:
        """(K, K) float64: `fate` without its last column; rows sum to 1 - removed. What corrections take as C."""
        return self.fate[:, :-1]

    @property
    def flips(self) -> bool:
        """Whether any label is turned into another."""
        return bool((self.transition.diagonal() < 1).any())

    @property
    def keeps_count(self) -> bool:
        """Whether every image keeps its number of labels."""
        return not (self.removed.any() or self.added.any())

    @property
    def nature(self) -> str:
        """What has to be known of it: a rate ("symmetric"), a matrix ("targets"), or more ("count-changing")."""
        if not self.keeps_count:
            return "count-changing"
        rate = 1 - float(self.transition[0, 0])
        same = torch.allclose(self.transition, symmetric(len(self.transition), rate), rtol=0, atol=1e-9)
        return "symmetric" if same else "targets"

    def inject(self, labels: Tensor, seed: int) -> "Injected":
        """Noisy labels of clean ``labels`` (N, K), and what was done to them. The same seed gives the same anywhere.

        Numbers of removed and added labels are within one of the request in every class; flips as in `flip`. An added
        label is in neither the image's clean set nor among its flips' targets. Raises ValueError as `flip` does.
        """
        labels = check_labels(labels).cpu()
        removed = by_class(labels, self.removed, [seed, REMOVAL])
        flips = self._flip(labels & ~removed, labels, seed)
        added = by_class(~(labels | flips.noisy), self.added, [seed, ADDITION])
        return Injected(labels, flips.noisy | added, flips, removed, added)

    def _flip(self, labels: Tensor, clean: Tensor, seed: int) -> Flips:
        return flip(labels, self.transition, seed, barred=clean)

    def expected(self, labels: Tensor) -> "Changes":
        """The changes of clean ``labels`` (N, K) that this noise asks for, were no label ever in another's way."""
        counts = check_labels(labels).sum(0).double()
        moved = counts[:, None] * self.arrivals
        flips = moved.sum(0) - moved.diagonal()
        absent = (len(labels) - counts - flips).clamp(min=0)
        return Changes(counts, counts - moved.diagonal(), flips + self.added * absent)


def none(num_classes: int) -> Noise:
    """No noise at all."""
    return Noise(torch.eye(num_classes, dtype=torch.float64))


class Injected(NamedTuple):
    """Labels and their noise: ``clean`` and ``noisy`` (N, K) bool, and what happened in between.

    ``removed`` and ``added``: (N, K) bool; ``flips``: of the labels that were not removed, to where.
    """

    clean: Tensor
    noisy: Tensor
    flips: Flips
    removed: Tensor
    added: Tensor

    def observed(self) -> Noise:
        """The noise that there really was, in `Noise`'s terms: exact, from the record. A class without labels: none."""
        absent = ~(self.clean | self.flips.noisy)
        removed = self.removed.sum(0).double() / self.clean.sum(0).clamp(min=1)
        added = self.added.sum(0).double() / absent.sum(0).clamp(min=1)
        return Noise(observed(self.clean & ~self.removed, self.flips), removed, added)


@dataclass(frozen=True, eq=False)
class Changes:
    """How many labels each class had, lost and gained: ``labels``, ``lost`` and ``gained``, all (K,) float64.

    A flip is one label lost and one gained. NaN where a rate has no labels to be one of.
    """

    labels: Tensor
    lost: Tensor
    gained: Tensor

    @property
    def removed(self) -> Tensor:
        """(K,) the share of each class's clean labels that are gone."""
        return self.lost / self.labels

    @property
    def added(self) -> Tensor:
        """(K,) the share of each class's noisy labels that are wrong."""
        return self.gained / (self.labels - self.lost + self.gained)

    @cached_property
    def labels_removed(self) -> float:
        """The share of all clean labels that are gone."""
        return float(self.lost.sum() / self.labels.sum())

    @cached_property
    def labels_added(self) -> float:
        """The share of all noisy labels that are wrong."""
        return float(self.gained.sum() / (self.labels - self.lost + self.gained).sum())


def changes(clean: Tensor, noisy: Tensor) -> Changes:
    """What noise of any kind did to labels (N, K). Raises ValueError where shapes differ."""
    clean, noisy = check_labels(clean, "clean"), check_labels(noisy, "noisy")
    check_same_shape(clean, noisy)
    return Changes(*(part.sum(0).double() for part in (clean, clean & ~noisy, noisy & ~clean)))
