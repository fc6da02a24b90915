"""What a training is made on, and what a loss gets to see of it: the seam between the loop and every objective.

A loss is any callable (logits (B, K), Batch) -> scalar, the mean over the batch. One that keeps a memory or learns
something itself is an ``nn.Module``: the loop moves its buffers and parameters to the device, trains its parameters
with those of the model (without weight decay), and keeps all of it in the checkpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from galc.training.loader import send


@dataclass(frozen=True)
class Batch:
    """The labels of one batch, on the device of the model.

    targets: (B, K) float32 in [0, 1], hard or soft labels
    trusted: (B,) bool, True where the targets are clean
    rows   : (B,) int64, positions of the images in the training set: what a memory of each image is kept under
    epoch  : the epoch, from 1
    """

    targets: Tensor
    trusted: Tensor
    rows: Tensor
    epoch: int

    def take(self, part: Tensor) -> "Batch":
        """The images at positions ``part`` of this batch."""
        return Batch(self.targets[part], self.trusted[part], self.rows[part], self.epoch)


Loss = Callable[[Tensor, Batch], Tensor]
# a batch as it is stored -> a batch as the model takes it; with an attribute ``draws``, (batch, uniform numbers (B,
# draws) on the CPU) -> the same, each image by a row of its own (`galc.training.augment`)
Transform = Callable[..., Tensor]


@dataclass(frozen=True)
class TrainingSet:
    """What a model is trained on: n images of a data set that is held once and never copied.

    inputs : (N, ...) features, or uint8 images that ``transform`` turns into a batch, of the whole data set
    index  : (n,) int64, the images to train on
    targets: (n, K) float32 in [0, 1], hard or soft labels of those images
    trusted: (n,) bool, True where the targets are clean (gold and single-label images)
    """

    inputs: Tensor
    index: Tensor
    targets: Tensor
    trusted: Tensor

    def __post_init__(self):
        sizes = {len(self.index), len(self.targets), len(self.trusted)}
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(f"index, targets and trusted must have one non-zero length, not {sorted(sizes)}")
        if not torch.isfinite(self.targets).all():
            raise ValueError("targets hold NaN or infinite values")

    def take(self, part: Tensor) -> "TrainingSet":
        """The images at positions ``part`` of this training set."""
        return TrainingSet(self.inputs, self.index[part], self.targets[part], self.trusted[part])

    def on(self, device: torch.device) -> "TrainingSet":
        """The same with its labels on ``device``; the inputs stay where they are (`galc.training.loader`)."""
        return replace(self, targets=self.targets.to(device), trusted=self.trusted.to(device))

    def batch(self, rows: Tensor, epoch: int) -> Batch:
        """The labels at positions ``rows`` (on the CPU), on the device of the labels."""
        rows = send(rows, self.targets.device)
        return Batch(self.targets[rows], self.trusted[rows], rows, epoch)


def mixed(inputs: Tensor, loss: Loss, concentration: float) -> tuple[Tensor, Loss]:
    """Mixup (Zhang et al. 2018) of one batch: inputs (B, ...) and the loss of their logits. 0 leaves both as they are.

    Each image is mixed with another one, x = s x_a + (1 - s) x_b, s ~ Beta(concentration, concentration) drawn once a
    batch. The loss is mixed likewise, s L(logits, a) + (1 - s) L(logits, b): for a loss that is linear in its targets
    this is the loss of the mixed targets, and each side keeps its own flag of trust.
    """
    if not concentration:
        return inputs, loss
    share = float(torch.distributions.Beta(concentration, concentration).sample())
    partner = torch.randperm(len(inputs), device=inputs.device)

    def of_both(logits, batch):
        return share * loss(logits, batch) + (1 - share) * loss(logits, batch.take(partner))

    return share * inputs + (1 - share) * inputs[partner], of_both


class EachEpoch(nn.Module):
    """A loss with something to do where an epoch begins. The last one begun is state of it, in ``epoch``."""

    def __init__(self):
        super().__init__()
        self.register_buffer("epoch", torch.ones((), dtype=torch.long))
        self._last: int | None = None  # what ``epoch`` holds, read back from the device once a training

    def begins(self, epoch: int) -> bool:
        """Whether ``epoch`` comes for the first time; it is noted. The first epoch of all is 1, and never begins."""
        if self._last is None:
            self._last = int(self.epoch)
        if epoch <= self._last:
            return False
        self.epoch.fill_(epoch)
        self._last = epoch
        return True
