"""What a study's models are given: images as a model takes them, labels, their split, the noise of silver labels."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from galc import store
from galc.data import images
from galc.data.backbones import build_backbone, weights_digest
from galc.data.dataset import Dataset, Split, check_pair, split
from galc.data.load import load
from galc.data.pictograms import categories
from galc.methods import plugins
from galc.noise import Changes, Injected, Noise, by_image, changes, from_file, kinds, none
from galc.study.params import Params
from galc.training import models
from galc.training.augment import Augment, to_unit
from galc.training.batch import Transform

# the parameters that `Data` depend on: studies that agree in them share it
INPUTS = ("data", "mode", "backbone", "weights", "image_size", "mirror", "components")


@dataclass(frozen=True)
class Data:
    """Data sets, and what a model takes of their images.

    train, test  : the data sets; test holds images with at least two labels (paper, Sec. 4.1); None: nothing is tested
    x, test_x    : (N, components) float32, or (N, 3, size, size) uint8 images
    build        : (hidden, dropout, input_dropout) -> a fresh model
    augment, prepare : a batch as stored -> as the model takes it, for training and for prediction
    digest       : identifies x and labels by content
    """

    train: Dataset
    test: Dataset | None
    x: Tensor
    test_x: Tensor
    build: Callable[[int, float, float], nn.Module]
    augment: Transform | None
    prepare: Transform | None
    digest: str


class Inputs:
    """The data set, split and noise of some parameters; nothing is loaded or drawn before it is asked for."""

    def __init__(self, params: Params):
        self.params = params

    @cached_property
    def data(self) -> Data:
        if self.params.noise_file is not None:
            from_file.parse(self.params.noise_file)  # a broken file is an error before any long work
        return _prepared(Params(**{name: getattr(self.params, name) for name in INPUTS}))

    train = property(attrgetter("data.train"))
    test = property(attrgetter("data.test"))  # the clean test images with at least two labels

    @property
    def split_seed(self) -> int:
        return self.params.seed if self.params.split_seed is None else self.params.split_seed

    @cached_property
    def split(self) -> Split:
        p = self.params
        return split(self.train.labels, p.gold_fraction, p.single_label_limit, self.split_seed, p.gold_holdout)

    @property
    def clean(self) -> Tensor:
        """(m,) index of the trusted images: gold and single-label."""
        return torch.cat([self.split.gold, self.split.single])

    # --- noise ---------------------------------------------------------------------------------------------------

    @cached_property
    def noise_model(self) -> Noise:
        """The noise of the silver labels: how they are flipped, removed and added."""
        return self._noise(self.train, self.data.x, self.split.silver)

    def _noise(self, data: Dataset, x: Tensor, index: Tensor) -> Noise:
        p, labels = self.params, data.labels[index]
        if p.noise_file is not None:
            return from_file.read(p.noise_file, data.classes) if p.noise > 0 else none(data.num_classes)
        weak = partial(self._weak_scores, x[index], labels)
        return kinds.make(p.noise_kind, kinds.Request(labels, p.noise, groups_of(data), self.split_seed, weak))

    def _weak_scores(self, x: Tensor, labels: Tensor) -> Tensor:
        def compute():
            return {"scores": by_image.scores(x, labels, self.split_seed).numpy()}, {}

        content = store.array_digest(x.numpy(), labels.numpy())
        key = {"content": content, "seed": self.split_seed, "code": store.file_digest(Path(by_image.__file__))}
        return torch.from_numpy(store.cached("weak", key, compute).arrays["scores"])

    @property
    def true(self) -> Tensor:
        """(K, K) transition of the injected flips, rows sum to 1; of labels that were not removed."""
        return self.noise_model.transition

    @cached_property
    def injected(self) -> Injected:
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
    def noisy_test(self) -> Injected:
        """The test labels with noise of the same kind, for questions about noisy labels that nothing was trained on."""
        model = self.noise_model
        if model.nature == "instance":  # belongs to its images
            model = self._noise(self.test, self.data.test_x, torch.arange(len(self.test)))
        return model.inject(self.test.labels, self.split_seed)

    @property
    def changes(self) -> Changes:
        """How many silver labels each class lost and gained."""
        return changes(self.injected.clean, self.injected.noisy)

    @property
    def kind(self) -> str:
        """The name of the noise's kind; of noise from a file, and of none, its nature."""
        return self.noise_model.nature if self.params.noise_file or self.params.noise == 0 else self.params.noise_kind

    @property
    def noise_rates(self) -> dict[str, float]:
        """The share of the clean silver labels that are gone, and of the noisy ones that are wrong."""
        found = self.changes
        return {"labels_removed": found.labels_removed, "labels_added": found.labels_added}

    @property
    def noise_key(self) -> dict:
        """What the noise depends on beside the data and the silver images; a file by its content."""
        p = self.params
        if p.noise == 0:
            return {"noise": 0.0}
        if p.noise_file is None:
            key = {"noise": p.noise, "noise_kind": p.noise_kind, "split_seed": self.split_seed}
            return key | plugins.codes(noise=kinds.KINDS[p.noise_kind])
        model = self.noise_model
        content = store.array_digest(*(part.numpy() for part in (model.transition, model.removed, model.added)))
        return {"noise": content, "split_seed": self.split_seed}


# --- from a data set's name to what a model takes --------------------------------------------------------------------


def groups_of(data: Dataset) -> list[str]:
    """The supercategory of each class, "" where unknown: the data set's own, else that of MS-COCO for the same name."""
    known = {category["name"]: category["supercategory"] for category in categories()}
    return [own or known.get(name, "") for own, name in zip(data.groups, data.classes, strict=True)]


def prepare(p: Params) -> Data:
    """Load the data sets of ``p`` and make what a model of its mode takes, through the caches.

    Raises ValueError or FileNotFoundError, naming the file, class or parameter, for data that cannot be used.
    """
    train, test = (load(p.data, part).labelled() for part in ("train", "test"))
    check_pair(train, test)
    if not len(several := test.multi_label()):
        raise ValueError(f"{test.name}: no image has two labels or more, and the metrics are taken on these alone")
    test = test.subset(several)
    return (_probe if p.mode == "probe" else _finetune)(p, train, test)


_prepared = lru_cache(maxsize=2)(prepare)  # the latest alone: each holds a whole data set as tensors


def _probe(p: Params, train: Dataset, test: Dataset) -> Data:
    if p.components > len(train):  # before the features are computed; their own number is checked below
        raise ValueError(f"parameter 'components' = {p.components}: at most {len(train)}, the number of images")
    size = p.image_size or images.native_size(train)
    entry = principal_components(*(features(p, part, size) for part in (train, test)), p.components)
    x, test_x = (torch.from_numpy(entry.arrays[name]) for name in ("train", "test"))
    build = partial(models.probe, x.shape[1], train.num_classes)
    digest = store.digest([entry.record["key"], train.digest, test.digest])
    return Data(train, test, x, test_x, build, None, None, digest)


def features(p: Params, part: Dataset, size: int | None) -> np.ndarray:
    """(N, D) float32 features, with ``mirror`` the mean of those of each image and of its mirror image."""
    views = []
    for mirror in (False, True)[: 1 + p.mirror]:
        torch.manual_seed(0)  # weights="none" draws them: the same ones for both parts, and in every process
        views.append(images.features(part, p.backbone, p.weights, size, mirror=mirror))
    return np.mean(views, axis=0)


@dataclass(frozen=True, eq=False)
class Projection:
    """Features (n, D) -> what a probe takes of them, (features - mean) @ matrix; mean (D,), matrix (D, d)."""

    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> Tensor:
        """(n, d) float32."""
        return torch.from_numpy(((features - self.mean) @ self.matrix).astype(np.float32))


def principal_components(train: np.ndarray, test: np.ndarray, components: int, ddof: int = 0) -> store.Entry:
    """Features standardised per dimension, then their leading principal components, fitted on all training images.

    Scaled by one number, their mean variance (with ``ddof``): small components, mostly noise, are then learnt late.
    Stored with the projection, so that every process trains on the same bits.
    """
    key = {"train": store.array_digest(train), "test": store.array_digest(test), "components": components, "ddof": ddof}

    def compute():
        most = min(train.shape)
        if components > most:
            raise ValueError(f"parameter 'components' = {components}: at most {most}, the features' rank")
        if (train == train[0]).all():
            raise ValueError(f"all {len(train):,} images look the same to the backbone: one picture under many names?")
        scaler, pca = StandardScaler(), PCA(components, svd_solver="covariance_eigh")
        pca.fit(scaler.fit_transform(train.astype(np.float64)))
        variance = pca.explained_variance_.mean() * (len(train) - 1) / (len(train) - ddof)
        matrix = (pca.components_ / scaler.scale_).T / max(np.sqrt(variance), 1e-12)
        found = Projection(scaler.mean_, matrix)
        arrays = {"train": found(train).numpy(), "test": found(test).numpy(), "mean": found.mean, "matrix": matrix}
        return arrays, {"explained_variance": float(pca.explained_variance_ratio_.sum())}

    return store.cached("components", key, compute)


def _finetune(p: Params, train: Dataset, test: Dataset) -> Data:
    weights = None if p.weights == "none" else weights_digest(build_backbone(p.backbone, p.weights)[0])
    size = p.image_size or images.native_size(train)
    pixels = [images.decode(part, size) for part in (train, test)]
    names = [Path(part.filename).stem for part in pixels]  # made of the images' content: it is not read once more
    return Data(
        train,
        test,
        *map(torch.from_numpy, pixels),
        lambda _, dropout, __: models.finetune(p.backbone, train.num_classes, p.weights, dropout),
        Augment(),
        to_unit,
        store.digest([weights, names, train.digest, test.digest]),
    )
