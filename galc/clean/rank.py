"""Suspicious labels: for each image and class the probability that the given entry is wrong, and their order."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from torch import Tensor

from galc.checks import check_labels, check_scores

KINDS = ("wrong", "missing")  # of a label that is given; of one that is not
LEAST = 0.05  # probability below which the table leaves an entry out


def suspicion(labels: Tensor, posterior: Tensor) -> Tensor:
    """(N, K) float32, P(the given entry is wrong), from ``labels`` (N, K) bool and the ``posterior`` (N, K).

    1 - posterior where the label is given: it is wrong. The posterior where it is not: it is missing.
    """
    labels = check_labels(labels)
    return (labels.float() - check_scores(posterior, labels, "posterior").float()).abs()


def table(
    files: Sequence[Path],
    classes: Sequence[str],
    labels: Tensor,
    posterior: Tensor,
    trusted: Tensor | None = None,
    least: float = LEAST,
) -> pd.DataFrame:
    """Suspicious entries, most suspicious first, without those of ``trusted`` (N,) images and those below ``least``.

    Columns: rank (from 1), file (str), class, given (0 or 1), kind ("wrong" or "missing"), probability (that the given
    entry is wrong), row and column (of `labels`). Of equal probabilities the first image comes first.
    """
    scores = suspicion(labels, posterior)
    chosen = scores >= least
    if trusted is not None:
        chosen &= ~trusted[:, None]
    row, column = (index.numpy() for index in chosen.nonzero(as_tuple=True))
    scores = scores[chosen].numpy()
    order = np.argsort(-scores, kind="stable")
    row, column, scores = row[order], column[order], scores[order]
    given = labels.numpy()[row, column]
    named = pd.Categorical.from_codes(column, [str(name) for name in classes])
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(row) + 1),
            "file": np.array([str(file) for file in files], dtype=object)[row],
            "class": named,
            "given": given.astype(np.int64),
            "kind": pd.Categorical.from_codes(1 - given.astype(np.int64), KINDS),
            "probability": scores,
            "row": row,
            "column": column,
        }
    )
