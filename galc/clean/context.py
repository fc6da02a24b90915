"""A probe that sees an image in the context of its other labels.

Where there is a fork there is a knife: what else is said of an image tells what it truly shows. A linear layer adds to
each class's logit what the OTHER classes' given labels say; its diagonal is held at 0, so that no label vouches for
itself. Inputs are the features with the context behind them, (B, d + K).
"""

import torch
from torch import Tensor, nn

from galc import models
from galc.noise import Noise


class InContext(nn.Module):
    """An MLP head on the first d inputs, and for class k the given labels of all classes but k, linearly."""

    def __init__(self, dim: int, num_classes: int, hidden: int, dropout: float, input_dropout: float):
        super().__init__()
        self.image = models.probe(dim, num_classes, hidden, dropout, input_dropout)
        self.others = nn.Linear(num_classes, num_classes, bias=False)
        nn.init.zeros_(self.others.weight)
        self.dim = dim
        self.register_buffer("mask", 1 - torch.eye(num_classes), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        context = inputs[:, self.dim :]
        return self.image(inputs[:, : self.dim]) + context @ (self.others.weight * self.mask).T


def as_noisy(labels: Tensor, trusted: Tensor, noise: Noise, seed: int) -> Tensor:
    """(N, K) bool context: the labels as given; those of trusted images with ``noise``, as if they were like the rest.

    A model and its calibration would otherwise know trusted images by their better context. Images that have all
    classes stay as they are: no label of theirs could be turned into another.
    """
    context = labels.clone()
    some = trusted & ~labels.all(1)
    if some.any():
        context[some] = noise.inject(labels[some], seed).noisy
    return context
