"""The paper's and GLC's estimates from calibrated probabilities in place of raw scores."""

import torch
from torch import Tensor

from galc.checks import check_labels, check_scores
from galc.estimators.algorithm_1 import glc
from galc.estimators.base import ONE_RATE, Estimate, Evidence, estimator
from galc.losses.asl import calibrate_logits


def calibrated_regulators(single_logits: Tensor, single_clean: Tensor, labels: Tensor, prior: float = 50.0) -> Tensor:
    """C from clean single-label images, on the probability scale: the paper's idea with calibrated numbers.

    Let Q_k be the mean of calibrate(sigmoid f(x)) over the single-label images of class k, the rate at which the
    silver model expects each NOISY label there, and H_k the mean of the clean posteriors h(x) of the same images.
    Marginals mix linearly, Q = H C, and a single-label image isolates one row: C_kk = Q_kk / H_kk. The ratio is
    shrunk towards the mean over all single-label images with the weight of ``prior`` images: how well either model
    sees a class differs by class, and more images of it do not cure that. What is left of a row is spread evenly,
    since these few images cannot tell where the flips went.

    single_logits (N, K) of the silver model trained with ASL, single_clean (N, K) cross-fitted probabilities,
    ``labels`` (N, K) bool with one label a row. Where a row has several, Q_k also counts what the image's other labels
    turn into k, a few off-diagonal entries of C too much. Returns float32 (K, K), rows sum to 1; a class without
    images gets the mean ratio. Raises ValueError without any image.
    """
    labels = check_labels(labels)
    if not len(labels):
        raise ValueError("calibrated regulators need a clean image: raise single_label_limit or gold_fraction")
    noisy = calibrate_logits(check_scores(single_logits, labels, "single_logits")).sigmoid().double()
    clean = check_scores(single_clean, labels, "single_clean").double()
    expected, present = ((part * labels).sum(0) for part in (noisy, clean))
    counts, mean = labels.sum(0), expected.sum() / present.sum()
    ratio = torch.where(present > 0, expected / present.clamp(min=1e-9), mean)
    kept = ((counts * ratio + prior * mean) / (counts + prior)).clamp(0, 1)
    spread = ((1 - kept) / (len(kept) - 1))[:, None].expand(-1, len(kept)).clone()
    return (spread - torch.diag(spread.diagonal()) + torch.diag(kept)).float()


@estimator("glc-calibrated", needs=("gold_logits", "gold_labels"))
def _glc(evidence: Evidence) -> Estimate:
    return Estimate(glc(calibrate_logits(evidence.gold_logits).sigmoid(), evidence.gold_labels))


CLEAN = ("single_logits", "single_clean", "single_labels", "gold_logits", "gold_clean", "gold_labels")


@estimator("calibrated-regulators", needs=CLEAN, scope=ONE_RATE)
def _regulators(evidence: Evidence) -> Estimate:
    """Of the single-label images; without any, of the gold images, which are clean as well."""
    e = evidence
    if len(e.single_labels):
        return Estimate(calibrated_regulators(e.single_logits, e.single_clean, e.single_labels))
    return Estimate(calibrated_regulators(e.gold_logits, e.gold_clean, e.gold_labels))
