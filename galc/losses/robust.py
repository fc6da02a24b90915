"""Losses that bear wrong labels by their shape alone: GCE, Hill, SPLC. They need no corruption matrix.

Functions of logits and targets (N, K), targets in [0, 1], that give losses (N, K) in float32 (float64 logits stay so).
Soft targets give the expectation t L+ + (1 - t) L-. With p = sigmoid(logit).
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from galc.checks import as_float


def gce(logits: Tensor, targets: Tensor, q: float = 0.1) -> Tensor:
    """Generalised cross-entropy (Zhang & Sabuncu 2018), a label at a time: L+ = (1 - p^q) / q.

    L- is the same of 1 - p. q -> 0 is binary cross-entropy, q = 1 the mean absolute error |p - t|. The gradient of
    L+ is that of cross-entropy times p^q, so labels that the model holds unlikely hardly count: wrong ones, and, at
    the paper's q = 0.7, those of every rare class, whose p starts near its frequency: many are never predicted. Raises
    ValueError for q outside (0, 1].
    """
    if not 0 < q <= 1:
        raise ValueError(f"q must be above 0 and at most 1, got {q}")
    x = as_float(logits)
    return _expectation(targets, -torch.expm1(q * logsigmoid(x)) / q, -torch.expm1(q * logsigmoid(-x)) / q)


def hill(logits: Tensor, targets: Tensor, lam: float = 1.5, margin: float = 1.0, gamma: float = 2.0) -> Tensor:
    """Hill loss (Zhang et al. 2021, "Simple and robust loss design for multi-label learning with missing labels").

    L- = (lam - p) p^2, whose slope falls again where p is high: an absent label that the model is sure of is taken
    for a missing one. L+ = -(1 - p_m)^gamma log p_m, p_m = sigmoid(logit - margin). Defaults as published.
    """
    x = as_float(logits)
    p = x.sigmoid()
    return _expectation(targets, focal_margin(x, margin, gamma), (lam - p) * p.square())


def splc(
    logits: Tensor, targets: Tensor, epoch: int, tau: float = 0.6, margin: float = 1.0, gamma: float = 2.0
) -> Tensor:
    """Self-paced loss correction (Zhang et al. 2021, as `hill`): from the second epoch on, labels that the model finds.

    The focal-margin loss L+ of `hill`; L- = -p^gamma log(1 - p) while p <= tau, and above it the absent label is taken
    for a missing one, -(1 - p)^gamma log p. ``epoch`` from 1. Defaults as published.
    """
    x = as_float(logits)
    absent = focal_margin(-x, 0.0, gamma)
    if epoch > 1:
        absent = torch.where(x.sigmoid() > tau, focal_margin(x, 0.0, gamma), absent)
    return _expectation(targets, focal_margin(x, margin, gamma), absent)


def focal_margin(logits: Tensor, margin: float = 1.0, gamma: float = 2.0) -> Tensor:
    """-(1 - p_m)^gamma log p_m of a present label, p_m = sigmoid(logit - margin); the weight has a gradient, too."""
    x = logits - margin
    return -(gamma * logsigmoid(-x)).exp() * logsigmoid(x)


def _expectation(targets: Tensor, present: Tensor, absent: Tensor) -> Tensor:
    t = targets.to(present.dtype)
    return t * present + (1 - t) * absent
