"""Early-learning regularisation (Liu et al. 2020): hold on to what was learnt before the wrong labels are memorised."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from galc.training.batch import Batch

_EDGE = 1e-4  # probabilities are kept this far from 0 and 1, as in the authors' code


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
