"""One's own noisy labels: how they were corrupted, which are suspicious, and what they should be.

``galc clean --data ... --trusted ... --out ...``, and the same from a notebook. What comes of it is a `Cleaned`, in two
files of one folder: ``cleaned.safetensors`` holds what was computed, ``decisions.json`` what people decided (see
`galc.clean.review`). Both are written whole or not at all, and neither can run code.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from galc import store
from galc.clean.review import DECISIONS, Decision, Latest, done, latest, read, write
from galc.data.dataset import Dataset
from galc.noise import Noise

FILE = "cleaned.safetensors"
VERSION = 1
LEVEL = 0.9  # of the intervals
ENOUGH = 20  # trusted images that a model and a calibration can be made of, and that corrections can be vouched for by
LIKELY = 0.5  # probability of being wrong above which an entry is changed
KINDS = ("wrong", "missing")  # a suspicious label that is given; one that is not
DOUBTED = 0.05  # probability below which the table of suspicious labels leaves an entry out
RATES = {"transition": 2, "removed": 1, "added": 1, "wrong": 1, "missing": 1}  # their numbers of dimensions


class Rates(NamedTuple):
    """An estimate with the ends of its 90 % interval, tensors of one shape; NaN ends where nothing can be said."""

    estimate: Tensor
    low: Tensor
    high: Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Cleaned(Dataset):
    """N images with K classes, cleaned: what was given, and beside it

    posterior  : (N, K) float32, P(the image truly has the class | image, given labels); of trusted images their labels
    transition : (K, K) C[i, j] = P(label i was turned into label j | it did not vanish), rows of the estimate sum to 1
    removed    : (K,) P(a true label of the class vanished)
    added      : (K,) P(the class appeared from nowhere on an image without it)
    wrong      : (K,) share of the given labels of the class that are wrong
    missing    : (K,) share of the true labels of the class that are not among the given ones
    warnings   : sentences for people: where there is too little to say, and what would help
    decisions  : (file, class) -> whether the image truly has the class, by people; outranks `posterior`
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
    decisions: Latest = field(default_factory=dict)
    record: dict = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        parts = [("posterior", self.posterior, self.labels.shape)]
        parts += [(n, part, (self.num_classes,) * d) for n, d in RATES.items() for part in getattr(self, n)]
        for name, part, shape in parts:
            if part.shape != shape:
                raise ValueError(f"{name} must have the shape {tuple(shape)}, got {tuple(part.shape)}")
        if not ((self.posterior >= 0) & (self.posterior <= 1)).all():
            raise ValueError("posterior must lie in [0, 1]")

    @property
    def noise(self) -> Noise:
        """The estimated noise, without its intervals."""
        return Noise(self.transition.estimate, self.removed.estimate, self.added.estimate)

    @cached_property
    def suspicion(self) -> Tensor:
        """(N, K) float32, P(the given entry is wrong): a label that is wrong, or one that is missing."""
        return suspicion(self.labels, self.posterior)

    @cached_property
    def suspicious(self) -> pd.DataFrame:
        """Suspicious labels, most suspicious first; see `ranked`. Decisions do not change it."""
        return ranked(self, self.posterior)

    @cached_property
    def folder(self) -> str:
        """The deepest folder that all images are in; names on a page begin there, and tell nothing of the machine."""
        return os.path.commonpath([file.parent for file in self.files])

    def least(self, asked: float | None = None) -> float:
        """The probability of being wrong above which an entry is changed: ``asked``, or `LIKELY`, or 1 (nothing is
        changed) where no trusted images vouch for it. Raises ValueError outside of [0, 1].
        """
        if asked is None:
            return LIKELY if int(self.trusted.sum()) >= ENOUGH else 1.0
        if not 0 <= asked <= 1:
            raise ValueError(f"least must lie in [0, 1], got {asked}")
        return asked

    def corrected(self, least: float | None = None) -> Tensor:
        """(N, K) bool, the labels as they should be: what people decided; else, in images that are not trusted, the
        opposite of the given entry where it is wrong with a probability above ``least`` (see there); else as given.
        """
        labels = self.labels ^ ((self.suspicion > self.least(least)) & ~self.trusted[:, None])
        for place, present in self.decided.items():
            labels[place] = present
        return labels

    @cached_property
    def _places(self) -> tuple[dict[str, int], dict[str, int]]:
        return {str(file): n for n, file in enumerate(self.files)}, {name: k for k, name in enumerate(self.classes)}

    def place(self, file: str, name: str) -> tuple[int, int] | None:
        """Row and column of an image and class; None where they are not here."""
        rows, columns = self._places
        return (rows[file], columns[name]) if file in rows and name in columns else None

    def action(self, file: str, name: str, present: bool) -> str:
        """ "keep", "remove" or "add", by which a label came to be ``present`` or not. What is not here is not given."""
        place = self.place(file, name)
        return done(place is not None and bool(self.labels[place]), present)

    @cached_property
    def decided(self) -> dict[tuple[int, int], bool]:
        """(row, column) -> present, of the decisions on images and classes that are here."""
        found = ((self.place(*pair), present) for pair, present in self.decisions.items())
        return {place: present for place, present in found if place is not None}

    # --- on the disk -----------------------------------------------------------------------------------------------

    def save(self, folder: Path) -> Path:
        """Write both files to ``folder``, decisions only where it has none yet; returns it."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        arrays = {name: part.numpy() for name, part in parts.items() if isinstance(part, Tensor)} | packed(parts)
        record = {name: part for name, part in parts.items() if not isinstance(part, (Tensor, Rates, Mapping))}
        record |= {"record": self.record, "version": VERSION}
        store.save(folder / FILE, arrays, record)
        if self.decisions and not (folder / DECISIONS).exists():
            own = [Decision(*pair, present) for pair, present in self.decisions.items()]
            write(folder / DECISIONS, lambda log: log or own)  # a review may have begun since
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Cleaned":
        """What `save` wrote. Raises FileNotFoundError or ValueError, naming the file, if it is missing or not whole."""
        path = folder / FILE
        try:
            entry = store.read(path, strict=True)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} is missing; run galc clean with --out {folder}") from None
        except ValueError as error:
            raise ValueError(f"{path} is broken ({error}); run galc clean again") from error
        parts = {name: tuple(part) if isinstance(part, list) else part for name, part in entry.record.items()}
        if (version := parts.pop("version", None)) != VERSION:
            raise ValueError(f"{path} was written by another version ({version}); run galc clean again")
        parts |= {name: torch.from_numpy(array) for name, array in entry.arrays.items() if "/" not in name}
        parts |= {"files": tuple(map(Path, parts["files"])), "decisions": latest(read(folder / DECISIONS))}
        return cls(**parts, **unpacked(entry.arrays))


def packed(rates: Mapping[str, Rates]) -> dict[str, np.ndarray]:
    """`RATES` as arrays by "name/end"."""
    return {f"{name}/{end}": part.numpy() for name in RATES for end, part in rates[name]._asdict().items()}


def unpacked(arrays: Mapping[str, np.ndarray]) -> dict[str, Rates]:
    """`RATES` by name, of what `packed` made of them."""
    return {name: Rates(*(torch.from_numpy(arrays[f"{name}/{end}"]) for end in Rates._fields)) for name in RATES}


def suspicion(labels: Tensor, posterior: Tensor) -> Tensor:
    """(N, K) float32, P(the entry of ``labels`` (N, K) is wrong) by the ``posterior`` (N, K): a label is wrong with
    1 - posterior where it is given, and missing with the posterior where it is not.
    """
    return (labels.float() - posterior).abs()


def ranked(data: Dataset, posterior: Tensor) -> pd.DataFrame:
    """Suspicious entries of images that are not trusted, the most suspicious first, down to `DOUBTED`.

    Columns: rank (from 1), file (str), class, given (0 or 1), kind ("wrong" or "missing"), probability (that the entry
    is wrong), row and column (of the labels). Of equal probabilities the first image comes first.
    """
    scores = suspicion(data.labels, posterior)
    row, column = ((scores >= DOUBTED) & ~data.trusted[:, None]).numpy().nonzero()
    order = np.argsort(-scores.numpy()[row, column], kind="stable")
    row, column = row[order], column[order]
    given = data.labels.numpy()[row, column].astype(np.int64)
    columns = {
        "rank": np.arange(1, len(row) + 1),
        "file": np.array([str(file) for file in data.files], dtype=object)[row],
        "class": pd.Categorical.from_codes(column, list(data.classes)),
        "given": given,
        "kind": pd.Categorical.from_codes(1 - given, KINDS),
        "probability": scores.numpy()[row, column],
        "row": row,
        "column": column,
    }
    return pd.DataFrame(columns)
