"""Images: decoded once to a verified uint8 cache, and features of a frozen backbone.

How an image is read, everywhere: turned upright by its EXIF orientation; to RGB (transparency on white, 16-bit grey
scaled to 8 bits, CMYK and palettes by Pillow); squashed to a square by antialiased bilinear resampling, which is what
the authors of ASL do. Decoding and the network run in threads of one core each: both release Python's lock.
"""

import json
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import nn

from galc import store
from galc.checks import needs
from galc.data.backbones import PACKAGED, build_backbone, faster, one_core, weights_digest
from galc.data.dataset import Dataset
from galc.progress import bar

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 4  # images a task; more of them outgrow the memory that a thread keeps between two layers
LARGE = 64  # images a task where they are only decoded
AHEAD = 32  # batches that may wait for the one before them
SYNC = 16  # batches between two points that interrupted decoding goes on from
WEEK = 7 * store.DAY


def pillow() -> ModuleType:
    """Pillow's main module, imported when the first image is read."""
    return needs("PIL.Image", "images")


def read_image(file: Path, size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB; see the module for how. Raises whatever Pillow raises for a file it cannot read."""
    with pillow().open(file) as image:
        needs("PIL.ImageOps", "images").exif_transpose(image, in_place=True)
        image = to_rgb(image)
    if image.size != (size, size):
        image = image.resize((size, size), pillow().Resampling.BILINEAR)
    return np.asarray(image)


def to_rgb(image: "Image") -> "Image":
    """8-bit RGB of an image of any mode. Raises ValueError for floating-point pixels."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip
        return pillow().fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return pillow().alpha_composite(pillow().new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def native_size(data: Dataset, most: int = 224) -> int:
    """The median longer side of the first 100 images in pixels, ``most`` at most."""
    sides = []
    for file in data.files[:100]:
        with _naming(file), pillow().open(file) as image:
            sides.append(max(image.size))
    return min(most, int(np.median(sides)))


def content(data: Dataset, workers: int | None = None) -> str:
    """Identifies the bytes of all image files, in order."""
    with _threads(workers) as pool:
        return store.digest(list(pool.map(store.file_digest, data.files)))


def check_images(data: Dataset, workers: int | None = None) -> None:
    """Decode every file at the least resolution it offers, a fiftieth of the cost of features.

    Raises ValueError naming up to ten unreadable ones.
    """
    needs("PIL.ImageFile", "images").LOAD_TRUNCATED_IMAGES = False  # half an image must not pass for a whole one
    bad = []
    with _threads(workers) as pool:
        for file, error in _ahead(pool, _fault, bar(data.files, desc="checking images", unit="images")):
            bad += [f"{file} ({error})"] if error else []
            if len(bad) == 10:
                break
    if bad:
        raise ValueError(f"{data.name}: unreadable images; fetch them again or take them out: {'; '.join(bad)}")


def _fault(file: Path) -> str | None:
    try:
        with pillow().open(file) as image:
            image.draft("L", (1, 1))
            image.load()
    except Exception as error:  # Pillow raises errors of many kinds for broken files
        return str(error)


def _batches(
    data: Dataset, size: int, what: str, workers: int | None, batch: int, work: Callable = np.asarray, first: int = 0
) -> Iterator[np.ndarray]:
    """work((n, size, size, 3) uint8) for each batch, in order, from image ``first`` on; threads are a few ahead."""

    def task(start: int) -> np.ndarray:
        images = np.empty((min(batch, len(data) - start), size, size, 3), np.uint8)
        for n, file in enumerate(data.files[start : start + batch]):
            with _naming(file):
                images[n] = read_image(file, size)
        return work(images)

    with _threads(workers) as pool, bar(total=len(data), initial=first, desc=what, unit="images") as shown:
        for start, result in _ahead(pool, task, range(first, len(data), batch)):
            yield result
            shown.update(min(batch, len(data) - start))


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(f"{file} is no readable image ({error}); fetch it again or take it out") from error


def _ahead(pool: ThreadPoolExecutor, task: Callable, items: Iterable) -> Iterator[tuple]:
    """(item, task(item)) in order; only a few tasks wait, whatever the number of items."""
    items, waiting = iter(items), deque()
    try:
        while True:
            waiting.extend((item, pool.submit(task, item)) for item in islice(items, AHEAD - len(waiting)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


@contextmanager
def _threads(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    """A pool of ``workers`` threads (default: as many as torch would use), in which torch uses one core each."""
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    number = workers or torch.get_num_threads()
    with one_core(), ThreadPoolExecutor(number, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


# --- the cache of decoded images -----------------------------------------------------------------------------------


def decode(data: Dataset, size: int, workers: int | None = None) -> np.ndarray:
    """All images as (N, 3, size, size) uint8, memory-mapped (copy on write: changes never reach the file).

    Computed once for the content of the files and the size; the checksum that is written last is verified at each call,
    and a broken entry is reported and made again. Decoding that was interrupted goes on where it was. Raises ValueError
    naming up to ten images that cannot be read, before anything is written.
    """
    key = {"images": content(data, workers), "size": size, "version": 1}
    path = store.outputs() / "cache" / "images" / f"{store.digest(key)}.npy"
    with store.locked(path.with_suffix(".lock")):
        if (images := _stored(path)) is not None:
            return images
        check_images(data, workers)
        store.remove_left_over(path.parent, "*.part*", WEEK)
        part, note = path.with_suffix(".part"), path.with_suffix(".part.json")
        try:
            _decode_to(part, note, data, size, workers)
            os.replace(part, path)
            note.unlink(missing_ok=True)
        except Exception:  # a full disk, an image that cannot be read: what is written serves nobody
            for file in (part, note):
                file.unlink(missing_ok=True)
            raise
        store.write_json(path.with_suffix(".json"), {"checksum": store.file_digest(path), "key": key})
        return np.load(path, mmap_mode="c")


def _decode_to(part: Path, note: Path, data: Dataset, size: int, workers: int | None) -> None:
    """Write the images to ``part`` as .npy; ``note`` says how many have reached the disk for certain, and go on there.

    Plain writes in order: on a full disk they raise, where writing through a memory map would kill the process.
    """
    done = 0
    with suppress(OSError, ValueError, KeyError):
        done = json.loads(note.read_text())["images"] if part.exists() else 0
    with open(part, "r+b" if done else "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(data), 3, size, size)}
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(done * 3 * size * size, os.SEEK_CUR)
        file.truncate()
        for batch in _batches(data, size, "decoding", workers, LARGE, first=done):
            file.write(batch.transpose(0, 3, 1, 2).tobytes())
            done += len(batch)
            if done % (SYNC * LARGE) == 0:
                _sync(file)
                store.write_json(note, {"images": done})
        _sync(file)


def _sync(file: BinaryIO) -> None:
    """Return when what was written has reached the disk."""
    file.flush()
    os.fsync(file.fileno())


def _stored(path: Path) -> np.ndarray | None:
    """The entry, or None if there is none or it is broken (with a warning)."""
    if not path.exists():
        return None
    try:
        if json.loads(path.with_suffix(".json").read_text())["checksum"] != store.file_digest(path):
            raise ValueError("checksum differs")
        return np.load(path, mmap_mode="c")
    except (OSError, ValueError, KeyError) as error:
        warnings.warn(f"decoded images {path} are broken ({error}); decoding them again", stacklevel=3)
        return None


# --- features ------------------------------------------------------------------------------------------------------


def features(
    data: Dataset,
    backbone: str = PACKAGED,
    weights: str | Path = "auto",
    size: int | None = None,
    workers: int | None = None,
    mirror: bool = False,
) -> np.ndarray:
    """(N, D) float32 pooled features of a frozen backbone, not standardised; see `galc.data.backbones.build_backbone`.

    size: pixels the images are squashed to; None takes `native_size`. mirror: of the images with left and right
    exchanged. Stored, once for the content of the files and the weights. Computed on a GPU where there is one, else on
    ``workers`` cores. Raises ValueError naming images that are unreadable or have features that are not finite, and
    whatever `build_backbone` raises.
    """
    model, mean, std, dim = build_backbone(backbone, weights)
    size = size or native_size(data)
    if model.pretrained_cfg.get("fixed_input_size") and size != (fixed := model.pretrained_cfg["input_size"][-1]):
        raise ValueError(f"backbone {backbone!r} takes images of {fixed} pixels alone, got size {size}")
    key = {"images": content(data, workers), "backbone": backbone, "weights": weights_digest(model)}
    key |= {"normalization": [mean, std], "size": size, "version": 1} | ({"mirror": True} if mirror else {})

    def compute() -> tuple[dict, dict]:
        check_images(data, workers)
        start = time.perf_counter()
        rows = _extract(data, model, mean, std, size, workers, mirror)
        if rows.shape != (len(data), dim):
            raise ValueError(f"backbone {backbone!r} gives {rows.shape}, expected {(len(data), dim)}; choose another")
        if not (finite := np.isfinite(rows).all(1)).all():
            worst = ", ".join(str(data.files[n]) for n in np.flatnonzero(~finite)[:10])
            raise ValueError(f"features of {worst} are not finite; the weights {weights} of {backbone!r} are faulty")
        return {"features": rows}, {"seconds": time.perf_counter() - start, "name": data.name}

    return store.cached("features", key, compute).arrays["features"]


def _extract(data: Dataset, model: nn.Module, mean, std, size: int, workers: int | None, mirror: bool) -> np.ndarray:
    """(N, D) float32 features, computed batch by batch while the next ones are decoded."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = faster(model, size).to(device)
    mean, scale = (torch.tensor(values, device=device).view(3, 1, 1) * 255 for values in (mean, std))

    @torch.inference_mode()
    def forward(images: np.ndarray) -> np.ndarray:
        # (n, H, W, 3) seen as (n, 3, H, W) is already in channels-last layout.
        batch = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        batch = batch.flip(3) if mirror else batch
        return model(batch.sub_(mean).div_(scale)).float().numpy(force=True)

    if device.type == "cuda":
        return np.concatenate([forward(images) for images in _batches(data, size, "features", workers, LARGE)])
    # glibc stops returning memory to the system after each layer once it has seen a block of nearly 32 MiB freed; the
    # page faults it saves are a quarter of the time. Elsewhere this line does nothing.
    torch.empty(31 << 20, dtype=torch.uint8)
    return np.concatenate(list(_batches(data, size, "features", workers, BATCH, forward)))
