"""The study's stages on one's own labels: the trusted images are gold, all others silver, and no noise is drawn.

q, the probabilities of the true labels, come from a probe that sees each image in the context of its other given
labels (`InContext`), cross-fitted, and calibrated on the trusted images. The first of two rounds learns the labels as
given, forward-corrected with a first estimate of the noise; the second learns the posterior labels of the first.
"""

from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from galc import store
from galc.clean import ENOUGH, intervals
from galc.data.dataset import Dataset, Split
from galc.estimators.base import Estimate
from galc.estimators.label_sets import LabelSets
from galc.losses.forward import ForwardBCE
from galc.methods.base import BCE, Corrected, by_matrix, plain
from galc.noise import Noise
from galc.study.inputs import Data
from galc.study.params import Params
from galc.study.stages import EVERYTHING, FOLDED, Log, Stages
from galc.training import models
from galc.training.batch import Loss
from galc.training.checkpoint import identity
from galc.training.crossfit import crossfit

MODELS = 2  # of the second round
# the share of a class's labels, and how many times that of its other targets, that become a label which came from there
COMES, TIMES = 0.01, 1.5
SURE, PLAIN = 0.95, 0.1  # quantiles: of probabilities where a class is surest, and where it is surely not


class OwnStages:
    """The stages of a cleaning, made of the general ones, `galc.study.stages.Stages`, on its own inputs.

    ``x`` (N, d) float32 are what a model takes of the images. Their labels came noisy: none is drawn, nothing tested.
    """

    def __init__(self, given: Dataset, x: Tensor, params: Params, log: Log = None):
        self.given, self.params, self.x = given, params, x
        build = partial(models.probe, x.shape[1], given.num_classes)
        digest = store.digest([given.digest, store.array_digest(x.numpy())])  # the labels are in it, and their noise
        gold, silver = (part.nonzero()[:, 0] for part in (given.trusted, ~given.trusted))
        self.split = Split(gold, gold[:0], silver, gold[:0])
        data = Data(given, None, x, x[:0], build, None, None, digest)
        code = {"own": [store.file_digest(Path(module)) for module in (__file__, intervals.__file__)]}
        inputs = {"data": data, "split": self.split, "observed": given.labels, "clean": gold, "noise_key": code}
        self.general = Stages(SimpleNamespace(**inputs), params, log)

    @property
    def key(self) -> dict:
        """What `sources` depend on."""
        return self.general.key(EVERYTHING, FOLDED)

    @property
    def calibrates(self) -> bool:
        """Whether there are enough trusted images to calibrate by."""
        return len(self.split.gold) >= ENOUGH

    @cached_property
    def start(self) -> Noise:
        """A first estimate of the noise: by a model of the trusted images alone; without any, by the noisy labels."""
        if not self.calibrates:
            return anchors(self.general.given_probability, self.given.labels)
        return intervals.first(self.general.clean_posterior[self.split.silver], self.general.silver_labels)

    @cached_property
    def sources(self) -> Tensor:
        """(sources, N, K) logits of the true labels, cross-fitted: by models of all images in context, of the second
        round; by one of the trusted images alone, where there are enough.
        """
        forward = Corrected(BCE, by_matrix(ForwardBCE, Estimate.of(self.start)))
        known = self.known(self._beside(self._in_context(0, self.start, self.given.labels.float(), forward)))
        noise = intervals.first(known[self.split.silver], self.general.silver_labels, self.calibrates)
        return self.second_round(noise, self.posterior(known, noise), plain(BCE))

    def posterior(self, known: Tensor, noise: Noise) -> Tensor:
        """(N, K) float32 P(true label | image, given labels), where q is ``known``; of trusted images their labels."""
        found, silver = self.given.labels.float(), self.split.silver
        found[silver] = LabelSets(known[silver], self.general.silver_labels).posterior(noise)
        return found

    def second_round(self, noise: Noise, targets: Tensor, loss: Loss) -> Tensor:
        """`sources` by the mean of `MODELS` models of other folds each; see `_in_context`."""
        return self._beside(sum(self._in_context(1 + n, noise, targets, loss) for n in range(MODELS)) / MODELS)

    def known(self, sources: Tensor) -> Tensor:
        """(N, K) probabilities q of `sources`, calibrated by the trusted images where there are enough."""
        return self.general.calibrated(sources) if self.calibrates else sources[0].sigmoid()

    def _beside(self, logits: Tensor) -> Tensor:
        """Logits (N, K) with those of the model of the trusted images, where there is one: (sources, N, K)."""
        others = [torch.logit(self.general.clean_posterior, eps=1e-6)] if self.calibrates else []
        return torch.stack([logits, *others])

    def _in_context(self, number: int, noise: Noise, targets: Tensor, loss: Loss) -> Tensor:
        """(N, K) logits, cross-fitted with folds of its own, of the model of that ``number`` (0: of the first round),
        trained on ``targets`` (N, K); ``noise`` decides what is heard, and what trusted images hear.
        """
        p, x = self.params, self.x
        key = self.key | {"model": number, "learns": identity(noise, targets, loss)}

        def build() -> nn.Module:
            torch.manual_seed(p.seed + number)
            return InContext(x.shape[1], heard(noise), p.hidden, p.dropout, p.input_dropout)

        def compute():
            self.general.say(f"cross-fitting on all images, their other labels as context: {number + 1}/{1 + MODELS}")
            context = as_noisy(self.given.labels, self.given.trusted, noise, p.seed).float()
            data = self.general.training_set(torch.cat([self.split.silver, self.split.gold]), targets)
            data = replace(data, inputs=torch.cat([x, context], 1))
            recipe, log = self.general.recipe(epochs=p.fold_epochs), self.general.log
            return {"logits": crossfit(build, data, loss, recipe, p.folds, p.seed + number, log=log).numpy()}, {}

        return torch.from_numpy(self.general.costs.cached("context", key, compute).arrays["logits"])


def anchors(given: Tensor, labels: Tensor) -> Noise:
    """Noise by anchor points in probabilities of the labels as given (N, K) (Liu and Tao 2016, Patrini et al. 2017).

    Where a model is surest of a class, its label is there unless it vanished; the class with the lowest bound (of those
    with 20 labels or more) speaks for all, since a weak model looks like noise elsewhere. Where a class is surely not
    there, its label came by mistake, class by class.
    """
    size, often = labels.shape[1], labels.sum(0) >= ENOUGH
    sure = torch.stack([_quantile(given[labels[:, k], k], SURE) for k in range(size)])
    vanished = 1 - (sure[often] if often.any() else sure).max().clamp(0.05, 1)
    appeared = torch.stack([_quantile(given[~labels[:, k], k], PLAIN) for k in range(size)])
    return Noise(torch.eye(size), vanished.double().expand(size), appeared.double().clamp(0, 0.5))


def _quantile(values: Tensor, share: float) -> Tensor:
    """Of any number of values; 0 of none. (torch.quantile takes no more than 16 million.)"""
    return values.sort().values[round(share * (len(values) - 1))] if len(values) else values.new_zeros(())


def heard(noise: Noise) -> Tensor:
    """(K, K) float32, 1 where the given label of class j may speak for class k in row k; else 0."""
    fates = noise.arrivals.clone().fill_diagonal_(0)
    usual = fates.sum(1, keepdim=True) / max(len(fates) - 1, 1)
    comes = fates > torch.clamp(TIMES * usual, min=COMES)
    return (~comes).float().fill_diagonal_(0)


class InContext(nn.Module):
    """A probe that sees an image in the context of its other labels: inputs are x with the context behind, (B, d + K).

    A linear layer adds to each class's logit what the OTHER classes' given labels say (a fork tells of a knife), held
    at 0 by ``mask`` (K, K) where a label cannot be `heard`: none vouches for itself, nor for a class that it may have
    come from, since Bayes' rule counts that evidence once more, and would find too much noise.
    """

    def __init__(self, dim: int, mask: Tensor, hidden: int, dropout: float, input_dropout: float):
        super().__init__()
        self.dim = dim
        self.image = models.probe(dim, len(mask), hidden, dropout, input_dropout)
        self.others = nn.Linear(len(mask), len(mask), bias=False)
        nn.init.zeros_(self.others.weight)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        image, context = inputs.tensor_split([self.dim], dim=1)
        return self.image(image) + context @ (self.others.weight * self.mask).T


def as_noisy(labels: Tensor, trusted: Tensor, noise: Noise, seed: int) -> Tensor:
    """(N, K) bool, the labels as given; of trusted images with ``noise``, or a better context would tell them apart."""
    context = labels.clone()
    some = trusted & ~labels.all(1)  # where an image has all classes, no label could be turned into another
    if some.any():
        context[some] = noise.inject(labels[some], seed).noisy
    return context
