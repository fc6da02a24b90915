"""Labels written back in the format that they came in; all that does not change stays as it was.

Each writer takes the source as it was read, ``wanted`` (image file -> names of its classes) and where to write, and
writes whole or not at all. Images that the source has and ``wanted`` has not stay as they are.
"""

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
from PIL import Image

from galc import store
from galc.data import dataset as data
from galc.data import hugging_face as saved_reader
from galc.data import readers
from galc.data.class_folders import TAGS

Wanted = dict[Path, list[str]]
BOM = b"\xef\xbb\xbf"


def write_like(
    source: str | Path, wanted: Wanted, classes: Collection[str], folder: Path, images: str | Path | None = None
) -> Path:
    """Write labels to ``folder`` as ``source`` has them; returns the file or folder that was written.

    COCO JSON, CSV (both kinds), a folder for each class, a saved data set. Others (VOC) become a CSV. ``images`` is
    the folder that was passed to the reader.
    """
    reader, arguments = readers.find(source)
    root = arguments.get("root") or arguments.get("path")
    if reader is readers.saved_dataset:
        return write_saved(Path(root), wanted, folder / Path(root).name)
    if reader is readers.class_folders:
        return write_class_folders(Path(root), wanted, folder / Path(root).name)
    file, images = source_file(source, images)
    if file is None:
        return write_new_csv(wanted, folder / "labels.csv")
    if file.suffix.lower() == ".json":
        return write_coco(file, images, wanted, folder / file.name)
    return write_csv(file, images, wanted, classes, folder / file.name)


def source_file(source: str | Path, images: str | Path | None = None) -> tuple[Path | None, Path]:
    """The COCO JSON or CSV that a source was read from, and the folder of its images; None for another format."""
    reader, arguments = readers.find(source)
    if reader is readers.pictograms:
        file = data.load(source).files[0]  # renders it, if it has to be
        file = readers.annotation_file(file.parents[2], "train")
        return file, readers.find_images(file)
    if reader is readers.coco2014:
        root = readers.data_folder("coco2014")
        return root / "annotations" / "instances_train2014.json", root / "train2014"
    if reader is readers.folder:
        root = arguments["root"]
        if (root / "train.csv").is_file():
            return root / "train.csv", root / "images" if (root / "images").is_dir() else root
        file = readers.annotation_file(root, "train")
        return file, readers.find_images(file)
    if "path" not in arguments:
        return None, Path()
    file = arguments["path"]
    if images is not None:
        return file, store.typed(images)
    return file, readers.find_images(file) if file.suffix.lower() == ".json" else file.parent


def image_folder(source: str | Path, images: str | Path | None = None) -> Path | None:
    """The folder that the file names of a source start at; None where it has none of its own."""
    _, arguments = readers.find(source)
    file, folder = source_file(source, images)
    return folder if file else arguments.get("root")


# --- COCO JSON -----------------------------------------------------------------------------------------------------


def write_coco(source: Path, images: Path, wanted: Wanted, target: Path) -> Path:
    """Annotations of classes that an image has not go; a class without one gets one that covers the whole image."""
    document = json.loads(source.read_text(encoding="utf-8"))
    category = {one["name"]: one["id"] for one in document["categories"]}
    name = {key: name for name, key in category.items()}
    labels = {}
    for image in document["images"]:
        file = data.inside(images, image["file_name"], f"{source}, image {image['id']}")
        if file in wanted:
            labels[image["id"]] = set(wanted[file])
    kept, seen = [], {key: set() for key in labels}
    for one in document["annotations"]:
        image = one["image_id"]
        if image not in labels or name[one["category_id"]] in labels[image]:
            kept.append(one)
            seen.get(image, set()).add(name[one["category_id"]])
    number = max((one["id"] for one in document["annotations"] if isinstance(one.get("id"), int)), default=0)
    for image in document["images"]:
        for added in sorted(labels.get(image["id"], set()) - seen.get(image["id"], set()), key=list(category).index):
            number += 1
            kept.append(_whole_image(number, image, category[added], images))
    document["annotations"] = kept
    return store.write_text(target, json.dumps(document))


def _whole_image(number: int, image: dict, category: int, images: Path) -> dict:
    width, height = image.get("width"), image.get("height")
    if not width or not height:
        with Image.open(images / image["file_name"]) as opened:
            width, height = opened.size
    box = {"bbox": [0, 0, width, height], "area": width * height, "segmentation": [], "iscrowd": 0}
    return {"id": number, "image_id": image["id"], "category_id": category} | box


# --- CSV -----------------------------------------------------------------------------------------------------------


def write_csv(source: Path, images: Path, wanted: Wanted, classes: Collection[str], target: Path) -> Path:
    """Columns, their order, line ends and rows that do not change stay as they are, byte for byte."""
    content = source.read_bytes()
    rows = _raw_rows(content.removeprefix(BOM).decode("utf-8"))
    out, header = [], None
    for raw, cells in rows:
        if header is None and any(cells):
            header = [cell.strip() for cell in cells]
            out.append(raw)
            continue
        file = data.inside(images, cells[0], str(source)) if header and any(cells) else None
        changed = cells if file is None or file not in wanted else _changed(header, cells, wanted[file], classes)
        out.append(raw if changed == cells else _line(changed, raw))
    with store.atomic(target) as temporary:
        temporary.write_bytes((BOM if content.startswith(BOM) else b"") + "".join(out).encode("utf-8"))
    return target


def _raw_rows(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each row as it stands in the file, which may be several lines, and its cells."""
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            taken.append(line)
            yield line

    for cells in csv.reader(lines()):
        yield "".join(taken), cells
        taken.clear()


def _changed(header: list[str], cells: list[str], names: list[str], classes: Collection[str]) -> list[str]:
    """The cells with the labels that are wanted; the old order first, new ones behind."""
    cells, wanted = list(cells), set(names)
    if not set(classes) <= set(header):  # one column of names, not one for each class
        place = header.index("labels")
        old = [name.strip() for name in cells[place].split("|") if name.strip()]
        if set(old) != wanted:
            cells[place] = "|".join([name for name in old if name in wanted] + [n for n in names if n not in old])
        return cells
    for place, name in enumerate(header):
        if place and name in classes and cells[place].strip() != str(int(name in wanted)):
            cells[place] = str(int(name in wanted))
    return cells


def _line(cells: list[str], raw: str) -> str:
    end = raw[len(raw.rstrip("\r\n")) :]
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerow(cells)
    return out.getvalue()


def write_new_csv(wanted: Wanted, target: Path) -> Path:
    """``image,labels`` with whole paths."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["image", "labels"])
    rows.writerows([str(file), "|".join(names)] for file, names in wanted.items())
    return store.write_text(target, out.getvalue())


# --- folders -------------------------------------------------------------------------------------------------------


def write_class_folders(source: Path, wanted: Wanted, target: Path) -> Path:
    """The images in the folder of their first class (their old one, if it is still theirs), others in tags.csv.

    Files are linked, or copied where that is impossible. Images without a class are named in unlabelled.txt.
    """
    tags, bare = io.StringIO(), []
    rows = csv.writer(tags, lineterminator="\n")
    rows.writerow(["image", "labels"])
    with _whole_folder(target) as folder:
        for file, names in wanted.items():
            own, *rest = file.relative_to(source).parts
            if not names:
                bare.append(str(file.relative_to(source)))
                continue
            first = own if own in names else names[0]
            place = Path(first, *(rest if first == own else (own, *rest)))  # two folders may have the same file name
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            _link(file, folder / place)
            if others := [name for name in names if name != first]:
                rows.writerow([str(place), "|".join(others)])
        store.write_text(folder / TAGS, tags.getvalue())
        if bare:
            store.write_text(folder / "unlabelled.txt", "\n".join(bare) + "\n")
    return target


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copy2(file, target)


class _whole_folder:
    """A new folder that takes its place when the block ends without error, and otherwise goes."""

    def __init__(self, target: Path):
        self.target = target

    def __enter__(self) -> Path:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(dir=self.target.parent, prefix=f".{self.target.name}."))
        os.chmod(self.folder, 0o755)
        return self.folder

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            if self.target.exists():
                old = self.folder.with_suffix(".old")
                os.replace(self.target, old)
                os.replace(self.folder, self.target)
                shutil.rmtree(old)
            else:
                os.replace(self.folder, self.target)
        shutil.rmtree(self.folder, ignore_errors=True)


def write_saved(source: Path, wanted: Wanted, target: Path) -> Path:
    """Arrow files with the column of labels anew, all other columns, types and files as they were."""
    part = saved_reader.part_folder(source, "train")
    _, features = saved_reader.read(part)
    column = saved_reader.label_column(features, None, part)
    order, names, row = saved_reader.files_of(part), saved_reader.class_names(features[column]), 0
    with _whole_folder(target) as folder:
        shutil.copytree(part, folder, dirs_exist_ok=True)
        for file in saved_reader.arrow_files(part):
            table = saved_reader.read_file(file)
            values = table[column].to_pylist()
            for n, old in enumerate(values):
                values[n] = _as_saved(old, wanted.get(order[row]), names, features[column])
                row += 1
            place = table.schema.get_field_index(column)
            table = table.set_column(
                place, table.schema.field(column), pa.array(values, table.schema.field(column).type)
            )
            with pa.OSFile(str(folder / file.name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        state = json.loads((part / saved_reader.STATE).read_text(encoding="utf-8"))
        marks = [store.file_digest(folder / file.name) for file in saved_reader.arrow_files(part)]
        store.write_json(folder / saved_reader.STATE, state | {"_fingerprint": store.digest(marks)[:16]})
    return target


def _as_saved(old, labels: list[str] | None, names: list[str] | None, feature):
    """The labels of a row as its column has them; ``labels`` None: as they are."""
    if labels is None:
        return old
    had = [] if old is None else old if isinstance(old, list) else [old]
    known = [names[value] for value in had] if names else [str(value) for value in had]
    if set(known) == set(labels):
        return old
    ordered = [name for name in known if name in labels] + [name for name in labels if name not in known]
    values = [names.index(name) for name in ordered] if names else ordered
    if saved_reader.inner(feature) is not None:
        return values
    if len(values) > 1:
        raise ValueError(f"a column of single labels cannot hold {ordered}; use a column of lists, or export as CSV")
    return values[0] if values else None
