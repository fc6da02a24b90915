"""The formats a data set can come in: COCO (through pycocotools), Pascal VOC (through torchvision), CSV, and the
embedded pictograms; folders of classes and saved Arrow tables have modules of their own.

Each function takes ``split`` ("train" or "test") and returns a `galc.data.dataset.MultiLabelData`.
"""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from pycocotools.coco import COCO
from torchvision.datasets import VOCDetection

from galc import store
from galc.data.class_folders import class_folders, has_class_folders
from galc.data.csv import csv_table, read_csv
from galc.data.dataset import MultiLabelData, inside, labelled, one_split, refuse_duplicates
from galc.data.download import data_folder
from galc.data.hugging_face import is_saved, saved_dataset

# The groups of the VOC challenge (Everingham et al. 2010); its 20 classes are used in the order of the alphabet.
VOC_GROUPS = {
    "person": ("person",),
    "animal": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "vehicle": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "indoor": ("bottle", "chair", "diningtable", "pottedplant", "sofa", "tvmonitor"),
}


def find(source: str | Path) -> tuple[Callable[..., MultiLabelData], dict]:
    """The reader of a source and the arguments that the source fixes."""
    named: dict[str, tuple] = {reader.__name__: (reader, {}) for reader in (pictograms, coco2014, voc2007)}
    named["pictograms-tiny"] = pictograms, {"train": 240, "test": 120, "size": 64}  # to try things out, and for tests
    if source in named:
        return named[source]
    path = store.typed(source)
    if path.is_dir():
        if is_saved(path):
            return saved_dataset, {"root": path}
        laid_out = (path / "annotations").is_dir() or (path / "train.csv").is_file()
        return class_folders if not laid_out and has_class_folders(path) else folder, {"root": path}
    if path.is_file() and path.suffix.lower() in (".json", ".csv"):
        return {".json": coco_json, ".csv": csv_table}[path.suffix.lower()], {"path": path}
    raise FileNotFoundError(
        f"data {str(source)!r} is neither one of {', '.join(named)} nor a folder, .json or .csv file ({path})"
    )


# --- named data sets -----------------------------------------------------------------------------------------------


def pictograms(split: str, train: int = 4000, test: int = 1000, size: int = 160, seed: int = 0) -> MultiLabelData:
    """The embedded data set, rendered at the first call: ``train`` + ``test`` images of ``size`` pixels."""
    from galc.data.pictograms import render

    root = store.outputs() / "data" / f"pictograms-{train}-{test}-{size}-{seed}"
    return folder(Path(render(root=root, train=train, test=test, size=size, seed=seed)), split, name="pictograms")


def coco2014(split: str, root: str | Path | None = None) -> MultiLabelData:
    """COCO 2014 in its official layout: train2014/, val2014/, annotations/. The test split is val2014.

    82,081 and 40,137 labelled images; crowd annotations count as labels.
    """
    root = store.typed(root) if root else data_folder("coco2014")
    part = {"train": "train2014", "test": "val2014"}[split]
    file = root / "annotations" / f"instances_{part}.json"
    for path in (file, root / part):
        if not path.exists():
            raise FileNotFoundError(f"coco2014: {path} is missing; {_command('coco2014', root)}")
    return read_coco(file, root / part, f"coco2014/{split}")


def voc2007(split: str, root: str | Path | None = None) -> MultiLabelData:
    """Pascal VOC 2007; train is trainval, test is test.

    An object marked difficult makes no label: it counts neither way in the challenge's evaluation.
    """
    root = store.typed(root) if root else data_folder("voc2007")
    part = {"train": "trainval", "test": "test"}[split]
    try:
        devkit = VOCDetection(root, year="2007", image_set=part)
    except (RuntimeError, FileNotFoundError) as error:
        raise FileNotFoundError(f"voc2007: {part} is not in {root}; {_command('voc2007', root)}") from error
    groups = {name: group for group, names in VOC_GROUPS.items() for name in names}
    classes = sorted(groups)
    labels = np.zeros((len(devkit.images), len(classes)), bool)
    for row, file in enumerate(devkit.annotations):
        for name in _voc_objects(file):
            if name not in groups:
                raise ValueError(f"{file}: unknown class {name!r}; the classes are {', '.join(classes)}")
            labels[row, classes.index(name)] = True
    files = [Path(file) for file in devkit.images]
    return labelled(f"voc2007/{split}", classes, [groups[name] for name in classes], files, labels)


def _voc_objects(file: str) -> list[str]:
    """The class names of an annotation's objects, those marked difficult left out."""
    try:
        objects = ElementTree.parse(file).iter("object")
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"{file} is no readable XML ({error}); {_command('voc2007', 'its folder')}") from error
    return [thing.findtext("name", "") for thing in objects if thing.findtext("difficult", "0").strip() != "1"]


def _command(name: str, root: str | Path) -> str:
    return f"fetch it with: galc download {name} --root {root}"


# --- folders -------------------------------------------------------------------------------------------------------


def folder(root: Path, split: str, name: str | None = None) -> MultiLabelData:
    """A folder in COCO layout (annotations/instances_train*.json, instances_val*.json or instances_test*.json, images
    in images/PART, PART or images/), or one with train.csv and test.csv (images beside them, or in images/)."""
    name = f"{name or root.name}/{split}"
    if (root / "train.csv").is_file():
        images = root / "images" if (root / "images").is_dir() else root
        if split == "train":
            return read_csv(root / "train.csv", images, name)
        # The training file fixes the classes and their order.
        return read_csv(root / "test.csv", images, name, read_csv(root / "train.csv", images, name).classes)
    file = annotation_file(root, split)
    return read_coco(file, find_images(file), name)


def annotation_file(root: Path, split: str) -> Path:
    """The COCO JSON of a split in a folder in COCO layout. Raises FileNotFoundError unless there is exactly one."""
    patterns = {"train": ["train"], "test": ["val", "test"]}[split]
    found = [file for p in patterns for file in sorted((root / "annotations").glob(f"instances_{p}*.json"))]
    if len(found) != 1:
        wanted = " or ".join(f"annotations/instances_{p}*.json" for p in patterns)
        got = ", ".join(file.name for file in found) or "none"
        raise FileNotFoundError(
            f"{root} must hold one {wanted} (found: {got}) or a train.csv; pass the path of one file instead"
        )
    return found[0]


def find_images(annotations: Path) -> Path:
    """The image folder that belongs to ROOT/annotations/instances_PART.json. Raises FileNotFoundError."""
    root = annotations.parent.parent
    part = annotations.stem.removeprefix("instances_")
    bare = part.rstrip("0123456789")
    candidates = [root / "images" / part, root / part, root / "images" / bare, root / bare, root / "images"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = ", ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise FileNotFoundError(f"no image folder for {annotations} (tried {tried}); pass images=FOLDER")


# --- COCO JSON -----------------------------------------------------------------------------------------------------


def coco_json(path: Path, split: str = "train", images: str | Path | None = None) -> MultiLabelData:
    """One COCO JSON; ``images`` is the folder its file names start at (default: as in the COCO layout)."""
    one_split(path, split)
    return read_coco(path, store.typed(images) if images else find_images(path), path.stem)


def read_coco(path: Path, images: Path, name: str) -> MultiLabelData:
    """Image-level labels of a COCO JSON: a class is present if it has an annotation, crowds included.

    Classes in ascending category id. Raises ValueError naming the annotation, image or category at fault.
    """
    coco = _parse_coco(path)
    listed = coco.dataset
    for part in ("images", "categories"):
        if {type(one["id"]) for one in listed[part]} not in (set(), {int}, {str}):
            raise ValueError(f"{path}: the ids of {part} must be whole numbers, or all of them texts")
    refuse_duplicates((image["id"] for image in listed["images"]), f"{path}: image id", "give each image its own")
    refuse_duplicates((c["id"] for c in listed["categories"]), f"{path}: category id", "give each category its own")
    categories = [coco.cats[key] for key in sorted(coco.cats)]
    column = {category["id"]: k for k, category in enumerate(categories)}
    row = {image["id"]: n for n, image in enumerate(listed["images"])}
    labels = np.zeros((len(row), len(column)), bool)
    for annotation in listed["annotations"]:
        image, category = annotation["image_id"], annotation["category_id"]
        if image not in row or category not in column:
            what = f"image {image!r}" if image not in row else f"category {category!r}"
            raise ValueError(
                f"{path}: annotation {annotation['id']} is of the unknown {what}; list it, or remove the annotation"
            )
        labels[row[image], column[category]] = True
    files = [inside(images, image.get("file_name"), f"{path}, image {image['id']}") for image in listed["images"]]
    refuse_duplicates(files, f"{path}: image file", "list each image once")
    groups = [category.get("supercategory") or "" for category in categories]
    return labelled(name, [str(category.get("name") or "") for category in categories], groups, files, labels)


def _parse_coco(path: Path) -> COCO:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
        missing = [part for part in ("images", "annotations", "categories") if part not in coco.dataset]
        if not missing:
            return coco
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}); write or fetch it again") from error
    except KeyError as error:
        raise ValueError(f"{path}: an image, annotation or category lacks its field {error}; add it") from error
    except (AssertionError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not in COCO layout ({error}); see cocodataset.org/#format-data") from error
    raise ValueError(f"{path} is not in COCO layout: it has no {' and no '.join(missing)}")
