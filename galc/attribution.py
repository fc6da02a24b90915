"""Attribution EM: the corruption matrix from calibrated posteriors of the clean labels.

Marginals mix linearly: with h_ni = P(y_i = 1 | x_n), the rate of observed label j is sum_i h_ni C_ij. So an
observed label j of image n came from true class i with probability h_ni C_ij / sum_l h_nl C_lj (E step), and
counting those attributions over ALL silver images gives the rows of C (M step). Unlike the paper's Algorithm 1,
which averages scores over the few gold images of a class, this uses every noisy label there is.

Two priors keep rare classes in place: the flip rate r_i of a class is shrunk towards the pooled rate (Beta prior
of strength ``kappa_rate`` labels), its targets towards uniform (Dirichlet prior of ``kappa_target`` labels).
"""

import itertools

import torch

from galc.noise import symmetric

INFINITE = float("inf")
KAPPA_RATES = (30.0, 300.0, INFINITE)  # labels a class
KAPPA_TARGETS = (30.0, 300.0, INFINITE)  # flipped labels a class


def match_counts(probabilities: torch.Tensor, counts: torch.Tensor, steps: int = 30) -> torch.Tensor:
    """Shift the logits of each image so that its (N, K) probabilities sum to ``counts`` (N,).

    Wrong labels leave the number of labels of an image as it was, so that number is known exactly.
    Newton steps on one shift an image. Only valid for noise that keeps the number of labels.
    """
    logits = torch.logit(probabilities.double(), eps=1e-6)
    target = counts.double().clamp(0.05, probabilities.shape[1] - 0.05)
    shift = torch.zeros_like(target)
    for _ in range(steps):
        p = torch.sigmoid(logits + shift[:, None])
        slope = (p * (1 - p)).sum(1).clamp(min=1e-3)
        shift = shift + ((target - p.sum(1)) / slope).clamp(-2, 2)
    return torch.sigmoid(logits + shift[:, None]).float()


def pooled_rate(clean: torch.Tensor, noisy: torch.Tensor) -> float:
    """One flip rate for all classes, by least squares of (noisy - h) on (u - h).

    Under symmetric noise E[noisy] = (1 - r) h + r u with u_j = (sum_i h_i - h_j) / (K - 1). Weighted by
    1 / (h (1 - h) + u) so that certain entries count most. ``clean`` is h (N, K), ``noisy`` (N, K) bool.
    """
    clean = clean.double()
    uniform = (clean.sum(1, keepdim=True) - clean) / (clean.shape[1] - 1)
    weight = 1 / (clean * (1 - clean) + uniform + 1e-4)
    direction = uniform - clean
    rate = (weight * direction * (noisy.double() - clean)).sum() / (weight * direction.square()).sum()
    return float(rate.clamp(0.0, 0.95))


def maximise(
    clean: torch.Tensor, noisy: torch.Tensor, rate: float, kappa_rate: float, kappa_target: float, steps: int = 30
) -> torch.Tensor:
    """EM with priors: (K, K) transition, rows sum to 1. Infinite strengths hold the prior exactly."""
    num_classes = noisy.shape[1]
    prior = symmetric(num_classes, rate).double()
    if kappa_rate == kappa_target == INFINITE or rate == 0:
        return prior.float()
    clean, noisy, transition = clean.double(), noisy.double(), prior.clone()
    eye = torch.eye(num_classes, dtype=torch.bool)
    for _ in range(steps):
        share = noisy / (clean @ transition).clamp(min=1e-12)
        counts = transition * (clean.T @ share)
        off = counts.masked_fill(eye, 0)
        flipped, total = off.sum(1), counts.sum(1)
        rates = torch.full_like(total, rate)
        if kappa_rate != INFINITE:
            rates = (flipped + kappa_rate * rate) / (total + kappa_rate)
        targets = torch.full_like(off, 1 / (num_classes - 1))
        if kappa_target != INFINITE:
            targets = (off + kappa_target / (num_classes - 1)) / (flipped + kappa_target)[:, None]
        transition = torch.where(eye, (1 - rates)[:, None], rates[:, None] * targets)
    return (transition / transition.sum(1, keepdim=True)).float()


def log_likelihood(transition: torch.Tensor, clean: torch.Tensor, noisy: torch.Tensor) -> float:
    """Mean Bernoulli log-likelihood of the noisy labels (nats an image) under q = h C."""
    q = (clean.double() @ transition.double()).clamp(1e-9, 1 - 1e-9)
    return float(torch.where(noisy, q.log(), (1 - q).log()).sum(1).mean())


def pooled(clean: torch.Tensor, noisy: torch.Tensor) -> torch.Tensor:
    """Symmetric C (K, K) at the pooled rate; rows sum to 1. For noise that keeps an image's number of labels."""
    rate = pooled_rate(match_counts(clean, noisy.sum(1)), noisy)
    return symmetric(noisy.shape[1], rate).float()


def estimate(
    clean: torch.Tensor, noisy: torch.Tensor, kappa_rates=KAPPA_RATES, kappa_targets=KAPPA_TARGETS, folds: int = 2
) -> torch.Tensor:
    """C (K, K), rows sum to 1: attribution EM, its priors' strengths chosen by held-out likelihood.

    ``clean`` (N, K) are probabilities of the clean labels from models that have not seen the image's noisy labels
    ``noisy`` (N, K) bool; they are shifted to the image's number of labels, which the noise keeps. Each pair of
    strengths is fitted on all folds of the images but one and scored on that one; infinite strengths, which are
    the symmetric matrix at the pooled rate, compete as well.
    """
    clean = match_counts(clean, noisy.sum(1))
    rate = pooled_rate(clean, noisy)
    fold = torch.arange(len(noisy)) % folds
    scores = {}
    for kappas in itertools.product(kappa_rates, kappa_targets):
        scores[kappas] = sum(
            log_likelihood(
                maximise(clean[fold != k], noisy[fold != k], rate, *kappas), clean[fold == k], noisy[fold == k]
            )
            for k in range(folds)
        )
    return maximise(clean, noisy, rate, *max(scores, key=scores.get))
