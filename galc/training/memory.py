"""Out of memory on a GPU: the message says which batch size would have fitted."""

from collections.abc import Callable

import torch

OUT = torch.cuda.OutOfMemoryError


def largest_that_fits(step: Callable[[int], None], size: int) -> int:
    """The largest of size / 2, size / 4, ... for which ``step(images)`` does not run out of memory; 0: none."""
    size //= 2
    while size:
        torch.cuda.empty_cache()
        try:
            step(size)
            return size
        except OUT:
            size //= 2
    return 0


def message(batch_size: int, fits: int, processes: int = 1, bf16: bool = False) -> str:
    """What to do where a batch of ``batch_size`` images did not fit, and one of ``fits`` a process did (0: none)."""
    where = ""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        where = f" of {torch.cuda.get_device_name()} ({total / 2**30:.0f} GiB, {free / 2**30:.0f} free)"
    if fits:
        mend = f"'batch_size' = {fits * processes} was tried and fits"
    else:
        mend = "not even one image fits: take a smaller 'image_size' or backbone"
    mend += "" if bf16 else "; with 'bf16' a batch takes about half"
    return f"'batch_size' = {batch_size} does not fit in the memory{where}: {mend}"
