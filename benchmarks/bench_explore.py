"""Time what the kernel does when a control of the explorer moves: ``python benchmarks/bench_explore.py [K ...]``.

K random classes (default 80 and 500) and two random matrices. What the browser draws comes on top.
"""

import os
import platform
import statistics
import sys
import time
from itertools import cycle, islice

import ipywidgets
import numpy as np
import plotly

from galc.explorer.sources import Matrices
from galc.explorer.widget import Explorer

MOVES = 8


def explorer(num_classes: int) -> Explorer:
    """An explorer of two estimates, with ten groups of classes."""
    rng = np.random.default_rng(0)
    true = np.full((num_classes, num_classes), 0.4 / (num_classes - 1))
    np.fill_diagonal(true, 0.6)
    estimates = {name: true + rng.normal(0, 1e-3, true.shape) for name in ("first", "second")}
    classes = [f"class {k}" for k in range(num_classes)]
    groups = [f"group {10 * k // num_classes}" for k in range(num_classes)]
    return Explorer(Matrices(true, estimates, classes, groups, rng.integers(1, 1000, num_classes)))


def seconds(control, values: list) -> float:
    """The median over some moves of a control."""
    times = []
    for value in islice(cycle(values), MOVES):
        start = time.perf_counter()
        control.value = value
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(sizes: list[int]) -> None:
    print(f"{platform.machine()}, {os.cpu_count()} cores, plotly {plotly.__version__}")
    print(f"ipywidgets {ipywidgets.__version__}\n")
    for num_classes in sizes:
        shown = explorer(num_classes)
        moves = {
            "estimator": (shown.estimator, ["second", "first"]),
            "scale": (shown.scale, ["sigmoid", "rows", "raw"]),
            "order of classes": (shown.order, ["frequency", "clustering", "supercategory", "data set"]),
            "strongest confusions": (shown.strongest, [50, 10, 0]),
            "class": (shown.label, [1, 2, 3, 0]),
        }
        for name, (control, values) in moves.items():
            print(f"{name:26}K = {num_classes:<6}{1000 * seconds(control, values):8.0f} ms", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [80, 500])
