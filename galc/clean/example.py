"""Somebody's noisy data to try the tool on: an embedded data set as a COCO file with labels turned into others.

Its layout is a user's own: annotations/instances_train.json, images/train/, and trusted.txt, the images whose labels
were left as they are. truth.json holds what the labels were; the tool does not read it.
"""

import json
import shutil
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from galc import store
from galc.clean import Cleaned
from galc.data import coco
from galc.data.class_folders import link
from galc.data.load import load
from galc.noise import kinds
from galc.results.groups import Finding, percent

NAMES = ("pictograms", "pictograms-tiny")
NOISE, KIND, TRUSTED, SEED = 0.2, "class-dependent", 0.1, 0  # shares: of labels turned into others, of trusted images


class Places(NamedTuple):
    """Where the labels are, the trusted part (None: there is none), and the folder for what is written."""

    data: str
    trusted: str | None
    out: Path


def places(name: str, trusted: str = "", out: str = "") -> Places:
    """The places of a user's data as they are; of an embedded data set those of its noisy copy.

    The copy is made once, in outputs/data, its annotations last and whole; a tenth of its images is trusted unless
    ``trusted`` names others. ``out``: by default outputs/your_data.
    """
    folder = store.typed(out) if out else store.outputs() / "your_data"
    if name not in NAMES:
        return Places(name, trusted or None, folder)
    copy = noisy_copy(name)
    return Places(str(copy), trusted or str(copy.parents[1] / "trusted.txt"), folder)


def noisy_copy(name: str) -> Path:
    """The annotations of a noisy copy of an embedded data set."""
    folder = store.outputs() / "data" / f"{name}-{KIND}-{NOISE:g}-{SEED}"
    with store.locked(folder.with_name(f".{folder.name}.lock")):
        clean = load(name)
        original = clean.files[0].parents[2] / "annotations" / "instances_train.json"
        target = folder / "annotations" / original.name
        made_with = {"copy_of": store.file_digest(original), "noise": NOISE, "kind": KIND, "seed": SEED}
        if target.is_file() and json.loads(target.read_text(encoding="utf-8"))["info"].get("made_with") == made_with:
            return target
        content = json.loads(original.read_text(encoding="utf-8"))
        draw = np.random.default_rng(SEED).permutation(len(clean))
        checked, others = (torch.from_numpy(part) for part in np.split(draw, [round(TRUSTED * len(clean))]))
        request = kinds.Request(clean.labels[others], NOISE, clean.groups, SEED)
        labels = clean.labels.clone()
        labels[others] = kinds.make(KIND, request).inject(clean.labels[others], SEED).noisy
        shutil.copytree(clean.files[0].parent, folder / "images" / "train", copy_function=link, dirs_exist_ok=True)
        names = sorted(clean.files[n].name for n in checked.tolist())
        store.write_text(folder / "trusted.txt", "\n".join(names) + "\n")
        store.write_text(folder / "truth.json", json.dumps(content))
        noisy = corrupted(content, [file.name for file in clean.files], clean.labels, labels)
        noisy["info"]["made_with"] = made_with
        return store.write_text(target, json.dumps(noisy))


def corrupted(content: dict, names: list[str], clean: Tensor, noisy: Tensor) -> dict:
    """A COCO file whose annotations say ``noisy`` (N, K) where they said ``clean``; rows are the images of ``names``.

    An annotation of a lost class is given to a gained one, with its box, as by a mistaken annotator; where none is left
    it is dropped. Gained classes beyond that have the whole image as box.
    """
    ids = np.array(sorted(category["id"] for category in content["categories"]))
    row = {name: n for n, name in enumerate(names)}
    becomes: dict[tuple[int, int], int | None] = {}
    more: list[tuple[dict, int]] = []
    for image in content["images"]:
        n = row[image["file_name"]]
        lost, gained = (ids[part.numpy()].tolist() for part in (clean[n] & ~noisy[n], noisy[n] & ~clean[n]))
        becomes |= {(image["id"], old): new for old, new in zip_longest(lost, gained[: len(lost)])}
        more += [(image, new) for new in gained[len(lost) :]]
    kept = [(a, becomes.get((a["image_id"], a["category_id"]), a["category_id"])) for a in content["annotations"]]
    annotations = [annotation | {"category_id": category} for annotation, category in kept if category is not None]
    first = 1 + max(annotation["id"] for annotation in content["annotations"])
    annotations += [coco.whole_image(id, image, category) for id, (image, category) in enumerate(more, first)]
    return content | {"annotations": annotations}


def judged(cleaned: Cleaned, first: int = 200) -> Finding:
    """How good the ranking truly is, for a copy made here; of other data the truth is not known, and it says so."""
    place = Path(cleaned.source).parent.parent / "truth.json"
    if not place.is_file():
        return Finding(
            "The true labels of these data are not known: a review of a sample tells how good the ranking is."
        )
    truth = coco.read(place, cleaned.files[0].parent, "truth")
    row = {file: n for n, file in enumerate(truth.files)}
    fault = cleaned.labels ^ truth.labels[[row[file] for file in cleaned.files]]
    top = cleaned.suspicious[:first]
    precision = fault.numpy()[top["row"], top["column"]].mean()
    found = {}
    for kind, part in {"wrong": cleaned.labels, "missing": ~cleaned.labels}.items():
        asked = part & ~cleaned.trusted[:, None]
        found[kind] = percent(average_precision_score(fault[asked], cleaned.suspicion[asked]))
    return Finding(
        f"The truth is known here: of the {len(top):,} most suspicious labels {percent(precision)} are at fault. "
        f"Average precision of finding the wrong labels: {found['wrong']}, the missing ones: {found['missing']}."
    )
