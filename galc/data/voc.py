"""Pascal VOC 2007 as its official archives unpack: VOCdevkit/VOC2007/{ImageSets,Annotations,JPEGImages}."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from galc.data import csv
from galc.data.dataset import Dataset, from_names

# The groups of the challenge (Everingham et al. 2010); its 20 classes are used in the order of the alphabet.
GROUPS = {
    "person": ("person",),
    "animal": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "vehicle": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "indoor": ("bottle", "chair", "diningtable", "pottedplant", "sofa", "tvmonitor"),
}
FETCH = "fetch it with: galc download voc2007"


def read(path: Path, _: Path, name: str) -> Dataset:
    """``path`` is the list of a part, ImageSets/Main/PART.txt. Raises ValueError or FileNotFoundError naming the file.

    An object marked difficult makes no label: it counts neither way in the challenge's evaluation.
    """
    base = path.parents[2]
    if not path.is_file():
        raise FileNotFoundError(f"{name}: {path} is missing; {FETCH} --root {base.parents[1]}")
    group = {one: group for group, names in GROUPS.items() for one in names}
    rows = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        file = base / "Annotations" / f"{line.strip()}.xml"
        rows[base / "JPEGImages" / f"{line.strip()}.jpg"] = names = _objects(file)
        if unknown := [one for one in names if one not in group]:
            raise ValueError(f"{file}: unknown class {unknown[0]!r}; the classes are {', '.join(sorted(group))}")
    return from_names(name, rows, sorted(group), groups=tuple(group[one] for one in sorted(group)))


def _objects(file: Path) -> list[str]:
    """The class names of an annotation's objects, those marked difficult left out."""
    try:
        objects = ElementTree.parse(file).iter("object")
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"{file} is no readable XML ({error}); {FETCH}") from error
    return [thing.findtext("name", "") for thing in objects if thing.findtext("difficult", "0").strip() != "1"]


def write(source: Path, _: Path, wanted: Mapping[Path, Sequence[str]], __: object, target: Path) -> Path:
    """labels.csv with whole paths: VOC's files hold boxes, and corrected labels have none."""
    return csv.write_new({str(file): names for file, names in wanted.items()}, target.with_name("labels.csv"))
