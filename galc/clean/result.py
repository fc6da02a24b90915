"""What cleaning found: the labels as given, the probabilities of the true ones, the noise, and what people decided.

Two files in one folder: ``cleaned.safetensors`` holds what was computed, ``decisions.json`` what people decided, so
that a decision is saved without touching the rest. Both are written whole or not at all, and neither can run code.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from galc import store
from galc.clean import rank
from galc.clean.labelled import Labelled
from galc.noise.model import Noise

FILE, DECISIONS = "cleaned.safetensors", "decisions.json"
VERSION = 1
LEVEL = 0.9  # of the intervals

Decisions = dict[tuple[int, int], bool]  # (image row, class column) -> whether the image truly has the class


class Rates(NamedTuple):
    """An estimate with the ends of its 90 % interval, tensors of one shape; NaN ends where nothing can be said."""

    estimate: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True, eq=False)
class Cleaned(Labelled):
    """N images with K classes, cleaned: what was given, and beside it

    posterior  : (N, K) float32, P(the image truly has the class | image, given labels); of trusted images their labels
    transition : (K, K) C[i, j] = P(label i was turned into label j | it did not vanish), rows of the estimate sum to 1
    removed    : (K,) P(a true label of the class vanished)
    added      : (K,) P(the class appeared from nowhere on an image without it)
    wrong      : (K,) share of the given labels of the class that are wrong
    missing    : (K,) share of the true labels of the class that are not among the given ones
    warnings   : sentences for people: where there is too little to say, and what would help
    decisions  : (row, column) -> whether the image truly has the class, by people; outranks `posterior`
    record     : any JSON value: settings, versions, seconds

    Raises ValueError where shapes do not fit, or probabilities leave [0, 1].
    """

    posterior: Tensor
    transition: Rates
    removed: Rates
    added: Rates
    wrong: Rates
    missing: Rates
    warnings: tuple[str, ...] = ()
    decisions: Decisions = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    def __post_init__(self):
        images, size = len(self.files), len(self.classes)
        shapes = {"labels": (images, size), "trusted": (images,), "posterior": (images, size)}
        for name, shape in shapes.items():
            if (got := tuple(getattr(self, name).shape)) != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {got}")
        for name, shape in RATES.items():
            for part in getattr(self, name):
                if tuple(part.shape) != (size,) * shape:
                    raise ValueError(f"{name} must have the shape {(size,) * shape}, got {tuple(part.shape)}")
        if not ((self.posterior >= 0) & (self.posterior <= 1)).all():
            raise ValueError("posterior must lie in [0, 1]")
        for row, column in self.decisions:
            if not (0 <= row < images and 0 <= column < size):
                raise ValueError(f"decision ({row}, {column}) is outside of {images} images and {size} classes")

    @property
    def noise(self) -> Noise:
        """The estimated noise, without its intervals."""
        return Noise(self.transition.estimate, self.removed.estimate, self.added.estimate)

    @cached_property
    def suspicion(self) -> Tensor:
        """(N, K) float32, P(the given entry is wrong): a label that is wrong, or one that is missing."""
        return rank.suspicion(self.labels, self.posterior)

    @cached_property
    def suspicious(self) -> pd.DataFrame:
        """Suspicious labels, most suspicious first; see `galc.clean.rank.table`. Decisions do not change it."""
        return rank.table(self.files, self.classes, self.labels, self.posterior, self.trusted)

    def corrected(self, least: float = 0.5) -> Tensor:
        """(N, K) bool: the labels as they should be.

        What people decided; else the opposite of the given entry where it is wrong with a probability of more than
        ``least``; else the entry as given. Trusted images change by decision alone. ``least`` 1: decisions alone.
        """
        if not 0 <= least <= 1:
            raise ValueError(f"least must lie in [0, 1], got {least}")
        change = (self.suspicion > least) & ~self.trusted[:, None]
        labels = self.labels ^ change
        for (row, column), present in self.decisions.items():
            labels[row, column] = present
        return labels

    def save(self, folder: Path) -> Path:
        """Write both files to ``folder``, decisions only where it has none yet; returns it."""
        arrays = {"labels": self.labels, "trusted": self.trusted, "posterior": self.posterior}
        for name in RATES:
            arrays |= {f"{name}/{end}": part for end, part in zip(Rates._fields, getattr(self, name), strict=True)}
        record = {name: getattr(self, name) for name in ("name", "source", "classes", "warnings", "record")}
        record |= {"files": [str(file) for file in self.files], "version": VERSION}
        store.save(folder / FILE, {name: array.numpy() for name, array in arrays.items()}, record)
        if self.decisions and not (folder / DECISIONS).exists():  # a review may have added to the file since
            save_decisions(folder, self.decisions, self.files, self.classes)
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Cleaned":
        """What `save` wrote. Raises FileNotFoundError or ValueError, naming the file, if it is missing or not whole."""
        arrays, record = _whole(folder / FILE)
        text = {name: record[name] for name in ("name", "source", "record")}
        files, classes = tuple(map(Path, record["files"])), tuple(record["classes"])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        rates = {name: Rates(*(tensors[f"{name}/{end}"] for end in Rates._fields)) for name in RATES}
        return cls(
            **text,
            **rates,
            files=files,
            classes=classes,
            warnings=tuple(record["warnings"]),
            decisions=load_decisions(folder, files, classes),
            **{name: tensors[name] for name in ("labels", "trusted", "posterior")},
        )


RATES = {"transition": 2, "removed": 1, "added": 1, "wrong": 1, "missing": 1}  # their numbers of dimensions


def _whole(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Arrays and record of an entry that passed its checksum."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; run python -m galc.clean with --out {path.parent}")
    try:
        entry = store.whole(path)
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}); run python -m galc.clean again") from error
    if (version := entry.record.get("version")) != VERSION:
        raise ValueError(f"{path} was written by another version ({version}); run python -m galc.clean again")
    return entry.arrays, entry.record


def save_decisions(folder: Path, decisions: Decisions, files: tuple[Path, ...], classes: tuple[str, ...]) -> Path:
    """Write decisions alone, by the names of file and class."""
    rows = [
        {"file": str(files[row]), "class": classes[column], "present": bool(present)}
        for (row, column), present in decisions.items()
    ]
    return store.write_json(folder / DECISIONS, {"version": VERSION, "decisions": rows})


def load_decisions(folder: Path, files: tuple[Path, ...], classes: tuple[str, ...]) -> Decisions:
    """The decisions of a folder, in the order they were made; none where there is no such file.

    Decisions on images or classes that are gone are left out. Raises ValueError for a file of another form.
    """
    path = folder / DECISIONS
    if not path.exists():
        return {}
    row = {str(file): n for n, file in enumerate(files)}
    column = {name: k for k, name in enumerate(classes)}
    try:
        decisions = json.loads(path.read_text(encoding="utf-8"))["decisions"]
        found = [((one["file"], one["class"]), one["present"]) for one in decisions]
        if not all(isinstance(present, bool) for _, present in found):
            raise TypeError("present must be true or false")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no decisions ({error}); mend it, or move it away to begin anew") from error
    return {(row[file], column[name]): present for (file, name), present in found if file in row and name in column}
