"""The paper's protocol: gold, silver and single-label images (arXiv 2108.02032, Sec. 4.1)."""

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

from galc.checks import check_labels


@dataclass(frozen=True)
class Split:
    """Indices (int64, sorted) into the training data, pairwise disjoint. Images without a label are in none.

    gold   : trusted images with at least two labels, to train and estimate with
    held   : trusted images with at least two labels that no training and no estimate sees; to choose with
    silver : all other images with at least two labels; these get the noise
    single : images with exactly one label, clean
    """

    gold: Tensor
    held: Tensor
    silver: Tensor
    single: Tensor


def multi_label(labels: Tensor) -> Tensor:
    """(m,) int64 index of the images with at least two labels; labels: (N, K) bool."""
    return (check_labels(labels).sum(1) >= 2).nonzero().flatten()


def split(
    labels: Tensor,
    gold_fraction: float = 0.1,
    single_label_limit: int | None = None,
    seed: int = 0,
    gold_holdout: float = 0.0,
) -> Split:
    """Draw the gold/silver split and the single-label pool; labels: (N, K) bool.

    gold_fraction      : gold are floor(fraction * n) of the n images with at least two labels, drawn uniformly;
                         a smaller fraction gives a subset of a larger one's
    gold_holdout       : share of the gold images that is held out of them, rounded up; one always stays
    single_label_limit : at most so many single-label images a class, drawn uniformly; None takes all; a lower limit
                         gives a subset of a higher one's

    The same seed gives the same split in any process. A class without gold or single-label images is no error.
    Raises ValueError for a parameter out of range, and where no gold or no silver image is left.
    """
    labels = check_labels(labels)
    if not 0 < gold_fraction < 1:
        raise ValueError(f"gold_fraction must be above 0 and below 1, got {gold_fraction}")
    if not 0 <= gold_holdout < 1:
        raise ValueError(f"gold_holdout must be at least 0 and below 1, got {gold_holdout}")
    if single_label_limit is not None and single_label_limit < 0:
        raise ValueError(f"single_label_limit must be None (all) or at least 0, got {single_label_limit}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    multi = multi_label(labels)
    # Decimal: 0.29 * 100 is 28.999... in floating point, and its floor would lose an image.
    gold = math.floor(Decimal(str(gold_fraction)) * len(multi))
    if not 0 < gold < len(multi):
        raise ValueError(
            f"gold_fraction {gold_fraction} of {len(multi)} images with at least two labels makes {gold} gold and "
            f"{len(multi) - gold} silver images; both need one at least: change gold_fraction or add images"
        )
    kept = max(gold - math.ceil(Decimal(str(gold_holdout)) * gold), 1)
    order = multi[_permutation(len(multi), seed, 0)]
    gold, held, silver = (part.sort().values for part in order.tensor_split([kept, gold]))
    return Split(gold, held, silver, _single(labels, single_label_limit, seed))


def _single(labels: Tensor, limit: int | None, seed: int) -> Tensor:
    """(m,) sorted index of the images with exactly one label, at most ``limit`` of each class."""
    single = (labels.sum(1) == 1).nonzero().flatten()
    single = single[_permutation(len(single), seed, 1)]
    classes = labels[single].byte().argmax(1)
    return torch.cat([single[classes == k][:limit] for k in range(labels.shape[1])]).sort().values


def _permutation(number: int, seed: int, stream: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, stream]).permutation(number))
