"""A small result of cleaning, with images, for the tests of what people see of it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from galc.clean import Cleaned, Rates

CLASSES = ("cat", "<script>alert(1)</script>", 'a "quoted" | & \u202e ü', "bus")


def example(folder: Path, images: int = 30, classes: tuple[str, ...] = CLASSES) -> Cleaned:
    """``images`` images of 32 pixels with random labels and posteriors; the last one is trusted."""
    rng = np.random.default_rng(0)
    files = tuple(folder / "images" / f"{n:03d} <i>&ü.png" for n in range(images))
    files[0].parent.mkdir(parents=True)
    for file in files:
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(file)
    shape, size = (images, len(classes)), len(classes)
    labels, posterior = torch.from_numpy(rng.random(shape) < 0.5), torch.from_numpy(rng.random(shape)).float()
    trusted = torch.arange(images) == images - 1
    rates = Rates(*(torch.full((size,), value, dtype=torch.float64) for value in (0.1, 0.0, 0.2)))
    eye = Rates(*[torch.eye(size, dtype=torch.float64)] * 3)
    parts = {"name": "mine <b>", "source": "mine.csv", "classes": classes, "files": files, "labels": labels}
    parts |= {name: rates for name in ("removed", "added", "wrong", "missing")}
    return Cleaned(**parts, trusted=trusted, posterior=posterior, transition=eye)
