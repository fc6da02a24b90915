"""Bernoulli likelihood: the C under which the noisy labels y~, absent ones as well, are most probable.

Marginals mix linearly, q~ = h C. C maximises the sum of y~ log q~ + (1 - y~) log(1 - q~) and log priors over the flip
rates r_i = 1 - C_ii, shrunk towards the pooled rate (Beta, ``kappa_rate`` labels), and the targets C_ij / r_i, a
softmax, shrunk towards uniform (Dirichlet, ``kappa_target`` labels); how strongly is chosen by held-out likelihood.
"""

import itertools

import torch
from torch import Tensor

from galc.estimators.attribution import INFINITE, match_counts, pooled_rate
from galc.estimators.base import Estimate, Evidence, estimator
from galc.noise import symmetric

KAPPA_RATES = (30.0, 300.0, INFINITE)  # labels a class
KAPPA_TARGETS = (3.0, 30.0, 300.0, INFINITE)  # flipped labels a class
_EDGE = 1e-9  # distance that probabilities keep from 0 and 1 under a logarithm


def maximise(
    clean: Tensor, noisy: Tensor, rate: float, kappa_rate: float, kappa_target: float, steps: int = 60
) -> Tensor:
    """Most probable C (K, K), rows sum to 1, by L-BFGS from the symmetric matrix at ``rate``.

    ``clean`` is h (N, K), ``noisy`` (N, K) bool. An infinite strength holds its part at the prior, a ``rate`` of 0
    all of C at the identity.
    """
    num_classes = noisy.shape[1]
    if kappa_rate == kappa_target == INFINITE or rate == 0:
        return symmetric(num_classes, rate).float()
    clean, observed = clean.double(), noisy.double()
    odds = torch.full((num_classes,), rate, dtype=torch.float64).logit().requires_grad_(kappa_rate != INFINITE)
    targets = torch.zeros(num_classes, num_classes, dtype=torch.float64).requires_grad_(kappa_target != INFINITE)
    free = [part for part in (odds, targets) if part.requires_grad]
    optimizer = torch.optim.LBFGS(free, max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        q = (clean @ _matrix(odds, targets)).clamp(_EDGE, 1 - _EDGE)
        fit = (observed * q.log() + (1 - observed) * torch.log1p(-q)).sum()
        loss = -(fit + _log_prior(odds, targets, rate, kappa_rate, kappa_target)) / len(noisy)
        loss.backward()
        return loss

    optimizer.step(closure)
    return _matrix(odds, targets).detach().float()


def estimate(
    clean: Tensor, noisy: Tensor, kappa_rates=KAPPA_RATES, kappa_targets=KAPPA_TARGETS, folds=2, judged: int = 5000
) -> Tensor:
    """C (K, K), rows sum to 1: Bernoulli likelihood, its priors' strengths chosen by held-out likelihood.

    ``clean`` (N, K) are probabilities of the clean labels from models that have not seen the image's noisy labels
    ``noisy`` (N, K) bool; they are shifted to the image's number of labels, which the noise must keep. Strengths are
    chosen in ``folds`` of about ``judged`` images, evenly spaced; C is fitted to all.
    """
    clean = match_counts(clean, noisy.sum(1))
    rate = pooled_rate(clean, noisy)
    some = torch.arange(0, len(noisy), max(len(noisy) // judged, 1))
    parts = [(some[torch.arange(len(some)) % folds != k], some[k::folds]) for k in range(folds)]

    def held_out(kappas: tuple[float, float]) -> float:
        return sum(
            log_likelihood(maximise(clean[rest], noisy[rest], rate, *kappas), clean[held], noisy[held])
            for rest, held in parts
        )

    best = max(itertools.product(kappa_rates, kappa_targets), key=held_out)
    return maximise(clean, noisy, rate, *best)


def log_likelihood(transition: Tensor, clean: Tensor, noisy: Tensor) -> float:
    """Mean Bernoulli log-likelihood of the noisy labels (nats an image) under q~ = h C."""
    q = (clean.double() @ transition.double()).clamp(_EDGE, 1 - _EDGE)
    return float(torch.where(noisy, q.log(), (1 - q).log()).sum(1).mean())


def _matrix(odds: Tensor, targets: Tensor) -> Tensor:
    """C from the log-odds of the flip rates (K,) and the logits of the targets (K, K), whose diagonal is ignored."""
    eye = torch.eye(len(odds), dtype=torch.bool)
    rates = odds.sigmoid()[:, None]
    return torch.where(eye, 1 - rates, rates * targets.masked_fill(eye, -torch.inf).softmax(1))


def _log_prior(odds: Tensor, targets: Tensor, rate: float, kappa_rate: float, kappa_target: float) -> Tensor:
    """Beta and Dirichlet log-densities as pseudo-counts of labels: kappa times the prior's cross-entropy."""
    value = odds.new_zeros(())
    if kappa_rate != INFINITE:
        stay, leave = torch.nn.functional.logsigmoid(-odds), torch.nn.functional.logsigmoid(odds)
        value = value + kappa_rate * (rate * leave + (1 - rate) * stay).sum()
    if kappa_target != INFINITE:
        eye = torch.eye(len(odds), dtype=torch.bool)
        log_targets = targets.masked_fill(eye, -torch.inf).log_softmax(1).masked_fill(eye, 0)
        value = value + kappa_target * log_targets.sum() / (len(odds) - 1)
    return value


@estimator("likelihood", needs=("silver_posterior", "silver_labels"))
def _likelihood(evidence: Evidence) -> Estimate:
    return Estimate(estimate(evidence.silver_posterior, evidence.silver_labels))
