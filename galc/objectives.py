"""Losses as the training loop takes them: (logits, targets, trusted) -> mean over the batch of the sum over classes.

``trusted`` marks images with clean targets, which are never corrected (paper, Sec. 3.3).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from galc import correction
from galc.asl import AsymmetricLoss
from galc.trainer import Loss

Elementwise = Callable[[Tensor, Tensor], Tensor]  # logits, targets (B, K) -> losses (B, K)

PLAIN: dict[str, Elementwise] = {
    "asl": AsymmetricLoss(reduction="none"),
    "bce": nn.BCEWithLogitsLoss(reduction="none"),
}


def plain(name: str) -> Loss:
    """ASL or BCE of targets that are taken as they are."""
    return lambda logits, targets, trusted: PLAIN[name](logits, targets).sum(1).mean()


def corrected(name: str, transition: Tensor) -> Loss:
    """A corrected loss for noisy images, its plain form for trusted ones.

    name: "forward-asl" and "forward-bce" take a row-stochastic C (K, K) on the probability scale;
    "literal-clamped" and "literal-unclamped" any matrix (see `galc.correction`).
    """
    noisy: Elementwise = {
        "forward-asl": lambda x, t: correction.forward_asl(x, t, transition),
        "forward-bce": lambda x, t: correction.forward_bce(x, t, transition),
        "literal-clamped": lambda x, t: correction.literal(x, transition, t, clamp=True),
        "literal-unclamped": lambda x, t: correction.literal(x, transition, t, clamp=False),
    }[name]
    clean = PLAIN["bce" if name.endswith("bce") else "asl"]

    def loss(logits: Tensor, targets: Tensor, trusted: Tensor) -> Tensor:
        losses = torch.where(trusted[:, None], clean(logits, targets), noisy(logits, targets))
        return losses.sum(1).mean()

    return loss
