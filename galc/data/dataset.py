"""A multi-label data set: what one is, and the checks that every format needs. `galc.data.load` reads one."""

import errno
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from galc import store

SHORT = 255  # bytes: no shorter path has a name that is too long
SHOWN = 10  # names in a message


@dataclass(frozen=True, eq=False)
class Dataset:
    """N images with their labels. Those without a label stay in it: what they lack may be missing.

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
        given = {"groups": self.groups or ("",) * size}
        given["trusted"] = torch.zeros(images, dtype=torch.bool) if self.trusted is None else self.trusted
        for name, value in given.items():
            object.__setattr__(self, name, value)
        for name, shape in (("labels", (images, size)), ("trusted", (images,))):
            part = getattr(self, name)
            if part.dtype != torch.bool or part.shape != shape:
                raise ValueError(
                    f"{self.name}: {name} must be bool {shape} for {images} files and {size} classes, "
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
        bare = int((self.counts == 0).sum())
        without = f", {bare:,} images without labels" if bare else ""
        mean = self.counts.double().mean()
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
        return (self.counts >= 2).nonzero().flatten()

    def labelled(self) -> "Dataset":
        """The images that have a label. Raises ValueError where none has."""
        some = self.labels.any(1)
        if not some.any():
            raise ValueError(f"{self.name}: none of its {len(self):,} images has a label; check the annotations")
        return self if some.all() else self.subset(some)

    def subset(self, index: Tensor | Sequence[int], name: str | None = None) -> "Dataset":
        """The images of an int64 index or a bool mask (N,), in that order."""
        index = torch.as_tensor(index)
        index = torch.arange(len(self))[index if index.dtype == torch.bool else index.long()]
        files = tuple(self.files[i] for i in index.tolist())
        parts = {"labels": self.labels[index], "trusted": self.trusted[index]}
        return replace(self, name=name or self.name, files=files, **parts)

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


# --- what every format needs ---------------------------------------------------------------------------------------


def shorten(values: Iterable) -> str:
    """The first of them in a sentence."""
    values = [str(value) for value in values]
    return ", ".join(values[:SHOWN]) + (f", ... ({len(values):,})" if len(values) > SHOWN else "")


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
    refuse_long(path, where)
    return Path(path)


ITS_FOLDER = "the folder that file names start at (--images FOLDER, images= in Python)"


def refuse_half_characters(name: str, what: str) -> None:
    """Raise ValueError for half a surrogate pair: JSON can escape one, no file can be written with it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {name!r} holds half a character ({error.reason}); write its name anew") from error


def refuse_long(path: str, where: str) -> None:
    """Raise ValueError for a path, or a part of one, that is longer than the system can open."""
    try:
        if len(os.fsencode(path)) > SHORT:
            os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError(
                f"{where}: the image path {path[-60:]!r} (its end, of {len(path):,} characters) is longer than the "
                "system allows; shorten it and rename the file"
            ) from error
