"""The paper's Algorithm 1 (arXiv 2108.02032), and GLC's estimate, which it starts from.

C is (K, K): row i is the true class, column j the noisy class. The images are trusted: those with one label give the
regulators, those with several the matrix.
"""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from galc.checks import as_float, check_labels, check_scores
from galc.estimators.base import Estimate, Evidence, estimator

SCALES = ("sigmoid", "raw", "rows")


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
    estimator(_name, needs=("gold_logits", "gold_labels", "single_logits", "single_labels"))(_on(_scale))


@estimator("glc", needs=("gold_logits", "gold_labels"))
def _glc(evidence: Evidence) -> Estimate:
    return Estimate(glc(evidence.gold_logits.sigmoid(), evidence.gold_labels))
