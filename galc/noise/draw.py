"""Which labels the noise takes, and what it makes of them: systematic sampling, on NumPy arrays.

Sampling is systematic so that rates are met exactly, not only on average: of labels with inclusion probabilities p
exactly round(sum p) are drawn.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Targets(NamedTuple):
    """Where labels may go: what `flips` needs to know of the noise, whatever its form.

    rows    : (m,) label index -> (m, K) weights of the classes that each may be turned into
    has_any : (m,) bool, whether a label of positive weight is left for each label outside of the image's barred classes
    """

    rows: Callable[[np.ndarray], np.ndarray]
    has_any: np.ndarray


def by_class(where: np.ndarray, rate: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """(N, K) bool: entries of ``where`` (N, K) bool drawn with the ``rate`` (K,) of their class.

    Classes one after the other, so the number drawn is within one of rate * count in every class, and of the sum in
    all classes together.
    """
    chosen = np.zeros_like(where)
    image, k = np.nonzero(where & (rate > 0))
    order = generator.permutation(len(image))
    order = order[np.argsort(k[order], kind="stable")]
    drawn = _systematic(rate[k[order]], order)
    chosen[image[drawn], k[drawn]] = True
    return chosen


def flips(
    image: np.ndarray,
    source: np.ndarray,
    rate: np.ndarray,
    targets: Targets,
    barred: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """(m,) int64: the class that each of m labels is turned into, -1 where it stays.

    Label l is class ``source[l]`` of image ``image[l]`` and flips with probability ``rate[l]``; its target is outside
    of the classes ``barred`` (N, K) bool and unlike the other targets of its image. Exactly round(sum of the rates)
    labels flip where there is room for them; see `galc.noise.model.flip` for what happens where there is not.
    """
    order = generator.permutation(np.flatnonzero((rate > 0) & targets.has_any))
    chosen = _systematic(_passed_on(rate, source, order), order)
    taken, target = barred.copy(), np.full(len(image), -1)
    waiting = order[~np.isin(order, chosen)]
    while len(chosen):
        _draw_targets(chosen, image, target, taken, targets.rows, generator)
        failed = chosen[target[chosen] < 0]
        chosen, waiting = _replacements(source[failed], waiting, source)
    return target


def total(rate: np.ndarray) -> int:
    """How many are drawn: the rounded sum of inclusion probabilities."""
    return round(round(float(rate.sum()), 6))  # 6 digits: 0.1 * 25 must tie as 2.5 does


def _passed_on(rate: np.ndarray, source: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Inclusion probabilities of the labels in ``order``, raised so that they carry their whole class's flips."""
    wanted = np.bincount(source, rate)
    possible = np.bincount(source[order], rate[order], minlength=len(wanted))
    more = np.divide(wanted, possible, out=np.ones(len(wanted)), where=possible > 0)
    return np.minimum(rate[order] * more[source[order]], 1)


def _systematic(probability: np.ndarray, order: np.ndarray) -> np.ndarray:
    """round(sum of ``probability``) labels of ``order``: those under the points 0.5, 1.5, ... of the running sum."""
    running = np.cumsum(probability)
    points = np.arange(total(running[-1:])) + 0.5
    return order[np.unique(np.searchsorted(running, points).clip(max=len(order) - 1))]


def _draw_targets(chosen, image, target, taken, rows, generator) -> None:
    """Fill ``target`` and ``taken`` for the ``chosen`` labels, one label of every image at a time."""
    turn = _rank(image[chosen])
    for now in range(turn.max() + 1):
        labels = chosen[turn == now]
        running = np.cumsum(np.where(taken[image[labels]], 0, rows(labels)), axis=1)
        mass = running[:, -1]
        labels, running = labels[mass > 0], running[mass > 0]
        point = generator.random(len(labels)) * running[:, -1]
        target[labels] = np.minimum((running <= point[:, None]).sum(1), (running < running[:, -1:]).sum(1))
        taken[image[labels], target[labels]] = True


def _replacements(failed: np.ndarray, waiting: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As many of the ``waiting`` labels as ``failed`` classes: of the same classes first, then of any."""
    if not len(failed):
        return waiting[:0], waiting
    classes = source[waiting]
    take = _rank(classes) < np.bincount(failed, minlength=source.max() + 1)[classes]
    rest = np.flatnonzero(~take)
    take[rest[: len(failed) - np.count_nonzero(take)]] = True
    return waiting[take], waiting[~take]


def _rank(values: np.ndarray) -> np.ndarray:
    """How many equal values stand before each one."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    start = np.maximum.accumulate(np.where(np.diff(ordered, prepend=-1) != 0, np.arange(len(values)), 0))
    rank = np.empty(len(values), dtype=np.int64)
    rank[order] = np.arange(len(values)) - start
    return rank
