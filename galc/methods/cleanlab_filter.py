"""Confident learning (Northcutt et al. 2021, JAIR; for many labels Thyagarajan et al. 2022), by the library cleanlab.

cleanlab treats each class as a binary problem: from out-of-sample probabilities and the given labels it estimates how
many labels of the class are wrong in either direction, and names the least plausible ones, as many. Training then
goes on without the labels it names: they are masked one by one, not corrected and not dropped with their image. The
method prunes, so that nothing it believes is taught; and an image with one wrong label has all its other labels
right, while under strong noise hardly an image has none.
"""

import torch
from torch import Tensor

from galc.checks import check_labels, check_scores, needs
from galc.methods.base import ASL, Weighted, method


@method("cleanlab", "cleanlab", data="everything", look=("#e377c2", "$C$"))
def cleanlab(stages, estimate, data):
    """Labels that cleanlab's confident learning holds for wrong are masked, the others taken as they are."""
    needs("cleanlab", "compare")  # before any long work
    weights, noisy = torch.ones(data.targets.shape), ~data.trusted
    given = stages.given_probability[data.index[noisy]]
    weights[noisy] = 1 - suspicious(given, data.targets[noisy].bool()).float()
    return data, Weighted(ASL, weights)


def suspicious(probabilities: Tensor, labels: Tensor) -> Tensor:
    """(N, K) bool: the entries of ``labels`` (N, K), present or absent, that cleanlab holds for wrong.

    ``probabilities`` (N, K) in [0, 1] of the labels as given, each image's from models that have not seen it. A
    class that all images or none have is left alone: there is nothing to compare. Raises ValueError for
    probabilities out of range, ImportError without cleanlab.
    """
    filtering = needs("cleanlab.multilabel_classification.filter", "compare")
    labels = check_labels(labels).cpu()
    probabilities = check_scores(probabilities, labels, "probabilities").cpu()
    if (probabilities < 0).any() or (probabilities > 1).any():
        raise ValueError("probabilities must lie in [0, 1] (no logits)")
    found = torch.zeros_like(labels)
    varied = labels.any(0) & ~labels.all(0)
    if varied.any():
        given = [row.nonzero()[:, 0].tolist() for row in labels[:, varied]]
        # one process: the work is small, and worker processes would not survive inside a sweep's workers
        issues = filtering.find_multilabel_issues_per_class(given, probabilities[:, varied].double().numpy(), n_jobs=1)
        found[:, varied] = torch.from_numpy(issues)
    return found
