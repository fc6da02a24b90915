"""Augmentation of fine-tuning, on batches of uint8 images: cutout and RandAugment, as the ASL authors train."""

import torch
from torchvision.transforms.v2 import RandAugment


class Augment:
    """(B, 3, H, W) uint8 -> (B, 3, H, W) float32 in [0, 1], each sample with its own draw.

    RandAugment (Cubuk et al. 2020) with torchvision's defaults (2 operations, magnitude 9); then a rectangle of
    ``cutout`` times the side, at a random place, in a random colour (DeVries & Taylor 2017, as in the ASL code).
    Randomness comes from torch's global generator, which the training loop seeds once an epoch.
    """

    def __init__(self, cutout: float = 0.5, randaugment: bool = True):
        self.cutout = cutout
        self.randaugment = RandAugment() if randaugment else None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if self.randaugment is not None:
            images = torch.stack([self.randaugment(image) for image in images])
        return cutout(images.float() / 255, self.cutout)


def cutout(images: torch.Tensor, factor: float) -> torch.Tensor:
    """Paint one rectangle of ``factor`` times the sides into each of (B, 3, H, W) images; edges clip it."""
    batch, _, height, width = images.shape
    device = images.device

    def inside(size: int) -> torch.Tensor:
        centre = torch.randint(0, size, (batch, 1), device=device)
        return (torch.arange(size, device=device) - centre).abs() * 2 <= factor * size

    mask = inside(height)[:, None, :, None] & inside(width)[:, None, None, :]
    colour = torch.rand(batch, 3, 1, 1, device=device)
    return torch.where(mask, colour, images)


def to_unit(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) uint8 -> float32 in [0, 1], for prediction."""
    return images.float() / 255
