"""Data sets by name or path: which format a source has, and how it is read and written back."""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from galc import store
from galc.data import class_folders, coco, csv, hugging_face, voc
from galc.data.dataset import Dataset, shorten
from galc.data.download import data_folder


def load(source: str | Path, split: str = "train", **options) -> Dataset:
    """Load a data set by name or path.

    source : "pictograms", "pictograms-tiny" (a few of them, small), "coco2014" or "voc2007"; or the path of a folder
             in COCO layout, of one with train.csv and test.csv, of one with a folder for each class (and tags.csv), or
             of one saved by Hugging Face's `datasets`; of one COCO JSON, or of one CSV. Relative paths start at the
             working directory.
    split  : "train" or "test"; a single file has only "train", so that it cannot pass for its own test set
    options: ``images=``, the folder that the file names of a file start at, ``root=`` of coco2014 and voc2007, and
             those of ``read`` in the module of the format

    Classes are in the order of their category id (COCO), of the alphabet (VOC, names in a CSV, folders) or of the
    columns (CSV of 0 and 1). Images without a label stay; those with one exist when this returns. What was left out
    stands in ``notes``. Raises ValueError or FileNotFoundError that name the file, row or class at fault and the mend.

    >>> from galc import load_data
    >>> data = load_data("pictograms-tiny")
    >>> data.labels.dtype, data.labels.shape == (len(data.files), len(data.classes))
    (torch.bool, True)
    """
    found = find(source, split, **options)
    data = found.format.read(found.path, found.images, found.name, **found.options)
    data = replace(data, source=str(source) if source in NAMED else str(store.typed(source)))
    some = data.labelled()
    if missing := [file for file in some.files if not file.is_file()]:
        raise FileNotFoundError(
            f"{data.name}: {len(missing):,} of {len(some):,} image files are missing: {shorten(missing)}; "
            "put them back, point to the right image folder, or take them out of the annotations"
        )
    return data


def write_like(
    source: str | Path,
    wanted: Mapping[Path, Sequence[str]],
    classes: Collection[str],
    folder: Path,
    images: str | Path | None = None,
) -> Path:
    """Write labels, ``wanted`` (image file -> names of its classes), to ``folder`` in the format of ``source``.

    All that does not change stays as it was, and so do images that are not ``wanted``. What the format cannot hold goes
    to a CSV. Written whole or not at all; returns the file or folder. ``images`` as it was passed to `load`.
    """
    found = find(source, images=images)
    target = folder / (found.name if found.path.is_dir() else found.path.name)
    return found.format.write(found.path, found.images, wanted, classes, target)


def image_folder(source: str | Path, images: str | Path | None = None) -> Path:
    """The folder that the file names of a source start at."""
    return find(source, images=images).images


class Found(NamedTuple):
    """What a source is: the module of its format, the file or folder with its labels, the folder of its images."""

    format: ModuleType
    path: Path
    images: Path
    name: str
    options: dict = {}  # noqa: RUF012  (of the format's `read`)


def find(source: str | Path, split: str = "train", **options) -> Found:
    """What a source is, and how to read it; options that are None are not given. Raises as `load` does."""
    options = {name: value for name, value in options.items() if value is not None}
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    finder, fixed = NAMED[source] if source in NAMED else _of_path(source)
    own = set(inspect.signature(finder).parameters) - {"split", *fixed}
    found = finder(split=split, **fixed, **{name: value for name, value in options.items() if name in own})
    more = set(inspect.getfullargspec(found.format.read).kwonlyargs)
    if unknown := set(options) - own - more:
        known = ", ".join(sorted(own | more)) or "none"
        raise ValueError(f"{source} has no option {', '.join(sorted(unknown))}; it has: {known}")
    return found._replace(options=found.options | {name: options[name] for name in options.keys() & more})


def _of_path(source: str | Path) -> tuple[Callable[..., Found], dict]:
    path = store.typed(source)
    if path.is_dir():
        return _folder, {"path": path}
    if path.is_file() and path.suffix.lower() in (".json", ".csv"):
        return _file, {"path": path}
    raise FileNotFoundError(
        f"data {str(source)!r} is neither one of {', '.join(NAMED)} nor a folder, .json or .csv file ({path})"
    )


# --- single files and folders --------------------------------------------------------------------------------------


def _file(split: str, path: Path, images: str | Path | None = None) -> Found:
    """One COCO JSON or one CSV; ``images``: by default as in the COCO layout, or beside the CSV."""
    _one_split(path, split)
    if images is not None and not store.typed(images).is_dir():
        raise FileNotFoundError(f"the folder of images {images} is no folder ({store.typed(images)})")
    if path.suffix.lower() == ".csv":
        return Found(csv, path, store.typed(images) if images else path.parent, path.stem)
    return Found(coco, path, store.typed(images) if images else coco.image_folder(path), path.stem)


def _folder(split: str, path: Path) -> Found:
    if hugging_face.is_saved(path):
        return Found(hugging_face, hugging_face.part_folder(path, split), path, path.name)
    laid_out = (path / "annotations").is_dir() or (path / "train.csv").is_file()
    if laid_out or not class_folders.has_images(path):
        return _laid_out(path, split, f"{path.name}/{split}")
    _one_split(path, split)
    return Found(class_folders, path, path, path.name)


def _laid_out(root: Path, split: str, name: str) -> Found:
    """A folder in COCO layout (annotations/instances_train*.json, instances_val*.json or instances_test*.json, images
    in images/PART, PART or images/), or one with train.csv and test.csv (images beside them, or in images/)."""
    if not (root / "train.csv").is_file():
        file = _annotation_file(root, split)
        return Found(coco, file, coco.image_folder(file), name)
    images = root / "images" if (root / "images").is_dir() else root
    if split == "train":
        return Found(csv, root / "train.csv", images, name)
    # The training file fixes the classes and their order.
    return Found(csv, root / "test.csv", images, name, {"classes": csv.read(root / "train.csv", images, name).classes})


def _annotation_file(root: Path, split: str) -> Path:
    """The COCO JSON of a split in a folder in COCO layout. Raises FileNotFoundError unless there is exactly one."""
    patterns = {"train": ["train"], "test": ["val", "test"]}[split]
    found = [file for p in patterns for file in sorted((root / "annotations").glob(f"instances_{p}*.json"))]
    if len(found) != 1:
        wanted = " or ".join(f"annotations/instances_{p}*.json" for p in patterns)
        got = ", ".join(file.name for file in found) or "none"
        raise FileNotFoundError(
            f"{root} must hold one {wanted} (found: {got}), a train.csv, or a folder for each class; or pass the path "
            "of one COCO JSON or CSV"
        )
    return found[0]


def _one_split(path: Path, split: str) -> None:
    """Raise ValueError if the test part of a single file is asked for: it must not pass for its own test set."""
    if split != "train":
        raise ValueError(
            f"{path} is a single file and has no test part; load the test file by its own path, or use a folder with "
            "train.csv and test.csv or with annotations/instances_train.json and instances_val.json"
        )


# --- named data sets -----------------------------------------------------------------------------------------------


def _pictograms(split: str, train: int = 4000, test: int = 1000, size: int = 160, seed: int = 0) -> Found:
    """The embedded data set, rendered at the first call: ``train`` + ``test`` images of ``size`` pixels."""
    from galc.data.pictograms import render  # draws: needs packages that reading does not

    root = store.outputs() / "data" / f"pictograms-{train}-{test}-{size}-{seed}"
    render(root=root, train=train, test=test, size=size, seed=seed)
    return _laid_out(root, split, f"pictograms/{split}")


def _coco2014(split: str, root: str | Path | None = None) -> Found:
    """COCO 2014 in its official layout: train2014/, val2014/, annotations/. The test split is val2014.

    82,081 and 40,137 of its images have a label.
    """
    root = store.typed(root) if root else data_folder("coco2014")
    part = {"train": "train2014", "test": "val2014"}[split]
    file = root / "annotations" / f"instances_{part}.json"
    for path in (file, root / part):
        if not path.exists():
            raise FileNotFoundError(f"coco2014: {path} is missing; fetch it with: galc download coco2014 --root {root}")
    return Found(coco, file, root / part, f"coco2014/{split}")


def _voc2007(split: str, root: str | Path | None = None) -> Found:
    """Pascal VOC 2007; train is trainval, test is test."""
    base = (store.typed(root) if root else data_folder("voc2007")) / "VOCdevkit" / "VOC2007"
    part = {"train": "trainval", "test": "test"}[split]
    return Found(voc, base / "ImageSets" / "Main" / f"{part}.txt", base / "JPEGImages", f"voc2007/{split}")


NAMED: dict[str | Path, tuple[Callable[..., Found], dict]] = {  # they go before paths
    "pictograms": (_pictograms, {}),
    "pictograms-tiny": (_pictograms, {"train": 240, "test": 120, "size": 64}),  # to try things out, and for tests
    "coco2014": (_coco2014, {}),
    "voc2007": (_voc2007, {}),
}
