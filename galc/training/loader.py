"""The inputs of a training, batch by batch on its device, whatever memory they lie in.

On a CPU a batch is an index into the inputs. On a GPU the whole data set is copied there once, if it fits, and a batch
is an index again: COCO's 82,081 training images of 224 pixels are 12.4 GB. Else a thread gathers the next batches from
the memory map into pinned memory and sends them on a stream of its own, while the GPU works on those before.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

AHEAD = 3  # batches that are gathered while one is worked on
SHARE = 0.5  # of the free memory that a data set may take: the rest is for the model and what it keeps for gradients
COPIES = 2  # that are kept on the GPU: what a study trains on and what it is tested on
OUT_OF_MEMORY = torch.cuda.OutOfMemoryError

_resident = WeakTensorKeyDictionary()  # inputs -> their copy on the GPU, the one used last at the end


def batches(inputs: Tensor, parts: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """``inputs[part]`` on ``device`` for each of ``parts``, int64 indices on the CPU, in order.

    inputs: (N, ...) on the CPU; may be a memory map, and is never copied whole but to a GPU that has room for it.
    """
    if device.type == "cpu":
        return (inputs[part] for part in parts)
    if (copy := resident(inputs, device)) is not None:
        return (copy[send(part, device)] for part in parts)
    return stream(inputs, parts, device)


def send(values: Tensor, device: torch.device) -> Tensor:
    """Small values of the CPU on the device, without waiting for it."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def resident(inputs: Tensor, device: torch.device) -> Tensor | None:
    """The copy of ``inputs`` on the GPU, made once; None if it does not fit.

    It is kept as long as they are, and as it is one of the `COPIES` that were used last.
    """
    copy = _resident.pop(inputs, None)
    if copy is None:
        while len(_resident) >= COPIES:
            del _resident[next(iter(_resident))]
            torch.cuda.empty_cache()  # or the room would still count as taken
        if not fits(inputs.nbytes, torch.cuda.mem_get_info(device)[0]):
            return None
        copy = inputs.to(device, copy=True)
    _resident[inputs] = copy
    return copy


def fits(size: int, free: int) -> bool:
    """Whether inputs of ``size`` bytes leave enough of ``free`` bytes for the training itself."""
    return size <= SHARE * free


def stream(inputs: Tensor, parts: Sequence[Tensor], device: torch.device, ahead: int = AHEAD) -> Iterator[Tensor]:
    """Batches that a thread gathers and sends ahead, at most ``ahead`` of them."""
    gpu = device.type == "cuda"
    side = torch.cuda.Stream(device) if gpu else None

    def gather(part: Tensor) -> tuple[Tensor, "torch.cuda.Event | None"]:
        host = torch.empty((len(part), *inputs.shape[1:]), dtype=inputs.dtype, pin_memory=gpu)
        torch.index_select(inputs, 0, part, out=host)
        if not gpu:
            return host, None
        with torch.cuda.stream(side):  # torch keeps the pinned memory until the copy is done
            return host.to(device, non_blocking=True), side.record_event()

    with ThreadPoolExecutor(1) as pool:
        waiting: deque = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(gather, part))
                if len(waiting) > ahead:
                    yield _arrived(*waiting.popleft().result())
            while waiting:
                yield _arrived(*waiting.popleft().result())
        finally:  # also where the loop over the batches ends early
            for future in waiting:
                future.cancel()


def _arrived(batch: Tensor, copied: "torch.cuda.Event | None") -> Tensor:
    """The batch, for the current stream to work on once it has been copied; the processor does not wait."""
    if copied is not None:
        torch.cuda.current_stream(batch.device).wait_event(copied)
        batch.record_stream(torch.cuda.current_stream(batch.device))
    return batch


def split(order: Tensor, size: int, least: int = 1) -> list[Tensor]:
    """``order`` (n,) in batches of ``size``; a last one of less than ``least`` images joins the one before it.

    Raises ValueError if there are less than ``least`` images in all.
    """
    if len(order) < least:
        raise ValueError(
            f"{len(order)} images to train on, at least {least} are needed: one a process, two with BatchNorm"
        )
    parts = list(order.split(size))
    if len(parts[-1]) < least:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def too_large(batch_size: int, step: Callable[[int], None], images: int, bf16: bool, processes: int = 1) -> str:
    """What to do where batches of ``batch_size``, ``images`` a process, do not fit in the GPU's memory.

    Half of them, a quarter, ... are tried by ``step(images)`` until it does not run out of memory.
    """
    fits, where, mend = False, "", "not even one image fits: take a smaller 'image_size' or backbone"
    while not fits and (images := images // 2):
        torch.cuda.empty_cache()
        with suppress(OUT_OF_MEMORY):
            step(images)
            fits, mend = True, f"'batch_size' = {images * processes} was tried and fits"
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        where = f" of {torch.cuda.get_device_name()} ({total / 2**30:.0f} GiB, {free / 2**30:.0f} free)"
    mend += "" if bf16 else "; with 'bf16' a batch takes about half"
    return f"'batch_size' = {batch_size} does not fit in the memory{where}: {mend}"
