"""The 80 classes, and label sets with COCO's real statistics: how often they occur, how many at once, which together.

``coco_statistics.json`` holds counts of the MS-COCO 2014 train annotations (CC BY 4.0) and a small model
fitted to them by ``scripts/coco_statistics.py``: an image with n labels receives them one after another, class c
with probability proportional to exp(bias_c + Σ_s coupling_cs) over the classes s it already has. Bias (K,) and
coupling (K, K, symmetric) are fitted so that sampled class counts and pair counts equal COCO's.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import yaml

ASSET = Path(__file__).parent / "coco_statistics.json"
TABLE = Path(__file__).parent / "pictograms.yaml"


@cache
def table() -> dict:
    """What stands for what: categories, distractors, drawings."""
    return yaml.safe_load(TABLE.read_text(encoding="utf-8"))


def categories() -> list[dict]:
    """The 80 categories as COCO writes them: ``{"id", "supercategory", "name"}``, ids 1..90 with gaps."""
    return [{"id": id, "supercategory": group, "name": name} for id, group, name, _ in table()["categories"]]


@cache
def statistics() -> dict:
    """COCO's counts and the fitted model, as arrays over the K = 80 classes in the order of ``classes``.

    ``classes``: K names; ``images``: number of labelled images; ``label_counts`` (L,): images with 0, 1, 2... labels;
    ``single`` (K,): images whose only label is k; ``pairs`` (K, K): images with ≥2 labels that have both i and j
    (diagonal: that have i); ``bias`` (K,), ``coupling`` (K, K, zero diagonal): the model of the module's docstring.
    """
    stored = json.loads(ASSET.read_text(encoding="utf-8"))
    plain = ("source", "classes", "images")
    return {key: value if key in plain else np.asarray(value) for key, value in stored.items()}


def _spread(rng: np.random.Generator, counts: np.ndarray, size: int) -> np.ndarray:
    """``size`` indices drawn in proportion to ``counts``, each as often as expected, rounded up or down; shuffled."""
    edges = np.cumsum(counts) / np.sum(counts)
    return rng.permutation(np.searchsorted(edges, (np.arange(size) + rng.random()) / size, side="right"))


def draw_sets(rng: np.random.Generator, sizes: np.ndarray, bias: np.ndarray, coupling: np.ndarray) -> np.ndarray:
    """Label sets of the given sizes (N,) from the sequential model: bool (N, K)."""
    labels = np.zeros((len(sizes), len(bias)), dtype=np.float32)
    for step in range(int(sizes.max(initial=0))):
        rows = np.flatnonzero(sizes > step)
        have = labels[rows]
        # The largest of logit + Gumbel noise is a draw from the softmax of the logits.
        noisy = bias + have @ coupling + rng.gumbel(size=have.shape).astype(np.float32)
        noisy[have > 0] = -np.inf
        labels[rows, noisy.argmax(axis=1)] = 1
    return labels > 0


def _raise_rare(rng: np.random.Generator, labels: np.ndarray, floor: int, logits: np.ndarray) -> None:
    """Give each class at least ``floor`` positives, in place: it takes the place of the commonest label of an image.

    The images are those where the model most expects the class; ``logits`` (N, K) say so. Rows keep their size.
    """
    counts = labels.sum(axis=0)
    for k in np.argsort(counts, kind="stable"):
        noisy = np.where(labels[:, k], -np.inf, logits[:, k] + rng.gumbel(size=len(labels)))
        for row in np.argsort(-noisy, kind="stable"):
            commonest = np.argmax(np.where(labels[row], counts, -1))
            if counts[k] >= floor or labels[row, k]:
                break
            if counts[commonest] > floor:
                labels[row, [commonest, k]] = False, True
                counts[[commonest, k]] += -1, 1


def sample(images: int, rng: np.random.Generator) -> np.ndarray:
    """Clean labels of ``images`` images, bool (images, 80), in random order; each has at least one label.

    Label counts and single labels are spread in COCO's own proportions (20.5 % of the images have one label); sets of
    two and more come from the fitted model. Rare classes are floored: among the images with ≥2 labels each class has
    at least min(5, images // 300) positives (5 of 4,000 and 3 of 1,000, where COCO's rarest class would have 6 and 1).
    """
    real = statistics()
    sizes = _spread(rng, real["label_counts"], images)
    labels = np.zeros((images, len(real["classes"])), dtype=bool)
    alone = np.flatnonzero(sizes == 1)
    labels[alone, _spread(rng, real["single"], len(alone))] = True
    many = np.flatnonzero(sizes > 1)
    drawn = draw_sets(rng, sizes[many], real["bias"], real["coupling"])
    _raise_rare(rng, drawn, min(5, images // 300), real["bias"] + drawn @ real["coupling"])
    labels[many] = drawn
    return labels
