"""The numbers of the product on the tiny embedded data set, and whether they are those of `golden.json`.

``python tests/golden.py`` computes them and says what differs; with ``--write`` it writes the file anew, which is right
only for a change that is meant to change numbers. On a machine of the same kind every digest must be the same; on
another one, whose arithmetic rounds otherwise, the plain numbers must be near.
"""

import argparse
import hashlib
import json
import math
import os
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy and torch start

import numpy as np
import torch

# --- what is used of the product; all that a move of its modules changes here --------------------------------------
from galc.clean import RATES
from galc.clean.example import noisy_copy
from galc.clean.pipeline import Cleaning, load
from galc.methods.base import METHODS
from galc.study import run as study
from galc.study.params import checked


def run(values: dict) -> tuple[torch.Tensor, list[dict], torch.Tensor | None, dict]:
    """Scores (n, K), history, estimate of C and summary of one run."""
    record = study.run(checked(values))
    return record.scores, record.history, record.estimate, record.summary


def clean(trusted: bool, settings: dict) -> tuple[torch.Tensor, dict, np.ndarray, torch.Tensor]:
    """The noisy copy cleaned: posterior, intervals by name, (row, column) of its suspicious labels in order; and the
    trained classifier's probabilities of the first 8 images."""
    copy = noisy_copy(DATA)
    cleaning = Cleaning(load(copy, copy.parents[1] / "trusted.txt" if trusted else None), **settings)
    cleaned = cleaning.result()
    intervals = {f"{name}/{end}": part for name in RATES for end, part in getattr(cleaned, name)._asdict().items()}
    probabilities = cleaning.classifier(cleaned)(cleaned.files[:8])
    return cleaned.posterior, intervals, cleaned.suspicious[["row", "column"]].to_numpy(), probabilities


# --- what is computed ----------------------------------------------------------------------------------------------

FILE = Path(__file__).with_suffix(".json")
DATA = "pictograms-tiny"
KINDS = ("symmetric", "missing-additional")
# Enough training and enough trusted images that no two methods give the same scores.
TRAINING = {"epochs": 8, "folds": 2, "fold_epochs": 6, "batch_size": 16, "learning_rate": 1e-2}
PROBE = TRAINING | {"components": 64, "hidden": 64}
RUN = PROBE | {"data": DATA, "gold_fraction": 0.3, "noise": 0.4, "seed": 0}
BACKBONE = {"mode": "finetune", "backbone": "test_efficientnet", "weights": "none", "image_size": 32}
FINE_TUNING = RUN | BACKBONE | {"method": "galc-plus", "epochs": 3, "fold_epochs": 2, "learning_rate": 1e-3}


def compute() -> dict:
    """Machine and numbers of all runs, in an outputs folder of their own, on one core."""
    torch.set_num_threads(1)
    with outputs(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues")  # cleanlab's, of few images a class
        runs = {f"{kind}/{name}": of_run(RUN | {"noise_kind": kind, "method": name}) for kind, name in points()}
        runs["fine-tuning"] = of_run(FINE_TUNING)
        runs |= {f"cleaning/{part}": of_cleaning(part == "trusted") for part in ("trusted", "alone")}
    return {"machine": machine(), "runs": runs}


@contextmanager
def outputs() -> Iterator[None]:
    """An outputs folder that is empty, and gone afterwards."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, {"GALC_OUTPUTS": folder}):
        yield


def points() -> list[tuple[str, str]]:
    """Every kind of noise with every method."""
    return [(kind, name) for kind in KINDS for name in METHODS]


def machine() -> dict[str, str]:
    """What the last bits of a number depend on."""
    capability = torch.backends.cpu.get_cpu_capability()
    minor = ".".join(platform.python_version_tuple()[:2])
    versions = {"torch": torch.__version__, "numpy": np.__version__, "python": minor}
    return versions | {"capability": capability, "processor": processor()}


def processor() -> str:
    """The name of the processor as Linux gives it; "" elsewhere. Libraries choose their kernels by it."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def of_run(values: dict) -> dict:
    """Digests and plain numbers of one run."""
    scores, history, estimate, summary = run(values)
    digests = {
        "scores": digest(scores),
        "history": digest([untimed(epoch) for epoch in history]),
        "estimate": None if estimate is None else digest(estimate),
        "summary": digest(untimed(summary)),
    }
    numbers = {"mAP": summary["mAP"], "mean score": float(scores.double().mean())}
    if estimate is not None:
        numbers["mean of C's diagonal"] = float(estimate.double().diagonal().mean())
    return {"digests": digests, "numbers": numbers}


def of_cleaning(trusted: bool) -> dict:
    """Digests and plain numbers of one cleaning, with or without its trusted images."""
    posterior, intervals, suspicious, probabilities = clean(trusted, PROBE)
    arrays = {"posterior": posterior, "suspicious": suspicious, "classifier": probabilities} | intervals
    numbers = {
        "mean posterior": float(posterior.double().mean()),
        "mean probability": float(probabilities.double().mean()),
        "suspicious labels": len(suspicious),
        "mean of C's diagonal": float(intervals["transition/estimate"].diagonal().mean()),
    }
    return {"digests": {name: digest(array) for name, array in arrays.items()}, "numbers": numbers}


def untimed(row: dict) -> dict:
    """A row of numbers without how long they took."""
    return {name: value for name, value in row.items() if name != "seconds"}


def digest(value) -> str:
    """16 digits that identify an array by its bytes, or any JSON value by its text."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value).tobytes()
    else:
        content = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


# --- how it is compared --------------------------------------------------------------------------------------------

ABSOLUTE = {"mAP": 0.2}  # percent; how far plain numbers may be apart on another kind of machine
RELATIVE = 0.005  # of all the others


def expected() -> dict:
    """The content of the golden file."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def alike(one: dict, two: dict) -> bool:
    """Whether two machines give the same bits."""
    return all(one[name] == two[name] for name in ("torch", "capability", "processor"))


def differences(got: dict, wanted: dict, exact: bool) -> list[str]:
    """What differs between two runs, in words: all digests where ``exact``, else plain numbers beyond the tolerance."""
    if exact:
        pairs = both(got["digests"], wanted["digests"])
        return [f"{part}: {a}, not {b}" for part, (a, b) in pairs.items() if a != b]
    pairs = both(got["numbers"], wanted["numbers"])
    return [f"{part}: {a}, not near {b}" for part, (a, b) in pairs.items() if not near(part, a, b)]


def both(got: dict, wanted: dict) -> dict:
    """name -> its two values; "missing" where one side lacks it."""
    return {name: (got.get(name, "missing"), wanted.get(name, "missing")) for name in wanted | got}


def near(part: str, got: float | str, wanted: float | str) -> bool:
    """Whether two plain numbers are within the tolerance."""
    if isinstance(got, str) or isinstance(wanted, str):
        return got == wanted
    if part in ABSOLUTE:
        return abs(got - wanted) <= ABSOLUTE[part]
    return math.isclose(got, wanted, rel_tol=RELATIVE)


def main() -> int:
    """The command; returns 1 where something differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"write {FILE.name} anew")
    write, got = parser.parse_args().write, compute()
    if write:
        FILE.write_text(json.dumps(got, indent=1) + "\n", encoding="utf-8")
        print(f"{FILE} written")
        return 0
    wanted = expected()
    exact = alike(got["machine"], wanted["machine"])
    lines = [f"{name}: no such run any more" for name in wanted["runs"].keys() - got["runs"].keys()]
    for name, one in got["runs"].items():
        found = differences(one, wanted["runs"][name], exact) if name in wanted["runs"] else ["not in the golden file"]
        lines += [f"{name}: {text}" for text in found]
    print("\n".join(lines) or f"all {len(got['runs'])} runs are {'the same' if exact else 'near'}")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
