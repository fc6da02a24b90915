"""Attribution EM and posterior labels at the size of COCO 2014: ``python benchmarks/bench_scale.py [labels.npz]``.

58,742 silver images x 80 classes, the size of the paper's. The archive holds the packed label rows ``Y`` (N, 80) of
COCO's training images, of which those with at least two labels are taken; without it, label sets are drawn from the
statistics of COCO that are shipped. 40 % of the labels are flipped; scores are simulated, calibrated probabilities.

Beside galc: the same E steps and posterior in literal loops, on a slice, the rest extrapolated; and cleanlab's
multi-label filter. Each in a process of its own, which says how much memory it took at its peak.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from galc import store
from galc.data.pictograms import sample
from galc.estimators import attribution
from galc.estimators.base import matrix_error
from galc.estimators.label_sets import LabelSets
from galc.methods import cleanlab_filter
from galc.noise import Noise, symmetric
from galc.noise.draw import inject

IMAGES, CLASSES, RATE, SLICE = 58_742, 80, 0.4, 100
POSTERIOR_ROUNDS, EM_ROUNDS = 12, 2  # of belief propagation


def evidence(archive: str | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Calibrated scores (N, K) of the clean labels, and noisy labels (N, K) bool."""
    if archive is None:
        labels = sample(int(1.3 * IMAGES), np.random.default_rng(0))
    else:
        labels = np.unpackbits(np.load(archive)["Y"], axis=1)[:, :CLASSES].astype(bool)
    clean = torch.from_numpy(labels[labels.sum(1) >= 2][:IMAGES])
    # two normal distributions 2.5 apart, of images with the label and without: Bayes' rule gives their log-odds
    signal = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) + 2.5 * clean
    return (torch.logit(clean.float().mean(0)) + 2.5 * signal - 2.5**2 / 2).sigmoid(), inject(
        clean, symmetric(CLASSES, RATE), 0
    )


def galc(scores: torch.Tensor, noisy: torch.Tensor) -> dict:
    """The whole of it: the choice of the prior, the EM, the posterior labels."""
    rows, count = [], LabelSets.counts

    def counted(sets: LabelSets, *args):  # how many images the E steps of all fits went through
        rows.append(len(sets))
        return count(sets, *args)

    LabelSets.counts = counted
    noise = attribution.estimate(scores, noisy)
    estimated = time.perf_counter()
    LabelSets(scores, noisy).posterior(noise, POSTERIOR_ROUNDS)
    error = matrix_error(noise.transition, symmetric(CLASSES, RATE))["row_l1"]
    return {"estimated": estimated, "images": sum(rows), "row L1 error of C": round(error, 3)}


def loops(scores: torch.Tensor, noisy: torch.Tensor) -> dict:
    """An E step and a posterior, image by image, label by label, class by class, of a slice of the images."""
    matrix = Noise(symmetric(CLASSES, RATE)).transition.tolist()
    counts = [[0.0] * CLASSES for _ in range(CLASSES)]
    seconds = []
    for rounds in (EM_ROUNDS, POSTERIOR_ROUNDS):
        started = time.perf_counter()
        for h, y in zip(scores[:SLICE].tolist(), noisy[:SLICE].tolist(), strict=True):
            _literal(h, [j for j in range(CLASSES) if y[j]], matrix, counts, rounds)
        seconds.append((time.perf_counter() - started) / SLICE)
    return {"seconds an image, E step": seconds[0], "seconds an image, posterior": seconds[1]}


def _literal(h, labels, matrix, counts, rounds) -> list[float]:
    """Belief propagation of `galc.estimators.label_sets` for one image, entry by entry; adds to ``counts``."""
    odds = [p / (1 - p) for p in h]
    outside = [i for i in range(CLASSES) if i not in labels]
    free = {(i, j): 1.0 for i in outside for j in labels}
    claim, share, posterior = {}, {}, [0.0] * CLASSES
    for _ in range(rounds + 1):
        for j in labels:
            total = odds[j] * matrix[j][j] + sum(odds[i] * matrix[i][j] * free[i, j] for i in outside)
            for i in outside:
                weight = odds[i] * matrix[i][j]
                share[i, j] = weight * free[i, j] / total
                claim[i, j] = weight / (total - weight * free[i, j])
            share[j, j] = odds[j] * matrix[j][j] / total
        for i in outside:
            claims = sum(claim[i, j] for j in labels)
            for j in labels:
                free[i, j] = 1 / (1 + claims - claim[i, j])
    for (i, j), weight in share.items():
        counts[i][j] += weight
        posterior[i] += weight
    return posterior


def cleanlab(scores: torch.Tensor, noisy: torch.Tensor) -> dict:
    """Which labels the library holds for wrong, all classes."""
    return {"labels held for wrong": int((cleanlab_filter.suspicious(scores, noisy) & noisy).sum())}


PARTS = {"galc": galc, "loops": loops, "cleanlab": cleanlab, "nothing": lambda *_: {}}


def child(part: str, archive: str | None) -> None:
    """One part, in this process: prints its result as JSON."""
    data = evidence(archive)
    started = time.perf_counter()
    try:
        result = PARTS[part](*data)
    except ModuleNotFoundError as error:
        result = {"skipped": str(error)}
    seconds = time.perf_counter() - started
    if "estimated" in result:
        result["estimated"] -= started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "linux" else 2**30)
    print(json.dumps({"seconds": seconds, "GB": memory, "threads": torch.get_num_threads()} | result))


def main(archive: str | None) -> None:
    said = {}
    for part in PARTS:
        command = [sys.executable, __file__, *([archive] if archive else []), "--part", part]
        said[part] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    ours, literal = said["galc"], said["loops"]
    threads = ours["threads"]
    print(f"{IMAGES:,} x {CLASSES}, labels: {Path(archive).name if archive else 'drawn'}, {RATE:.0%} flipped")
    print(f"{platform.machine()}, {platform.system()}, {threads} threads, torch {torch.__version__}\n")
    extrapolated = (
        ours["images"] * literal["seconds an image, E step"] + IMAGES * literal["seconds an image, posterior"]
    )
    rows = [
        ("data alone", 0.0, said["nothing"]["GB"]),
        ("galc: estimate", ours["estimated"], ours["GB"]),
        ("galc: posterior", ours["seconds"] - ours["estimated"], ours["GB"]),
        ("galc: both", ours["seconds"], ours["GB"]),
        (f"literal loops (from {SLICE} images)", extrapolated, literal["GB"]),
    ]
    if "skipped" in said["cleanlab"]:
        print(f"cleanlab: skipped, {said['cleanlab']['skipped']}")
    else:
        rows.append(("cleanlab: labels to mask", said["cleanlab"]["seconds"], said["cleanlab"]["GB"]))
    print(f"{'':36}{'seconds':>10}{'to galc':>9}{'peak GB':>9}")
    for name, seconds, memory in rows:
        print(f"{name:36}{seconds:10.1f}{seconds / ours['seconds']:9.2f}{memory:9.2f}")
    table = pd.DataFrame([(n, f"{t:.1f}", f"{t / ours['seconds']:.2f}", f"{m:.2f}") for n, t, m in rows])
    table.columns = [f"{threads} threads, {platform.system()} {platform.machine()}", "seconds", "to galc", "peak GB"]
    store.write_text(store.outputs() / "scale.csv", table.to_csv(index=False))
    print(f"\nmean row L1 error of galc's C: {ours['row L1 error of C']}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        child(arguments.part, arguments.archive)
    else:
        main(arguments.archive)
