"""The study's stages on one's own labels: the trusted images are gold, all others silver, and no noise is drawn."""

from functools import cached_property, partial

import torch
from torch import Tensor, nn

from galc import models, store
from galc.clean.inputs import Given
from galc.data import Split
from galc.params import Params
from galc.setup import Setup
from galc.stages import Log, Stages


class OwnStages(Stages):
    """The stages of `galc.stages.Stages` for labels that came noisy.

    ``inputs`` (N, d) float32 are what a model takes of the images. Nothing is tested: the true labels are unknown.
    """

    def __init__(self, given: Given, inputs: Tensor, params: Params, log: Log = None):
        super().__init__(params, log)
        self.given, self.inputs = given, inputs

    @cached_property
    def setup(self) -> Setup:
        build = partial(models.probe, self.inputs.shape[1], self.given.num_classes)
        digest = store.digest([self.given.digest, store.array_digest(self.inputs.numpy())])
        return Setup(self.given, self.given, self.inputs, self.inputs[:0], build, None, None, digest)

    @cached_property
    def split(self) -> Split:
        gold, silver = (part.nonzero()[:, 0] for part in (self.given.trusted, ~self.given.trusted))
        none = gold[:0]
        return Split(gold, none, silver, none)

    @property
    def observed(self) -> Tensor:
        return self.given.labels

    @property
    def noise_key(self) -> dict:
        return {}  # the labels are in the setup's digest, and nothing is added to them

    def monitor(self, model: nn.Module) -> dict:
        return {}
