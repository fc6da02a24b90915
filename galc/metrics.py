"""Multi-label metrics on clean labels: mAP, CF1, OF1, and how well probabilities are calibrated.

Classes without a positive image have neither recall nor average precision: they are left out of every class average
(mAP, CF1, CF1_macro) and `evaluate` counts those that remain. OF1 pools all labels, so it sees their false alarms.
"""

import numpy as np
import torch
from torch import Tensor

from galc.checks import check_labels, check_scores


def evaluate(scores: Tensor, labels: Tensor, threshold: float = 0.5) -> dict[str, float]:
    """Metrics of scores (N, K) against labels (N, K), in percent; a label is predicted where score > threshold.

    mAP               mean over classes of `average_precision`
    CF1               2 CP CR / (CP + CR) of the class-averaged precision CP and recall CR (the paper's form);
                      the precision of a class that is never predicted is 0
    CF1_macro         mean over classes of the class's own F1
    OF1               F1 of all labels pooled
    classes_evaluated the number of classes with at least one positive (a count, not percent)

    Raises ValueError for scores that are not finite, shapes that differ, or labels without any positive.

    >>> from galc import evaluate
    >>> evaluate([[0.9, 0.1], [0.8, 0.7], [0.6, 0.2]], [[1, 0], [0, 1], [1, 0]])["mAP"]
    91.66666666666666
    """
    scores, labels = _arrays(scores, labels)
    predicted = scores > threshold
    hits, guesses, positives = (np.count_nonzero(x, axis=0) for x in (predicted & labels, predicted, labels))
    seen = positives > 0
    if not seen.any():
        raise ValueError("labels hold no positive at all: no metric is defined")
    precision = (hits / np.maximum(guesses, 1))[seen].mean()
    recall = (hits / np.maximum(positives, 1))[seen].mean()
    percent = {
        "mAP": _average_precision(scores, labels)[seen].mean(),
        "CF1": 2 * precision * recall / max(precision + recall, 1e-12),
        "CF1_macro": (2 * hits / np.maximum(guesses + positives, 1))[seen].mean(),
        "OF1": 2 * hits.sum() / (guesses.sum() + positives.sum()),
    }
    return {name: 100 * float(value) for name, value in percent.items()} | {"classes_evaluated": int(seen.sum())}


def average_precision(scores: Tensor, labels: Tensor) -> Tensor:
    """Average precision of each class, float64 (K,) in [0, 1]; NaN for a class without positives.

    The sum over distinct thresholds of precision times gain in recall, as scikit-learn has it: images with equal
    scores enter together. Equivalently the mean, over the positives, of the precision at their own score.
    Raises ValueError as `evaluate` does.
    """
    return torch.from_numpy(_average_precision(*_arrays(scores, labels)))


def best_threshold(scores: Tensor, labels: Tensor) -> float:
    """The threshold t that maximises OF1 of ``score > t`` on the given (gold!) scores (N, K) and labels (N, K).

    It lies half-way between two neighbouring scores. Never give it test data. Raises ValueError as `evaluate` does.
    """
    labels = check_labels(labels)
    scores = check_scores(scores, labels)
    if not labels.any():
        raise ValueError("labels hold no positive at all: no threshold is best")
    values, order = scores.detach().flatten().sort(descending=True)
    hits = labels.flatten()[order].cumsum(0).double()
    f1 = 2 * hits / (torch.arange(1, len(values) + 1, device=values.device) + hits[-1])
    last = torch.ones_like(values, dtype=torch.bool)  # equal scores are predicted together
    last[:-1] = values[:-1] > values[1:]
    best = int(torch.where(last, f1, -1.0).argmax())
    if best + 1 == len(values):
        return float(torch.nextafter(values[-1], values.new_tensor(-torch.inf)))
    above, below = values[best], values[best + 1]
    middle = below + (above - below) / 2
    return float(middle if middle < above else below)


def calibration(probabilities: Tensor, labels: Tensor, bins: int = 15) -> dict[str, float]:
    """How far probabilities (N, K) are from the shares of labels (N, K) they stand for, over all N·K pairs, in percent.

    ECE        expected calibration error: mean over pairs of |mean probability - share of labels| of the pair's bin,
               ``bins`` of equal size by rank; pairs with one probability share a bin (the binning of Nixon et al. 2019)
    ECE_signed the same without the modulus, which is mean probability - share of labels: above 0 too many labels
               are expected, below too few
    Brier      mean squared difference of probability and label (Brier 1950)

    Raises ValueError as `evaluate` does, and for a probability outside [0, 1].
    """
    scores, labels = _arrays(probabilities, labels)
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(f"probabilities must lie in [0, 1], got {scores.min():g} to {scores.max():g}")
    p, y = scores.ravel().astype(np.float64), labels.ravel().astype(np.float64)
    rank = np.searchsorted(np.sort(p), p)  # of the first with this probability
    gaps = np.bincount(rank * bins // len(p), p - y)
    percent = {"ECE": np.abs(gaps).sum() / len(p), "ECE_signed": np.mean(p - y), "Brier": np.mean((p - y) ** 2)}
    return {name: 100 * float(value) for name, value in percent.items()}


def _average_precision(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    columns, wanted = scores.T, labels.T
    ordered = np.sort(columns, axis=1)
    result = np.full(len(columns), np.nan)
    for k, (column, positive) in enumerate(zip(columns, wanted, strict=True)):
        found = np.sort(column[positive])
        if len(found):
            true = len(found) - np.searchsorted(found, found)  # positives scored at least as high
            result[k] = np.mean(true / (ordered.shape[1] - np.searchsorted(ordered[k], found)))
    return result


def _arrays(scores: Tensor, labels: Tensor) -> tuple[np.ndarray, np.ndarray]:
    labels = check_labels(labels)
    return check_scores(scores, labels).detach().cpu().numpy(), labels.cpu().numpy()
