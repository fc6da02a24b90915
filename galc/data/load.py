"""Data sets by name or path: which format a source has, how it is read and written back; and their trusted images."""

import inspect
from collections import defaultdict
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
    some = data.labelled()
    if missing := [file for file in some.files if not file.is_file()]:
        raise FileNotFoundError(
            f"{data.name}: {len(missing):,} of {len(some):,} image files are missing: {shorten(missing)}; "
            "put them back, point to the right image folder, or take them out of the annotations"
        )
    return replace(data, source=str(source) if source in NAMED else str(store.typed(source)))


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
    path = store.typed(source)
    if source in NAMED:
        finder, fixed = NAMED[source]
    elif path.is_dir():
        finder, fixed = _folder, {"path": path}
    elif path.is_file() and path.suffix.lower() in (".json", ".csv"):
        finder, fixed = _file, {"path": path}
    else:
        raise FileNotFoundError(
            f"data {str(source)!r} is neither one of {', '.join(NAMED)} nor a folder, .json or .csv file ({path})"
        )
    own = set(inspect.signature(finder).parameters) - {"split", *fixed}
    found = finder(split=split, **fixed, **{name: value for name, value in options.items() if name in own})
    more = set(inspect.getfullargspec(found.format.read).kwonlyargs)
    if unknown := set(options) - own - more:
        known = ", ".join(sorted(own | more)) or "none"
        raise ValueError(f"{source} has no option {', '.join(sorted(unknown))}; it has: {known}")
    return found._replace(options=found.options | {name: options[name] for name in options.keys() & more})


def _file(split: str, path: Path, images: str | Path | None = None) -> Found:
    """One COCO JSON or one CSV; ``images``: by default as in the COCO layout, or beside the CSV."""
    _one_split(path, split)
    folder = images and store.typed(images)
    if folder and not folder.is_dir():
        raise FileNotFoundError(f"the folder of images {images} is no folder ({folder})")
    if path.suffix.lower() == ".csv":
        return Found(csv, path, folder or path.parent, path.stem)
    return Found(coco, path, folder or coco.image_folder(path), path.stem)


def _one_split(path: Path, split: str) -> None:
    if split != "train":
        raise ValueError(
            f"{path} is a single file and has no test part; load the test file by its own path, or use a folder with "
            "train.csv and test.csv or with annotations/instances_train.json and instances_val.json"
        )


def _folder(split: str, path: Path) -> Found:
    if hugging_face.is_saved(path):
        return Found(hugging_face, hugging_face.part_folder(path, split), path, path.name)
    laid_out = (path / "annotations").is_dir() or (path / "train.csv").is_file()
    if laid_out or not class_folders.has_images(path):
        return _laid_out(path, split, f"{path.name}/{split}")
    _one_split(path, split)
    return Found(class_folders, path, path, path.name)


def _laid_out(root: Path, split: str, name: str) -> Found:
    """A folder with train.csv and test.csv (images beside them, or in images/), or one in COCO layout: one file
    annotations/instances_PART*.json, PART train, val or test; images in images/PART, PART or images/."""
    if (root / "train.csv").is_file():
        images = root / "images" if (root / "images").is_dir() else root
        # The training file fixes the classes and their order.
        fixed = {"classes": csv.read(root / "train.csv", images, name).classes} if split == "test" else {}
        return Found(csv, root / f"{split}.csv", images, name, fixed)
    wanted = [f"annotations/instances_{part}*.json" for part in {"train": ["train"], "test": ["val", "test"]}[split]]
    found = [file for pattern in wanted for file in sorted(root.glob(pattern))]
    if len(found) != 1:
        raise FileNotFoundError(
            f"{root} must hold one {' or '.join(wanted)} (found: {', '.join(file.name for file in found) or 'none'}), "
            "a train.csv, or a folder for each class; or pass the path of one COCO JSON or CSV"
        )
    return Found(coco, found[0], coco.image_folder(found[0]), name)


# --- named data sets -----------------------------------------------------------------------------------------------


def _pictograms(split: str, train: int = 4000, test: int = 1000, size: int = 160, seed: int = 0) -> Found:
    """The embedded data set, rendered at the first call: ``train`` + ``test`` images of ``size`` pixels."""
    from galc.data.pictograms import render  # draws: needs packages that reading does not

    root = store.outputs() / "data" / f"pictograms-{train}-{test}-{size}-{seed}"
    return _laid_out(render(root, train, test, size, seed), split, f"pictograms/{split}")


def _coco2014(split: str, root: str | Path | None = None) -> Found:
    """COCO 2014 in its official layout. The test split is val2014; 82,081 and 40,137 of the images have a label."""
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


# --- trusted images ------------------------------------------------------------------------------------------------


def with_trusted(data: Dataset, trusted: str | Path | None, images: str | Path | None = None) -> Dataset:
    """``data`` with its trusted images marked.

    trusted : a .txt with one image a line; a .json or .csv with images and their true labels, which take the place of
              the given ones; a .csv whose only column is "image"; or None. (For a column of the data's own CSV see
              `galc.data.csv.read`.) Images are named by their path, its last parts, or a file name that is unique.
    images  : folder that the file names of a second annotation file start at: that of the data (None: as in `load`)

    Raises ValueError or FileNotFoundError naming file, image or class at fault and the mend; also for an annotation
    file that lacks a class of the data: its images would pass for checked to be without it.
    """
    if trusted is None:
        return data
    path, labels = store.typed(trusted), data.labels.clone()
    if not path.is_file():
        raise FileNotFoundError(f"the list of trusted images {path} is missing; pass a .txt, .csv or .json file")
    kind = path.suffix.lower()
    if kind not in (".txt", ".csv", ".json"):
        raise ValueError(f"{path}: the trusted images come as .txt (a list), .csv or .json (with their true labels)")
    if kind == ".json" or (names := _listed(path)) is None:
        second = _true_labels(data, path, images)
        known = set(data.files)  # the same images may lie elsewhere
        rows = find_images(data.files, [str(one) if one in known else one.name for one in second.files], str(path))
        if len(set(rows)) < len(second.files):
            raise ValueError(f"{path}: two of its images are called like one of {data.name}; take one out")
        labels[rows] = second.labels[:, [second.classes.index(name) for name in data.classes]]
    else:
        rows = find_images(data.files, names, str(path))
    marked = data.trusted.clone()
    marked[rows] = True
    return replace(data, labels=labels, trusted=marked)


def _listed(path: Path) -> list[str] | None:
    """The images that a list names; None where a CSV has labels, too."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}); save it as UTF-8") from error
    if path.suffix.lower() == ".csv":
        if lines[:1] != ["image"]:
            return None
        lines = [row.cells[0].strip() for row in csv.split_rows("\n".join(lines[1:]), path) if row.cells]
    if not any(lines):
        raise ValueError(f"{path} names no image; write one a line, or leave it out")
    return [name for name in lines if name]


def _true_labels(data: Dataset, path: Path, images: str | Path | None) -> Dataset:
    """A second annotation file, checked to have the classes of ``data``."""
    second = load(path, images=images, classes=data.classes if path.suffix.lower() == ".csv" else None)
    if unknown := sorted(set(second.classes) - set(data.classes)):
        raise ValueError(f"{path}: unknown class {shorten(unknown)}; the data has: {shorten(data.classes)}")
    if lacking := sorted(set(data.classes) - set(second.classes)):
        raise ValueError(
            f"{path} lacks the {len(lacking)} categories {shorten(lacking)} of {data.name}, so all of its images would "
            "count as checked to be without them; add them to its categories if they were looked for, else pass a list "
            "of images whose labels are right as they are"
        )
    return second


def find_images(files: Sequence[Path], names: Sequence[str], where: str) -> list[int]:
    """The rows of images that are named by their path or by its last parts.

    Raises ValueError for a name that fits no image, or more than one.
    """
    known: dict[str, list[int]] = defaultdict(list)
    wanted = {name: Path(name).parts for name in names}
    lengths = {len(parts) for parts in wanted.values()}
    for row, file in enumerate(files):
        for length in lengths:
            known["/".join(file.parts[-length:])].append(row)
    found = {name: known.get("/".join(parts), []) for name, parts in wanted.items()}
    for name, rows in found.items():
        if len(rows) > 1:
            raise ValueError(f"{where}: {name!r} fits {len(rows)} images, e.g. {files[rows[0]]}; give longer paths")
    if unknown := [name for name, rows in found.items() if not rows]:
        raise ValueError(
            f"{where}: {len(unknown)} of {len(wanted)} images are not in the data: {shorten(map(repr, unknown))}; "
            "name them as the data do, or take them out"
        )
    return [row for rows in found.values() for row in rows]
