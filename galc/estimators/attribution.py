"""Attribution EM: what noise does to labels, from calibrated posteriors of the clean labels.

`galc.estimators.label_sets` says how probable each explanation of a label is (E step); counting them over ALL silver
images gives the noise (M step). Held-out likelihood chooses a `Prior`; docs/method.md has the whole.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from galc.estimators.base import ALL_BUT_INSTANCE, ONE_RATE, Estimate, Evidence, estimator
from galc.estimators.label_sets import Counts, LabelSets
from galc.noise import Noise, symmetric

INFINITE = float("inf")
RATE = 30.0  # labels that a class's own rate is shrunk with
TARGET = 0.25  # Dirichlet parameter of sparse targets
RATE_MARGIN = 0.03  # nats an image that own rates must gain in held-out likelihood: miscalibrated scores feign as much
KIND_MARGIN = 0.1  # the same for sparse targets, and for labels that come and go
START = 0.3, 0.2  # share of labels, flipped and removed (as many added), that the EM starts from
CHOICE = 8192  # images are enough to choose a prior


class Prior(NamedTuple):
    """What the noise is taken to be before any label is seen."""

    rate: float = INFINITE  # labels that a class's rate is shrunk with towards the rate of all; infinite: is it
    target: float = INFINITE  # Dirichlet parameter of each target of a row of C; below 1 a few, infinite: all alike
    flips: bool = True  # whether labels are turned into others
    open: bool = False  # whether labels vanish, and come from nowhere


def fit(sets: LabelSets, prior: Prior, steps: int = 25, rounds: int = 2, tolerance: float = 1e-3) -> Noise:
    """EM from the same rates for all classes, until rows change by less than ``tolerance`` in the mean (L1).

    ``rounds``: of belief propagation an E step (`galc.estimators.label_sets`).
    """
    size, labels = sets.num_classes, float(sets.noisy.sum())
    flipped, removed = START[0] * prior.flips, START[1] * prior.open
    rates = torch.tensor([removed, removed * labels / (len(sets) * size)]).double()[:, None].expand(2, size)
    noise = Noise(symmetric(size, flipped), *rates)
    for _ in range(steps):
        before, noise = noise, maximise(sets.counts(noise, rounds), prior)
        change = (noise.arrivals - before.arrivals).abs().sum(1).mean() + (noise.added - before.added).abs().sum()
        if change < tolerance:
            break
    return noise


def maximise(counts: Counts, prior: Prior) -> Noise:
    """The M step: rates by their posterior mean, targets by variational Bayes.

    With a Dirichlet parameter a, target j of row i has a weight of exp(digamma(n_ij + a)): about n_ij + a - 1/2 where
    it was often seen, next to nothing where it was not, never below 0 (Attias 2000). The prior of an added label weighs
    as much as that of the others: the absent classes that come with so many labels.
    """
    eye = torch.eye(len(counts.moved), dtype=torch.bool)
    flips, stayed = counts.moved.masked_fill(eye, 0), counts.moved.sum(1)
    rate = _shrunk(flips.sum(1), stayed, prior.rate)[:, None] * prior.flips
    weight = torch.ones_like(flips) if prior.target == INFINITE else torch.digamma(flips + prior.target).exp()
    weight = weight.masked_fill(eye, 0)
    transition = torch.where(eye, 1 - rate, rate * weight / weight.sum(1, keepdim=True))
    if not prior.open:
        return Noise(transition)
    absent = counts.added + counts.spared
    a_label = float(absent.sum() / (stayed.sum() + counts.added.sum()))  # absent classes to a noisy label
    removed = _shrunk(counts.removed, stayed + counts.removed, prior.rate)
    return Noise(transition, removed, _shrunk(counts.added, absent, prior.rate * a_label))


def _shrunk(part: Tensor, whole: Tensor, strength: float) -> Tensor:
    """(K,) shares part / whole, shrunk towards the share of all with the weight of ``strength``."""
    pooled = part.sum() / whole.sum().clamp(min=1e-12)
    if strength == INFINITE:
        return pooled.expand_as(part)
    return (part + strength * pooled) / (whole + strength)


def choose(sets: LabelSets, folds: int = 2, margin: float = KIND_MARGIN) -> Prior:
    """By held-out likelihood: sparse targets, labels that come and go, own rates, where each earns its margin.

    ``margin``: that of the first two, in nats an image.
    """
    sets = sets.take(torch.arange(len(sets)) % (1 + len(sets) // CHOICE) == 0)
    fold = torch.arange(len(sets)) % folds
    parts = [(sets.take(fold != k), sets.take(fold == k)) for k in range(folds)]

    @cache
    def score(prior: Prior) -> float:
        return sum(held.log_likelihood(fit(rest, prior, steps=15, tolerance=3e-3)) for rest, held in parts) / folds

    def best(prior: Prior) -> Prior:
        """With one rate or own rates."""
        return max(prior, prior._replace(rate=RATE), key=score)

    chosen, sparse, alone = best(Prior()), best(Prior(target=TARGET)), best(Prior(flips=False, open=True))
    rivals = [alone]
    if score(sparse) > score(chosen) + margin:
        chosen = sparse
        rivals.append(sparse._replace(open=True))  # flips onto any class could not be told from labels that come and go
    for rival in rivals:
        if score(rival) > score(chosen) + margin:
            chosen = rival
    pooled = chosen._replace(rate=INFINITE)
    return chosen if score(chosen) > score(pooled) + RATE_MARGIN else pooled


def estimate(clean: Tensor, noisy: Tensor) -> Noise:
    """The noise, by EM under the prior that `choose` chooses.

    ``clean`` (N, K) are calibrated probabilities of the clean labels from models that have not seen the image's noisy
    labels ``noisy`` (N, K) bool.
    """
    sets = LabelSets(clean, noisy)
    return fit(sets, choose(sets))


@estimator("attribution", needs=("silver_posterior", "silver_labels"), scope=ALL_BUT_INSTANCE)
def _attribution(evidence: Evidence) -> Estimate:
    return Estimate.of(estimate(evidence.silver_posterior, evidence.silver_labels))


# --- one rate for all classes, by least squares ---------------------------------------------------------------------


def match_counts(probabilities: Tensor, counts: Tensor, steps: int = 30) -> Tensor:
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


def pooled_rate(clean: Tensor, noisy: Tensor) -> float:
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


def pooled(clean: Tensor, noisy: Tensor) -> Tensor:
    """Symmetric C (K, K) at the pooled rate; rows sum to 1. For noise that keeps an image's number of labels."""
    rate = pooled_rate(match_counts(clean, noisy.sum(1)), noisy)
    return symmetric(noisy.shape[1], rate).float()


@estimator("pooled-rate", needs=("silver_posterior", "silver_labels"), scope=ONE_RATE)
def _pooled(evidence: Evidence) -> Estimate:
    return Estimate(pooled(evidence.silver_posterior, evidence.silver_labels))
