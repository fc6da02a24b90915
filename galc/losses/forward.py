"""Forward corrections: how a corruption matrix C enters the loss.

C (``transition``) is (K, K), C[i, j] = P(label i was turned into label j); rows sum to 1, to less where labels vanish.
`corrupted` has the forms. The losses check C and ``added`` when they are made, and nothing but shapes in a step: a look
at values that lie on a GPU makes the processor wait for it.
"""

import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import logsigmoid

from galc.checks import as_float, check_rates, check_transition, logits_and_targets
from galc.losses.asl import Constants, Reduced, _calibrate, _uncalibrate, asl_from_probability

_CHORD = 1e-3  # see `ForwardASL`
_EDGE = 1e-6  # distance kept from 1 by sums that may exceed it, so that gradients stay finite
_TINY = 1e-36
FORMS = ("linear", "exact", "noisy-or")


def corrupted(q: Tensor, transition: Tensor, added: Tensor | None = None, form: str = "noisy-or") -> Tensor:
    """q~ (N, K) of q (N, K), C (K, K) and ``added`` (K,). Raises ValueError for what is no C, rate or form.

    An observed label j was there and kept, C_jj q_j, or arrived: from another label, with the rate
    s_j = sum over i != j of C_ij q_i, or from nowhere, with probability a_j (``added``; None: 0).

    linear    q~_j = C_jj q_j + s_j + (1 - q_j) a_j            E[noisy | x] = C^T E[clean | x]: a flip may double j
    exact     q~_j = C_jj q_j + (1 - q_j) (s_j + a_j)          a label never flips onto one that is there
    noisy-or  q~_j = C_jj q_j + (1 - q_j) (1 - (1 - a_j) exp(-s_j))    the same; several arrivals are one label; <= 1
    """
    return _corrupted(q, *_checked(transition, added, form, q.shape[-1]), form)


def posterior(q: Tensor, labels: Tensor, transition: Tensor, added: Tensor | None = None) -> Tensor:
    """P(clean label | observed label, x), (N, K) in [0, 1], from q (N, K), observed ``labels`` (N, K) and C (K, K).

    Bayes' rule with the noisy-or form, d_j = C_jj and r_j = 1 - (1 - a_j) exp(-s_j):
    q d / (q d + (1 - q) r) where the label was observed, q (1 - d) / (q (1 - d) + (1 - q) (1 - r)) where it was not.
    What C and q hold impossible (0 / 0) is answered by the observed label itself. Errors as of `corrupted`.
    """
    kept, flips, added = _parts(q, *_checked(transition, added, "noisy-or", q.shape[-1]))
    arrivals, labels = _rates(flips, added), labels.bool()
    there = q * torch.where(labels, kept, 1 - kept)
    absent = (1 - q) * torch.where(labels, -torch.expm1(-arrivals), torch.exp(-arrivals))
    total = there + absent
    return torch.where(total > 0, there / total.clamp(min=_TINY), labels.to(q.dtype))


class ForwardLoss(Reduced):
    """What the corrected losses share: C and ``added``, checked once, which go with the module to its device."""

    def __init__(self, transition: ArrayLike, form="noisy-or", added: ArrayLike | None = None, reduction="mean"):
        super().__init__(reduction)
        self.form = form
        transition, added = _checked(transition, added, form)
        self.register_buffer("transition", transition, persistent=False)  # known beforehand: in no checkpoint
        self.register_buffer("added", added, persistent=False)


class ForwardASL(ForwardLoss):
    """Forward-corrected ASL on the probability scale, of logits and targets (N, K) under C (K, K).

    p = sigmoid(logits) -> q = calibrate(p) -> q~ = form(q, C) -> p~ = uncalibrate(q~) -> ASL(p~, targets).
    With C = identity this is plain ASL. Since calibrate is flat at 0 for p <= clip, and its inverse infinitely
    steep there, both follow the chord q = 0.001 p below the point where it meets the curve. Finite in value and
    gradient; float32.

    C, C[i, j] = P(label i was turned into label j), has rows that sum to 1, to less where labels vanish; ``added`` (K,)
    P(a class appears from nowhere); ``form`` one of FORMS; ``asl``: gamma_neg, gamma_pos, clip, detach_focal, as in
    `galc.losses.asl.AsymmetricLoss`, as is ``reduction``. Raises ValueError, naming row or class, for what is no C,
    rate, form or constant.

    >>> loss = ForwardASL([[0.8, 0.2], [0.3, 0.7]])
    >>> loss([[2.0, -1.0]], [[1, 0]])
    tensor(0.2820)
    """

    def __init__(self, transition: ArrayLike, form="noisy-or", added=None, reduction="mean", **asl: float):
        super().__init__(transition, form, added, reduction)
        self.asl = Constants.checked(**asl)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss, or (N, K) with reduction "none". Raises ValueError where shapes differ."""
        x, t = logits_and_targets(logits, targets)
        p = x.sigmoid()
        q = torch.maximum(_calibrate(p, self.asl), _CHORD * p)
        noisy = _corrupted(q, self.transition, self.added, self.form).clamp(0, 1)
        noisy_p = torch.minimum(_uncalibrate(noisy, self.asl), noisy / _CHORD)
        return self.reduced(asl_from_probability(noisy_p, t, *self.asl))


class ForwardBCE(ForwardLoss):
    """Forward-corrected cross-entropy, BCE(form(sigmoid(logits), C), targets), of logits and targets (N, K); float32.

    Worked out in logarithms: log q~ and log(1 - q~) keep their digits for any logit, and with C = identity this is
    plain BCE. Where linear or exact exceed 1, they are held at 1 - 1e-6. Arguments and errors as of `ForwardASL`.

    >>> loss = ForwardBCE([[0.8, 0.2], [0.3, 0.7]], form="exact", added=[0.0, 0.1])
    >>> loss([[2.0, -1.0]], [[1, 0]])
    tensor(0.8311)
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss, or (N, K) with reduction "none". Raises ValueError where shapes differ."""
        return self.reduced(self.losses(logits, targets, self.transition))

    def losses(self, logits: Tensor, targets: Tensor, transition: Tensor) -> Tensor:
        """(N, K) losses under another C, which is not looked at: for one that is learned."""
        x, t = logits_and_targets(logits, targets)
        q, log_there, log_absent = x.sigmoid(), logsigmoid(x), logsigmoid(-x)
        kept, flips, added = _parts(q, transition, self.added)
        log_kept, log_lost = _log(kept) + log_there, _log(1 - kept) + log_there
        if self.form == "linear":
            arrivals = flips + (1 - q) * added
            log_noisy = torch.logaddexp(log_kept, _log(arrivals)).clamp(max=0)
            log_clean = (torch.sigmoid(-x) + q * (1 - kept) - arrivals).clamp(min=_TINY)
            log_clean = torch.where(arrivals > 0, log_clean.clamp(min=_EDGE), log_clean).log()
        else:
            exact = self.form == "exact"
            arrivals = (flips + added).clamp(max=1 - _EDGE) if exact else _rates(flips, added)
            log_arrived = _log(arrivals if exact else -torch.expm1(-arrivals))
            log_none = torch.log1p(-arrivals) if exact else -arrivals
            log_noisy = torch.logaddexp(log_kept, log_arrived + log_absent)
            log_clean = torch.logaddexp(log_lost, log_none + log_absent)
        return -(t * log_noisy + (1 - t) * log_clean)


class LiteralASL(Reduced):
    """The paper's silver loss to the letter, ASL(C^T sigmoid(logits), targets), of logits and targets (N, K).

    ``clamp=True`` bounds the product at 1; ``clamp=False`` leaves it to the authors' ASL arithmetic, in which
    1 - p may be negative. ``transition`` is ANY finite matrix (K, K), not one of stochastic rows: the paper's
    C = sigmoid(C^) has none. Raises ValueError for another one. ``asl`` and ``reduction`` as in `ForwardASL`.
    """

    def __init__(self, transition: Tensor, clamp: bool, reduction: str = "mean", **asl: float):
        super().__init__(reduction)
        transition = as_float(transition)
        if transition.shape != (len(transition),) * 2 or not torch.isfinite(transition).all():
            raise ValueError(f"transition must be a finite (K, K) matrix, got shape {tuple(transition.shape)}")
        self.register_buffer("transition", transition, persistent=False)
        self.clamp, self.asl = clamp, Constants.checked(**asl)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss, or (N, K) with reduction "none". Raises ValueError where shapes differ."""
        x, t = logits_and_targets(logits, targets)
        p = x.sigmoid()
        with torch.autocast(p.device.type, enabled=False):
            product = p @ self.transition.to(p)
        return self.reduced(asl_from_probability(product.clamp(max=1) if self.clamp else product, t, *self.asl))


def _checked(transition: ArrayLike, added: ArrayLike | None, form: str, size: int | None = None) -> tuple:
    """C and ``added``. Raises ValueError for what is no C (of ``size`` classes), rate or form."""
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
    transition = check_transition(transition, size, losing=True)
    return transition, None if added is None else check_rates(added, len(transition), "added").to(transition)


def _corrupted(q: Tensor, transition: Tensor, added: Tensor | None, form: str) -> Tensor:
    kept, flips, added = _parts(q, transition, added)
    if form == "linear":
        return kept * q + flips + (1 - q) * added
    if form == "exact":
        return kept * q + (1 - q) * (flips + added)
    return kept * q - (1 - q) * torch.expm1(-_rates(flips, added))


def _parts(q: Tensor, transition: Tensor, added: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """C's diagonal (K,), the rates s (N, K) of arrivals by flips, the probabilities a (K,) of those from nowhere."""
    transition = transition.to(q)
    kept = transition.diagonal()
    added = torch.zeros_like(kept) if added is None else added.to(q)
    with torch.autocast(q.device.type, enabled=False):
        return kept, q @ (transition - torch.diag(kept)), added


def _rates(flips: Tensor, added: Tensor) -> Tensor:
    """(N, K) rates of arrivals of both kinds: 1 - exp(-rate) = 1 - (1 - a) exp(-s)."""
    return flips - torch.log1p(-added.clamp(max=1 - _EDGE))


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=_TINY).log()
