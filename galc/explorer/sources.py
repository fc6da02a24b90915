"""What an explorer looks into: the matrices of runs, or one's own, which answer the same calls; and small images."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image, ImageOps
from torch import Tensor

from galc.data.images import to_rgb
from galc.estimators.base import ESTIMATORS
from galc.results import matrices
from galc.study.params import ParameterError, Params
from galc.study.stages import Stages

# "algorithm-1" and "algorithm-1-rows" are "algorithm-1-raw" on another scale (galc.results.matrices.scaled)
OFFERED = [
    "attribution",
    *[name for name in ESTIMATORS if name not in ("true", "attribution", "algorithm-1", "algorithm-1-rows")],
]
SIDE = 150  # pixels, the longer side of a small image
WORDS: dict[str, Callable] = {
    "seed": "seed {}".format,
    "gold_fraction": lambda value: f"{100 * value:g} % gold",
    "single_label_limit": lambda value: f"{'all' if value is None else value} single-label images a class",
    "noise_kind": "{} noise".format,
    "epochs": "{} epochs".format,
}


class Example(NamedTuple):
    """An image and what became of its labels: names that it kept, lost, and gained."""

    file: Path
    kept: list[str]
    lost: list[str]
    gained: list[str]


class Runs:
    """The corruption matrices of study points: of every setting (seed, share of gold, ...) at every noise level.

    Points that differ in their method or noise alone are one run. A matrix is read from the cache, or computed (the
    first of a noise level trains a silver model), and kept in memory. Raises ParameterError where there is no point,
    or where the points are of several data sets.
    """

    def __init__(self, points: Sequence[Params], estimators: Sequence[str] = OFFERED):
        if not points:
            raise ParameterError("no points to explore: the study's grid is empty")
        if len(names := {point.data for point in points}) > 1:
            raise ParameterError(f"an explorer shows one data set, not {', '.join(sorted(names))}")
        settings = list(dict.fromkeys(point.replace(method="asl", noise=0.0) for point in points))
        self.runs = {describe(setting, settings): setting for setting in settings}
        self.levels = sorted({point.noise for point in points})
        self.estimators = list(estimators)
        train = Stages.of(settings[0]).train
        self.name = Path(points[0].data).stem
        self.classes, self.groups = train.classes, train.groups if len(set(train.groups)) > 1 else None
        self.sizes = train.labels.sum(0).numpy()
        self.lacking = () if self.groups else ("supercategory",)
        self._studies: dict[tuple, Stages] = {}
        self._matrices: dict[tuple, np.ndarray] = {}

    def study(self, run: str, noise: float) -> Stages:
        """The stages of a run at a noise level; its labels are kept in memory, its models are not."""
        if (run, noise) not in self._studies:
            self._studies[run, noise] = Stages.of(self.runs[run].replace(noise=noise))
        return self._studies[run, noise]

    def true(self, run: str, noise: float) -> np.ndarray:
        """The injected C, (K, K), rows sum to 1."""
        return self.study(run, noise).inputs.true.double().numpy()

    def is_ready(self, run: str, noise: float, name: str) -> bool:
        """Whether an estimate is in memory."""
        return (run, noise, name) in self._matrices

    def estimate(self, run: str, noise: float, name: str) -> np.ndarray:
        """The named estimator's C, (K, K). Raises ValueError where it lacks the images that it needs."""
        key = run, noise, name
        if key not in self._matrices:
            once = Stages.of(self.runs[run].replace(noise=noise))  # lets go of the models' outputs afterwards
            self._matrices[key] = once.estimate(name).transition.double().numpy()
        return self._matrices[key]

    def images(self, run: str, noise: float) -> dict[str, np.ndarray]:
        """How many images are behind each row, (K,), by kind."""
        study = self.study(run, noise)
        clean, noisy, split = study.train.labels, study.observed, study.split
        parts = {"gold": clean[split.gold], "single-label": clean[split.single], "noisy silver": noisy[split.silver]}
        return {kind: labels.sum(0).numpy() for kind, labels in parts.items()}

    def examples(self, run: str, noise: float, k: int, most: int = 6) -> list[Example]:
        """Silver images that lost label k to the noise; those with the fewest labels first, they are read quickest."""
        train, noisy = self.study(run, noise).train, self.study(run, noise).observed
        found = []
        for i in self.telling(run, noise, k, most).tolist():
            before, after = train.labels[i], noisy[i]
            if before[k] and not after[k]:
                parts = before & after, before & ~after, after & ~before
                names = ([self.classes[j] for j in part.nonzero()[:, 0]] for part in parts)
                found.append(Example(train.files[i], *names))
        return found

    def telling(self, run: str, noise: float, k: int, most: int = 6) -> Tensor:
        """Index of up to ``most`` silver images: those that lost label k first, then those with it, then others."""
        study = self.study(run, noise)
        silver = study.split.silver
        clean, noisy = study.train.labels[silver, k], study.observed[silver, k]
        rank = torch.where(clean & ~noisy, 0, torch.where(clean, 1, 2)) * len(self.classes)
        return silver[(rank + study.train.counts[silver] - 1).argsort(stable=True)[:most]]


class Matrices:
    """Matrices of one's own, {name: (K, K)}, beside a true one (or one to compare with).

    ``groups``: K supercategories; ``sizes``: K numbers of labels, for the order by frequency. Raises ValueError naming
    the matrix or list that does not fit the classes.
    """

    def __init__(
        self,
        true: ArrayLike,
        estimates: Mapping[str, ArrayLike],
        classes: Sequence[str],
        groups: Sequence[str] | None = None,
        sizes: ArrayLike | None = None,
    ):
        if not estimates:
            raise ValueError("estimates: none given; name at least one matrix, {name: matrix}")
        if len(set(classes)) < len(classes):
            raise ValueError("classes: each must have a name of its own")
        for what, values in {"groups": groups, "sizes": sizes}.items():
            if values is not None and len(values) != len(classes):
                raise ValueError(f"{what}: {len(values)} for {len(classes)} classes")
        self.name, self.runs, self.levels = "matrices", {"": None}, [0.0]
        self.classes, self.groups, self.sizes = tuple(classes), groups, sizes
        self.estimators = list(estimates)
        self.lacking = [how for how, what in {"frequency": sizes, "supercategory": groups}.items() if what is None]
        self._true = matrices.checked(true, len(classes), "true matrix")
        self._estimates = {
            name: matrices.checked(matrix, len(classes), f"estimate {name!r}") for name, matrix in estimates.items()
        }

    def true(self, run: str, noise: float) -> np.ndarray:
        return self._true

    def is_ready(self, run: str, noise: float, name: str) -> bool:
        return True

    def estimate(self, run: str, noise: float, name: str) -> np.ndarray:
        return self._estimates[name]

    def images(self, run: str, noise: float) -> dict[str, np.ndarray]:
        return {}

    def examples(self, run: str, noise: float, k: int, most: int = 6) -> None:
        return None


def describe(setting: Params, settings: Sequence[Params]) -> str:
    """A run in few words: the parameters in which the settings differ, or its seed: "seed 0, 10 % gold"."""
    names = [*WORDS, *(name for name in Params.model_fields if name not in WORDS)]
    varied = [name for name in names if len({getattr(other, name) for other in settings}) > 1] or ["seed"]
    return ", ".join(WORDS.get(name, f"{name} {{}}".format)(getattr(setting, name)) for name in varied)


# --- example images as HTML ------------------------------------------------------------------------------------------


def gallery(examples: Sequence[Example], name: str) -> str:
    """Pictures whose label ``name`` was flipped, or a sentence that there is none.

    Lost labels are struck out, with "−" before them; gained ones bold, with "+". The alternative text says it all.
    """
    if not examples:
        return f"<p>No image lost its label <b>{html.escape(name)}</b>.</p>"
    figures = "".join(figure(example) for example in examples)
    heading = f"<p>Images that lost their label <b>{html.escape(name)}</b>:</p>"
    return f"{heading}<div class='galc-gallery'>{figures}</div>"


def figure(example: Example) -> str:
    """One picture, its labels below it: those that stayed, were lost, were gained."""
    kept, lost, gained = (list(map(html.escape, names)) for names in example[1:])
    lines = [f"− <del>{name}</del>" for name in lost] + [f"+ <ins>{name}</ins>" for name in gained] + kept
    before, after = ", ".join(kept + lost), ", ".join(kept + gained)
    return (
        f"<figure><img src='{data_url(example.file)}' "
        f'alt="labels before: {before}; after: {after}"><figcaption>{"<br>".join(lines)}</figcaption></figure>'
    )


# --- small copies of images ------------------------------------------------------------------------------------------


class UnreadableImage(OSError):
    """A file that is no image, or half of one; the message names it."""


@lru_cache(maxsize=512)
def thumbnail(file: Path, side: int = SIDE) -> bytes:
    """An image file as a JPEG, upright, its longer side at most ``side`` pixels; read as `galc.data.images` reads it.

    Raises UnreadableImage.
    """
    try:
        with Image.open(file) as image:
            image.draft("RGB", (2 * side, 2 * side))
            ImageOps.exif_transpose(image, in_place=True)
            small = to_rgb(image)
    except Exception as error:  # Pillow raises errors of many kinds for broken files
        message = f"{file} cannot be read as an image ({error}); put it back, or take it out of the data"
        raise UnreadableImage(message) from None
    small.thumbnail((side, side))
    small.save(buffer := io.BytesIO(), "JPEG", quality=85)
    return buffer.getvalue()


def data_url(file: Path, side: int = SIDE) -> str:
    """The same as the ``src`` of an image that lies inside its page."""
    return inlined(thumbnail(file, side), "jpeg")


def inlined(content: bytes, kind: str) -> str:
    """The content of an image file ("jpeg", "png") as the ``src`` of an image that lies inside its page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
