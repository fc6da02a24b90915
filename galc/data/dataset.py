"""A multi-label data set, its split into gold, silver and single-label images, and what every format needs."""

import errno
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from galc import store
from galc.checks import check_labels

SHORT = 255  # bytes: no shorter path has a name that is too long
SHOWN = 10  # names in a message


@dataclass(frozen=True, eq=False)
class Dataset:
    """N images with their labels, which may be none.

    name    : what messages call it, e.g. "pictograms/train"
    classes : K different names
    files   : N different image files; of a data set made of labels alone they need not exist (`load` checks them)
    labels  : (N, K) bool, as given; of trusted images the true ones
    groups  : K supercategories, "" where unknown; () for none
    trusted : (N,) bool, images whose labels are taken to be right; None for none
    source  : the path or name that it was read from
    notes   : sentences on what was left out when it was read

    Raises ValueError, naming the class, file or row, where these do not fit together or there is no image.
    """

    name: str
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    labels: Tensor
    groups: tuple[str, ...] = ()
    trusted: Tensor | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        images, size = len(self.files), len(self.classes)
        object.__setattr__(self, "groups", self.groups or ("",) * size)
        if self.trusted is None:
            object.__setattr__(self, "trusted", torch.zeros(images, dtype=torch.bool))
        for what, part, shape in (("labels", self.labels, (images, size)), ("trusted", self.trusted, (images,))):
            if part.dtype != torch.bool or part.shape != shape:
                raise ValueError(
                    f"{self.name}: {what} must be bool {shape} for {images} files and {size} classes, "
                    f"got {part.dtype} {tuple(part.shape)}"
                )
        if not images:
            raise ValueError(f"{self.name}: there is no image; check the annotations")
        if len(self.groups) != size:
            raise ValueError(f"{self.name}: {len(self.groups)} groups for {size} classes")
        for one in self.classes:
            refuse_half_characters(one, f"{self.name}: class")
        if not all(self.classes):
            raise ValueError(f"{self.name}: class {self.classes.index('')} has no name")
        refuse_duplicates(self.classes, f"{self.name}: class", "name each class once")
        refuse_duplicates(self.files, f"{self.name}: image", "list each image once")

    def __len__(self) -> int:
        return len(self.files)

    def __str__(self) -> str:
        bare, mean = int((self.counts == 0).sum()), self.counts.double().mean()
        without = f", {bare:,} images without labels" if bare else ""
        said = f"{self.name}: {len(self):,} images, {self.num_classes} classes, {mean:.2f} labels an image{without}"
        return "; ".join([said, *self.notes])

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def counts(self) -> Tensor:
        """(N,) int64 number of labels of each image."""
        return self.labels.sum(1)

    @cached_property
    def digest(self) -> str:
        """Identifies labels, trust, classes and file names (not the pixels: `galc.data.images.content` does)."""
        arrays = (np.packbits(self.labels.numpy(), axis=1), self.trusted.numpy())
        return store.digest([store.array_digest(*arrays), self.classes, [file.name for file in self.files]])

    def multi_label(self) -> Tensor:
        """(m,) int64 index of the images with at least two labels."""
        return multi_label(self.labels)

    def labelled(self) -> "Dataset":
        """The images that have a label. Raises ValueError where none has."""
        some = self.labels.any(1)
        if not some.any():
            raise ValueError(f"{self.name}: none of its {len(self):,} images has a label; check the annotations")
        return self if some.all() else self.subset(some)

    def subset(self, index: Tensor | Sequence[int]) -> "Dataset":
        """The images of an int64 index or a bool mask (N,), in that order."""
        index = torch.as_tensor(index)
        index = torch.arange(len(self))[index if index.dtype == torch.bool else index.long()]
        files, labels = tuple(self.files[i] for i in index.tolist()), self.labels[index]
        return replace(self, files=files, labels=labels, trusted=self.trusted[index])

    def names(self) -> dict[Path, list[str]]:
        """For each file the names of its classes."""
        rows = (row.nonzero()[:, 0].tolist() for row in self.labels)
        return {file: [self.classes[k] for k in row] for file, row in zip(self.files, rows, strict=True)}


def from_names(name: str, rows: dict[Path, Sequence[str]], classes: Sequence[str], **more) -> Dataset:
    """A data set of files and the names of their classes, all of which are among ``classes``."""
    column = {one: k for k, one in enumerate(classes)}
    labels = np.zeros((len(rows), len(classes)), bool)
    for n, names in enumerate(rows.values()):
        labels[n, [column[one] for one in names]] = True
    return Dataset(name, tuple(classes), tuple(rows), torch.from_numpy(labels), **more)


def check_pair(train: Dataset, test: Dataset) -> None:
    """Raise ValueError unless two data sets have the same classes in the same order and share no image file."""
    if train.classes != test.classes:
        other = sorted(set(train.classes) ^ set(test.classes)) or ["the order"]
        raise ValueError(f"{train.name} and {test.name} differ in their classes: {shorten(other)}")
    if common := set(train.files) & set(test.files):
        raise ValueError(f"{train.name} and {test.name} share {len(common)} images, e.g. {min(common)}")


# --- the split -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """The paper's protocol (arXiv 2108.02032, Sec. 4.1): sorted int64 indices into the training data, disjoint.

    Images without a label are in none.

    gold   : trusted images with at least two labels, to train and estimate with
    held   : trusted images with at least two labels that no training and no estimate sees; to choose with
    silver : all other images with at least two labels; these get the noise
    single : images with exactly one label, clean
    """

    gold: Tensor
    held: Tensor
    silver: Tensor
    single: Tensor


def multi_label(labels: Tensor) -> Tensor:
    """(m,) int64 index of the images with at least two labels; labels: (N, K) bool."""
    return (check_labels(labels).sum(1) >= 2).nonzero().flatten()


def split(
    labels: Tensor,
    gold_fraction: float = 0.1,
    single_label_limit: int | None = None,
    seed: int = 0,
    gold_holdout: float = 0.0,
) -> Split:
    """Draw the gold/silver split and the single-label pool; labels: (N, K) bool.

    gold_fraction      : gold are floor(fraction * n) of the n images with at least two labels, drawn uniformly
    gold_holdout       : share of the gold images that is held out of them, rounded up; one always stays
    single_label_limit : at most so many single-label images a class, drawn uniformly; None takes all

    The same seed gives the same split in any process; a smaller fraction or limit gives a subset of a larger one's.
    A class without gold or single-label images is no error.
    Raises ValueError for a parameter out of range, and where no gold or no silver image is left.
    """
    labels = check_labels(labels)
    for name, value, fits, limits in (
        ("gold_fraction", gold_fraction, 0 < gold_fraction < 1, "above 0 and below 1"),
        ("gold_holdout", gold_holdout, 0 <= gold_holdout < 1, "at least 0 and below 1"),
        ("single_label_limit", single_label_limit, (single_label_limit or 0) >= 0, "None (all) or at least 0"),
        ("seed", seed, seed >= 0, "at least 0"),
    ):
        if not fits:
            raise ValueError(f"{name} must be {limits}, got {value}")
    multi = multi_label(labels)
    # Decimal: 0.29 * 100 is 28.999... in floating point, and its floor would lose an image.
    gold = math.floor(Decimal(str(gold_fraction)) * len(multi))
    if not 0 < gold < len(multi):
        raise ValueError(
            f"gold_fraction {gold_fraction} of {len(multi)} images with at least two labels makes {gold} gold and "
            f"{len(multi) - gold} silver images; both need one at least: change gold_fraction or add images"
        )
    kept = max(gold - math.ceil(Decimal(str(gold_holdout)) * gold), 1)
    order = multi[_permutation(len(multi), seed, 0)]
    gold, held, silver = (part.sort().values for part in order.tensor_split([kept, gold]))
    single = (labels.sum(1) == 1).nonzero().flatten()
    single = single[_permutation(len(single), seed, 1)]
    classes = labels[single].byte().argmax(1)
    limited = [single[classes == k][:single_label_limit] for k in range(labels.shape[1])]
    return Split(gold, held, silver, torch.cat(limited).sort().values)


def _permutation(number: int, seed: int, stream: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, stream]).permutation(number))


# --- what every format needs ---------------------------------------------------------------------------------------


def shorten(values: Iterable) -> str:
    """The first of them in a sentence."""
    values = [str(value) for value in values]
    return ", ".join(values[:SHOWN]) + (f", ... ({len(values):,})" if len(values) > SHOWN else "")


def old_first(old: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The ``wanted`` names: those that were there in their old order, new ones behind."""
    return [name for name in old if name in wanted] + [name for name in wanted if name not in old]


def refuse_duplicates(values: Iterable, what: str, mend: str) -> None:
    """Raise ValueError naming the first value that comes twice."""
    for value, times in Counter(values).items():
        if times > 1:
            raise ValueError(f"{what} {str(value)!r} comes {times} times; {mend}")


def inside(folder: Path, name: object, where: str) -> Path:
    """``folder / name``. Raises ValueError if the name is none, or leads out of the folder."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"{where}: the image has no file name, got {name!r}")
    # By name alone: links inside the folder may point anywhere.
    folder, path = os.path.abspath(folder), os.path.abspath(os.path.join(folder, name.strip()))
    if not path.startswith(os.path.join(folder, "")):
        raise ValueError(f"{where}: image {name!r} lies outside of {folder}; use paths below it, or name {ITS_FOLDER}")
    refuse_half_characters(name, f"{where}: image")
    try:
        if len(os.fsencode(path)) > SHORT:
            os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(
                f"{where}: the image path {path[-60:]!r} (its end, of {len(path):,} characters) is longer than the "
                "system allows; shorten it and rename the file"
            ) from error
    return Path(path)


ITS_FOLDER = "the folder that file names start at (--images FOLDER, images= in Python)"


def refuse_half_characters(name: str, what: str) -> None:
    """Raise ValueError for half a surrogate pair: JSON can escape one, no file can be written with it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {name!r} holds half a character ({error.reason}); write its name anew") from error
