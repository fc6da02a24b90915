"""From a data set's name to what a model takes: the probe's principal components, or images for fine-tuning."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from galc import store
from galc.data import images
from galc.data.backbones import build_backbone, weights_digest
from galc.data.dataset import MultiLabelData, check_pair, load, multi_label
from galc.study.params import Params
from galc.training import models
from galc.training.augment import Augment, to_unit
from galc.training.batch import Transform

# the parameters that a `Setup` depends on: studies that agree in them share it
INPUTS = ("data", "mode", "backbone", "weights", "image_size", "mirror", "components")


@dataclass(frozen=True)
class Setup:
    """Data and model inputs of one study.

    train, test : the data sets; test holds the images with at least two labels (paper, Sec. 4.1)
    inputs, test_inputs : (N, components) float32, or (N, 3, size, size) uint8 images
    build       : (hidden, dropout, input_dropout) -> a fresh model
    augment, prepare : a batch as stored -> as the model takes it, for training and for prediction
    digest      : identifies inputs and labels by content
    """

    train: MultiLabelData
    test: MultiLabelData
    inputs: torch.Tensor
    test_inputs: torch.Tensor
    build: Callable[[int, float, float], nn.Module]
    augment: Transform | None
    prepare: Transform | None
    digest: str


def prepare(p: Params) -> Setup:
    """Load the data sets of ``p`` and make the inputs of its mode, through the caches.

    Raises ValueError or FileNotFoundError, naming the file, class or parameter, for data that cannot be used.
    """
    train, test = load(p.data, "train"), load(p.data, "test")
    check_pair(train, test)
    if not len(several := multi_label(test.labels)):
        raise ValueError(f"{test.name}: no image has two labels or more, and the metrics are taken on these alone")
    test = test.subset(several)
    make = {"probe": _probe, "finetune": _finetune}[p.mode]
    return make(p, train, test)


def _probe(p: Params, train: MultiLabelData, test: MultiLabelData) -> Setup:
    if p.components > len(train):  # before the features are computed; their own number is checked below
        raise ValueError(f"parameter 'components' = {p.components}: at most {len(train)}, the number of images")
    size = p.image_size or images.native_size(train)
    entry = principal_components(*(_features(p, part, size) for part in (train, test)), p.components)
    inputs, test_inputs = (torch.from_numpy(entry.arrays[name]) for name in ("train", "test"))
    return Setup(
        train,
        test,
        inputs,
        test_inputs,
        partial(models.probe, inputs.shape[1], train.num_classes),
        None,
        None,
        store.digest([entry.record["key"], train.digest, test.digest]),
    )


def _features(p: Params, part: MultiLabelData, size: int) -> np.ndarray:
    """(N, D) float32 features, with ``mirror`` the mean of those of each image and of its mirror image."""
    views = []
    for mirror in (False, True)[: 1 + p.mirror]:
        torch.manual_seed(0)  # weights="none" draws them: the same ones for both parts, and in every process
        views.append(images.features(part, p.backbone, p.weights, size, mirror=mirror))
    return np.mean(views, axis=0)


def principal_components(train: np.ndarray, test: np.ndarray, components: int) -> store.Entry:
    """Features standardised per dimension, then their leading principal components, fitted on all training images.

    Scaled by one number, so that the components keep their relative size: small ones, mostly noise, are then learnt
    late. Stored, so that every process trains on the same bits.
    """
    key = {"train": store.array_digest(train), "test": store.array_digest(test), "components": components}

    def compute():
        most = min(train.shape)
        if components > most:
            raise ValueError(f"parameter 'components' = {components}: at most {most}, the features' rank")
        pipeline = make_pipeline(StandardScaler(), PCA(components, svd_solver="covariance_eigh"))
        parts = pipeline.fit_transform(train.astype(np.float64)), pipeline.transform(test.astype(np.float64))
        scale = 1 / parts[0].std()
        explained = float(pipeline[-1].explained_variance_ratio_.sum())
        arrays = dict(zip(("train", "test"), ((scale * part).astype(np.float32) for part in parts), strict=True))
        return arrays, {"explained_variance": explained}

    return store.cached("components", key, compute)


def _finetune(p: Params, train: MultiLabelData, test: MultiLabelData) -> Setup:
    weights = None if p.weights == "none" else weights_digest(build_backbone(p.backbone, p.weights)[0])
    size = p.image_size or images.native_size(train)
    inputs, test_inputs = (torch.from_numpy(images.decode(part, size)) for part in (train, test))
    return Setup(
        train,
        test,
        inputs,
        test_inputs,
        lambda _, dropout, __: models.finetune(p.backbone, train.num_classes, p.weights, dropout),
        Augment(),
        to_unit,
        store.digest([size, weights, images.content(train), images.content(test), train.digest, test.digest]),
    )
