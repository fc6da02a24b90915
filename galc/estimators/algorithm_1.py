"""Estimates from trusted images: the paper's Algorithm 1 (arXiv 2108.02032), GLC's, both calibrated, and Dual-T.

C is (K, K): row i is the true class, column j the noisy class. A class without images gets a fallback row.
"""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from galc.checks import as_float, check_labels, check_scores
from galc.estimators.base import ONE_RATE, Estimate, Evidence, estimator
from galc.losses.asl import calibrate_logits
from galc.noise.draw import observed

SCALES = ("sigmoid", "raw", "rows")
TRUSTED = ("gold_logits", "gold_labels", "single_logits", "single_labels")


def regulators(softmax_scores: ArrayLike, labels: ArrayLike) -> Tensor:
    """Algorithm 1, lines 5-15: row k is the mean softmax output over the single-label images of class k.

    ``softmax_scores`` (N, K), each row a distribution; ``labels`` (N, K) bool, exactly one a row. Returns float32
    (K, K), rows sum to 1; a class without single-label images gets the uniform row 1 / K. Raises ValueError for an
    image that has not exactly one label, and for scores that are not finite or of another shape.

    >>> regulators([[0.9, 0.1], [0.7, 0.3]], [[1, 0], [1, 0]])
    tensor([[0.8000, 0.2000],
            [0.5000, 0.5000]])
    """
    labels = check_labels(labels)
    counts = labels.sum(1)
    if (counts != 1).any():
        row = int((counts != 1).nonzero()[0])
        raise ValueError(f"image {row} has {int(counts[row])} labels; regulators need single-label images")
    mean = _class_means(check_scores(softmax_scores, labels, "softmax_scores"), labels)
    mean[fallback_rows(labels)] = 1 / labels.shape[1]
    return mean.float()


def fallback_rows(labels: Tensor) -> Tensor:
    """(K,) bool: the classes without any image in ``labels`` (N, K), whose rows are the fallback."""
    return ~check_labels(labels).any(0)


def algorithm_1(sigmoid_scores: ArrayLike, labels: ArrayLike, regulators: ArrayLike, scale: str = "sigmoid") -> Tensor:
    """Algorithm 1, lines 17-38: the corruption matrix from multi-label images and the regulators.

    Row k is the mean, over the images that have label k, of
    f_sig(x) - sum of Reg_p over the image's other labels p + Reg_k * (number of the other labels).

    ``sigmoid_scores`` (N, K) and clean ``labels`` (N, K) of the trusted images, ``regulators`` (K, K). ``scale``:
    "raw" returns this mean; "sigmoid" its sigmoid, as the paper prints it (no transition matrix: off-diagonals are
    about 0.5); "rows" clamps it at 0 and divides each row by its sum. Returns float32 (K, K); a class without
    images, and under "rows" a row without a positive entry, gets the identity row on every scale. Raises ValueError
    for scores that are not finite, shapes that differ, or another scale.

    >>> algorithm_1([[0.9, 0.8], [0.7, 0.1]], [[1, 1], [1, 0]], [[0.8, 0.2], [0.5, 0.5]], scale="rows")
    tensor([[0.7600, 0.2400],
            [0.3529, 0.6471]])
    """
    _check_scale(scale)
    labels = check_labels(labels)
    scores = check_scores(sigmoid_scores, labels, "sigmoid_scores")
    num_classes, regulators = labels.shape[1], as_float(regulators)
    if regulators.shape != (num_classes, num_classes) or not torch.isfinite(regulators).all():
        raise ValueError(f"regulators must be a finite ({num_classes}, {num_classes}) matrix")
    regulators = regulators.double()
    # together[k, p]: images that have both k and p, for p other than k
    together = labels.float().T @ labels.float()  # counts below 2^24 are exact
    together = together.fill_diagonal_(0).double() / labels.sum(0).clamp(min=1)[:, None]
    raw = _class_means(scores, labels) - together @ regulators + together.sum(1, keepdim=True) * regulators
    return scaled(raw, scale, fallback_rows(labels)).float()


def scaled(matrix: Tensor, scale: str, fallback: Tensor | None = None) -> Tensor:
    """A matrix (K, K) of Algorithm 1 on another scale (see `algorithm_1`).

    ``fallback`` (K,) bool: the rows of classes without images, which are those of the identity on every scale; without
    it, rows that are those of the identity already. Raises ValueError for another scale.
    """
    _check_scale(scale)
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    if fallback is None:
        fallback = (matrix == identity).all(1)
    if scale == "sigmoid":
        matrix = matrix.sigmoid()
    elif scale == "rows":
        matrix = matrix.clamp(min=0)
        total = matrix.sum(1, keepdim=True)
        matrix, fallback = matrix / total.clamp(min=1e-12), fallback | (total[:, 0] <= 1e-12)
    return torch.where(fallback[:, None], identity, matrix)


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")


def glc(scores: ArrayLike, labels: ArrayLike) -> Tensor:
    """Gold loss correction's estimate (Hendrycks et al. 2018, Eq. 1), taken to many labels.

    Row k is the mean of ``scores`` (N, K) over the trusted images whose clean ``labels`` (N, K) hold k, divided by
    its sum. Returns float32 (K, K), rows sum to 1; a class without images gets the identity row. Raises ValueError
    for scores that are not finite or negative, or shapes that differ.

    >>> glc([[0.9, 0.1], [0.6, 0.2]], [[1, 0], [1, 0]])
    tensor([[0.8333, 0.1667],
            [0.0000, 1.0000]])
    """
    labels = check_labels(labels)
    scores = check_scores(scores, labels)
    if (scores < 0).any():
        row = int((scores < 0).any(1).nonzero()[0])
        raise ValueError(f"scores must not be negative (probabilities, not logits); image {row} has one that is")
    return scaled(_class_means(scores, labels), "rows", fallback_rows(labels)).float()


def _class_means(scores: Tensor, labels: Tensor) -> Tensor:
    """(K, K) float64: row k is the mean of ``scores`` over the images with label k; 0 where there is none."""
    return (labels.double().T @ scores.double()) / labels.sum(0).clamp(min=1)[:, None]


def _on(scale: str):
    def compute(evidence: Evidence) -> Estimate:
        own = regulators(evidence.single_logits.softmax(1), evidence.single_labels)
        return Estimate(algorithm_1(evidence.gold_logits.sigmoid(), evidence.gold_labels, own, scale))

    return compute


for _name, _scale in {"algorithm-1": "sigmoid", "algorithm-1-raw": "raw", "algorithm-1-rows": "rows"}.items():
    estimator(_name, needs=TRUSTED)(_on(_scale))


@estimator("glc", needs=("gold_logits", "gold_labels"))
def _glc(evidence: Evidence) -> Estimate:
    return Estimate(glc(evidence.gold_logits.sigmoid(), evidence.gold_labels))


# --- the same from calibrated probabilities in place of raw scores --------------------------------------------------


def calibrated_regulators(single_logits: Tensor, single_clean: Tensor, labels: Tensor, prior: float = 50.0) -> Tensor:
    """C from clean single-label images, on the probability scale: the paper's idea with calibrated numbers.

    Let Q_k be the mean of calibrate(sigmoid f(x)) over the single-label images of class k, the rate at which the
    silver model expects each NOISY label there, and H_k the mean of the clean posteriors h(x) of the same images.
    Marginals mix linearly, Q = H C, and a single-label image isolates one row: C_kk = Q_kk / H_kk, shrunk towards the
    mean over all images with the weight of ``prior`` images. What is left of a row is spread evenly.

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
def _glc_calibrated(evidence: Evidence) -> Estimate:
    return Estimate(glc(calibrate_logits(evidence.gold_logits).sigmoid(), evidence.gold_labels))


@estimator("calibrated-regulators", needs=(*TRUSTED, "single_clean", "gold_clean"), scope=ONE_RATE)
def _regulators(e: Evidence) -> Estimate:
    """Of the single-label images; without any, of the gold images, which are clean as well."""
    if len(e.single_labels):
        return Estimate(calibrated_regulators(e.single_logits, e.single_clean, e.single_labels))
    return Estimate(calibrated_regulators(e.gold_logits, e.gold_clean, e.gold_labels))


# --- Dual-T -----------------------------------------------------------------------------------------------------------


def dual_t(clean_scores: Tensor, clean_labels: Tensor, noisy_scores: Tensor, noisy_labels: Tensor) -> Tensor:
    """C (K, K), rows sum to 1, by Dual-T (Yao et al. 2020), taken to many labels.

    C_ij = sum over l of P(y' = l | y = i) P(y~ = j | y' = l), with an intermediate label y' between the clean y and the
    noisy y~: the class that a model of the noisy labels finds most probable; here the m most probable classes of an
    image with m labels. The paper reads the first factor off at anchor points, since it knows no clean labels; here
    both are counts (`galc.noise.draw.observed`), over trusted and over noisy images. The model's errors stand in both:
    y~ is taken for independent of y given y', which it is not.

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


@estimator("dual-t", needs=(*TRUSTED, "silver_logits", "silver_labels"))
def _dual_t(evidence: Evidence) -> Estimate:
    logits, labels = (torch.cat([getattr(evidence, name) for name in TRUSTED[k::2]]) for k in (0, 1))
    return Estimate(dual_t(logits, labels, evidence.silver_logits, evidence.silver_labels))
