"""What makes a step fast on a GPU and changes its result within rounding alone: bfloat16 and torch.compile."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

from galc.training.models import has_convolution


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """bfloat16 inside the model where asked for; weights, losses and metrics stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16)


def tune(device: torch.device) -> None:
    """Let cuDNN try its algorithms once for each shape, and keep the fastest."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True


def in_layout(inputs: Tensor, model: nn.Module) -> Tensor:
    """A batch in the memory layout of the model: channels last for images of a convolutional one."""
    images = inputs.ndim == 4 and has_convolution(model)
    return inputs.contiguous(memory_format=torch.channels_last) if images else inputs


class Compiled:
    """torch.compile of a model, in calls alone: its weights and its names stay those of the model.

    Where compiling fails (no compiler, an operation it cannot take), that is said once, and the model goes on as it is.
    """

    def __init__(self, model: nn.Module, **options):
        self.model = model
        # one graph for full batches, one for the last of an epoch, none that serves any size
        self.call: Callable[[Tensor], Tensor] = torch.compile(model, dynamic=False, **options)

    def __call__(self, inputs: Tensor) -> Tensor:
        try:
            return self.call(inputs)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"torch.compile failed, the model goes on without it: {reason}", stacklevel=2)
            self.call = self.model
            return self.call(inputs)
