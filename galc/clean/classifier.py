"""The robust classifier: trained on posterior labels, saved without pickle, loaded with nothing but galc.

It is the last step of GALC-plus: a probe on frozen features, trained with the asymmetric loss on the probabilities of
the true labels, and on the labels themselves for trusted images and decisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from galc import store
from galc.clean.inputs import Projection
from galc.clean.result import Cleaned
from galc.clean.stages import OwnStages
from galc.data import images
from galc.losses.asl import calibrate_logits
from galc.methods.base import ASL, plain
from galc.training import models
from galc.training.models import predict

FILE, CARD = "classifier.safetensors", "classifier.md"


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
            entry = store.whole(path)
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
    targets, p = cleaned.posterior.clone(), stages.params
    for place, present in cleaned.decided.items():
        targets[place] = float(present)
    key = stages.key | {"targets": store.array_digest(targets.numpy())}

    def compute():
        checkpoint = store.outputs() / "checkpoints" / f"own-{store.digest(key)}.safetensors"
        data = stages.general.training_set(torch.arange(len(targets)), targets)
        done = stages.general.fit(data, plain(ASL), checkpoint)
        layers = [layer for layer in done.ema if not isinstance(layer, nn.Dropout)]
        arrays = {
            f"{n}/{name}": v.cpu().numpy() for n, layer in enumerate(layers) for name, v in layer.state_dict().items()
        }
        checkpoint.unlink(missing_ok=True)
        return arrays, {"history": done.history}

    entry = store.cached("own", key, compute)
    head = models.probe(projection.matrix.shape[1], len(cleaned.classes), p.hidden)
    parts = {(n, name): array for key, array in entry.arrays.items() for n, _, name in [key.partition("/")]}
    layers = [layer for layer in head if not isinstance(layer, nn.Dropout)]
    for n, layer in enumerate(layers):
        layer.load_state_dict({name: torch.from_numpy(a) for (place, name), a in parts.items() if place == str(n)})
    about = {"backbone": p.backbone, "weights": p.weights, "hidden": p.hidden, "components": projection.matrix.shape[1]}
    about |= {"size": p.image_size or images.native_size(stages.given), "images": len(cleaned), "data": cleaned.name}
    return Classifier(cleaned.classes, projection, head.eval(), about)


def card(classifier: Classifier, cleaned: Cleaned) -> str:
    """The model card, Markdown, with a loading example."""
    about = classifier.about
    return f"""# A classifier of {len(classifier.classes)} classes, trained on cleaned labels

- **Input**: image files, squashed to {about["size"]} pixels. Frozen features of `{about["backbone"]}` (weights:
  {about["weights"]}); a hidden layer of {about["hidden"]} units on {about["components"]} principal components.
- **Output**: a probability for each class, each on its own; several may be high. At 0.5 a class is as likely as not.
- **Trained on**: {about["images"]:,} images of `{about["data"]}`, {int(cleaned.trusted.sum()):,} of them trusted,
  {len(cleaned.decided):,} labels decided by people; the others by the probability that each label is right.
- **Not measured**: how well it does. That takes images with true labels that had no part in this; hold some back, and
  compare with them before you rely on it.
- **Limits**: classes that no trusted image shows, and mistakes in the labels that look like the images.

```python
from pathlib import Path
from galc.clean.classifier import Classifier

classifier = Classifier.load("{FILE}")   # no pickle: loading runs no code
files = sorted(Path("my_images").glob("*.jpg"))
probabilities = classifier(files)
for file, row in zip(files, probabilities):
    found = [name for name, p in zip(classifier.classes, row) if p > 0.5]
    print(file.name, *found)
```
"""
