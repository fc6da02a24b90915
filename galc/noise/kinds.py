"""The kinds of noise, by name: each makes a `galc.noise.model.Noise` of what it is asked for.

``rate`` means the same in all of them: of the clean labels this share is gone, of the noisy labels this share is wrong.
Missing labels have only the first, additional ones only the second. Rates by class are drawn at random and scaled until
the mean over all labels is ``rate``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from galc.checks import check_labels
from galc.data.pictograms.labels import categories
from galc.noise.by_image import InstanceNoise
from galc.noise.model import Noise, none, pair_flip, symmetric

MATRIX = 13  # stream of random numbers for what belongs to the noise itself, apart from those that draw labels
MOST = 0.95  # no rate drawn for a class exceeds this


@dataclass(frozen=True, eq=False)
class Request:
    """What noise is asked for.

    labels  : (N, K) bool, the clean labels that get it
    rate    : share of labels, see above
    classes : K names; groups: K supercategories, "" where unknown
    seed    : draws rates and targets
    scores  : () -> (N, K) probabilities of a weak classifier on the same images, for noise that depends on these
    """

    labels: Tensor
    rate: float
    classes: Sequence[str]
    groups: Sequence[str]
    seed: int
    scores: Callable[[], Tensor] | None = None

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


def semantic(request: Request) -> Noise:
    """Flips to a class of the same supercategory, each alike. A class alone in its group (COCO: person) goes anywhere.

    Groups are the data set's own; where it names none, those of MS-COCO, by the classes' names. Raises ValueError where
    that leaves no two classes in one group.
    """
    known = {category["name"]: category["supercategory"] for category in categories()}
    groups = [own or known.get(name, "") for own, name in zip(request.groups, request.classes, strict=True)]
    same = torch.tensor([[a == b != "" for b in groups] for a in groups]).fill_diagonal_(False)
    if not same.any():
        raise ValueError(
            "noise_kind 'semantic' flips labels within supercategories, and no two classes share one; name a "
            "'supercategory' for each category in the COCO JSON, or choose another kind"
        )
    anywhere = ~torch.eye(len(groups), dtype=torch.bool)
    where = torch.where(same.any(1, keepdim=True), same, anywhere).double()
    return _flipping(torch.full((len(groups),), request.rate, dtype=torch.float64), where)


def class_dependent(request: Request, targets: int = 3) -> Noise:
    """Flips with a rate of each class, uniform from 0 to about twice the mean, to three classes drawn at random."""
    generator, size = request.generator(), len(request.classes)
    rates = _scaled(torch.from_numpy(generator.random(size)), request.counts, request.rate)
    others = torch.from_numpy(generator.random((size, size))).fill_diagonal_(2).argsort(1)[:, : min(targets, size - 1)]
    where = torch.zeros(size, size, dtype=torch.float64).scatter_(1, others, 1)
    return _flipping(rates, where)


def missing(request: Request) -> Noise:
    """Each label is missing with probability ``rate``; none is wrong."""
    size = len(request.classes)
    removed = torch.full((size,), request.rate, dtype=torch.float64)
    return Noise(torch.eye(size), removed, torch.zeros(size))


def additional(request: Request) -> Noise:
    """False positives: a share ``rate`` of the noisy labels is wrong; none is missing.

    Class k appears on each image that has it not with a probability proportional to its frequency: labelling machines
    and hasty people name by mistake what they name often. The labels of Open Images hold 26.6 % false positives
    (arXiv 2108.02032, Sec. 1).
    """
    size = len(request.classes)
    wrong = float(request.counts.sum()) * request.rate / (1 - request.rate)
    return Noise(torch.eye(size), torch.zeros(size), _appearing(torch.ones(size), wrong, request))


def missing_additional(request: Request) -> Noise:
    """Both at once, each class with a rate of its own for either: a share ``rate`` of the clean labels is gone, and a
    share ``rate`` of the noisy labels is wrong. As many labels come as go, but not in the same image or class."""
    gone, come = torch.from_numpy(request.generator().random((2, len(request.classes))))
    removed = _scaled(gone, request.counts, request.rate)
    wrong = float((removed * request.counts).sum())
    return Noise(torch.eye(len(removed)), removed, _appearing(come, wrong, request))


def instance_dependent(request: Request) -> Noise:
    """A weak classifier's own confusions, image by image. Raises ValueError without scores."""
    if request.scores is None:
        raise ValueError("noise_kind 'instance-dependent' needs the scores of a weak classifier")
    return InstanceNoise.of_scores(request.scores(), request.labels, request.rate)


KINDS: dict[str, Callable[[Request], Noise]] = {
    "symmetric": lambda request: Noise.of(symmetric(len(request.classes), request.rate)),
    "pair": lambda request: Noise.of(pair_flip(len(request.classes), request.rate)),
    "semantic": semantic,
    "class-dependent": class_dependent,
    "missing": missing,
    "additional": additional,
    "missing-additional": missing_additional,
    "instance-dependent": instance_dependent,
}


# what has to be known of a kind, as in `Noise.nature`; of a file it follows from the content
NATURES = {
    "symmetric": "symmetric",
    "pair": "targets",
    "semantic": "targets",
    "class-dependent": "targets",
    "missing": "count-changing",
    "additional": "count-changing",
    "missing-additional": "count-changing",
    "instance-dependent": "instance",
}


def make(kind: str, request: Request) -> Noise:
    """The noise of a kind; without any where ``rate`` is 0. Raises ValueError for another kind, and as the kinds do."""
    if kind not in KINDS:
        raise ValueError(f"no noise kind {kind!r}; choose one of {', '.join(KINDS)}")
    if request.rate == 0:
        return none(len(request.classes))
    return KINDS[kind](request)


def _flipping(rates: Tensor, where: Tensor) -> Noise:
    """Flips with ``rates`` (K,), evenly to the classes that ``where`` (K, K) marks with 1."""
    return Noise.of(torch.diag(1 - rates) + rates[:, None] * where / where.sum(1, keepdim=True))


def _scaled(rates: Tensor, weights: Tensor, mean: float) -> Tensor:
    """min(c * rates, MOST) with the c for which the weighted mean is ``mean``; all (K,), weights not negative.

    Bisection. Raises ValueError where no c reaches the mean.
    """
    most = min(1.0, max(MOST, mean))
    average = lambda c: float(((c * rates).clamp(max=most) * weights).sum() / weights.sum())  # noqa: E731
    low, high = 0.0, 1.0
    while average(high) < mean * (1 - 1e-12):
        low, high = high, 2 * high
        if high > 1e12:
            raise ValueError(
                f"a mean rate of {mean:g} is out of reach: at most {average(high):.3f} here; lower the noise"
            )
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if average(middle) < mean else (low, middle)
    return (high * rates).clamp(max=most)


def _appearing(factors: Tensor, wrong: float, request: Request) -> Tensor:
    """(K,) probabilities with which a class appears where it is not, so that ``wrong`` labels are expected in all.

    Proportional to ``factors`` (K,) times the class's frequency, and at most MOST.
    """
    absent = len(request.labels) - request.counts
    return _scaled(factors * request.counts / len(request.labels), absent, wrong / float(absent.sum()))
