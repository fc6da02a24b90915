"""What labels, their noise and the matrices that describe it say."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.findings.words import Finding, join, percent, shorten


def noise(clean: ArrayLike, noisy: ArrayLike, transition: ArrayLike, classes: Sequence[str]) -> Finding:
    """What noise did to labels (N, K) under C (K, K): how much was flipped, and where C could not be followed."""
    clean, noisy, transition = np.asarray(clean), np.asarray(noisy), np.asarray(transition, dtype=float)
    sizes, kept = clean.sum(0), (clean & noisy).sum(0)
    wanted, flipped = (sizes * (1 - transition.diagonal())).sum(), int((sizes - kept).sum())
    text = (
        f"{flipped:,} of {sizes.sum():,} labels were flipped: {percent(flipped / sizes.sum(), 1)}, where C asks for "
        f"{percent(wanted / sizes.sum(), 1)}. "
    )
    expected = transition.T @ sizes - transition.diagonal() * sizes
    most = int(np.argmax(sizes))
    if expected[most] >= 1:
        excess = (noisy & ~clean).sum(0)[most] / expected[most] - 1
        text += (
            f"The most frequent class, *{classes[most]}*, received {percent(abs(excess))} "
            f"{'fewer' if excess < 0 else 'more'} wrong labels than C by itself would send there: it is in "
            f"{percent(sizes[most] / len(clean))} of the images, and a label never flips onto one that is present."
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


def estimators(errors: pd.DataFrame) -> Finding:
    """The order of the estimators: ``errors`` has a row each, indexed by name, with ``row_l1``; "true" is left out."""
    order = errors["row_l1"].drop("true", errors="ignore").sort_values()
    text = f"Nearest to the true C: {join([f'*{name}* ({error:.2f})' for name, error in order.head(3).items()])}. "
    if "identity" in order:
        worse = [str(name) for name in order.index[order > order["identity"]]]
        text += f"Believing every label (*identity*) errs by {order['identity']:.2f}"
        text += f"; {len(worse)} of the estimators err more: {join([f'*{name}*' for name in worse])}." if worse else "."
    return Finding(text.strip())
