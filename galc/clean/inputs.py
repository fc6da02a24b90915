"""What a model takes of the images: features and a linear map."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from galc import store
from galc.data import images
from galc.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Projection:
    """Features (n, D) -> what a model takes (n, d), as `galc.study.inputs` makes it: (x - mean) @ matrix."""

    mean: np.ndarray
    matrix: np.ndarray

    def __call__(self, features: np.ndarray) -> Tensor:
        """(n, d) float32."""
        return torch.from_numpy(((features - self.mean) @ self.matrix).astype(np.float32))

    @classmethod
    def fit(cls, features: np.ndarray, components: int) -> "Projection":
        """Standardised per dimension, then the leading principal components under one common scale.

        As many as asked for, or as there are: no more than images or dimensions.
        """
        most = min(components, *features.shape)
        scaler, pca = make_pipeline(StandardScaler(), PCA(most, svd_solver="covariance_eigh")).fit(
            features.astype(np.float64)
        )
        matrix = (pca.components_ / scaler.scale_).T
        spread = np.sqrt(pca.explained_variance_.mean())
        return cls(scaler.mean_, matrix / max(spread, 1e-12))


def project(features: np.ndarray, components: int) -> tuple[Projection, Tensor]:
    """The projection of features (N, D), and what it makes of them; stored, so that every process has the same bits."""
    key = {"features": store.array_digest(features), "components": components}

    def compute():
        found = Projection.fit(features, components)
        return {"mean": found.mean, "matrix": found.matrix, "inputs": found(features).numpy()}, {}

    arrays = store.cached("projection", key, compute).arrays
    return Projection(arrays["mean"], arrays["matrix"]), torch.from_numpy(arrays["inputs"])


def features(given: Dataset, backbone: str, weights: str, size: int | None) -> np.ndarray:
    """(N, D) float32 features of a frozen backbone, cached by content; see `galc.data.images.features`."""
    torch.manual_seed(0)  # weights="none" draws them
    return images.features(given, backbone, weights, size)
