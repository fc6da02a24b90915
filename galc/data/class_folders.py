"""A folder for each class, and further labels of the same images in a ``tags.csv`` beside them."""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from galc import store
from galc.checks import needs
from galc.data import csv
from galc.data.dataset import Dataset, from_names, shorten

TAGS = "tags.csv"
# Names of folders that are no classes: parts of a data set, and what is beside images in the layouts of VOC and YOLO.
PARTS = re.compile(r"(train(val)?|training|val|valid|validation|dev|test|testing|eval)[-_]?\d*", re.IGNORECASE)
LAYOUT = re.compile(
    r"images?|img|imgs|jpegimages|labels?|labels_with_ids|annotations?|imagesets|segmentation(class|object)|masks?",
    re.IGNORECASE,
)


def read(path: Path, _: Path, name: str, *, folders_are_classes: bool = False) -> Dataset:
    """PATH/CLASS/.../image for each class; PATH/tags.csv (`galc.data.csv`, paths from PATH) adds labels to images.

    Every file that Pillow can open by its ending is an image; the notes count the others. Links to folders are not
    followed, and what begins with a dot does not count. Classes are in the order of the alphabet.
    ``folders_are_classes``: also folders that are called like parts of a data set, or like those of other layouts.
    Raises ValueError naming such a folder, or the row of a tag at fault.
    """
    if not folders_are_classes:
        _refuse_layouts(path)
    folders, tags = [folder.name for folder in _folders(path)], path / TAGS
    found = {file: [name] for name in folders for file in _files(path / name)}
    rows = {file: names for file, names in found.items() if _is_image(file)}
    others = Counter(file.suffix.lower() or "without an ending" for file in found.keys() - rows.keys())
    empty = sorted(set(folders) - {names[0] for names in rows.values()})
    if tags.is_file():
        header, lines = csv.table(tags)
        tagged = csv.labels(header, lines, tags, header[1:], folders)
        for file, names in zip(csv.files(lines, path, tags), tagged, strict=True):
            if file not in rows:
                raise ValueError(f"{tags}: image {str(file)!r} is in no class's folder; put it there, or drop its row")
            rows[file] += [one for one in names if one not in rows[file]]
    notes = []
    if others:
        kinds = shorten(f"{ending} ({times:,})" for ending, times in sorted(others.items()))
        notes.append(f"{others.total():,} files are no images and were left out: {kinds}")
    if empty:
        notes.append(f"no image in the folders {shorten(empty)}, so they are no classes")
    return from_names(name, rows, sorted(set().union(*rows.values())), notes=tuple(notes))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in _endings()


@cache
def _endings() -> set[str]:
    """The endings of files that Pillow can open, in lower case."""
    image = needs("PIL.Image", "images")
    kinds = image.registered_extensions()  # also of those that it can only write
    return {ending.lower() for ending, kind in kinds.items() if kind in image.OPEN or kind == "MPO"}  # read as JPEG


def has_images(root: Path) -> bool:
    """Whether there is a folder with an image in it."""
    return any(_is_image(file) for folder in _folders(root) for file in _files(folder))


def _folders(root: Path) -> list[Path]:
    return sorted(Path(entry) for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):  # does not follow links to folders, so that no loop is endless
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place, name) for name in sorted(names) if not name.startswith("."))


def _refuse_layouts(root: Path) -> None:
    """Raise ValueError where folders are called like those of another layout: they would pass for classes."""
    folders = _folders(root)
    found = [one.name for one in folders if PARTS.fullmatch(one.name) or LAYOUT.fullmatch(one.name)]
    if not found:
        return
    inside = [path for place in (root, *folders) for path in sorted(place.glob("*"))]
    tables = [path for path in inside if path.suffix in (".json", ".csv") and path.name != TAGS]
    inner = [root / one for one in found if PARTS.fullmatch(one) and has_images(root / one)]
    if tables:
        mend = f"pass the file that has the labels ({shorten(tables)}), and the folder that its file names start at"
    elif inner:
        mend = f"pass one of its parts, {shorten(inner)}"
    elif any(path.suffix in (".xml", ".txt") for path in inside):
        mend = "write its labels (VOC's .xml, YOLO's .txt) as a COCO JSON or a CSV (image,labels), and pass that file"
    else:
        mend = "pass a COCO JSON or a CSV that says which image has which labels"
    raise ValueError(
        f"{root} holds the folders {shorten(folder.name for folder in folders)}: {shorten(found)} would pass for "
        f"classes, and are none as a rule; {mend}. If they are classes, rename them, or say so "
        "(folders_are_classes=True in Python)"
    )


def write(source: Path, _: Path, wanted: Mapping[Path, Sequence[str]], __: object, target: Path) -> Path:
    """The images in the folder of their first class (their old one, if it is still theirs), others in tags.csv.

    Files are linked, or copied where that is impossible. Images without a class are named in unlabelled.txt.
    """
    tags, bare = {}, []
    with whole_folder(target) as folder:
        for file, names in wanted.items():
            old = file.relative_to(source)
            if not names:
                bare.append(str(old))
                continue
            own, *rest = old.parts
            first = own if own in names else names[0]
            place = Path(first, *(rest if first == own else (own, *rest)))  # two folders may have the same file name
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            link(file, folder / place)
            if others := [name for name in names if name != first]:
                tags[str(place)] = others
        if tags:
            csv.write_new(tags, folder / TAGS)
        if bare:
            store.write_text(folder / "unlabelled.txt", "\n".join(bare) + "\n")
    return target


def link(file: str | Path, target: str | Path) -> None:
    """A second name of the same file where the disk can do that, else a copy; what is there stays."""
    if os.path.exists(target):
        return
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of ``target`` when the block ends without error, and otherwise goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp") as place:
        new = Path(place, "new")
        new.mkdir()
        yield new
        if target.exists():
            os.replace(target, Path(place, "old"))
        os.replace(new, target)
