"""Multi-label data sets: what one is, how to load one by name or path, and the paper's gold/silver/single split.

`galc.data.readers` holds the formats; `galc.data.download` fetches what is not embedded.
"""

import errno
import inspect
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

NAMES = ("pictograms", "pictograms-tiny", "coco2014", "voc2007")  # go before paths
SHORT = 255  # bytes: no shorter path has a name that is too long


@dataclass(frozen=True, eq=False)
class MultiLabelData:
    """N images with their labels. Files need not exist for a data set made of labels alone; `load` checks them.

    name       : where it comes from, e.g. "pictograms/train"
    classes    : K different names
    groups     : K supercategories, "" where unknown
    files      : N different image files
    labels     : (N, K) bool, at least one label an image
    unlabelled : number of images that were left out because they have no label
    bare       : their files, which need not exist either; () where they are not known

    Raises ValueError, naming the class, file or row, where these do not fit together or no image is left.
    """

    name: str
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    files: tuple[Path, ...]
    labels: Tensor
    unlabelled: int = 0
    bare: tuple[Path, ...] = ()

    def __post_init__(self):
        if self.labels.dtype != torch.bool or self.labels.shape != (len(self.files), len(self.classes)):
            got = f"{self.labels.dtype} {tuple(self.labels.shape)}"
            raise ValueError(
                f"{self.name}: labels must be bool ({len(self.files)} files, {len(self.classes)} classes), got {got}"
            )
        if not self.files:
            raise ValueError(
                f"{self.name}: no labelled image is left ({self.unlabelled} without labels); check the annotations"
            )
        if len(self.groups) != len(self.classes):
            raise ValueError(f"{self.name}: {len(self.groups)} groups for {len(self.classes)} classes")
        if not all(self.classes):
            raise ValueError(f"{self.name}: class {self.classes.index('')} has no name")
        refuse_duplicates(self.classes, f"{self.name}: class", "name each class once")
        refuse_duplicates(self.files, f"{self.name}: image", "list each image once")
        if not (some := self.labels.any(1)).all():
            raise ValueError(f"{self.name}: image {self.files[int((~some).nonzero()[0])]} has no label; leave it out")

    def __len__(self) -> int:
        return len(self.files)

    def __str__(self) -> str:
        dropped = f", {self.unlabelled:,} more without labels left out" if self.unlabelled else ""
        mean = self.counts.double().mean()
        return f"{self.name}: {len(self):,} images, {self.num_classes} classes, {mean:.2f} labels an image{dropped}"

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @cached_property
    def counts(self) -> Tensor:
        """(N,) int64 number of labels of each image."""
        return self.labels.sum(1)

    @cached_property
    def digest(self) -> str:
        """Identifies labels, classes and file names (not the pixels: `galc.data.images.content` does)."""
        labels = store.array_digest(np.packbits(self.labels.numpy(), axis=1))
        return store.digest([labels, self.classes, [file.name for file in self.files]])

    def multi_label(self) -> Tensor:
        """(m,) int64 index of the images with at least two labels."""
        return multi_label(self.labels)

    def subset(self, index: Tensor | Sequence[int], name: str | None = None) -> "MultiLabelData":
        """The images of an int64 index or a bool mask (N,), in that order."""
        index = torch.as_tensor(index)
        index = torch.arange(len(self))[index if index.dtype == torch.bool else index.long()]
        files = tuple(self.files[i] for i in index.tolist())
        return replace(self, name=name or self.name, files=files, labels=self.labels[index], unlabelled=0, bare=())


# --- what every reader needs ---------------------------------------------------------------------------------------


def labelled(name: str, classes: Sequence[str], groups: Sequence[str], files: Sequence[Path], labels) -> MultiLabelData:
    """A data set of those images that have a label; the others are counted in `unlabelled`. labels: (N, K) bool."""
    for one in classes:
        refuse_half_characters(one, f"{name}: class")
    labels = check_labels(torch.as_tensor(labels), f"labels of {name}")
    keep = labels.any(1)
    parts: dict[bool, list[Path]] = {True: [], False: []}
    for file, kept in zip(files, keep.tolist(), strict=True):
        parts[kept].append(file)
    kept, bare = tuple(parts[True]), tuple(parts[False])
    return MultiLabelData(name, tuple(classes), tuple(groups), kept, labels[keep], len(bare), bare)


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
        raise ValueError(f"{where}: image {name!r} lies outside of {folder}; use paths below it, or pass images=FOLDER")
    refuse_half_characters(name, f"{where}: image")
    refuse_long(path, where)
    return Path(path)


def refuse_half_characters(name: str, what: str) -> None:
    """Raise ValueError for half a surrogate pair: JSON can escape one, no file can be written with it."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {name!r} holds half a character ({error.reason}); write its name anew") from error


def refuse_long(path: str, where: str) -> None:
    """Raise ValueError for a path, or a part of one, that is longer than the system can open."""
    if len(os.fsencode(path)) <= SHORT:
        return
    try:
        os.lstat(path)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            longest = max(map(len, map(os.fsencode, path.split(os.sep))))
            raise ValueError(
                f"{where}: the image path {path[-60:]!r} (its end) is longer than the system allows, {len(path):,} "
                f"characters in all and up to {longest:,} bytes between two slashes; shorten it and rename the file"
            ) from error


def one_split(path: Path, split: str) -> None:
    """Raise ValueError if the test part of a single file is asked for: it must not pass for its own test set."""
    if split != "train":
        raise ValueError(
            f"{path} is a single file and has no test part; load the test file by its own path, or use a folder with "
            "train.csv and test.csv or with annotations/instances_train.json and instances_val.json"
        )


# --- the paper's protocol ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Indices (int64, sorted) into the training data, pairwise disjoint (arXiv 2108.02032, Sec. 4.1).

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

    gold_fraction      : gold are floor(fraction * n) of the n images with at least two labels, drawn uniformly;
                         a smaller fraction gives a subset of a larger one's
    gold_holdout       : share of the gold images that is held out of them, rounded up; one always stays
    single_label_limit : at most so many single-label images a class, drawn uniformly; None takes all; a lower limit
                         gives a subset of a higher one's

    The same seed gives the same split in any process. A class without gold or single-label images is no error.
    Raises ValueError for a parameter out of range, and where no gold or no silver image is left.
    """
    labels = check_labels(labels)
    if not 0 < gold_fraction < 1:
        raise ValueError(f"gold_fraction must be above 0 and below 1, got {gold_fraction}")
    if not 0 <= gold_holdout < 1:
        raise ValueError(f"gold_holdout must be at least 0 and below 1, got {gold_holdout}")
    if single_label_limit is not None and single_label_limit < 0:
        raise ValueError(f"single_label_limit must be None (all) or at least 0, got {single_label_limit}")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
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
    return Split(gold, held, silver, _single(labels, single_label_limit, seed))


def _single(labels: Tensor, limit: int | None, seed: int) -> Tensor:
    """(m,) sorted index of the images with exactly one label, at most ``limit`` of each class."""
    single = (labels.sum(1) == 1).nonzero().flatten()
    single = single[_permutation(len(single), seed, 1)]
    classes = labels[single].byte().argmax(1)
    return torch.cat([single[classes == k][:limit] for k in range(labels.shape[1])]).sort().values


def _permutation(number: int, seed: int, stream: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng([seed, stream]).permutation(number))


# --- loading -------------------------------------------------------------------------------------------------------


def load(source: str | Path, split: str = "train", **options) -> MultiLabelData:
    """Load a data set by name or path.

    source : "pictograms", "pictograms-tiny" (a few of them, small), "coco2014" or "voc2007"; or the path of a folder
             in COCO layout, of one with train.csv and test.csv, of one with a folder for each class (and tags.csv), or
             of one saved by Hugging Face's `datasets`; of one COCO JSON, or of one CSV. Relative paths start at the
             working directory.
    split  : "train" or "test"; a single file has only "train", so that it cannot pass for its own test set
    options: see the function of that source in `galc.data.readers`, e.g. ``images=`` for files

    Classes are in the order of their category id (COCO), of the alphabet (VOC, CSV of names) or of the columns (CSV of
    0 and 1). Images without a label are left out and counted. Raises ValueError or FileNotFoundError that name the
    file, row or class at fault and the mend; every image file exists when this returns.
    """
    from galc.data import readers  # readers build MultiLabelData

    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    reader, arguments = readers.find(source)
    known = set(inspect.signature(reader).parameters) - {"split", *arguments}
    if unknown := set(options) - known:
        raise ValueError(
            f"{source} has no option {', '.join(sorted(unknown))}; it has: {', '.join(sorted(known)) or 'none'}"
        )
    data = reader(**arguments, split=split, **options)
    check(data)
    return data


def check(data: MultiLabelData) -> None:
    """Raise FileNotFoundError, naming up to ten of them, if image files are missing. Does not decode them."""
    missing = [file for file in data.files if not file.is_file()]
    if missing:
        names = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise FileNotFoundError(
            f"{data.name}: {len(missing):,} of {len(data):,} image files are missing: {names}; "
            "put them back, point to the right image folder, or take them out of the annotations"
        )


def check_pair(train: MultiLabelData, test: MultiLabelData) -> None:
    """Raise ValueError unless two data sets have the same classes in the same order and share no image file."""
    if train.classes != test.classes:
        other = sorted(set(train.classes) ^ set(test.classes)) or ["the order"]
        raise ValueError(f"{train.name} and {test.name} differ in their classes: {', '.join(other[:10])}")
    if common := set(train.files) & set(test.files):
        raise ValueError(f"{train.name} and {test.name} share {len(common)} images, e.g. {min(common)}")
