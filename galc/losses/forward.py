"""Forward corrections: how a corruption matrix C enters the loss.

C (``transition``) is (K, K), C[i, j] = P(label i was turned into label j). Its rows sum to 1, or to less where labels
vanish (`galc.noise.model.Noise.arrivals`). With q (N, K) the probabilities of the clean labels, a form gives q~ (N,
K), those of the noisy labels. An observed label j was either there and kept (C_jj q_j), or arrived: from another
label, with the rate s_j = sum over i != j of C_ij q_i, or from nowhere, with probability a_j (``added`` (K,); None: 0).

    linear    q~_j = C_jj q_j + s_j + (1 - q_j) a_j            E[noisy | x] = C^T E[clean | x]: a flip may double j
    exact     q~_j = C_jj q_j + (1 - q_j) (s_j + a_j)          a label never flips onto one that is there
    noisy-or  q~_j = C_jj q_j + (1 - q_j) (1 - (1 - a_j) exp(-s_j))    the same; several arrivals are one label

Linear and exact may exceed 1, noisy-or may not.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from galc.checks import check_rates, check_transition, values_are_trusted
from galc.losses.asl import asl_from_probability, calibrate, uncalibrate

_CHORD = 1e-3  # see `forward_asl`
_EDGE = 1e-6  # distance kept from 1 by sums that may exceed it, so that gradients stay finite
_TINY = 1e-36


def linear(q: Tensor, transition: Tensor, added: Tensor | None = None) -> Tensor:
    """q~ = C^T q per image: (N, K), (K, K), (K,) -> (N, K). Raises ValueError for a bad matrix, as do the others."""
    kept, flips, added = _parts(q, transition, added)
    return kept * q + flips + (1 - q) * added


def exact(q: Tensor, transition: Tensor, added: Tensor | None = None) -> Tensor:
    """q~_j = C_jj q_j + (1 - q_j) (s_j + a_j): (N, K), (K, K), (K,) -> (N, K)."""
    kept, flips, added = _parts(q, transition, added)
    return kept * q + (1 - q) * (flips + added)


def noisy_or(q: Tensor, transition: Tensor, added: Tensor | None = None) -> Tensor:
    """q~_j = C_jj q_j + (1 - q_j) (1 - (1 - a_j) exp(-s_j)): (N, K), (K, K), (K,) -> (N, K), in [0, 1]."""
    kept, flips, added = _parts(q, transition, added)
    return kept * q - (1 - q) * torch.expm1(-_rates(flips, added))


FORWARD = {"linear": linear, "exact": exact, "noisy-or": noisy_or}


def posterior(q: Tensor, labels: Tensor, transition: Tensor, added: Tensor | None = None) -> Tensor:
    """P(clean label | observed label, x), (N, K) in [0, 1], from q (N, K), observed ``labels`` (N, K) and C (K, K).

    Bayes' rule with the noisy-or form, d_j = C_jj and r_j = 1 - (1 - a_j) exp(-s_j):
    q d / (q d + (1 - q) r) where the label was observed, q (1 - d) / (q (1 - d) + (1 - q) (1 - r)) where it was not.
    What C and q hold impossible (0 / 0) is answered by the observed label itself.
    """
    kept, flips, added = _parts(q, transition, added)
    arrivals = _rates(flips, added)
    gone = torch.exp(-arrivals)
    labels = labels.bool()
    there = q * torch.where(labels, kept, 1 - kept)
    absent = (1 - q) * torch.where(labels, -torch.expm1(-arrivals), gone)
    total = there + absent
    return torch.where(total > 0, there / total.clamp(min=_TINY), labels.to(q.dtype))


def literal(logits: Tensor, transition: Tensor, targets: Tensor, clamp: bool, **asl) -> Tensor:
    """The paper's silver loss to the letter, ASL(C^T sigmoid(logits), targets): losses (N, K).

    ``clamp=True`` bounds the product at 1; ``clamp=False`` leaves it to the authors' ASL arithmetic, in which
    1 - p may be negative. ``transition`` is ANY finite matrix (K, K), not checked for stochastic rows: the paper's
    C = sigmoid(C^) has none. ``asl``: gamma_neg, gamma_pos, clip, detach_focal.
    """
    _same_shape(logits, targets)
    if transition.shape != (logits.shape[1],) * 2 or not (values_are_trusted() or torch.isfinite(transition).all()):
        raise ValueError(f"transition must be a finite ({logits.shape[1]}, {logits.shape[1]}) matrix")
    p = _float(logits).sigmoid()
    with torch.autocast(p.device.type, enabled=False):
        product = p @ transition.to(p)
    return asl_from_probability(product.clamp(max=1) if clamp else product, targets, **asl)


def forward_asl(
    logits: Tensor, targets: Tensor, transition: Tensor, form: str = "noisy-or", added: Tensor | None = None, **asl
) -> Tensor:
    """Forward-corrected ASL on the probability scale: losses (N, K) of logits, targets (N, K) and C (K, K).

    p = sigmoid(logits) -> q = calibrate(p) -> q~ = form(q, C) -> p~ = uncalibrate(q~) -> ASL(p~, targets).
    With C = identity this is plain ASL. Since calibrate is flat at 0 for p <= clip, and its inverse infinitely
    steep there, both follow the chord q = 0.001 p below the point where it meets the curve (p = 0.22, q = 0.0002
    with the defaults). ``asl``: gamma_neg, gamma_pos, clip, detach_focal. Finite in value and gradient; float32.
    """
    _same_shape(logits, targets)
    p = _float(logits).sigmoid()
    q = torch.maximum(calibrate(p, **asl), _CHORD * p)
    noisy = _form(form)(q, transition, added).clamp(0, 1)
    noisy_p = torch.minimum(uncalibrate(noisy, **asl), noisy / _CHORD)
    return asl_from_probability(noisy_p, targets, **asl)


def forward_bce(
    logits: Tensor, targets: Tensor, transition: Tensor, form: str = "noisy-or", added: Tensor | None = None
) -> Tensor:
    """Forward-corrected cross-entropy, BCE(form(sigmoid(logits), C), targets): losses (N, K), float32.

    Worked out in logarithms: log q~ and log(1 - q~) keep their digits for any logit, and with C = identity this is
    plain BCE. Where linear or exact exceed 1, they are held at 1 - 1e-6.
    """
    _same_shape(logits, targets)
    _form(form)
    x = _float(logits)
    q, log_there, log_absent = x.sigmoid(), logsigmoid(x), logsigmoid(-x)
    kept, flips, added = _parts(q, transition, added)
    log_kept, log_lost = _log(kept) + log_there, _log(1 - kept) + log_there
    if form == "linear":
        arrivals = flips + (1 - q) * added
        log_noisy = torch.logaddexp(log_kept, _log(arrivals)).clamp(max=0)
        log_clean = (torch.sigmoid(-x) + q * (1 - kept) - arrivals).clamp(min=_TINY)
        log_clean = torch.where(arrivals > 0, log_clean.clamp(min=_EDGE), log_clean).log()
    else:
        arrivals = (flips + added).clamp(max=1 - _EDGE) if form == "exact" else _rates(flips, added)
        log_arrived = _log(-torch.expm1(-arrivals) if form == "noisy-or" else arrivals)
        log_none = -arrivals if form == "noisy-or" else torch.log1p(-arrivals)
        log_noisy = torch.logaddexp(log_kept, log_arrived + log_absent)
        log_clean = torch.logaddexp(log_lost, log_none + log_absent)
    t = targets.to(x.dtype)
    return -(t * log_noisy + (1 - t) * log_clean)


def _parts(q: Tensor, transition: Tensor, added: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """C's diagonal (K,), the rates s (N, K) of arrivals by flips, the probabilities a (K,) of those from nowhere."""
    transition = check_transition(transition, q.shape[-1], losing=True).to(q)
    kept = transition.diagonal()
    added = torch.zeros_like(kept) if added is None else check_rates(added, len(kept), "added").to(q)
    with torch.autocast(q.device.type, enabled=False):
        return kept, q @ (transition - torch.diag(kept)), added


def _rates(flips: Tensor, added: Tensor) -> Tensor:
    """(N, K) rates of arrivals of both kinds: 1 - exp(-rate) = 1 - (1 - a) exp(-s)."""
    return flips - torch.log1p(-added.clamp(max=1 - _EDGE))


def _form(form: str):
    if form not in FORWARD:
        raise ValueError(f"form must be one of {', '.join(FORWARD)}, got {form!r}")
    return FORWARD[form]


def _same_shape(logits: Tensor, targets: Tensor) -> None:
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must both be (N, K)")


def _float(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _log(x: Tensor) -> Tensor:
    return x.clamp(min=_TINY).log()
