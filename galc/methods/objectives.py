"""Every loss that a method may train with, by name, in the form of the loop: (logits, Batch) -> scalar.

The scalar is the mean over the batch of the sum over the classes. Images with trusted labels get the plain loss and
are never corrected (paper, Sec. 3.3); what the others get instead is a line of `CORRECTIONS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from galc.losses import forward as correction
from galc.losses import robust
from galc.losses.asl import AsymmetricLoss
from galc.methods.elr import EarlyLearning
from galc.methods.small_loss import SmallLoss
from galc.methods.t_revision import TRevision
from galc.training.batch import Batch, Loss

Elementwise = Callable[[Tensor, Tensor], Tensor]  # logits, targets (B, K) -> losses (B, K)
Noisy = Callable[[Tensor, Batch], Tensor]  # logits (B, K), their batch -> losses (B, K)

PLAIN: dict[str, Elementwise] = {
    "asl": AsymmetricLoss(reduction="none"),
    "bce": nn.BCEWithLogitsLoss(reduction="none"),
    "focal-margin": lambda logits, targets: robust.splc(logits, targets, epoch=1),
    "hill": robust.hill,
}


@dataclass(frozen=True)
class Task:
    """What a correction may need to know of the training that it is made for.

    transition : (K, K) C, rows sum to at most 1 (any matrix for the literal forms), or None for a method without
    images     : number of images in the training set; `Batch.rows` lie below it
    num_classes: K
    epochs     : length of the training
    loss       : the plain loss of the method, a name in `PLAIN`
    added      : (K,) P(a class appears on an image that has it not, from nowhere), or None where none does
    """

    transition: Tensor | None = None
    images: int = 0
    num_classes: int = 0
    epochs: int = 0
    loss: str = "asl"
    added: Tensor | None = None


class ByMatrix(nn.Module):
    """A correction ``formula``(logits, targets, C, added) by the matrix of a task, which stays as it is."""

    def __init__(self, task: Task, formula: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]):
        super().__init__()
        self.formula = formula
        self.register_buffer("transition", task.transition, persistent=False)  # moves to the device; in no checkpoint
        self.register_buffer("added", task.added, persistent=False)

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.formula(logits, batch.targets, self.transition, self.added)


# name -> what makes, for one training, the losses of the images that are not trusted
CORRECTIONS: dict[str, Callable[[Task], Noisy]] = {
    "forward-asl": lambda task: ByMatrix(task, lambda x, t, c, added: correction.forward_asl(x, t, c, added=added)),
    "forward-bce": lambda task: ByMatrix(task, _forward_bce("noisy-or")),
    "forward-bce-linear": lambda task: ByMatrix(task, _forward_bce("linear")),
    "forward-bce-exact": lambda task: ByMatrix(task, _forward_bce("exact")),
    "gce": lambda task: lambda x, batch: robust.gce(x, batch.targets),
    "splc": lambda task: lambda x, batch: robust.splc(x, batch.targets, batch.epoch),
    "elr": lambda task: EarlyLearning(task.images, task.num_classes),
    "small-loss": lambda task: SmallLoss(
        PLAIN[task.loss], task.transition, task.images, task.num_classes, added=task.added
    ),
    "literal-clamped": lambda task: ByMatrix(task, lambda x, t, c, _: correction.literal(x, c, t, clamp=True)),
    "literal-unclamped": lambda task: ByMatrix(task, lambda x, t, c, _: correction.literal(x, c, t, clamp=False)),
    "t-revision": lambda task: TRevision(task.transition, task.epochs, task.added),
}


def _forward_bce(form: str) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
    """Forward-corrected cross-entropy of a form in `galc.losses.forward.FORWARD`."""
    return lambda x, t, c, added: correction.forward_bce(x, t, c, form, added)


class Corrected(nn.Module):
    """The plain loss of trusted images and another one, ``noisy``, of the rest. State of ``noisy`` is state of it."""

    def __init__(self, plain: Elementwise, noisy: Noisy):
        super().__init__()
        self.plain, self.noisy = plain, noisy

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = torch.where(batch.trusted[:, None], self.plain(logits, batch.targets), self.noisy(logits, batch))
        return losses.sum(1).mean()


class Weighted(nn.Module):
    """The plain loss of all images, each label times a weight of its own: (images, K) >= 0, by `Batch.rows`."""

    def __init__(self, plain: Elementwise, weights: Tensor):
        super().__init__()
        self.plain = plain
        self.register_buffer("weights", weights.float(), persistent=False)  # worked out again, not kept in checkpoints

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return (self.weights[batch.rows] * self.plain(logits, batch.targets)).sum(1).mean()


def plain(name: str) -> Loss:
    """A loss of `PLAIN` on targets that are taken as they are."""
    return lambda logits, batch: PLAIN[name](logits, batch.targets).sum(1).mean()


def corrected(name: str, task: Task) -> Loss:
    """Plain for trusted images, for the others the loss of a name in `CORRECTIONS`. KeyError for an unknown name."""
    return Corrected(PLAIN[task.loss], CORRECTIONS[name](task))


def weighted(name: str, weights: Tensor) -> Loss:
    """A loss of `PLAIN`, each label of each image times its weight: ``weights`` (images, K), all 1 for trusted images.

    Raises ValueError for weights that are negative or not finite.
    """
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise ValueError("weights must be finite and not negative")
    return Weighted(PLAIN[name], weights)


def probabilities(name: str, logits: Tensor) -> Tensor:
    """What logits (N, K) of the plain loss ``name`` say of the true probabilities: (N, K) float32 in [0, 1].

    Where a label is present with probability q, the expected slope q L+' + (1 - q) L-' of the loss vanishes at the
    optimum: q = L-' / (L-' - L+') at the logit. For BCE this is the sigmoid, for ASL `galc.losses.asl.calibrate`.
    """
    x = logits.detach().double().clamp(-30, 30).requires_grad_()
    absent, present = (
        torch.autograd.grad(PLAIN[name](x, torch.full_like(x, label)).sum(), x)[0] for label in (0.0, 1.0)
    )
    return (absent / (absent - present)).clamp(min=0).float()
