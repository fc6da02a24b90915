"""The robust classifier: trained on posterior labels, saved without pickle, loaded with nothing but galc.

A probe on frozen features, trained with the asymmetric loss on the probabilities of the true labels, and on the labels
themselves for trusted images and decisions: the last step of GALC-plus without its revisions, and with the moving
average of the weights. Of four ways it is the best on images that are held out (docs/method.md, bench_clean.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import numpy as np
import torch
from torch import Tensor, nn

from galc import store
from galc.clean.result import Cleaned
from galc.clean.stages import OwnStages
from galc.data import images
from galc.losses.asl import calibrate_logits
from galc.methods.base import ASL, plain
from galc.study.inputs import Projection
from galc.study.stages import EVERYTHING, ONCE
from galc.training import models
from galc.training.models import predict

FILE, CARD = "classifier.safetensors", "classifier.md"
TEMPLATE = Path(__file__).with_name("classifier_card.md")


@dataclass(frozen=True)
class _Images:
    """What `galc.data.images.features` asks of a data set."""

    files: tuple[Path, ...]
    name: str = "images"

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Image files -> probabilities of the classes. ``about``: backbone, weights, size, and what it was trained on."""

    classes: tuple[str, ...]
    projection: Projection
    head: nn.Module
    about: dict

    def __call__(self, files: Sequence[str | Path]) -> Tensor:
        """(n, K) float32 probabilities of the true labels, of n image files. Raises ValueError for unreadable ones."""
        torch.manual_seed(0)
        given = _Images(tuple(Path(file) for file in files))
        about = self.about
        return self.of_features(images.features(given, about["backbone"], about["weights"], about["size"]))

    def of_features(self, features: np.ndarray) -> Tensor:
        """(n, K) float32 probabilities from features (n, D) of the backbone."""
        return calibrate_logits(predict(self.head, self.projection(features))).sigmoid()

    def save(self, path: Path) -> Path:
        arrays = {f"head/{name}": value.cpu().numpy() for name, value in self.head.state_dict().items()}
        arrays |= {"projection/mean": self.projection.mean, "projection/matrix": self.projection.matrix}
        store.save(path, arrays, {"classes": self.classes, "about": self.about})
        return path

    def write(self, folder: Path, cleaned: Cleaned) -> list[Path]:
        """Classifier and model card, below ``folder``; returns their paths."""
        return [self.save(folder / FILE), store.write_text(folder / CARD, card(self, cleaned))]

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Raises ValueError for a file that is broken, FileNotFoundError without one. Runs no code from it."""
        path = Path(path)
        try:
            entry = store.read(path, strict=True)
            about, size = entry.record["about"], len(entry.record["classes"])
            head = models.probe(entry.arrays["projection/matrix"].shape[1], size, about["hidden"])
            state = {n.removeprefix("head/"): torch.from_numpy(a) for n, a in entry.arrays.items() if n[:5] == "head/"}
            head.load_state_dict(state)
            projection = Projection(entry.arrays["projection/mean"], entry.arrays["projection/matrix"])
            return cls(tuple(entry.record["classes"]), projection, head.eval(), about)
        except FileNotFoundError:
            raise
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} is no whole classifier ({error}); run galc clean again") from error


def train(projection: Projection, stages: OwnStages, cleaned: Cleaned) -> Classifier:
    """Train on the posterior of the true labels; decisions and trusted labels count as they are. Stored as a stage."""
    targets, p, components = cleaned.posterior.clone(), stages.params, projection.matrix.shape[1]
    for place, present in cleaned.decided.items():
        targets[place] = float(present)
    key = stages.general.key(EVERYTHING, ONCE) | {"targets": store.array_digest(targets.numpy())}
    head = models.probe(components, len(cleaned.classes), p.hidden)

    def compute():
        checkpoint = store.outputs() / "checkpoints" / f"own-{store.digest(key)}.safetensors"
        data = stages.general.training_set(torch.arange(len(targets)), targets)
        done = stages.general.fit(data, plain(ASL), checkpoint)
        state = zip(head.state_dict(), done.ema.state_dict().values(), strict=True)  # dropout has no weights
        checkpoint.unlink(missing_ok=True)
        return {name: value.cpu().numpy() for name, value in state}, {"history": done.history}

    arrays = store.cached("own", key, compute).arrays
    head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    about = {"backbone": p.backbone, "weights": p.weights, "hidden": p.hidden, "components": components}
    about |= {"size": p.image_size or images.native_size(stages.given), "images": len(cleaned), "data": cleaned.name}
    return Classifier(cleaned.classes, projection, head.eval(), about)


def card(classifier: Classifier, cleaned: Cleaned) -> str:
    """The model card, Markdown, with a loading example."""
    numbers = {"images": len(cleaned), "trusted": int(cleaned.trusted.sum()), "decided": len(cleaned.decided)}
    said = {name: f"{number:,}" for name, number in numbers.items()} | {"classes": len(classifier.classes)}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(classifier.about | said)
