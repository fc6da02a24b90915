"""The optimiser of the recipe: who gets weight decay, the course of the learning rate, and how both are stored."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR


def groups(model: nn.Module, loss: nn.Module | None, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels only, never for biases and other 1-D parameters (ASL recipe).

    Parameters of a loss that learns come last, without weight decay.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    found = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    learnt = [] if loss is None else [p for p in loss.parameters() if p.requires_grad]
    return found + ([{"params": learnt, "weight_decay": 0.0}] if learnt else [])


def one_cycle(optimizer: Optimizer, learning_rate: float, steps: int, pct_start: float) -> OneCycleLR:
    """OneCycle over ``steps``; ``pct_start`` is off by a hair where the rise would last 0 steps, a divisor."""
    pct_start += 1e-9 if pct_start * steps == 1 else 0
    return OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=pct_start)


def ema_decay(step: int, limit: float) -> float:
    """Warm-up of the moving average: step / (step + 9) until it reaches ``limit`` (step counts from 1)."""
    return min(limit, step / (step + 9))


def arrays(optimizer: Optimizer) -> dict[str, np.ndarray]:
    """The optimiser's state by "parameter number/name"."""
    state = optimizer.state_dict()["state"].items()
    return {f"{number}/{name}": value.cpu().numpy() for number, slots in state for name, value in slots.items()}


def schedule(scheduler: OneCycleLR) -> dict:
    """The scheduler's state, as JSON has it."""
    return {k: v for k, v in scheduler.state_dict().items() if isinstance(v, int | float | list)}


def load(optimizer: Optimizer, state: dict[str, Tensor], param_groups: list[dict]) -> None:
    """Put back what `arrays` gave, and the "param_groups" of the optimiser's state."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    slots: dict[int, dict] = {}
    for name, value in state.items():
        number, slot = name.split("/")
        if value.ndim:  # in the weights' memory layout, which the fused Adam takes for granted
            value = torch.empty_like(weights[int(number)], device="cpu").copy_(value)
        slots.setdefault(int(number), {})[slot] = value
    param_groups = [{**group, "betas": tuple(group["betas"])} for group in param_groups]
    optimizer.load_state_dict({"state": slots, "param_groups": param_groups})
