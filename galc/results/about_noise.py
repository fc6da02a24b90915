"""What labels, their noise, the matrices that describe it and the estimators of these say, as sentences.

Labels are bool (N, K), matrices (K, K) with the true class as row; shares are of 1 in the arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from galc.estimators import base as estimator
from galc.results.groups import Finding, group_label, join, means, percent, shorten

if TYPE_CHECKING:
    from galc.noise import Changes
    from galc.study.run import RunRecord


def noise(requested: Changes, observed: Changes, images: int, classes: Sequence[str]) -> Finding:
    """What noise did to the labels of ``images`` images, and where it could not do what was asked for.

    ``requested`` by `galc.noise.Noise.expected`, ``observed`` by `galc.noise.changes`. Labels that are
    gone and labels that are wrong are counted apart: nothing else tells flips from labels that are missing, or added.
    """
    total, lost, gained = (float(part.sum()) for part in (observed.labels, observed.lost, observed.gained))
    text = (
        f"{lost:,.0f} of {total:,.0f} clean labels are gone: {percent(observed.labels_removed, 1)}, where "
        f"{percent(requested.labels_removed, 1)} was asked for. "
        f"{gained:,.0f} of {total - lost + gained:,.0f} noisy labels are wrong: {percent(observed.labels_added, 1)}, "
        f"where {percent(requested.labels_added, 1)} was asked for."
    )
    most = int(np.argmax(np.asarray(observed.labels)))
    excess = float(observed.gained[most] / requested.gained[most]) - 1 if requested.gained[most] >= 1 else 0.0
    if abs(excess) >= 0.005:
        text += (
            f" The most frequent class, *{classes[most]}*, received {percent(abs(excess))} "
            f"{'fewer' if excess < 0 else 'more'} wrong labels than was asked for: it is in "
            f"{percent(float(observed.labels[most]) / images)} of the images, and a label never flips onto one that is "
            "present."
        )
    return Finding(text)


def calibration(scores: Mapping[str, ArrayLike], labels: ArrayLike) -> Finding:
    """What the scores (N, K) of an image add up to, by name, beside the number of labels (N, K) that it has."""
    sums = [f"{name} {np.asarray(values).sum(1).mean():.2f}" for name, values in scores.items()]
    number = np.asarray(labels).sum(1).mean()
    return Finding(f"An image has {number:.2f} labels. Added up over the classes: {join(sums)}.")


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


# --- estimators ------------------------------------------------------------------------------------------------------


def limits(limits: Mapping[str, str]) -> Finding:
    """Which estimators cannot represent a noise, and why: {name: `galc.estimators.base.limits`}."""
    texts = [f"- {text}" for text in limits.values() if text]
    if not texts:
        return Finding("Every estimator can represent this noise.")
    return Finding("Of this noise not everything can be represented:\n\n" + "\n".join(texts))


def scopes(estimators: Sequence[str], kinds: Sequence[str]) -> Finding:
    """Which estimators can represent which kinds of noise (`galc.estimators.base.limits`): a table, then why not."""
    found = {name: [estimator.limits(name, kind) for kind in kinds] for name in estimators}
    rows = [["", *kinds], ["---", *[":---:"] * len(kinds)]]
    rows += [[f"*{name}*", *["–" if text else "yes" for text in texts]] for name, texts in found.items()]
    reasons = dict.fromkeys(text.split(": ", 1)[1].rstrip(".") for texts in found.values() for text in texts if text)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return Finding(f"{table}\n\nWhy not: {'; '.join(reasons)}." if reasons else table)


def estimators(errors: pd.DataFrame) -> Finding:
    """The order of the estimators: ``errors`` has a row each, indexed by name, with ``row_l1``; "true" is left out."""
    order = errors["row_l1"].drop("true", errors="ignore").sort_values()
    text = f"Nearest to the true C: {join(f'*{name}* ({error:.2f})' for name, error in order.head(3).items())}."
    if "identity" in order:
        worse = [f"*{name}*" for name in order.index[order > order["identity"]]]
        text += f" Believing every label (*identity*) errs by {order['identity']:.2f}"
        text += f"; {len(worse)} of the estimators err more: {join(worse)}." if worse else "."
    return Finding(text)


def nearest(errors: pd.DataFrame, by: str) -> Finding:
    """The same in each group of ``by``, as a list; ``errors``: `galc.study.runs.estimator_errors`."""
    lines = []
    for group, column in means(errors, by, "row_l1", "estimator").items():
        order = column.drop(["identity", "true"], errors="ignore").sort_values()
        text = ", then ".join(f"*{name}* ({error:.2f})" for name, error in order.head(2).items())
        if "identity" in column:
            worse = [f"*{name}*" for name in order.index[order > column["identity"]]]
            text += f"; believing every label errs by {column['identity']:.2f}"
            text += f", and {join(worse)} by more" if worse else ""
        lines.append(f"- {group_label(by, group)}: {text}.")
    return Finding("\n".join(lines))


def believing(records: Sequence[RunRecord]) -> float:
    """The row L1 error of the identity, of who believes every label: 2 (1 − C_ii), mean over classes and runs."""
    return sum(2 * (1 - float(record.true.diagonal().mean())) for record in records) / len(records)
