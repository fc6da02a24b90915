"""Importance reweighting (Liu and Tao 2016, TPAMI, "Classification with noisy labels by importance reweighting").

The risk on clean labels is a weighted risk on the noisy ones: for any loss l,

    E over (x, y) of l(f(x), y)  =  E over (x, y~) of b(x, y~) l(f(x), y~),      b(x, v) = P(y = v | x) / P(y~ = v | x)

Taken to many labels, each of an image's K labels is a binary problem with weights of its own; C gives the
probability of the noisy label from that of the clean one.
"""

import torch
from torch import Tensor

from galc.checks import check_labels, check_scores
from galc.estimators.attribution import match_counts
from galc.losses.forward import corrupted
from galc.methods.base import ASL, Weighted, method

_TINY = 1e-12


@method("reweighting", "Importance reweighting", data="everything", estimator="attribution", look=("#bcbd22", "$W$"))
def reweighting(stages, estimate, data):
    """Each noisy label weighs P(clean) / P(noisy), from cross-fitted posteriors and C, after Liu and Tao 2016."""
    weights, noisy = torch.ones(data.targets.shape), ~data.trusted
    labels = data.targets[noisy].bool()
    q = stages.noisy_posterior[data.index[noisy]]
    if estimate.appearing is None:  # the noise keeps each image's number of labels
        q = match_counts(q, labels.sum(1))
    weights[noisy] = importance(q, labels, estimate.arrivals, estimate.appearing)
    return data, Weighted(ASL, weights)


def importance(q: Tensor, labels: Tensor, transition: Tensor, added: Tensor | None = None) -> Tensor:
    """Weights b (N, K) >= 0 of the noisy labels; all 1 where C is the identity.

    ``q`` (N, K) probabilities of the clean labels from models that have not seen the image's own labels, as the
    paper's are estimated before the classifier is trained; ``labels`` (N, K) bool the noisy labels; ``transition``
    C (K, K), rows sum to 1 (to less where labels vanish), and ``added`` (K,) as in `galc.losses.forward`. With q~ =
    noisy-or(q, C): q / q~ where the label was observed, (1 - q) / (1 - q~) where
    not. A label that q and C hold impossible (0 / 0) keeps the weight 1. Raises ValueError for scores that are not
    finite, shapes that differ, or a bad transition.
    """
    labels = check_labels(labels)
    q = check_scores(q, labels, "q")
    clean, seen = (torch.where(labels, p, 1 - p) for p in (q, corrupted(q, transition, added)))
    return torch.where(seen > _TINY, clean / seen.clamp(min=_TINY), torch.ones_like(q))
