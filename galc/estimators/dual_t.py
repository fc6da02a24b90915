"""Dual-T (Yao et al. 2020, NeurIPS, "Dual T: reducing estimation error for transition matrix"), for many labels.

An intermediate class y' stands between the clean label y and the noisy label y~, and C is the product of two matrices
that are easier to estimate than C itself:

    C_ij = sum over l of P(y' = l | y = i) P(y~ = j | y' = l)

The paper's y' is the class that a model of the noisy labels finds most probable. The second factor is counted over the
noisy images; the first is read off at anchor points, images that surely show one class, since the paper knows no clean
label. Taken to many labels here:

- an image's intermediate labels are its m most probable classes, m its number of labels;
- trusted images, whose clean labels are known, take the place of the anchor points: both factors are counts;
- which label became which, in an image with several, is counted as in `galc.noise.draw.observed`: those that differ
  share their changes evenly.

Where the scores rank an image's clean labels first, the first factor is the identity and the second the observed C.
Otherwise the model's errors stand in both factors: y~ is taken for independent of y given y', which it is not.
"""

import torch
from torch import Tensor

from galc.checks import check_labels, check_scores
from galc.estimators.base import Estimate, Evidence, estimator
from galc.noise.draw import observed


def dual_t(clean_scores: Tensor, clean_labels: Tensor, noisy_scores: Tensor, noisy_labels: Tensor) -> Tensor:
    """C (K, K), rows sum to 1, from a model of the noisy labels.

    ``clean_scores`` (n, K) and ``clean_labels`` (n, K) bool of trusted images, ``noisy_scores`` (N, K) and
    ``noisy_labels`` (N, K) bool of noisy ones; scores on any scale, only their order within an image counts. A class
    without trusted images, and one that is no image's intermediate label, gets the identity row in its factor.
    Raises ValueError for scores that are not finite or shapes that differ.
    """
    first = observed(clean_labels, intermediate(clean_scores, clean_labels))
    second = observed(intermediate(noisy_scores, noisy_labels), noisy_labels)
    product = first @ second
    return (product / product.sum(1, keepdim=True)).float()


def intermediate(scores: Tensor, labels: Tensor) -> Tensor:
    """(N, K) bool: the m classes with the highest ``scores`` (N, K) of each image, m its number of ``labels``."""
    labels = check_labels(labels)
    rank = check_scores(scores, labels).argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return rank < labels.sum(1, keepdim=True)


TRUSTED = ("gold_logits", "gold_labels", "single_logits", "single_labels")


@estimator("dual-t", needs=(*TRUSTED, "silver_logits", "silver_labels"))
def _dual_t(evidence: Evidence) -> Estimate:
    trusted = [
        torch.cat([getattr(evidence, f"{of}_{what}") for of in ("gold", "single")]) for what in ("logits", "labels")
    ]
    return Estimate(dual_t(*trusted, evidence.silver_logits, evidence.silver_labels))
