"""Time the core functions at the size of COCO 2014: ``python benchmarks/bench_core.py [label-archive.npz]``.

The archive holds the packed label rows ``Y`` (N, 80) of COCO's training images, of which those with at least two
labels are taken; without it, as many random rows with 3.4 labels each.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from galc.estimators.algorithm_1 import algorithm_1
from galc.losses.asl import AsymmetricLoss
from galc.losses.forward import ForwardASL, ForwardBCE, posterior
from galc.metrics import average_precision, best_threshold, evaluate
from galc.noise import pair_flip, symmetric
from galc.noise.draw import flip, observed

IMAGES, TEST_IMAGES, CLASSES = 65_268, 40_000, 80


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """The best of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def label_rows(archive: str | None) -> torch.Tensor:
    """(65268, 80) bool."""
    if archive is None:
        return torch.rand(IMAGES, CLASSES, generator=torch.Generator().manual_seed(0)) < 3.4 / CLASSES
    labels = torch.from_numpy(np.unpackbits(np.load(archive)["Y"], axis=1)[:, :CLASSES].astype(bool))
    return labels[labels.sum(1) >= 2]


def batch_step(loss: Callable, logits: torch.Tensor, targets: torch.Tensor) -> Callable[[], None]:
    logits = logits.clone().requires_grad_()
    return lambda: loss(logits, targets).sum().backward()


def main(archive: str | None = None) -> None:
    labels = label_rows(archive)
    generator = torch.Generator().manual_seed(1)
    scores = torch.rand(labels.shape, generator=generator)
    noise = symmetric(CLASSES, 0.6)
    flips = flip(labels, noise, seed=0)
    test, small, batch = slice(TEST_IMAGES), slice(1000), slice(128)
    logits, targets = torch.logit(scores[batch], 1e-6), labels[batch].float()
    whole, part = f"{len(labels):,} x {CLASSES}", f"{TEST_IMAGES:,} x {CLASSES}"
    rows: list[tuple[str, str, Callable]] = [
        ("inject, symmetric 0.6", whole, lambda: flip(labels, noise, seed=0)),
        ("inject, pair flip 0.4", whole, lambda: flip(labels, pair_flip(CLASSES, 0.4), seed=0)),
        ("observed", whole, lambda: observed(labels, flips)),
        ("algorithm_1", whole, lambda: algorithm_1(scores, labels, torch.full((CLASSES, CLASSES), 1 / CLASSES))),
        ("posterior", whole, lambda: posterior(scores, labels, noise)),
        ("evaluate", part, lambda: evaluate(scores[test], labels[test])),
        ("average_precision", part, lambda: average_precision(scores[test], labels[test])),
        ("best_threshold", part, lambda: best_threshold(scores[test], labels[test])),
        ("evaluate", "1,000 x 80", lambda: evaluate(scores[small], labels[small])),
        ("ASL, gradient", "128 x 80", batch_step(AsymmetricLoss(), logits, targets)),
        ("ForwardBCE, gradient", "128 x 80", batch_step(ForwardBCE(noise, reduction="none"), logits, targets)),
        ("ForwardASL, gradient", "128 x 80", batch_step(ForwardASL(noise, reduction="none"), logits, targets)),
    ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"labels: {archive or 'random'}\n")
    for name, size, call in rows:
        print(f"{name:30}{size:>14}{1000 * seconds(call):10.1f} ms", flush=True)
    start, galc, whole_torch = (seconds(imported(module)) for module in ("sys", "galc", "torch"))
    share = (galc - start) / (whole_torch - start)
    print(f"import galc: {1000 * (galc - start):.0f} ms, {share:.1%} of import torch ({whole_torch - start:.1f} s)")


def imported(module: str) -> Callable[[], object]:
    """A call that imports a module in a process of its own."""
    return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:2])
