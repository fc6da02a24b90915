"""Work that tests give to several processes of one training, on the CPU: ``together(function, folder)``."""

import faulthandler
import multiprocessing
import os
import socket
from collections.abc import Callable
from pathlib import Path

import torch

PROCESSES = 2


def together(function: Callable[..., object], *arguments, processes: int = PROCESSES) -> list:
    """function(*arguments) in each of several joined processes (`galc.training.parallel`); what they return."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["galc.study.run", "torch.nn.parallel"])  # imported once, not in each process
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(os.environ["GALC_OUTPUTS"])
    folder.mkdir(parents=True, exist_ok=True)
    workers = [
        context.Process(target=_join, args=(rank, processes, port, folder, function, arguments))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    codes = [worker.exitcode for worker in workers]
    if any(codes):
        for worker in workers:
            worker.kill()
        raise ChildProcessError(codes)
    return [torch.load(folder / f"result{rank}.pt", weights_only=False) for rank in range(processes)]


def _join(rank: int, processes: int, port: int, folder: Path, function: Callable, arguments: tuple) -> None:
    from galc.training import parallel

    faulthandler.enable()
    torch.set_num_threads(1)
    own = {"WORLD_SIZE": str(processes), "RANK": str(rank), "LOCAL_RANK": str(rank), "GALC_OUTPUTS": str(folder)}
    os.environ.update(own | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    with parallel.processes():
        torch.save(function(*arguments), folder / f"result{rank}.pt")
