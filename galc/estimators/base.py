"""What estimators of the noise take and give, and the table of them: `Evidence`, `Estimate`, `ESTIMATORS`.

A new one is a function under `estimator`. A class without the images that its row needs gets a documented fallback row,
never an error.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from galc.checks import check_transition
from galc.noise import Noise
from galc.noise.kinds import KINDS


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an estimator says of the noise.

    transition : (K, K), row i is the true class, column j the noisy class; rows sum to 1, but for the literal matrix
                 of the paper, which is no transition matrix: its `noise` is an error
    removed, added : (K,) rates as in `galc.noise.Noise`, or None where the estimator takes an image to keep its
                 number of labels

    Raises ValueError unless the matrix is square and finite.
    """

    transition: Tensor
    removed: Tensor | None = None
    added: Tensor | None = None

    def __post_init__(self):
        shape = tuple(self.transition.shape)
        if len(shape) != 2 or shape[0] != shape[1] or not torch.isfinite(self.transition).all():
            raise ValueError(f"an estimate must be a finite (K, K) matrix, got shape {shape}")

    @classmethod
    def of(cls, noise: Noise) -> "Estimate":
        """An estimate that says all of a noise."""
        return cls(noise.transition, noise.removed, noise.added)

    @cached_property
    def noise(self) -> Noise:
        """As a `Noise`. Raises ValueError naming the row where rows of the matrix do not sum to 1."""
        return Noise(self.transition, self.removed, self.added)

    @property
    def has_rates(self) -> bool:
        """Whether the estimator looked for labels that vanish or appear."""
        return self.removed is not None

    @property
    def arrivals(self) -> Tensor:
        """(K, K) float32, the C of corrections: rows sum to 1 - removed. A matrix alone is left as it is."""
        return self.noise.arrivals.float() if self.has_rates else self.transition.float()

    @property
    def appearing(self) -> Tensor | None:
        """(K,) float32, P(a class appears from nowhere), for corrections; None where labels keep their number."""
        return None if not self.has_rates or self.noise.keeps_count else self.noise.added.float()


class Evidence:
    """What estimators may ask for, by name, each (n, K); a part given as a function is worked out when first asked for.

    "gold" are the trusted images with several labels, "single" those with one, "silver" the noisy images, on which the
    silver model f was trained. Any part may be left out. Raises ValueError for another name.
    """

    gold_logits: Tensor  # of f
    gold_labels: Tensor  # bool, clean
    gold_clean: Tensor  # h, cross-fitted probabilities of the clean labels, from the trusted images
    single_logits: Tensor
    single_labels: Tensor
    single_clean: Tensor
    silver_logits: Tensor
    silver_labels: Tensor  # bool, noisy
    silver_posterior: Tensor  # q, cross-fitted probabilities of the clean labels
    noise: Noise  # injected; only the upper bound knows it

    def __init__(self, **parts: Tensor | Noise | Callable[[], Tensor | Noise]):
        if unknown := set(parts) - set(Evidence.__annotations__):
            raise ValueError(f"no evidence {', '.join(sorted(unknown))}; it is {', '.join(Evidence.__annotations__)}")
        self._parts = parts

    def __getattr__(self, name: str) -> Tensor | Noise:
        """A part that was not asked for before; it is kept."""
        if name not in self.__dict__.get("_parts", ()):
            raise AttributeError(f"the evidence has no {name}")
        part = self._parts[name]
        self.__dict__[name] = part = part() if callable(part) else part
        return part

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Those of the ``names`` that were not given."""
        return [name for name in names if name not in self._parts]


# The natures of noise (`galc.noise.Noise.nature`) that an estimate can represent. None can say "instance".
NOTHING, ONE_RATE, MATRIX = frozenset(), frozenset({"symmetric"}), frozenset({"symmetric", "targets"})
ALL_BUT_INSTANCE = MATRIX | {"count-changing"}
LIMITS = {
    "symmetric": "it takes every label to be right",
    "targets": "it spreads wrong labels evenly over all classes, and where they really go it cannot say",
    "count-changing": "it takes an image to keep its number of labels, so removed and added labels count as flips",
    "instance": "one estimate serves all images, so it can only find the average of noise that differs by image",
}


class Estimator(NamedTuple):
    """A row of `ESTIMATORS`; see `estimator`."""

    compute: Callable[[Evidence], Estimate]
    needs: tuple[str, ...]
    scope: frozenset[str]


ESTIMATORS: dict[str, Estimator] = {}


def estimator(name: str, *, needs: Iterable[str], scope: Iterable[str] = MATRIX):
    """Put the decorated function, Evidence -> Estimate, into `ESTIMATORS`.

    ``needs``: the parts of the evidence that it reads; ``scope``: the natures of noise that it can represent. Raises
    ValueError for parts or natures that there are none of.
    """
    needs, scope = tuple(needs), frozenset(scope)
    if wrong := {*needs} - set(Evidence.__annotations__) | (scope - set(LIMITS)):
        raise ValueError(f"estimator {name!r}: there is no {', '.join(sorted(wrong))} to need or to represent")

    def register(compute: Callable[[Evidence], Estimate]):
        ESTIMATORS[name] = Estimator(compute, needs, scope)
        return compute

    return register


def named(name: str) -> Estimator:
    """The estimator of a name. Raises ValueError, naming those there are, for a name that is none."""
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator {name!r}; choose one of {', '.join(ESTIMATORS)}")
    return ESTIMATORS[name]


def estimate(name: str, evidence: Evidence) -> Estimate:
    """The noise by the named estimator. Raises ValueError naming what the evidence lacks."""
    chosen = named(name)
    if missing := evidence.lacks(chosen.needs):
        raise ValueError(f"estimator {name!r} needs {', '.join(missing)}")
    return chosen.compute(evidence)


def limits(name: str, kind: str) -> str:
    """Why an estimator cannot represent a kind of noise, as a sentence; "" where it can.

    ``kind``: a name in `galc.noise.kinds.KINDS`, or the ``nature`` of a `Noise` (for one from a file). Nothing is
    refused for it: the estimate is then the nearest that the estimator can say. Raises ValueError for other names.
    """
    scope, nature = named(name).scope, KINDS[kind].nature if kind in KINDS else kind
    if nature not in LIMITS:
        raise ValueError(f"no limits known of estimator {name!r} under {kind!r} noise")
    if nature in scope:
        return ""
    return f"{name} cannot represent this noise ({kind}): {LIMITS[nature if scope else 'symmetric']}."


@estimator("true", needs=("noise",), scope=ALL_BUT_INSTANCE)
def _true(evidence: Evidence) -> Estimate:
    return Estimate.of(evidence.noise)


@estimator("identity", needs=("silver_labels",), scope=NOTHING)
def _identity(evidence: Evidence) -> Estimate:
    return Estimate(torch.eye(evidence.silver_labels.shape[1]))


# --- how far an estimate is from the truth ----------------------------------------------------------------------------


def matrix_error(estimate: Tensor, truth: Tensor) -> dict[str, float]:
    """How far an estimate (K, K), any matrix, is from the true C (K, K).

    row_l1                   mean over rows of sum_j |estimate_ij - truth_ij|
    diagonal                 mean of |estimate_ii - truth_ii|
    off_diagonal_correlation Pearson correlation of the off-diagonal entries; NaN where either side is constant

    Raises ValueError for shapes that differ or a truth that is no transition matrix.
    """
    truth = check_transition(truth).double()
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and truth {tuple(truth.shape)} differ in shape")
    estimate = estimate.double()
    row_l1, diagonal = row_errors(estimate, truth)
    off = ~torch.eye(len(truth), dtype=torch.bool, device=truth.device)
    first, second = (matrix[off] - matrix[off].mean() for matrix in (estimate, truth))
    spread = first.norm() * second.norm()
    constant = min(first.abs().max(), second.abs().max()) < 1e-7
    correlation = float("nan") if constant else (first @ second / spread).item()
    return {"row_l1": row_l1, "diagonal": diagonal, "off_diagonal_correlation": correlation}


def rate_error(estimate: Noise, truth: Noise) -> dict[str, float]:
    """The mean over classes of how far `Noise`'s rates ``removed`` and ``added`` are off."""
    gaps = {name: getattr(estimate, name) - getattr(truth, name) for name in ("removed", "added")}
    return {name: float(gap.abs().mean()) for name, gap in gaps.items()}


def row_errors(estimate: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """row_l1 and diagonal of `matrix_error` for any two matrices (K, K), unchecked."""
    gap = (torch.as_tensor(estimate).double() - torch.as_tensor(truth).double()).abs()
    return gap.sum(1).mean().item(), gap.diagonal().mean().item()
