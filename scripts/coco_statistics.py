"""Count COCO 2014's labels and fit the model that `galc.data.pictograms` draws label sets from.

    python scripts/coco_statistics.py FOLDER [--out galc/data/pictograms/coco_statistics.json]

FOLDER holds `train2014.npz` (array `Y`: the bool label matrix of all labelled train2014 images, packed with
np.packbits along the classes) and `classes.json` (the 80 class names in the order of the columns). Takes some
minutes on one core; the seed is fixed, so the same machine writes the same file again.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from galc import store
from galc.data.pictograms import ASSET, draw_sets

SOURCE = "counts over the MS-COCO 2014 train annotations (cocodataset.org, CC BY 4.0)"


def fit(pairs: np.ndarray, sizes: np.ndarray, rounds: int = 60, copies: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Bias (K,) and coupling (K, K) whose samples have the class counts (diagonal) and pair counts of ``pairs`` (K, K).

    Moment matching: sample sets of the real ``sizes``, then move every parameter by the log ratio of the wanted count
    to the sampled one (+1 each, so that a pair never seen stays finite); steps shrink as the sampling noise shows.
    """
    rng = np.random.default_rng(0)
    bias, coupling = np.log(np.diag(pairs)), np.zeros(pairs.shape)
    sizes = np.repeat(sizes, copies)
    for round in range(rounds):
        labels = draw_sets(rng, sizes, bias, coupling).astype(np.float32)
        sampled = labels.T @ labels / copies
        step = np.log(pairs + 1) - np.log(sampled + 1)
        rate = 0.5 if round < rounds // 2 else 0.15
        bias = bias + rate * np.diag(step)
        coupling = coupling + rate * step * (1 - np.eye(len(bias)))
        print(f"round {round + 1}: mean |log ratio| of class counts {np.abs(np.diag(step)).mean():.4f}")
    return bias - bias.mean(), coupling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=ASSET)
    options = parser.parse_args()
    classes = json.loads((options.folder / "classes.json").read_text())
    with np.load(options.folder / "train2014.npz") as packed:
        labels = np.unpackbits(packed["Y"], axis=1)[:, : len(classes)].astype(np.int64)
    sizes = labels.sum(axis=1)
    many = labels[sizes > 1]
    pairs = many.T @ many
    bias, coupling = fit(pairs, sizes[sizes > 1])
    tables = {
        "source": SOURCE,
        "classes": classes,
        "images": len(labels),
        "label_counts": np.bincount(sizes).tolist(),
        "single": labels[sizes == 1].sum(axis=0).tolist(),
        "pairs": pairs.tolist(),
        "bias": bias.round(3).tolist(),
        "coupling": coupling.round(3).tolist(),
    }
    # One table row a line: small, and a change shows as a readable difference.
    text = json.dumps(tables, separators=(",", ":")).replace("],[", "],\n[").replace(',"', ',\n"')
    print(store.write_text(options.out, text + "\n"))


if __name__ == "__main__":
    main()
