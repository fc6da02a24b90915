"""A probe that sees an image in the context of its other labels.

Where there is a fork there is a knife: what else is said of an image tells what it truly shows. A linear layer adds to
each class's logit what the OTHER classes' given labels say, held at 0 where a label cannot be `heard`: none vouches for
itself, nor for a class that it may have come from. Bayes' rule counts that evidence once more, and would find too much
noise. Inputs are the features with the context behind them, (B, d + K).
"""

import torch
from torch import Tensor, nn

from galc.noise.model import Noise
from galc.training import models

COMES = 0.01  # share of a class's labels, and
TIMES = 1.5  # how many times the share of its other targets, that must become a label for it to have come from there


def heard(noise: Noise) -> Tensor:
    """(K, K) float32, 1 where the given label of class j may speak for class k in row k; else 0."""
    fates = noise.arrivals.clone().fill_diagonal_(0)
    usual = fates.sum(1, keepdim=True) / max(len(fates) - 1, 1)
    comes = fates > torch.clamp(TIMES * usual, min=COMES)
    return (~comes).float().fill_diagonal_(0)


class InContext(nn.Module):
    """An MLP head on the first d inputs, and for class k the given labels ``mask`` (K, K) lets it hear, linearly."""

    def __init__(self, dim: int, mask: Tensor, hidden: int, dropout: float, input_dropout: float):
        super().__init__()
        num_classes = len(mask)
        self.image = models.probe(dim, num_classes, hidden, dropout, input_dropout)
        self.others = nn.Linear(num_classes, num_classes, bias=False)
        nn.init.zeros_(self.others.weight)
        self.dim = dim
        self.register_buffer("mask", mask, persistent=False)

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
