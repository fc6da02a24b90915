"""Augmentation of fine-tuning, on batches of uint8 images: cutout and RandAugment, as the ASL authors train.

Every image has its own draw, yet whole batches are worked on: the images that drew one operation go through it
together, so that a GPU launches tens of kernels a batch, not thousands. What was drawn is known to the processor, and
nothing is read back from the GPU.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from galc.checks import needs
from galc.training.loader import send

# RandAugment (Cubuk et al. 2020) as torchvision has it: 2 operations of these 14, magnitude 9 of 30, nearest pixels
STRENGTH = 9 / 30
OPERATIONS = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
GEOMETRY = slice(1, 6)  # of OPERATIONS: one resampling does them all
LEVEL = 0.9 * STRENGTH  # of the blends: 1 + LEVEL or 1 - LEVEL of the image
ROUNDS = 2


class Augment:
    """(B, 3, H, W) uint8 -> (B, 3, H, W) float32 in [0, 1], each image with its own draw.

    RandAugment; then a rectangle of ``cutout`` times the side, at a random place, in a random colour (DeVries & Taylor
    2017, as in the ASL code). An image's draw are ``draws`` uniform numbers: what the training loop gives, a row for
    each image of the epoch, or else of torch's global generator. So an image gets the same augmentation whatever the
    batch it is in and whoever works on it.
    """

    draws = 2 * ROUNDS + 5

    def __init__(self, cutout: float = 0.5, randaugment: bool = True):
        self.cutout, self.randaugment = cutout, randaugment

    def __call__(self, images: Tensor, draws: Tensor | None = None) -> Tensor:
        """``draws`` (B, self.draws) uniform in [0, 1), on the CPU."""
        draws = torch.rand(len(images), self.draws) if draws is None else draws
        if self.randaugment:
            for number in range(ROUNDS):
                images = randaugment(images, *draws[:, 2 * number : 2 * number + 2].T)
        return cutout(images.float() / 255, self.cutout, send(draws[:, 2 * ROUNDS :], images.device))


def randaugment(images: Tensor, which: Tensor, sign: Tensor) -> Tensor:
    """One operation for each of (B, 3, H, W) uint8 images; ``which`` and ``sign`` (B,) are uniform, on the CPU."""
    chosen = (which * len(OPERATIONS)).long()
    signs = torch.where(sign <= 0.5, -1.0, 1.0)
    # images of one operation side by side, those that move first; signs in the order of the images
    order = torch.argsort(chosen, stable=True)
    counts = torch.bincount(chosen, minlength=len(OPERATIONS)).tolist()
    rows, turned = send(order, images.device), send(signs[order], images.device)[:, None, None, None]
    parts, moved = list(images[rows].split(counts)), sum(counts[GEOMETRY])
    if moved:
        moving = order[counts[0] : counts[0] + moved]
        matrices = inverse_matrices(chosen[moving], signs[moving], *images.shape[2:])
        resampled = resample(torch.cat(parts[GEOMETRY]), send(matrices, images.device))
        parts[GEOMETRY] = resampled.split(counts[GEOMETRY])
    factors = (1 + LEVEL * turned).split(counts)
    for number, name in enumerate(OPERATIONS):
        if counts[number] and number >= GEOMETRY.stop:
            parts[number] = recolour(name, parts[number], factors[number])
    return torch.empty_like(images).index_copy_(0, rows, torch.cat(parts))


def inverse_matrices(chosen: Tensor, signs: Tensor, height: int, width: int) -> Tensor:
    """(n, 2, 3) of images that move: from an output pixel (x, y, 1), the centre being 0, to where it comes from."""
    shear, angle = 0.3 * STRENGTH, math.radians(30 * STRENGTH)
    shift_x, shift_y = (int(150 / 331 * STRENGTH * side) for side in (width, height))
    cos, sin = math.cos(angle), math.sin(angle)
    moves = {
        "ShearX": lambda sign: ((1, sign * shear, sign * shear * height / 2), (0, 1, 0)),  # about the left upper corner
        "ShearY": lambda sign: ((1, 0, 0), (sign * shear, 1, sign * shear * width / 2)),
        "TranslateX": lambda sign: ((1, 0, -sign * shift_x), (0, 1, 0)),
        "TranslateY": lambda sign: ((1, 0, 0), (0, 1, -sign * shift_y)),
        "Rotate": lambda sign: ((cos, -sign * sin, 0), (sign * sin, cos, 0)),
    }
    drawn = zip(chosen.tolist(), signs.tolist(), strict=True)
    return torch.tensor([moves[OPERATIONS[operation]](sign) for operation, sign in drawn])


def resample(images: Tensor, matrices: Tensor) -> Tensor:
    """The nearest pixel of each image (n, 3, H, W) uint8 by its matrix (n, 2, 3), black outside."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    a = matrices[:, :, :, None, None]
    source = [a[:, k, 0] * x + a[:, k, 1] * y[:, None] + a[:, k, 2] for k in (0, 1)]
    grid = torch.stack([source[0] * (2 / width), source[1] * (2 / height)], -1)
    return grid_sample(images.float(), grid, mode="nearest", padding_mode="zeros", align_corners=False).to(torch.uint8)


def recolour(name: str, images: Tensor, factor: Tensor) -> Tensor:
    """An operation on the colours of (n, 3, H, W) uint8 images; ``factor`` (n, 1, 1, 1) is of those in `BLENDS`."""
    if name in BLENDS:
        return (images * factor + BLENDS[name](images) * (1 - factor)).clamp_(0, 255).to(torch.uint8)
    functional = needs("torchvision.transforms.v2.functional", "images")
    if name == "Posterize":
        return functional.posterize(images, bits=8 - round(4 * STRENGTH))
    if name == "Solarize":
        return functional.solarize(images, threshold=255 * (1 - STRENGTH))
    return {"AutoContrast": _stretched, "Equalize": functional.equalize}[name](images)


def _stretched(images: Tensor) -> Tensor:
    """Each channel scaled to 0 to 255; one of a single value stays."""
    low, high = (bound.float() for bound in torch.aminmax(images.flatten(2), dim=2, keepdim=True))
    low, scale = low[..., None], ((high - low) / 255)[..., None]
    flat = scale == 0
    return ((images - torch.where(flat, 0, low)) / torch.where(flat, 1, scale)).clamp_(0, 255).to(torch.uint8)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.float().unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor_()[:, None]


def _blurred(images: Tensor) -> Tensor:
    """A 3 x 3 mean whose centre counts five times; pixels at the edge stay."""
    kernel = torch.full((3, 1, 3, 3), 1 / 13, device=images.device)
    kernel[:, :, 1, 1] = 5 / 13
    out = images.float()
    if min(images.shape[2:]) > 2:
        out[..., 1:-1, 1:-1] = conv2d(images.float(), kernel, groups=3).round_()
    return out


# what an image is blended with, or led away from
BLENDS = {
    "Brightness": lambda images: torch.zeros((), device=images.device),
    "Color": _grey,
    "Contrast": lambda images: _grey(images).mean((1, 2, 3), keepdim=True),
    "Sharpness": _blurred,
}


def cutout(images: Tensor, factor: float, draws: Tensor | None = None) -> Tensor:
    """Paint one rectangle of ``factor`` times the sides into each of (B, 3, H, W) images; edges clip it.

    ``draws`` (B, 5) uniform in [0, 1), on the images' device: the centre's height and width, and the colour.
    """
    device = images.device
    draws = torch.rand(len(images), 5, device=device) if draws is None else draws

    def inside(size: int, place: Tensor) -> Tensor:
        centre = (place * size).floor()[:, None]
        return (torch.arange(size, device=device) - centre).abs() * 2 <= factor * size

    height, width = images.shape[2:]
    mask = inside(height, draws[:, 0])[:, None, :, None] & inside(width, draws[:, 1])[:, None, None, :]
    return torch.where(mask, draws[:, 2:, None, None], images)


def to_unit(images: Tensor) -> Tensor:
    """(B, 3, H, W) uint8 -> float32 in [0, 1], for prediction."""
    return images.float() / 255
