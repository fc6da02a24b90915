"""A folder for each class, and further labels of the same images in a ``tags.csv`` beside them."""

import os
from pathlib import Path

import numpy as np

from galc.data.csv import read_csv
from galc.data.dataset import MultiLabelData, labelled, one_split

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
TAGS = "tags.csv"


def has_class_folders(root: Path) -> bool:
    """Whether there is a folder with an image in it."""
    return any(_images(folder) for folder in _folders(root))


def class_folders(root: Path, split: str = "train") -> MultiLabelData:
    """ROOT/CLASS/.../image for each class; ROOT/tags.csv (``image,labels``, paths from ROOT) adds labels to images.

    Links to folders are not followed, files that begin with a dot or are no images do not count. Classes are in the
    order of the alphabet. Raises ValueError naming the row of a tag at fault.
    """
    one_split(root, split)
    found = {folder.name: _images(folder) for folder in _folders(root)}
    pairs = [(file, name) for name, files in found.items() for file in files]
    row = {file: n for n, (file, _) in enumerate(pairs)}
    tags = read_csv(root / TAGS, root, TAGS) if (root / TAGS).is_file() else None
    classes = sorted({name for _, name in pairs} | set(tags.classes if tags else ()))
    column = {name: k for k, name in enumerate(classes)}
    labels = np.zeros((len(pairs), len(classes)), bool)
    labels[np.arange(len(pairs)), [column[name] for _, name in pairs]] = True
    for n, file in enumerate(tags.files if tags else ()):
        if file not in row:
            raise ValueError(
                f"{root / TAGS}: image {str(file)!r} is in no class's folder; put it there, or drop its row"
            )
        labels[row[file], [column[tags.classes[k]] for k in tags.labels[n].nonzero()[:, 0].tolist()]] = True
    return labelled(root.name, classes, [""] * len(classes), [file for file, _ in pairs], labels)


def _folders(root: Path) -> list[Path]:
    return sorted(Path(entry) for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    files = []
    for place, folders, names in os.walk(folder):  # does not follow links to folders, so that no loop is endless
        folders.sort()
        files += [Path(place, name) for name in sorted(names) if not name.startswith(".")]
    return [file for file in files if file.suffix.lower() in SUFFIXES]
