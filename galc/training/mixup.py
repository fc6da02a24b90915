"""Mixup: training on images that are mixed in pairs, labels and trust included."""

import torch
from torch import Tensor

from galc.training.batch import Loss


def mixed(inputs: Tensor, loss: Loss, concentration: float) -> tuple[Tensor, Loss]:
    """Mixup (Zhang et al. 2018) of one batch: inputs (B, ...) and the loss of their logits.

    Each image is mixed with another one of the batch, x = s x_a + (1 - s) x_b, s ~ Beta(concentration, concentration)
    drawn once a batch. The loss is mixed likewise, s L(logits, a) + (1 - s) L(logits, b): for a loss that is linear in
    its targets this is the loss of the mixed targets, and each side keeps its own flag of trust: a noisy image that
    was mixed with a trusted one is still corrected, and the trusted one is not. 0 leaves both as they are.
    """
    if not concentration:
        return inputs, loss
    share = float(torch.distributions.Beta(concentration, concentration).sample())
    partner = torch.randperm(len(inputs), device=inputs.device)

    def of_both(logits, batch):
        return share * loss(logits, batch) + (1 - share) * loss(logits, batch.take(partner))

    return share * inputs + (1 - share) * inputs[partner], of_both
