"""One training on several GPUs (or processes of a CPU): torchrun starts the processes, this module joins them.

Every process does the same work on the same random numbers, but for the images of a batch: each takes its share, and
gradients are averaged. So there is one result, whatever the number of processes, and the first one writes it down.
With one process nothing here does anything.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from galc import store

PATIENCE = timedelta(days=1)  # of processes that wait while the first one decodes, or waits for a lock


@contextmanager
def processes() -> Iterator[None]:
    """Join the processes that torchrun has started, if it has; each takes the GPU of its number."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # gloo beside NCCL: what lies on the CPU is gathered without a GPU having to wait
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def count() -> int:
    """The number of processes of this training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def device() -> torch.device:
    """The device of this process."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def share(rows: Tensor) -> Tensor:
    """This process's part of the rows of a batch; the parts differ by one row at most."""
    return rows.tensor_split(count())[rank()]


def with_shared_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """BatchNorm over the images of all processes, where there are several GPUs; torch has it for GPUs alone."""
    if count() == 1 or device.type != "cuda":
        return model
    from timm.layers import convert_sync_batchnorm  # torch's own does not know timm's layers

    return convert_sync_batchnorm(model)


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model as it is called in a step: its gradients are averaged over the processes as they arise."""
    ids = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids) if count() > 1 else model


def average_gradients(module: nn.Module | None) -> None:
    """Average the gradients of a loss that learns, which no wrapper looks after."""
    for parameter in module.parameters() if count() > 1 and module is not None else ():
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= count()


def total(values: Tensor) -> Tensor:
    """The sum of ``values`` over all processes, on the CPU."""
    values = values.cpu()
    if count() > 1:
        dist.all_reduce(values)
    return values


def any_of(here: bool) -> bool:
    """Whether it is so in any process."""
    return bool(total(torch.tensor(float(here))) > 0) if count() > 1 else here


def same_buffers(module: nn.Module) -> None:
    """Give all processes the first one's buffers, such as running statistics of its images."""
    for buffer in module.buffers() if count() > 1 else ():
        dist.broadcast(buffer, 0)


def merge_memory(loss: nn.Module | None, owned: Tensor, images: int) -> None:
    """Bring together what a loss remembers of single images: each process has met those of ``owned`` (m,) alone."""
    if count() == 1 or loss is None:
        return
    for buffer in loss.buffers():
        if buffer.ndim and len(buffer) == images:
            mine = torch.zeros_like(buffer)
            mine[owned.to(buffer.device)] = buffer[owned.to(buffer.device)]
            merged = mine.to(torch.uint8) if buffer.dtype == torch.bool else mine
            dist.all_reduce(merged)
            buffer.copy_(merged)


def gathered(rows: Tensor, position: int, size: int) -> Tensor:
    """(size, K) of the parts (m, K) that all processes have, this one's from row ``position`` on; on the CPU."""
    if count() == 1:
        return rows
    whole = torch.zeros(size, *rows.shape[1:], dtype=rows.dtype)
    whole[position : position + len(rows)] = rows
    return total(whole)


def cached(stage: str, key: dict, compute: Callable[[], tuple[dict, dict]]) -> store.Entry:
    """`galc.store.cached` for a result that all processes compute together; the first one holds the lock and writes."""
    if count() == 1:
        return store.cached(stage, key, compute)
    if rank() == 0:

        def announced():
            any_of(True)
            return compute()

        entry = store.cached(stage, key, announced)
        any_of(False)  # what is asked for is there now: all meet here
        return entry
    if any_of(False):
        compute()
        any_of(False)
    return store.read(store.path_of(stage, key))
