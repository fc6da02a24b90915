"""The data of a study: its images, their split, and the noise that the silver labels get."""

from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from galc import store
from galc.data.dataset import MultiLabelData, Split, split
from galc.noise import by_image as noise_weak
from galc.noise import from_file as noise_file
from galc.noise import kinds as noise_kinds
from galc.noise import model as noise
from galc.study.params import Params
from galc.study.setup import INPUTS, Setup, prepare
from galc.study.stage_cache import Costs


class NoisyData:
    """The data set, split and noise of some parameters. The noise is drawn once for (data, split, kind, level)."""

    def __init__(self, params: Params):
        self.params, self.costs = params, Costs()

    @cached_property
    def setup(self) -> Setup:
        """Data sets, model inputs, and how a model is built."""
        if self.params.noise_file is not None:
            noise_file.parse(self.params.noise_file)  # a broken file is an error before any long work
        return _setup(Params(**{name: getattr(self.params, name) for name in INPUTS}))

    @property
    def train(self) -> MultiLabelData:
        return self.setup.train

    @property
    def test(self) -> MultiLabelData:
        """The clean test images with at least two labels."""
        return self.setup.test

    @property
    def split_seed(self) -> int:
        p = self.params
        return p.seed if p.split_seed is None else p.split_seed

    @cached_property
    def split(self) -> Split:
        p = self.params
        return split(self.train.labels, p.gold_fraction, p.single_label_limit, self.split_seed, p.gold_holdout)

    @property
    def split_digest(self) -> str:
        return store.array_digest(*(getattr(self.split, name).numpy() for name in ("gold", "silver", "single")))

    @property
    def clean(self) -> Tensor:
        """(m,) index of the trusted images: gold and single-label."""
        return torch.cat([self.split.gold, self.split.single])

    # --- noise ---------------------------------------------------------------------------------------------------

    @cached_property
    def noise_model(self) -> noise.Noise:
        """The noise of the silver labels: how they are flipped, removed and added."""
        return self._noise(self.train, self.setup.inputs, self.split.silver)

    def _noise(self, data: MultiLabelData, inputs: Tensor, index: Tensor) -> noise.Noise:
        p, labels = self.params, data.labels[index]
        if p.noise_file is not None:
            return noise_file.read(p.noise_file, data.classes) if p.noise > 0 else noise.none(data.num_classes)
        weak = lambda: self._weak_scores(inputs[index], labels)  # noqa: E731
        request = noise_kinds.Request(labels, p.noise, data.classes, data.groups, self.split_seed, weak)
        return noise_kinds.make(p.noise_kind, request)

    def _weak_scores(self, inputs: Tensor, labels: Tensor) -> Tensor:
        content = store.array_digest(inputs.numpy(), labels.numpy())
        key = {"content": content, "seed": self.split_seed, "code": store.file_digest(Path(noise_weak.__file__))}
        compute = lambda: ({"scores": noise_weak.scores(inputs, labels, self.split_seed).numpy()}, {})  # noqa: E731
        return torch.from_numpy(store.cached("weak", key, compute).arrays["scores"])

    @property
    def true(self) -> Tensor:
        """(K, K) transition of the injected flips, rows sum to 1; of labels that were not removed."""
        return self.noise_model.transition

    @cached_property
    def injected(self) -> noise.Injected:
        """The silver labels (n, K), clean and noisy, and what was done to them."""
        silver = self.split.silver
        labels, model = self.train.labels[silver], self.noise_model
        if model.flips and (full := labels.all(1)).any():
            raise ValueError(
                f"{self.train.files[silver[full][0]]} has all {self.train.num_classes} classes, so no label of it can "
                "be flipped to a wrong one; leave the image out, or set noise to 0"
            )
        return model.inject(labels, self.split_seed)

    @cached_property
    def observed(self) -> Tensor:
        """(N, K) bool labels as a user would get them: noisy for silver images, clean for all others."""
        labels = self.train.labels.clone()
        labels[self.split.silver] = self.injected.noisy
        return labels

    @cached_property
    def noisy_test(self) -> noise.Injected:
        """The test labels with noise of the same kind, for questions about noisy labels that nothing was trained on."""
        everything = torch.arange(len(self.test))
        model = self.noise_model
        if model.nature == "instance":  # belongs to its images
            model = self._noise(self.test, self.setup.test_inputs, everything)
        return model.inject(self.test.labels, self.params.seed)

    @property
    def changes(self) -> noise.Changes:
        """How many silver labels each class lost and gained."""
        return noise.changes(self.injected.clean, self.injected.noisy)

    @property
    def kind(self) -> str:
        """The name of the noise's kind; of noise from a file, and of none, its nature."""
        return self.noise_model.nature if self.params.noise_file or self.params.noise == 0 else self.params.noise_kind

    @property
    def noise_rates(self) -> dict[str, float]:
        """The share of the clean silver labels that are gone, and of the noisy ones that are wrong."""
        changes = self.changes
        return {"labels_removed": changes.labels_removed, "labels_added": changes.labels_added}

    @property
    def noise_key(self) -> dict:
        """What the noise depends on beside the data and the split; a file by its content."""
        p = self.params
        if p.noise == 0:
            return {"noise": 0.0}
        if p.noise_file is None:
            return {"noise": p.noise, "noise_kind": p.noise_kind}
        model = self.noise_model
        return {"noise": store.array_digest(*(part.numpy() for part in (model.transition, model.removed, model.added)))}


@cache
def _setup(params: Params) -> Setup:
    return prepare(params)
