"""The two models of the study, an MLP head on frozen features and a fine-tuned timm backbone, and how they run.

What makes a step fast on a GPU changes its result within rounding alone: the memory layout, bfloat16, torch.compile.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from galc.training import loader, parallel
from galc.training.batch import Transform


class Dropout(nn.Dropout):
    """Dropout whose mask is drawn from uniform numbers: on a CPU a third of the time of torch's own (PyTorch 2).

    torch draws Bernoulli numbers one by one there, which took a quarter of a step of the probe.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * torch.rand(x.shape, device=x.device).ge_(self.p).div_(1 - self.p).to(x.dtype)


def probe(
    dim: int, num_classes: int, hidden: int = 512, dropout: float = 0.5, input_dropout: float = 0.0
) -> nn.Sequential:
    """An MLP head: (N, dim) standardised features -> (N, num_classes) logits."""
    body = (nn.Linear(dim, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, num_classes))
    return nn.Sequential(Dropout(input_dropout), *body) if input_dropout else nn.Sequential(*body)


def finetune(backbone: str, num_classes: int, weights: str = "auto", dropout: float = 0.0) -> nn.Module:
    """A whole timm model, weights as in `build_backbone`: (N, 3, H, W) images in [0, 1] -> (N, num_classes) logits.

    Images are not normalised by a mean and a standard deviation, as in the training of the ASL authors; a linear
    layer on the pooled features takes the place of the classifier.
    """
    from galc.data.backbones import build_backbone

    body, _, _, dim = build_backbone(backbone, weights)
    return nn.Sequential(body.requires_grad_(True), nn.Dropout(dropout), nn.Linear(dim, num_classes))


# --- how they run ----------------------------------------------------------------------------------------------------


def has_convolution(model: nn.Module) -> bool:
    """Whether a model takes images in the channels-last layout, which is the fast one on GPUs and oneDNN."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def to_device_layout(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model, a convolutional one in the channels-last layout."""
    return model.to(device, memory_format=torch.channels_last if has_convolution(model) else torch.preserve_format)


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
        from torch._dynamo.exc import TorchDynamoException  # takes two seconds, which a probe need not wait

        try:
            return self.call(inputs)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            warnings.warn(f"torch.compile failed, the model goes on without it: {reason}", stacklevel=2)
            self.call = self.model
            return self.call(inputs)


@torch.inference_mode()
def predict(
    model: nn.Module,
    inputs: Tensor,
    index: Tensor | None = None,
    transform: Transform | None = None,
    batch_size: int = 512,
    bf16: bool = False,
) -> Tensor:
    """(n, K) float32 logits, on the CPU, of a model in eval mode for ``inputs[index]`` (all inputs without index).

    Each of several processes takes a part, and gets all. A batch that does not fit in a GPU's memory is halved.
    """
    model.eval()
    device = next(model.parameters()).device
    transform = transform or (lambda batch: batch)
    index = torch.arange(len(inputs)) if index is None else index
    everyone = len(index) < parallel.count()  # so few that each process takes them all
    own = torch.arange(len(index)) if everyone else parallel.share(torch.arange(len(index)))

    def forward(batch: Tensor) -> Tensor:
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                return model(in_layout(transform(batch), model)).float()
        except loader.OUT_OF_MEMORY:
            if len(batch) == 1:
                raise
        return torch.cat([forward(part) for part in batch.chunk(2)])

    stream = loader.batches(inputs, index[own].split(batch_size), device)
    rows = torch.cat([forward(batch).cpu() for batch in stream])
    return rows if everyone else parallel.gathered(rows, int(own[0]), len(index))
