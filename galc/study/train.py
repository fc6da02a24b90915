"""``torchrun --nproc-per-node 8 -m galc.study.train params/paper.yaml``: the runs of a study file, all GPUs on one at
a time.

A sweep has a run on each GPU; this has one run on several, and without torchrun on one. Records go to the cache, where
a sweep finds them: `python -m galc.sweep` on the same file then makes the notebooks and the tables.
"""

import argparse
import os
import sys
from functools import partial

import joblib
import torch

from galc import store
from galc.command import ended
from galc.study import run as study
from galc.study.params import Params
from galc.sweep import plan
from galc.training import parallel


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, 2 for bad input or where a GPU's memory is too small, 130 where it was interrupted."""
    parser = argparse.ArgumentParser(prog="galc.study.train", description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a YAML file of params/: base, grid")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    parser.add_argument("--weights", metavar="FILE", help="of the backbone, instead of those of the model hub")
    options = parser.parse_args(arguments)
    with parallel.processes():
        # torchrun gives each process one core, too few for decoding
        torch.set_num_threads(max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
        return ended(partial(_main, options), MemoryError, say=say)


def _main(options: argparse.Namespace) -> None:
    for point in points(options.file, dict(options.p), options.weights):
        train(point)


def points(file: str, overrides: dict[str, str], weights: str | None = None) -> list[Params]:
    """Every run of a study file; a path of ``weights`` is relative to the working directory. Raises ParameterError."""
    if weights is not None:
        overrides = overrides | {"weights": str(store.typed(weights))}
    return plan.read(file, overrides).points


def train(point: Params) -> None:
    """One run, computed or read from the cache; the first process tells of it."""
    own = study.Study(point, say)
    name = f"{point.method}, noise {point.noise:g}, seed {point.seed}"
    say(f"{name}: {'done before' if own.is_cached else f'{parallel.count()} process(es), {parallel.device().type}'}")
    summary = own.run().summary
    say(f"{name}: mAP {summary['mAP']:.2f}  CF1 {summary['CF1']:.2f}  OF1 {summary['OF1']:.2f}")


def say(text: str, file=None) -> None:
    """Print once, whatever the number of processes."""
    if parallel.rank() == 0:
        print(text, file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
