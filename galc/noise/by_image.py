"""Noise that depends on the image: labels go where a weak classifier would put them.

Annotators err on images that are hard to tell. A weak classifier, trained on a small part of the data, stands for them,
as in Chen et al. 2021 (arXiv 2012.05458): a label is the more likely to be flipped the less the classifier sees it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits

from galc.checks import check_labels, check_scores
from galc.noise import Noise
from galc.noise.draw import Flips, Targets, check_room, flipped

PARTS = 14  # stream of random numbers that draws the images which the classifier learns from


@dataclass(frozen=True, eq=False, kw_only=True)
class InstanceNoise(Noise):
    """Flips whose rates and targets belong to the image; ``transition`` is their average over the labels."""

    rates: Tensor  # (N, K), P(label k of image n is flipped)
    weights: Tensor  # (N, K), how much image n draws a flipped label towards class j, among the classes that it has not

    @classmethod
    def of_scores(cls, scores: Tensor, labels: Tensor, rate: float) -> "InstanceNoise":
        """From probabilities ``scores`` (N, K) of a weak classifier, for clean ``labels`` (N, K).

        Rates are proportional to 1 - score, scaled so that their mean over the labels is ``rate``, and at most 1;
        weights are the scores.
        """
        labels = check_labels(labels).cpu()
        scores = check_scores(scores, labels).double().cpu().clamp(1e-6, 1 - 1e-6)
        rates = capped(1 - scores, labels, rate)
        return cls(average(rates, scores, labels), rates=rates, weights=scores)

    @property
    def nature(self) -> str:
        """No matrix says what it is."""
        return "instance"

    def _flip(self, labels: Tensor, clean: Tensor, seed: int) -> Flips:
        if labels.shape != self.rates.shape:
            raise ValueError(
                f"labels {tuple(labels.shape)} are not of the {len(self.rates)} images that this noise was made for"
            )
        barred, weights = clean.numpy(), self.weights.numpy()
        check_room(barred, 1 - self.transition.diagonal().numpy())
        image, source = np.nonzero(labels.numpy())
        targets = Targets(lambda chosen: weights[image[chosen]], ~barred.all(1)[image])
        return flipped(labels.numpy(), self.rates.numpy()[image, source], targets, barred, seed)


def capped(rates: Tensor, labels: Tensor, mean: float) -> Tensor:
    """min(c * rates, 1) (N, K) with the c for which the mean over the ``labels`` is ``mean``."""
    own = rates[labels]
    return (factor(lambda c: float((c * own).clamp(max=1).mean()), mean) * rates).clamp(max=1)


def factor(average: Callable[[float], float], mean: float) -> float:
    """The least c >= 0 with average(c) = ``mean``, by bisection; ``average`` never falls. Raises ValueError without."""
    low, high = 0.0, 1.0
    while average(high) < mean * (1 - 1e-12):
        low, high = high, 2 * high
        if high > 1e12:
            raise ValueError(
                f"a mean rate of {mean:g} is out of reach: at most {average(high):.3f} here; lower the noise"
            )
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if average(middle) < mean else (low, middle)
    return high


def average(rates: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """(K, K), rows sum to 1: the mean fate of the labels of a class, under flips by image. Identity without labels."""
    there, absent = labels.double(), weights * ~labels
    moved = (rates * there).T @ (absent / absent.sum(1, keepdim=True).clamp(min=1e-300))
    counts = there.sum(0)[:, None]
    moved = moved / counts.clamp(min=1)
    return moved.fill_diagonal_(0) + torch.diag(1 - moved.sum(1))


# --- the classifier ------------------------------------------------------------------------------------------------


def scores(inputs: Tensor, labels: Tensor, seed: int, share: float = 0.1) -> Tensor:
    """(N, K) float64 probabilities of a weak classifier, none from one that has seen the image's labels.

    Logistic regression on ``inputs``, (N, D) features or (N, 3, H, W) images (then their means over 8 x 8 blocks).
    Two of them: one learns from a ``share`` of the images, drawn from ``seed``, and predicts all others; the second
    learns from another share and predicts those of the first. ``labels``: (N, K) bool.
    """
    inputs, labels = flat(inputs), check_labels(labels).cpu()
    size = max(1, round(share * len(inputs)))
    order = torch.from_numpy(np.random.default_rng([seed, PARTS]).permutation(len(inputs)))
    first, second = order[:size], order[size : 2 * size]
    predicted = logistic(inputs[first], labels[first])(inputs)
    predicted[first] = logistic(inputs[second], labels[second])(inputs[first])
    return predicted.sigmoid()


def flat(inputs: Tensor) -> Tensor:
    """(N, D) float64, each dimension standardised."""
    if inputs.ndim == 4:
        inputs = torch.cat([adaptive_avg_pool2d(part.float(), 8) for part in inputs.split(256)]).flatten(1)
    inputs = inputs.double()
    return (inputs - inputs.mean(0)) / inputs.std(0).clamp(min=1e-6)


def logistic(inputs: Tensor, labels: Tensor, ridge: float = 1.0):
    """Multi-label logistic regression fitted by L-BFGS: a function (n, D) -> logits (n, K), without gradients.

    ``ridge`` is the precision of a Gaussian prior on weights of inputs that are scaled to unit length on average.
    """
    scale = inputs.shape[1] ** -0.5
    layer = nn.Linear(inputs.shape[1], labels.shape[1], dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    frequency = (labels.double().sum(0) + 0.5) / (len(labels) + 1)
    layer.bias.data = torch.logit(frequency)
    optimizer = torch.optim.LBFGS(layer.parameters(), max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(layer(scale * inputs), labels.double(), reduction="sum")
        value = value + ridge / 2 * layer.weight.square().sum()
        value.backward()
        return value

    optimizer.step(closure)
    return lambda new: torch.no_grad()(layer)(scale * new)
