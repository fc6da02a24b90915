"""The two models of the study: an MLP head on frozen features, and a fine-tuned timm backbone."""

import timm
import torch
from torch import nn


def probe(dim: int, num_classes: int, hidden: int = 512, dropout: float = 0.5) -> nn.Sequential:
    """An MLP head: (N, dim) standardised features -> (N, num_classes) logits."""
    return nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes))


def finetune(backbone: str, num_classes: int, dropout: float = 0.0, pretrained: bool = True) -> nn.Module:
    """Any timm model by name: (N, 3, H, W) images in [0, 1] -> (N, num_classes) logits.

    The authors of ASL feed images without mean and std normalisation; so do we.
    Raises RuntimeError naming the mend where the weights cannot be downloaded.
    """
    try:
        return timm.create_model(backbone, pretrained=pretrained, num_classes=num_classes, drop_rate=dropout)
    except Exception as error:
        if not pretrained:
            raise
        raise RuntimeError(
            f"the pretrained weights of {backbone!r} could not be fetched ({error}); connect to the model hub once, "
            "or pass the path of a weights file as `weights`"
        ) from error


class Standardize(nn.Module):
    """(x - mean) / std per dimension, fitted on the training features; constant dimensions become 0."""

    def __init__(self, features: torch.Tensor):
        super().__init__()
        std, mean = torch.std_mean(features, dim=0, correction=0)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(std > 1e-6, 1 / std.clamp(min=1e-6), torch.zeros_like(std)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) * self.scale


def to_device_layout(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model; convolutional ones take the channels-last layout, which is the fast one on GPUs and oneDNN."""
    has_convolution = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return model.to(device, memory_format=torch.channels_last if has_convolution else torch.preserve_format)
