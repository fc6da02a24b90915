"""What labels, their noise and the matrices that describe it say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.results.words import Finding, join, percent, shorten

if TYPE_CHECKING:
    from galc.noise.model import Changes


def noise(requested: Changes, observed: Changes, images: int, classes: Sequence[str]) -> Finding:
    """What noise did to the labels of ``images`` images, and where it could not do what was asked for.

    ``requested`` by `galc.noise.model.Noise.expected`, ``observed`` by `galc.noise.model.changes`. Labels that are
    gone and labels that are wrong are counted apart: nothing else tells flips from labels that are missing, or added.
    """
    total, lost, gained = (float(part.sum()) for part in (observed.labels, observed.lost, observed.gained))
    text = (
        f"{lost:,.0f} of {total:,.0f} clean labels are gone: {percent(observed.labels_removed, 1)}, where "
        f"{percent(requested.labels_removed, 1)} was asked for. "
        f"{gained:,.0f} of {total - lost + gained:,.0f} noisy labels are wrong: {percent(observed.labels_added, 1)}, "
        f"where {percent(requested.labels_added, 1)} was asked for. "
    )
    most = int(np.argmax(np.asarray(observed.labels)))
    excess = float(observed.gained[most] / requested.gained[most]) - 1 if requested.gained[most] >= 1 else 0.0
    if abs(excess) >= 0.005:
        text += (
            f"The most frequent class, *{classes[most]}*, received {percent(abs(excess))} "
            f"{'fewer' if excess < 0 else 'more'} wrong labels than was asked for: it is in "
            f"{percent(float(observed.labels[most]) / images)} of the images, and a label never flips onto one that is "
            "present."
        )
    return Finding(text.strip())


def calibration(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> Finding:
    """What the scores (N, K) of an image add up to, by name, beside the number of labels (N, K) that it has."""
    sums = [f"{name} {np.asarray(values).sum(1).mean():.2f}" for name, values in scores.items()]
    return Finding(
        f"An image has {np.asarray(labels).sum(1).mean():.2f} labels. Added up over the classes: {join(sums)}."
    )


def no_transition(matrix: ArrayLike) -> Finding:
    """Why a matrix (K, K) is no transition matrix, or that it is one."""
    matrix = np.asarray(matrix, dtype=float)
    sums, off = matrix.sum(1), matrix[~np.eye(len(matrix), dtype=bool)]
    if off.min() >= 0 and np.allclose(sums, 1, atol=1e-4):
        return Finding("Its rows sum to 1: a transition matrix.")
    return Finding(
        f"Half of its rows sum to {np.median(sums):.1f} or more, where a transition matrix has 1; "
        f"half of its off-diagonal entries are {np.median(off):.2f} or more."
    )


def fallbacks(parts: Mapping[str, ArrayLike], classes: Sequence[str]) -> Finding:
    """Which classes have no image in a part of the data: {what is missing: labels (n, K) bool of the part}."""
    lines = []
    for what, labels in parts.items():
        names = [classes[k] for k in np.flatnonzero(np.asarray(labels).sum(0) == 0)]
        lines.append(f"- no {what}: " + (f"{len(names)} of {len(classes)} ({shorten(names)})" if names else "none"))
    return Finding("Classes whose row is a fallback:\n\n" + "\n".join(lines))


def limits(limits: Mapping[str, str]) -> Finding:
    """Which estimators cannot represent a noise, and why: {name: `galc.estimators.base.limits`}."""
    texts = [f"- {text}" for text in limits.values() if text]
    if not texts:
        return Finding("Every estimator can represent this noise.")
    return Finding("Of this noise not everything can be represented:\n\n" + "\n".join(texts))


def estimators(errors: pd.DataFrame) -> Finding:
    """The order of the estimators: ``errors`` has a row each, indexed by name, with ``row_l1``; "true" is left out."""
    order = errors["row_l1"].drop("true", errors="ignore").sort_values()
    text = f"Nearest to the true C: {join([f'*{name}* ({error:.2f})' for name, error in order.head(3).items()])}. "
    if "identity" in order:
        worse = [str(name) for name in order.index[order > order["identity"]]]
        text += f"Believing every label (*identity*) errs by {order['identity']:.2f}"
        text += f"; {len(worse)} of the estimators err more: {join([f'*{name}*' for name in worse])}." if worse else "."
    return Finding(text.strip())
