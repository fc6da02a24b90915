"""How far an estimate of the noise is from the truth."""

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from galc.checks import check_transition
from galc.noise.model import Noise


def matrix_error(estimate: Tensor, truth: Tensor) -> dict[str, float]:
    """How far an estimate (K, K), any matrix, is from the true C (K, K).

    row_l1                   mean over rows of sum_j |estimate_ij - truth_ij|
    diagonal                 mean of |estimate_ii - truth_ii|
    off_diagonal_correlation Pearson correlation of the off-diagonal entries; NaN where either side is constant
                             (symmetric noise)

    Raises ValueError for shapes that differ or a truth that is no transition matrix.
    """
    truth = check_transition(truth).double()
    if estimate.shape != truth.shape:
        raise ValueError(f"estimate {tuple(estimate.shape)} and truth {tuple(truth.shape)} differ in shape")
    estimate = estimate.double()
    row_l1, diagonal = row_errors(estimate, truth)
    off = ~torch.eye(len(truth), dtype=torch.bool, device=truth.device)
    first, second = (matrix[off] - matrix[off].mean() for matrix in (estimate, truth))
    spread = first.norm() * second.norm()
    constant = min(first.abs().max(), second.abs().max()) < 1e-7
    return {
        "row_l1": row_l1,
        "diagonal": diagonal,
        "off_diagonal_correlation": float("nan") if constant else (first @ second / spread).item(),
    }


def rate_error(estimate: Noise, truth: Noise) -> dict[str, float]:
    """How far the rates of removed and of added labels are off, apart from C: the mean over classes of |gap|.

    removed: of P(a label of the class vanishes); added: of P(the class appears from nowhere on an image without it).
    """
    gaps = {name: getattr(estimate, name) - getattr(truth, name) for name in ("removed", "added")}
    return {name: float(gap.abs().mean()) for name, gap in gaps.items()}


def row_errors(estimate: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    """row_l1 and diagonal of `matrix_error` for any two matrices (K, K), unchecked."""
    gap = (torch.as_tensor(estimate).double() - torch.as_tensor(truth).double()).abs()
    return gap.sum(1).mean().item(), gap.diagonal().mean().item()
