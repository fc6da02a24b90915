"""COCO JSON (cocodataset.org/#format-data): image-level labels read, and corrected ones written back."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from galc import store
from galc.checks import needs
from galc.data.dataset import ITS_FOLDER, Dataset, from_names, inside, refuse_duplicates

PARTS = {"images": ("id",), "categories": ("id",), "annotations": ("image_id", "category_id")}  # and required fields
LISTED = {"images": "image", "categories": "category"}  # those with ids of their own


def read(path: Path, images: Path, name: str) -> Dataset:
    """A class is present if it has an annotation, crowds included. Classes in ascending category id.

    images: the folder that file names start at. Category names are texts; a category without one is called by its id.
    Raises ValueError naming the annotation, image or category at fault.
    """
    document = _document(path)
    classes = category_names(document)
    files = _files(document, images, path)
    refuse_duplicates(files.values(), f"{path}: image file", "list each image once")
    found: dict = {key: set() for key in files}
    for n, one in enumerate(document["annotations"]):
        image, category = one["image_id"], one["category_id"]
        if not _among(image, files) or not _among(category, classes):
            what = f"category {category!r}" if _among(image, files) else f"image {image!r}"
            raise ValueError(
                f"{path}: annotation {one.get('id', n)} is of the unknown {what}; list it, or remove the annotation"
            )
        found[image].add(classes[category])
    groups = {one["id"]: one.get("supercategory") or "" for one in document["categories"]}
    rows = {files[key]: names for key, names in found.items()}
    return from_names(name, rows, list(classes.values()), groups=tuple(str(groups[key]) for key in classes))


def category_names(document: dict) -> dict:
    """Category id -> name as text, in ascending id."""
    named = {one["id"]: one.get("name") for one in document["categories"]}
    return {key: str(key if named[key] in (None, "") else named[key]) for key in sorted(named)}


def _among(key: object, known: dict) -> bool:
    return isinstance(key, int | float | str) and key in known


def _files(document: dict, images: Path, path: Path) -> dict:
    """Image id -> file."""
    return {one["id"]: inside(images, one.get("file_name"), f"{path}, image {one['id']}") for one in document["images"]}


def _document(path: Path) -> dict:
    """The content of a file, checked to have the layout."""
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
    for part, one in LISTED.items():
        ids = [row["id"] for row in document[part]]
        if {type(key) for key in ids} not in (set(), {int}, {str}):
            raise ValueError(f"{path}: the ids of {part} must be whole numbers, or all of them texts")
        refuse_duplicates(ids, f"{path}: {one} id", f"give each {one} its own")
    return document


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
    document = _document(source)
    classes = category_names(document)
    files = _files(document, images, source)
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
