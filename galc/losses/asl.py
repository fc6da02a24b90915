"""The asymmetric loss (ASL; Ridnik et al. 2021, Eq. 4-7), and the closed form that makes its outputs probabilities.

For one label, with p = sigmoid(logit) and p_m = max(p - clip, 0):
L+ = -(1 - p)^gamma_pos log p,  L- = -p_m^gamma_neg log(1 - p_m). ASL is not a proper loss: where the true probability
is q, the expected gradient q L+' + (1 - q) L-' vanishes at a p other than q. `calibrate` maps that p to q.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from galc.checks import as_float, logits_and_targets

_FLOOR = 1e-6  # p_m under the logarithm, so that log-odds stay finite below the margin
_EPS = 1e-8  # the authors' least argument of a logarithm
_TINY = 1e-30  # any other argument of a logarithm


class Constants(NamedTuple):
    """ASL's constants; ``detach_focal`` keeps both focal weights out of the gradient, as the authors train."""

    gamma_neg: float = 4.0
    gamma_pos: float = 0.0
    clip: float = 0.05
    detach_focal: bool = True

    @classmethod
    def checked(cls, *given: float, **named: float) -> "Constants":
        """Raises ValueError for those out of range."""
        asl = cls(*given, **named)
        if asl.gamma_neg < 0 or asl.gamma_pos < 0:
            raise ValueError(f"gamma_neg and gamma_pos must not be negative, got {asl.gamma_neg} and {asl.gamma_pos}")
        if not 0 <= asl.clip < 1:
            raise ValueError(f"clip must lie in [0, 1), got {asl.clip}")
        return asl


class Reduced(nn.Module):
    """A loss of logits and targets (N, K), targets in [0, 1]; float32 (float64 logits stay so), also under autocast.

    ``reduction``: "mean" sums over the classes and averages over the batch, "sum" sums over both, "none" gives the
    (N, K) losses. Raises ValueError for another one.
    """

    def __init__(self, reduction: str):
        super().__init__()
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f'reduction must be "mean", "sum" or "none", got {reduction!r}')
        self.reduction = reduction

    def reduced(self, losses: Tensor) -> Tensor:
        if self.reduction == "none":
            return losses
        return losses.sum() if self.reduction == "sum" else losses.sum() / max(len(losses), 1)


class AsymmetricLoss(Reduced):
    """ASL of logits (N, K) and targets (N, K), computed in float32 (float64 logits stay so), also under autocast.

    Targets may be soft, t in [0, 1]: the loss is then the expectation t L+ + (1 - t) L-. ``reduction``: "mean" sums
    over the classes and averages over the batch, "sum" sums over both, as the authors do, "none" gives the (N, K)
    losses. Finite in value and gradient for any finite logit. Raises ValueError for constants out of range, and for
    logits and targets of different shapes.

    >>> AsymmetricLoss()([[2.0, -1.0]], [[1, 0]])
    tensor(0.1275)
    """

    def __init__(
        self, gamma_neg: float = 4.0, gamma_pos: float = 0.0, clip: float = 0.05, detach_focal=True, reduction="mean"
    ):
        super().__init__(reduction)
        self.asl = Constants.checked(gamma_neg, gamma_pos, clip, detach_focal)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss, or (N, K) with reduction "none"."""
        x, t = logits_and_targets(logits, targets)
        log_p, log_rest = logsigmoid(x), logsigmoid(-x)
        # pow() has an infinite slope at 0 for exponents below 1: powers of p go through its logarithm,
        # and p_m is kept off 0 in the weight alone.
        if self.asl.clip:
            rest = (torch.sigmoid(-x) + self.asl.clip).clamp(max=1)  # 1 - p_m
            log_neg = rest.log()
            weight_neg = (1 - rest).clamp(min=_TINY) ** self.asl.gamma_neg
        else:
            log_neg, weight_neg = log_rest, (self.asl.gamma_neg * log_p).exp()
        weight_pos = (self.asl.gamma_pos * log_rest).exp()
        return self.reduced(_weighted(t, weight_pos, log_p, weight_neg, log_neg, self.asl.detach_focal))

    def extra_repr(self) -> str:
        return f"{self.asl}, reduction={self.reduction!r}"


def asl_from_probability(p: Tensor, targets: Tensor, *given: float, **asl: float) -> Tensor:
    """Losses (N, K) of outputs p (N, K) on the sigmoid scale and targets (N, K) in [0, 1]; ``asl``: its `Constants`.

    The authors' arithmetic: every logarithm's argument is clamped at 1e-8, p itself is not clamped, so that
    p > 1 (a product with a matrix that is no transition matrix) gives log(1e-8) for an absent label. The base of a
    focal weight is clamped at 0, which matters for p > 1 with gamma_pos > 0 alone. Nothing is checked.
    """
    p, (gamma_neg, gamma_pos, clip, detach_focal) = as_float(p), Constants(*given, **asl)
    rest = (1 - p + clip).clamp(max=1)
    weight_pos = (1 - p).clamp(min=_TINY) ** gamma_pos
    weight_neg = (1 - rest).clamp(min=_TINY) ** gamma_neg
    log_pos, log_neg = p.clamp(min=_EPS).log(), rest.clamp(min=_EPS).log()
    return _weighted(targets.to(p.dtype), weight_pos, log_pos, weight_neg, log_neg, detach_focal)


def _weighted(t, weight_pos, log_pos, weight_neg, log_neg, detach_focal: bool) -> Tensor:
    if detach_focal:
        weight_pos, weight_neg = weight_pos.detach(), weight_neg.detach()
    return -(t * weight_pos * log_pos + (1 - t) * weight_neg * log_neg)


def calibrate(
    p: ArrayLike, gamma_neg: float = 4.0, gamma_pos: float = 0.0, clip: float = 0.05, detach_focal: bool = True
) -> Tensor:
    """The true probability q for which ASL's optimum is the output p; any shape, both in [0, 1].

    q / (1 - q) = p p_m^gamma_neg / ((1 - p_m) (1 - p)^gamma_pos) for detached focal weights, and L-'(p) / -L+'(p)
    otherwise. Increasing; 0 for p <= clip, where an absent label has no gradient. With clip > 0 and gamma_pos = 0
    its largest value, at p = 1, is below 1 (0.942 with the defaults): a label more certain than that has its
    optimum at p = 1. Differentiable. Raises ValueError for p outside [0, 1] or NaN.

    >>> calibrate([0.05, 0.5, 0.9])
    tensor([0.0000, 0.0359, 0.7580])
    """
    return _calibrate(_unit_interval(p, "p"), Constants.checked(gamma_neg, gamma_pos, clip, detach_focal))


def _calibrate(p: Tensor, asl: Constants) -> Tensor:
    """`calibrate`, unchecked: for steps of a training."""
    log_p, log_rest = p.clamp(min=_TINY).log(), (1 - p).clamp(min=_TINY).log()
    return torch.where(p > asl.clip, _log_odds(p, log_p, log_rest, asl).sigmoid(), torch.zeros_like(p))


def calibrate_logits(logits: Tensor, *given: float, **asl: float) -> Tensor:
    """log(q / (1 - q)) of `calibrate` from ASL's logits; any shape, finite and increasing for any finite logit.

    p_m is floored at 1e-6 (where clip > 0), so below the margin the log-odds fall with log p alone.
    """
    x = as_float(logits)
    return _log_odds(x.sigmoid(), logsigmoid(x), logsigmoid(-x), Constants.checked(*given, **asl))


def uncalibrate(
    q: ArrayLike, gamma_neg: float = 4.0, gamma_pos: float = 0.0, clip: float = 0.05, detach_focal: bool = True
) -> Tensor:
    """ASL's optimal output p for a true probability q, the inverse of `calibrate`; any shape, both in [0, 1].

    p is ``clip`` at q = 0, and 1 where q exceeds calibrate(1). Cubic interpolation in a table over the log-odds of q,
    to 1e-9 in float64. Differentiable once: dp/dq = 1 / (dq/dp), at most 1e6 (it is infinite at q = 0), and 0 above
    calibrate(1). Raises ValueError for q outside [0, 1] or NaN.

    >>> uncalibrate(calibrate([0.2, 0.5, 0.9]))
    tensor([0.2000, 0.5000, 0.9000])
    """
    return _uncalibrate(_unit_interval(q, "q"), Constants.checked(gamma_neg, gamma_pos, clip, detach_focal))


def _uncalibrate(q: Tensor, asl: Constants) -> Tensor:
    """`uncalibrate`, unchecked: for steps of a training. NaN stays NaN, or becomes ``clip``."""
    first, step, nodes, slopes = _table(asl, q.dtype, q.device)
    fixed = q.detach()
    place = ((torch.logit(fixed) - first) / step).clamp(0, len(nodes) - 1)
    low = place.nan_to_num(0.0).long().clamp(max=len(nodes) - 2)  # NaN stays NaN through t
    t, left, right, slope, next_slope = place - low, nodes[low], nodes[low + 1], slopes[low], slopes[low + 1]
    # cubic Hermite interpolation between two nodes; slopes are dp per step
    p = left + t * t * (3 - 2 * t) * (right - left) + t * (1 - t) * ((1 - t) * slope - t * next_slope)
    p = torch.where(fixed > 0, p, torch.full_like(p, asl.clip))
    if not (torch.is_grad_enabled() and q.requires_grad):
        return p
    dp = 6 * t * (1 - t) * (right - left) + (1 - t) * (1 - 3 * t) * slope + t * (3 * t - 2) * next_slope
    dp_dq = dp / (step * fixed * (1 - fixed)).clamp(min=_TINY)
    dp_dq = dp_dq.clamp(0, 1e6) * (place < len(nodes) - 1)
    return p + dp_dq * (q - fixed)  # adds 0, carries the gradient


def _log_odds(p: Tensor, log_p: Tensor, log_rest: Tensor, asl: Constants) -> Tensor:
    """log(q / (1 - q)) where p, log p and log(1 - p) are given separately, so that no end loses its digits."""
    gamma_neg, gamma_pos, clip, detach_focal = asl
    if clip:
        margin = (p - clip).clamp(min=_FLOOR)
        log_margin, log_kept = margin.log(), torch.log1p(-margin)
    else:
        log_margin, log_kept = log_p, log_rest
    if detach_focal:
        return log_p + gamma_neg * log_margin - log_kept - gamma_pos * log_rest
    # L-' = p_m^g / (1 - p_m) - g p_m^(g-1) log(1 - p_m), and -L+' likewise with p and 1 - p exchanged;
    # p_m^g / (1 - p_m) is taken out of the first, (1 - p)^g / p out of the second.
    absent = gamma_neg * log_margin - log_kept + torch.log1p(gamma_neg * _ratio(log_margin, log_kept))
    present = gamma_pos * log_rest - log_p + torch.log1p(gamma_pos * _ratio(log_rest, log_p))
    return absent - present


def _ratio(log_u: Tensor, log_rest: Tensor) -> Tensor:
    """-log(1 - u) (1 - u) / u from log u and log(1 - u): 1 for u -> 0, 0 for u -> 1."""
    return torch.where(log_u < -15, torch.ones_like(log_u), -log_rest * (log_rest - log_u.clamp(min=-15)).exp())


def _log_odds_on_grid(s: Tensor, asl: Constants) -> Tensor:
    """The log-odds at p = clip + (1 - clip) sigmoid(s): s is a coordinate in which both ends are nearly linear."""
    p, log_rest = asl.clip + (1 - asl.clip) * s.sigmoid(), logsigmoid(-s) + math.log1p(-asl.clip)
    return _log_odds(p, p.log() if asl.clip else logsigmoid(s), log_rest, asl)


@lru_cache(maxsize=16)
def _table(asl: Constants, dtype: torch.dtype, device: torch.device) -> tuple[float, float, Tensor, Tensor]:
    """p and its slope at evenly spaced log-odds of q: (first log-odds, step, (n,) p, (n,) dp per step).

    Worked out on the CPU, in float64, by bisection of s, in which the log-odds increase.
    """
    clip = asl.clip
    ends = torch.tensor([-13.7 if clip else -30.0, 30.0], dtype=torch.float64)  # down to p_m = _FLOOR
    first, last = _log_odds_on_grid(ends, asl).tolist()
    wanted = torch.linspace(first, last, 16384, dtype=torch.float64)
    low, high = (end.expand_as(wanted).clone() for end in ends)
    for _ in range(60):
        middle = (low + high) / 2
        below = _log_odds_on_grid(middle, asl) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    with torch.enable_grad():
        s = ((low + high) / 2).requires_grad_()
        p = clip + (1 - clip) * s.sigmoid()
        (dp,) = torch.autograd.grad(p.sum(), s, retain_graph=True)
        (df,) = torch.autograd.grad(_log_odds_on_grid(s, asl).sum(), s)
    step = float(wanted[1] - wanted[0])
    slopes = dp * step / df.clamp(min=_TINY)
    return first, step, p.detach().to(device, dtype), slopes.to(device, dtype)


def _unit_interval(x: ArrayLike, name: str) -> Tensor:
    x = as_float(x)
    if x.numel() and not bool(((x >= 0) & (x <= 1)).all()):  # NaN fails both
        raise ValueError(f"{name} must lie in [0, 1], got values from {x.min().item()} to {x.max().item()}")
    return x
