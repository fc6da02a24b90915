"""COCO JSON (cocodataset.org/#format-data), through pycocotools: labels of images read, and corrected ones written."""

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from galc import store
from galc.checks import needs
from galc.data.dataset import ITS_FOLDER, Dataset, from_names, inside, refuse_duplicates

if TYPE_CHECKING:
    from pycocotools.coco import COCO

PARTS = {"images": ("id",), "categories": ("id",), "annotations": ("image_id", "category_id")}  # and required fields


def read(path: Path, images: Path, name: str) -> Dataset:
    """A class is present if it has an annotation, crowds included. Classes in ascending category id; one without a name
    is called by its id. Raises ValueError naming the annotation, image or category at fault."""
    coco = _index(path)
    files, classes = _files(coco, images, path), category_names(coco.dataset)
    refuse_duplicates(files.values(), f"{path}: image file", "list each image once")
    rows = {file: {classes[one["category_id"]] for one in coco.imgToAnns[key]} for key, file in files.items()}
    groups = tuple(str(coco.cats[key].get("supercategory") or "") for key in classes)
    return from_names(name, rows, list(classes.values()), groups=groups)


def category_names(document: dict) -> dict:
    """Category id -> name as text, in ascending id."""
    named = {one["id"]: one.get("name") for one in document["categories"]}
    return {key: str(key if named[key] in (None, "") else named[key]) for key in sorted(named)}


def _files(coco: "COCO", images: Path, path: Path) -> dict:
    """Image id -> file."""
    return {key: inside(images, one.get("file_name"), f"{path}, image {key}") for key, one in coco.imgs.items()}


def _index(path: Path) -> "COCO":
    """The content of a file, checked to have the layout, as pycocotools indexes it."""
    coco = needs("pycocotools.coco", "images").COCO()
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON ({error}); write or fetch it again") from error
    no_layout = f"{path} is not in COCO layout (cocodataset.org/#format-data)"
    if not isinstance(document, dict):
        raise ValueError(f"{no_layout}: it holds no object with {', '.join(PARTS)}")
    if missing := [part for part in PARTS if part not in document]:
        raise ValueError(f"{no_layout}: it has no {' and no '.join(missing)}")
    for part, fields in PARTS.items():
        rows = document[part]
        if not isinstance(rows, list) or not all(isinstance(one, dict) for one in rows):
            raise ValueError(f"{no_layout}: its {part} are no list of objects")
        for n, one in enumerate(rows):
            if lacking := [name for name in fields if name not in one]:
                raise ValueError(f"{path}: number {n} of its {part} lacks its field {lacking[0]!r}; add it")
    known = {}
    for part, one in (("images", "image"), ("categories", "category")):
        ids = [row["id"] for row in document[part]]
        if {type(key) for key in ids} not in (set(), {int}, {str}):
            raise ValueError(f"{path}: the ids of {part} must be whole numbers, or all of them texts")
        refuse_duplicates(ids, f"{path}: {one} id", f"give each {one} its own")
        known[one] = set(ids)
    for n, row in enumerate(document["annotations"]):
        for one, ids in known.items():
            if not isinstance(key := row[f"{one}_id"], int | float | str) or key not in ids:
                raise ValueError(
                    f"{path}: annotation {row.get('id', n)} is of the unknown {one} {key!r}; list it, or remove the "
                    "annotation"
                )
    # Annotations are found by their image, never by their id: files have them without one, or one twice.
    coco.dataset = document | {"annotations": [row | {"id": n} for n, row in enumerate(document["annotations"])]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    coco.dataset = document
    return coco


def image_folder(annotations: Path) -> Path:
    """The image folder that belongs to ROOT/annotations/instances_PART.json. Raises FileNotFoundError."""
    root = annotations.parent.parent
    part = annotations.stem.removeprefix("instances_")
    bare = part.rstrip("0123456789")
    candidates = [root / "images" / part, root / part, root / "images" / bare, root / bare, root / "images"]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    tried = ", ".join(str(candidate) for candidate in dict.fromkeys(candidates))
    raise FileNotFoundError(f"no image folder for {annotations} (tried {tried}); name {ITS_FOLDER}")


def write(source: Path, images: Path, wanted: Mapping[Path, Sequence[str]], _: object, target: Path) -> Path:
    """``source`` with the labels that are ``wanted``; every other field, and images that are not in it, stay.

    Annotations of classes that an image has not go; a class without one gets one that covers the whole image.
    """
    coco = _index(source)
    document, classes, files = coco.dataset, category_names(coco.dataset), _files(coco, images, source)
    labels = {key: set(wanted[file]) for key, file in files.items() if file in wanted}
    kept, seen = [], {key: set() for key in labels}
    for one in document["annotations"]:
        image, name = one["image_id"], classes[one["category_id"]]
        if image not in labels or name in labels[image]:
            kept.append(one)
            seen.get(image, set()).add(name)
    number = max((one["id"] for one in document["annotations"] if isinstance(one.get("id"), int)), default=0)
    listed = {classes[one["id"]]: one["id"] for one in document["categories"]}
    for image in document["images"]:
        missing = labels.get(image["id"], set()) - seen.get(image["id"], set())
        for name in (name for name in listed if name in missing):
            number += 1
            kept.append(whole_image(number, image, listed[name], files[image["id"]]))
    document["annotations"] = kept
    return store.write_text(target, json.dumps(document))


def whole_image(number: int, image: dict, category: int | str, file: Path | None = None) -> dict:
    """An annotation that covers an image, whose entry in the JSON is ``image``; measured where that gives no size."""
    width, height = image.get("width"), image.get("height")
    if not width or not height:
        with needs("PIL.Image", "images").open(file) as opened:
            width, height = opened.size
    box = {"bbox": [0, 0, width, height], "area": width * height, "segmentation": [], "iscrowd": 0}
    return {"id": number, "image_id": image["id"], "category_id": category} | box
