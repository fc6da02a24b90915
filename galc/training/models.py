"""The two models of the study: an MLP head on frozen features, and a fine-tuned timm backbone."""

import torch
from torch import nn

from galc.data.backbones import build_backbone


class Dropout(nn.Dropout):
    """Dropout whose mask is drawn from uniform numbers: on a CPU a third of the time of torch's own (PyTorch 2).

    torch draws Bernoulli numbers one by one there, which took a quarter of a step of the probe.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
    body, _, _, dim = build_backbone(backbone, weights)
    return nn.Sequential(body.requires_grad_(True), nn.Dropout(dropout), nn.Linear(dim, num_classes))


def has_convolution(model: nn.Module) -> bool:
    """Whether a model takes images in the channels-last layout, which is the fast one on GPUs and oneDNN."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def to_device_layout(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model, a convolutional one in the channels-last layout."""
    return model.to(device, memory_format=torch.channels_last if has_convolution(model) else torch.preserve_format)
