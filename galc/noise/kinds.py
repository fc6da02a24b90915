"""The kinds of noise, by name: each makes a `galc.noise.Noise` of what it is asked for.

``rate`` means the same in all of them: of the clean labels this share is gone, of the noisy labels this share is wrong.
Rates by class are drawn at random and scaled until the mean over all labels is ``rate``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from galc.checks import check_labels
from galc.noise import Noise, none, pair_flip, symmetric
from galc.noise.by_image import InstanceNoise, factor

MATRIX = 13  # stream of random numbers for what belongs to the noise itself, apart from those that draw labels
MOST = 0.95  # no rate drawn for a class exceeds this


@dataclass(frozen=True, eq=False)
class Request:
    """What noise is asked for."""

    labels: Tensor  # (N, K) bool, the clean labels that get it
    rate: float  # share of labels, see above
    groups: Sequence[str]  # K supercategories, "" where unknown
    seed: int  # draws rates and targets
    scores: Callable[[], Tensor] | None = None  # () -> (N, K) probabilities of a weak classifier on the same images

    def __post_init__(self):
        if not 0 <= self.rate < 1:
            raise ValueError(f"noise: the rate must be at least 0 and below 1, got {self.rate}")

    @property
    def counts(self) -> Tensor:
        """(K,) float64 number of clean labels of each class."""
        return check_labels(self.labels).sum(0).double()

    def generator(self) -> np.random.Generator:
        """A fresh generator, the same for the same seed and number of classes."""
        return np.random.default_rng([self.seed, MATRIX])


class Kind(NamedTuple):
    """A row of `KINDS`: what makes the noise, and what has to be known of it, as in `Noise.nature`."""

    make: Callable[[Request], Noise]
    nature: str


KINDS: dict[str, Kind] = {}


def noise_kind(name: str, nature: str):
    """Put the decorated function, Request -> Noise, into `KINDS`; ``nature``: "symmetric", "targets", ..."""

    def register(make: Callable[[Request], Noise]):
        KINDS[name] = Kind(make, nature)
        return make

    return register


def make(kind: str, request: Request) -> Noise:
    """The noise of a kind; without any where ``rate`` is 0. Raises ValueError for another kind, and as the kinds do."""
    if kind not in KINDS:
        raise ValueError(f"no noise kind {kind!r}; choose one of {', '.join(KINDS)}")
    return KINDS[kind].make(request) if request.rate else none(len(request.groups))


@noise_kind("symmetric", nature="symmetric")
def _symmetric(request: Request) -> Noise:
    return Noise(symmetric(len(request.groups), request.rate))


@noise_kind("pair", nature="targets")
def _pair(request: Request) -> Noise:
    return Noise(pair_flip(len(request.groups), request.rate))


@noise_kind("semantic", nature="targets")
def semantic(request: Request) -> Noise:
    """Flips to a class of the same supercategory, each alike. A class alone in its group (COCO: person) goes anywhere.

    Raises ValueError where no two classes are in one group.
    """
    groups = request.groups
    same = torch.tensor([[a == b != "" for b in groups] for a in groups]).fill_diagonal_(False)
    if not same.any():
        raise ValueError(
            "noise_kind 'semantic' flips labels within supercategories, and no two classes share one; name a "
            "'supercategory' for each category in the COCO JSON, or choose another kind"
        )
    anywhere = ~torch.eye(len(groups), dtype=torch.bool)
    where = torch.where(same.any(1, keepdim=True), same, anywhere).double()
    return _flipping(torch.full((len(groups),), request.rate, dtype=torch.float64), where)


@noise_kind("class-dependent", nature="targets")
def class_dependent(request: Request, targets: int = 3) -> Noise:
    """Flips with a rate of each class, uniform from 0 to about twice the mean, to three classes drawn at random."""
    generator, size = request.generator(), len(request.groups)
    rates = _scaled(torch.from_numpy(generator.random(size)), request.counts, request.rate)
    others = torch.from_numpy(generator.random((size, size))).fill_diagonal_(2).argsort(1)[:, : min(targets, size - 1)]
    where = torch.zeros(size, size, dtype=torch.float64).scatter_(1, others, 1)
    return _flipping(rates, where)


@noise_kind("missing", nature="count-changing")
def missing(request: Request) -> Noise:
    """Each label is missing with probability ``rate``; none is wrong."""
    size = len(request.groups)
    return Noise(torch.eye(size), removed=torch.full((size,), request.rate, dtype=torch.float64))


@noise_kind("additional", nature="count-changing")
def additional(request: Request) -> Noise:
    """False positives: a share ``rate`` of the noisy labels is wrong; none is missing.

    Class k appears on each image that has it not with a probability proportional to its frequency: hasty people name by
    mistake what they name often.
    """
    size = len(request.groups)
    wrong = float(request.counts.sum()) * request.rate / (1 - request.rate)
    return Noise(torch.eye(size), added=_appearing(torch.ones(size), wrong, request))


@noise_kind("missing-additional", nature="count-changing")
def missing_additional(request: Request) -> Noise:
    """Both at once, each class with a rate of its own for either: a share ``rate`` of the clean labels is gone, and a
    share ``rate`` of the noisy labels is wrong. As many labels come as go, but not in the same image or class."""
    gone, come = torch.from_numpy(request.generator().random((2, len(request.groups))))
    removed = _scaled(gone, request.counts, request.rate)
    wrong = float((removed * request.counts).sum())
    return Noise(torch.eye(len(removed)), removed, _appearing(come, wrong, request))


@noise_kind("instance-dependent", nature="instance")
def instance_dependent(request: Request) -> Noise:
    """A weak classifier's own confusions, image by image. Raises ValueError without scores."""
    if request.scores is None:
        raise ValueError("noise_kind 'instance-dependent' needs the scores of a weak classifier")
    return InstanceNoise.of_scores(request.scores(), request.labels, request.rate)


def _flipping(rates: Tensor, where: Tensor) -> Noise:
    """Flips with ``rates`` (K,), evenly to the classes that ``where`` (K, K) marks with 1."""
    return Noise(torch.diag(1 - rates) + rates[:, None] * where / where.sum(1, keepdim=True))


def _scaled(rates: Tensor, weights: Tensor, mean: float) -> Tensor:
    """min(c * rates, MOST) with the c for which the weighted mean is ``mean``; all (K,), weights not negative.

    Raises ValueError where no c reaches the mean.
    """
    most = min(1.0, max(MOST, mean))
    c = factor(lambda c: float(((c * rates).clamp(max=most) * weights).sum() / weights.sum()), mean)
    return (c * rates).clamp(max=most)


def _appearing(factors: Tensor, wrong: float, request: Request) -> Tensor:
    """(K,) probabilities with which a class appears where it is not, so that ``wrong`` labels are expected in all.

    Proportional to ``factors`` (K,) times the class's frequency, and at most MOST.
    """
    absent = len(request.labels) - request.counts
    return _scaled(factors * request.counts / len(request.labels), absent, wrong / float(absent.sum()))
