"""Losses that bear wrong labels without a C: GCE, ELR, Hill, SPLC. On GALC-plus's data, noisy images alone.

The losses of GCE, Hill and SPLC are in `galc.losses.robust`; early-learning regularisation (Liu et al. 2020), which
remembers each image, is here.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from galc.losses import robust
from galc.methods.base import BCE, Corrected, method
from galc.training.batch import Batch

_EDGE = 1e-4  # probabilities are kept this far from 0 and 1, as in the authors' code


@method("gce", "GCE", data="everything", loss=BCE, look=("#aa7744", "8"))
def gce(stages, estimate, data):
    """Generalised cross-entropy of noisy labels, on GALC-plus's data; q chosen on gold images."""
    return data, Corrected(BCE, lambda logits, batch: robust.gce(logits, batch.targets))


@method("elr", "ELR", data="everything", loss=BCE, look=("#774411", "H"))
def elr(stages, estimate, data):
    """Early-learning regularisation of noisy images, label by label, on GALC-plus's data."""
    return data, Corrected(BCE, EarlyLearning(*data.targets.shape))


method(
    "hill",
    "Hill",
    "Hill loss for missing labels, on GALC-plus's data.",
    data="everything",
    loss=robust.hill,
    look=("#44aa99", "4"),
)


def focal_margin(logits: Tensor, targets: Tensor) -> Tensor:
    """What SPLC begins with: losses (B, K) of labels that are taken as they are."""
    return robust.splc(logits, targets, epoch=1)


@method("splc", "SPLC", data="everything", loss=focal_margin, look=("#117a8b", "+"))
def splc(stages, estimate, data):
    """Focal-margin loss; labels the model finds on noisy images become present. GALC-plus's data."""
    return data, Corrected(focal_margin, lambda logits, batch: robust.splc(logits, batch.targets, batch.epoch))


class EarlyLearning(nn.Module):
    """Cross-entropy + strength / K * log(1 - <p, t>), t a running mean of the model's own predictions of the image.

    The paper's formula with a softmax over classes, taken to many labels: every label is a problem of two classes, so
    <p, t> = p t + (1 - p) t', with t and t' the memories of "present" and "absent". Both start at 0, as the paper's
    target does, and follow t <- momentum * t + (1 - momentum) * p, once for every visit of the image, before the loss
    is taken. The paper has one such term an image; here the K of them are averaged, so that its strength keeps its
    meaning: summed, they outweigh the few labels of a rare class. The regulariser pulls p towards the memory: where a
    label disagrees with what the model used to say, its gradient cancels the label's.

    The state is the memory of each image of the training set: (images, K) float32 twice. Losses (B, K) of logits
    (B, K).
    """

    def __init__(self, images: int, num_classes: int, strength: float = 3.0, momentum: float = 0.7):
        super().__init__()
        self.strength, self.momentum = strength / num_classes, momentum
        self.register_buffer("present", torch.zeros(images, num_classes))
        self.register_buffer("absent", torch.zeros(images, num_classes))

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        p = logits.float().sigmoid().clamp(_EDGE, 1 - _EDGE)
        present = self._remember(self.present, batch.rows, p.detach())
        absent = self._remember(self.absent, batch.rows, 1 - p.detach())
        agreement = p * present + (1 - p) * absent
        plain = binary_cross_entropy_with_logits(logits.float(), batch.targets, reduction="none")
        return plain + self.strength * torch.log1p(-agreement)

    def _remember(self, memory: Tensor, rows: Tensor, now: Tensor) -> Tensor:
        memory[rows] = self.momentum * memory[rows] + (1 - self.momentum) * now
        return memory[rows]
