"""A function over many items on Dask: side by side, as they finish, whatever happens to single ones or to workers.

The workers are processes of this machine, one a core or one a GPU, or those of a running Dask cluster. Items that raise
are reported, and the others go on; what a killed worker had in hand is computed again by another one.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from galc.checks import needs

needs("distributed", "study")

import dask
import joblib
import torch
from distributed import Client, Future, KilledWorker, Nanny, Scheduler, SpecCluster
from distributed.comm import connect
from distributed.core import Status
from distributed.utils import silence_logging_cmgr

from galc.progress import bar
from galc.study.params import ParameterError

TRIES = 3  # of an item whose worker is killed, before it is taken for the cause
QUIET = logging.CRITICAL  # what becomes of workers is told by outcomes
DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"  # Ctrl-C is for the process that started it all
PATIENCE = 10.0  # seconds, with a scheduler that does not answer
CONFIG = {
    "distributed.scheduler.allowed-failures": TRIES - 1,
    "distributed.scheduler.worker-saturation": 1.0,  # no item waits at a worker: who is killed with it is the cause
    "distributed.scheduler.worker-ttl": None,  # a machine that slept, or a run that is deaf for minutes, is not lost
    "distributed.deploy.lost-worker-timeout": "1 day",  # to start again, of a killed worker on a busy machine
    "distributed.worker.multiprocessing-method": "spawn",  # torch and forked threads do not mix
    # Dask has glibc hand back freed memory at once; a training that takes it again in each step was 1.7 times as slow
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**30,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}


class WorkerError(RuntimeError):
    """The worker process of an item was killed again and again, or all workers are lost."""


@dataclass(frozen=True)
class Outcome:
    """What became of an item: the function's ``value``, or the ``error`` that it raised."""

    item: Any
    value: Any = None
    error: BaseException | None = None


def worker_count(asked: int | None, devices: Sequence[str] = ()) -> int:
    """Workers as asked for, or by $GALC_WORKERS, or one a GPU, or one a core; ParameterError for less than one."""
    what, value = ("GALC_WORKERS", os.environ.get("GALC_WORKERS")) if asked is None else ("workers", str(asked))
    if not value:
        return len(devices) or joblib.cpu_count()
    if not value.isdecimal() or int(value) < 1:
        raise ParameterError(f"{what} must be at least 1, got {value}")
    return int(value)


def gpus() -> list[str]:
    """The names that CUDA_VISIBLE_DEVICES has, or would have, for the GPUs of this machine."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
    return visible.split(",") if torch.cuda.is_available() else []


class Workers(ExitStack):
    """Workers on this machine, started when there is first something to do; or those of a running Dask cluster.

    ``with Workers(2) as workers: ...``; the workers of this machine end with the block. Each has one thread and, where
    there are ``devices`` (default: the GPUs), one of these in turn.
    """

    def __init__(self, count: int | None = None, scheduler: str | None = None, devices: Sequence[str] | None = None):
        """Raises ParameterError for ``count`` below 1, and for a ``scheduler`` (its address) that does not answer."""
        super().__init__()
        self.devices = gpus() if devices is None and scheduler is None else devices or []
        self.count = worker_count(count, self.devices)
        self.enter_context(silence_logging_cmgr(QUIET))
        self._client = None if scheduler is None else self.enter_context(_running(scheduler))

    def outcomes(
        self, function: Callable, items: Sequence, what: str = "items", unit: str = "items"
    ) -> Iterator[Outcome]:
        """``function(item)`` for each item, as they finish, with a line of progress; all of these must pickle.

        Leaving the loop cancels what has not begun. Raises WorkerError if the whole cluster is lost.
        """
        if not items:
            return
        if self._client is None:
            self._client = self.enter_context(_local(self.count, self.devices))
        futures = {self._client.submit(function, item, pure=False): item for item in items}
        finished: SimpleQueue[Future] = SimpleQueue()
        for future in futures:
            future.add_done_callback(finished.put)
        with bar(total=len(items), desc=what, unit=unit) as progress:
            failed = 0
            try:
                while futures:
                    future = self._next(finished)
                    outcome = _outcome(futures.pop(future), future)  # released: not computed again if its worker dies
                    failed += outcome.error is not None
                    progress.set_postfix_str(f"{failed} failed" if failed else "", refresh=False)
                    progress.update()
                    yield outcome
            finally:
                self._client.cancel(list(futures))

    def _next(self, finished: SimpleQueue) -> Future:
        """The next future that finishes; WorkerError instead of waiting for workers that cannot come back."""
        while True:
            try:
                future = finished.get(timeout=5)
            except Empty:
                if (own := self._client.cluster) and not any(w.status == Status.running for w in own.workers.values()):
                    why = "no worker process can be started (out of memory?); what has finished is kept"
                    raise WorkerError(why) from None
                continue
            if future.status not in ("lost", "pending"):
                return future
            future.add_done_callback(finished.put)  # its worker died before the result was fetched; computed again


def _running(address: str) -> Client:
    async def knock() -> None:
        await (await connect(address, timeout=PATIENCE)).close()

    try:
        asyncio.run(knock())  # first, as a client that cannot connect is not closed
    except (OSError, ValueError) as error:
        raise ParameterError(f"no Dask scheduler answers at {address!r}: {error}") from None
    client = Client(address, set_as_default=False)
    if not client.scheduler_info()["workers"]:
        print(f"waiting for workers at {address}", file=sys.stderr)
    return client


@contextmanager
def _local(count: int, devices: Sequence[str]) -> Iterator[Client]:
    common = {"host": "127.0.0.1", "dashboard": False}
    head = {"cls": Scheduler, "options": common | {"dashboard_address": "127.0.0.1:0"}}
    options = common | {"nthreads": 1, "memory_limit": 0, "silence_logs": QUIET, "preload": [DEAF]}
    environments = [{"CUDA_VISIBLE_DEVICES": devices[n % len(devices)]} if devices else {} for n in range(count)]
    workers = {n: {"cls": Nanny, "options": options | {"env": env}} for n, env in enumerate(environments)}
    with (
        dask.config.set(CONFIG),
        _own_environment(),
        SpecCluster(workers=workers, scheduler=head, silence_logs=QUIET) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextmanager
def _own_environment() -> Iterator[None]:
    """Takes back what nannies put into the environment of this process for their workers (one thread, and the like)."""
    added = {*dask.config.get("distributed.nanny.pre-spawn-environ"), "PYTHONHASHSEED"} - set(os.environ)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _outcome(item, future) -> Outcome:
    if future.status == "finished":
        return Outcome(item, future.result())
    if future.status != "error":
        raise WorkerError("the Dask cluster was lost; what has finished is kept: run this again")
    error = future.exception()
    if isinstance(error, KilledWorker):
        why = f"its worker process was killed {TRIES} times (out of memory?); perhaps fewer workers leave it enough"
        error = WorkerError(why)
    return Outcome(item, error=error)
