"""Estimators of the corruption matrix, by name: the paper's (Algorithm 1), GLC's, and ours.

Estimates are (K, K): row i is the true class, column j the noisy class. A class without the images that its row needs
gets a documented fallback row, never an error; `fallback_rows` says which classes these are.
"""

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from galc.checks import check_labels, check_scores, check_transition
from galc.estimators import attribution, likelihood
from galc.estimators.dual_t import dual_t
from galc.losses.asl import calibrate_logits
from galc.noise.kinds import NATURES
from galc.noise.model import Estimate, Noise

SCALES = ("sigmoid", "raw", "rows")


def regulators(softmax_scores: Tensor, labels: Tensor) -> Tensor:
    """Algorithm 1, lines 5-15: row k is the mean softmax output over the single-label images of class k.

    ``softmax_scores`` (N, K), each row a distribution; ``labels`` (N, K) bool, exactly one a row. Returns float32
    (K, K), rows sum to 1; a class without single-label images gets the uniform row 1 / K. Raises ValueError for an
    image that has not exactly one label, and for scores that are not finite or of another shape.
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


def galc_slr(sigmoid_scores: Tensor, labels: Tensor, regulators: Tensor, scale: str = "sigmoid") -> Tensor:
    """Algorithm 1, lines 17-38: the corruption matrix from multi-label images and the regulators.

    Row k is the mean, over the images that have label k, of
    f_sig(x) - sum of Reg_p over the image's other labels p + Reg_k * (number of the other labels).

    ``sigmoid_scores`` (N, K) and clean ``labels`` (N, K) of the trusted images, ``regulators`` (K, K). ``scale``:
    "raw" returns this mean; "sigmoid" its sigmoid, as the paper prints it (no transition matrix: off-diagonals are
    about 0.5); "rows" clamps it at 0 and divides each row by its sum. Returns float32 (K, K); a class without
    images, and under "rows" a row without a positive entry, gets the identity row on every scale. Raises ValueError
    for scores that are not finite, shapes that differ, or another scale.
    """
    if scale not in SCALES:
        raise ValueError(f"scale must be one of {', '.join(SCALES)}, got {scale!r}")
    labels = check_labels(labels)
    scores = check_scores(sigmoid_scores, labels, "sigmoid_scores")
    num_classes = labels.shape[1]
    if regulators.shape != (num_classes, num_classes) or not torch.isfinite(regulators).all():
        raise ValueError(f"regulators must be a finite ({num_classes}, {num_classes}) matrix")
    regulators = regulators.double()
    # together[k, p]: images that have both k and p, for p other than k
    together = labels.float().T @ labels.float()  # counts below 2^24 are exact
    together = together.fill_diagonal_(0).double() / labels.sum(0).clamp(min=1)[:, None]
    raw = _class_means(scores, labels) - together @ regulators + together.sum(1, keepdim=True) * regulators
    if scale == "rows":
        return _normalised(raw, fallback_rows(labels))
    return _with_identity(raw.sigmoid() if scale == "sigmoid" else raw, fallback_rows(labels))


def glc(scores: Tensor, labels: Tensor) -> Tensor:
    """Gold loss correction's estimate (Hendrycks et al. 2018, Eq. 1), taken to many labels.

    Row k is the mean of ``scores`` (N, K) over the trusted images whose clean ``labels`` (N, K) hold k, divided by
    its sum. Returns float32 (K, K), rows sum to 1; a class without images gets the identity row. Raises ValueError
    for scores that are not finite or negative, or shapes that differ.
    """
    labels = check_labels(labels)
    scores = check_scores(scores, labels)
    if (scores < 0).any():
        row = int((scores < 0).any(1).nonzero()[0])
        raise ValueError(f"scores must not be negative (probabilities, not logits); image {row} has one that is")
    return _normalised(_class_means(scores, labels), fallback_rows(labels))


def matrix_error(estimate: Tensor, truth: Tensor) -> dict[str, float]:
    """How far an estimate (K, K), any matrix, is from the true C (K, K).

    row_l1                   mean over rows of sum_j |estimate_ij - truth_ij|
    diagonal                 mean of |estimate_ii - truth_ii|
    off_diagonal_correlation Pearson correlation of the off-diagonal entries; NaN where either side is constant
                             (symmetric noise)

    Raises ValueError for shapes that differ or a truth that is no transition matrix.
    """
    truth = check_transition(truth).double()
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and truth {tuple(truth.shape)} differ in shape")
    estimate = estimate.double()
    gap = (estimate - truth).abs()
    off = ~torch.eye(len(truth), dtype=torch.bool, device=truth.device)
    first, second = (matrix[off] - matrix[off].mean() for matrix in (estimate, truth))
    spread = first.norm() * second.norm()
    constant = min(first.abs().max(), second.abs().max()) < 1e-7
    return {
        "row_l1": gap.sum(1).mean().item(),
        "diagonal": gap.diagonal().mean().item(),
        "off_diagonal_correlation": float("nan") if constant else (first @ second / spread).item(),
    }


def rate_error(estimate: Noise, truth: Noise) -> dict[str, float]:
    """How far the rates of removed and of added labels are off, apart from C: the mean over classes of |gap|.

    removed: of P(a label of the class vanishes); added: of P(the class appears from nowhere on an image without it).
    """
    gaps = {name: getattr(estimate, name) - getattr(truth, name) for name in ("removed", "added")}
    return {name: float(gap.abs().mean()) for name, gap in gaps.items()}


def _class_means(scores: Tensor, labels: Tensor) -> Tensor:
    """(K, K) float64: row k is the mean of ``scores`` over the images with label k; 0 where there is none."""
    return (labels.double().T @ scores.double()) / labels.sum(0).clamp(min=1)[:, None]


def _with_identity(matrix: Tensor, rows: Tensor) -> Tensor:
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    return torch.where(rows[:, None], identity, matrix).float()


def _normalised(matrix: Tensor, rows: Tensor) -> Tensor:
    """Rows clamped at 0 and divided by their sums; identity where ``rows`` says so or nothing is left."""
    matrix = matrix.clamp(min=0)
    total = matrix.sum(1, keepdim=True)
    return _with_identity(matrix / total.clamp(min=1e-12), rows | (total[:, 0] <= 1e-12))


# --- beyond the paper ----------------------------------------------------------------------------------------------


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


def _regulators_of_clean_images(
    single_logits: Tensor,
    single_clean: Tensor,
    single_labels: Tensor,
    gold_logits: Tensor,
    gold_clean: Tensor,
    gold_labels: Tensor,
) -> Tensor:
    """`calibrated_regulators` of the single-label images; without any, of the gold images, which are clean as well."""
    if len(single_labels):
        return calibrated_regulators(single_logits, single_clean, single_labels)
    return calibrated_regulators(gold_logits, gold_clean, gold_labels)


def _algorithm_1(scale: str) -> Callable[..., Tensor]:
    def estimator(gold_logits, gold_labels, single_logits, single_labels):
        reg = regulators(single_logits.softmax(1), single_labels)
        return galc_slr(gold_logits.sigmoid(), gold_labels, reg, scale)

    return estimator


ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    "true": lambda noise: noise,
    "identity": lambda true: torch.eye(len(true)),
    "algorithm-1": _algorithm_1("sigmoid"),
    "algorithm-1-raw": _algorithm_1("raw"),
    "algorithm-1-rows": _algorithm_1("rows"),
    "glc": lambda gold_logits, gold_labels: glc(gold_logits.sigmoid(), gold_labels),
    "glc-calibrated": lambda gold_logits, gold_labels: glc(calibrate_logits(gold_logits).sigmoid(), gold_labels),
    "calibrated-regulators": _regulators_of_clean_images,
    "pooled-rate": lambda silver_posterior, silver_labels: attribution.pooled(silver_posterior, silver_labels),
    "attribution": lambda silver_posterior, silver_labels: attribution.estimate(silver_posterior, silver_labels),
    "likelihood": lambda silver_posterior, silver_labels: likelihood.estimate(silver_posterior, silver_labels),
    "dual-t": lambda gold_logits, gold_labels, single_logits, single_labels, silver_logits, silver_labels: dual_t(
        torch.cat([gold_logits, single_logits]), torch.cat([gold_labels, single_labels]), silver_logits, silver_labels
    ),
}


# The natures of noise (`galc.noise.model.Noise.nature`) that an estimate can represent. None can say "instance".
ONE_RATE, MATRIX = frozenset({"symmetric"}), frozenset({"symmetric", "targets"})
SCOPES: dict[str, frozenset[str]] = {
    "true": MATRIX | {"count-changing"},
    "identity": frozenset(),
    "algorithm-1": MATRIX,
    "algorithm-1-raw": MATRIX,
    "algorithm-1-rows": MATRIX,
    "glc": MATRIX,
    "glc-calibrated": MATRIX,
    "calibrated-regulators": ONE_RATE,
    "pooled-rate": ONE_RATE,
    "attribution": MATRIX | {"count-changing"},
    "likelihood": MATRIX,
    "dual-t": MATRIX,
}
LIMITS = {
    "symmetric": "it takes every label to be right",
    "targets": "it spreads wrong labels evenly over all classes, and where they really go it cannot say",
    "count-changing": "it takes an image to keep its number of labels, so removed and added labels count as flips",
    "instance": "one estimate serves all images, so it can only find the average of noise that differs by image",
}


def limits(name: str, kind: str) -> str:
    """Why an estimator cannot represent a kind of noise, as a sentence; "" where it can.

    ``kind``: a name in `galc.noise.kinds.KINDS`, or the ``nature`` of a `Noise` (for one from a file). Nothing is
    refused for it: the estimate is then the nearest that the estimator can say. Raises ValueError for other names.
    """
    nature = NATURES.get(kind, kind)
    if name not in SCOPES or nature not in LIMITS:
        raise ValueError(f"no limits known of estimator {name!r} under {kind!r} noise")
    if nature in SCOPES[name]:
        return ""
    why = "symmetric" if not SCOPES[name] else nature
    return f"{name} cannot represent this noise ({kind}): {LIMITS[why]}."


def needs(name: str) -> tuple[str, ...]:
    """The evidence that an estimator asks for. Raises ValueError for a name that is none."""
    if name not in ESTIMATORS:
        raise ValueError(f"no estimator {name!r}; choose one of {', '.join(ESTIMATORS)}")
    return tuple(inspect.signature(ESTIMATORS[name]).parameters)


def estimate(name: str, **evidence: Tensor | Noise) -> Estimate:
    """C (K, K), or a whole `Noise`, by the named estimator; `needs` lists its evidence, more may be given.

    gold_logits, single_logits   (n, K) logits of the silver model on trusted images
    silver_logits                (n, K) the same on the noisy images, which it was trained on
    gold_labels, single_labels   (n, K) bool, their clean labels
    single_clean, gold_clean     (n, K) cross-fitted probabilities of the clean labels
    silver_posterior             (n, K) the same for the noisy images
    silver_labels                (n, K) bool, the noisy labels
    true                         (K, K) the injected C
    noise                        the injected `Noise`, for the upper bound

    Rows sum to 1, but for "algorithm-1" and "algorithm-1-raw". Raises ValueError naming what is missing.
    """
    if missing := [need for need in needs(name) if need not in evidence]:
        raise ValueError(f"estimator {name!r} needs {', '.join(missing)}")
    return ESTIMATORS[name](**{need: evidence[need] for need in needs(name)})
