"""Notebooks executed through papermill, one after the other in one warm kernel of this process.

A fresh kernel spends seconds on importing torch, more than many a run takes. So a process keeps its kernel, and has it
forget each notebook before the next (`forget`). A kernel in which something failed is thrown away, and one whose
process is gone ends by itself within a second.
"""

import inspect
import json
import os
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path

from galc.checks import needs

needs("papermill", "study")

import nbformat
import papermill
from jupyter_client import AsyncKernelClient, AsyncKernelManager
from jupyter_core.utils import ensure_event_loop, run_sync
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

from galc import store

TRIES = 3  # of a notebook whose kernel dies
QUIET = ["--HistoryManager.hist_file=:memory:", "--log-level=ERROR"]  # no history file, no hints on standard error


class NotebookError(RuntimeError):
    """A notebook failed; the message is the last line of its error."""


@dataclass(frozen=True)
class Job:
    """One notebook to execute; ``mark`` identifies all that the output depends on, and is in one that is complete."""

    source: Path
    output: Path
    mark: str
    parameters: dict = field(default_factory=dict)  # injected; names that the notebook declares
    environment: dict[str, str] = field(default_factory=dict)  # of the kernel, beside that of this process
    about: dict = field(default_factory=dict)  # put into the output as well

    @property
    def is_done(self) -> bool:
        """Whether the output is complete and of this job."""
        return metadata(self.output).get("mark") == self.mark


def metadata(path: Path) -> dict:
    """What `execute` has put into an executed notebook; nothing where there is none, or it did not end well."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["metadata"].get("galc", {})
    except (OSError, ValueError, KeyError):
        return {}


def execute(job: Job) -> Path:
    """The executed notebook of a job: the one that is there, if it is done, or a new one, whole or not at all.

    Of processes that want the same output one executes it, and the others wait. Raises NotebookError where a cell
    fails: the output is kept with its traceback, but without a mark. The same for a kernel that died ``TRIES`` times.
    """
    with store.locked(job.output.with_name(f".{job.output.stem}.lock")):
        for left in reversed(range(TRIES)):
            if job.is_done:
                break
            try:
                _execute(job)
            except DeadKernelError:
                if not left:
                    raise NotebookError(f"its kernel died {TRIES} times (out of memory?)") from None
    return job.output


def _execute(job: Job) -> None:
    part = job.output.with_name(f".{job.output.stem}.part.ipynb")  # papermill's own writes can be seen half done
    try:
        options = {"engine_name": "warm", "environment": job.environment, "progress_bar": False}
        papermill.execute_notebook(str(job.source), str(part), job.parameters, **options)
        notebook = nbformat.read(part, as_version=4)
        notebook.metadata["galc"] = job.about | {"mark": job.mark}
        store.write_text(job.output, nbformat.writes(notebook))
    except BaseException as error:
        _warm.discard()
        if part.exists():
            os.replace(part, job.output)
        if isinstance(error, PapermillExecutionError):
            raise NotebookError(f"{error.ename}: {error.evalue}".strip().splitlines()[-1]) from None
        raise
    finally:
        part.unlink(missing_ok=True)
        ensure_event_loop().close()  # that of this thread, which the calls above have made


def forget(folder: str, environment: dict[str, str]) -> None:
    """No name, cell, figure or variable of the environment is left; the next notebook begins in ``folder``.

    This is run inside the kernel, from its source. Modules stay imported, with what they keep: that is what makes a
    warm kernel warm.
    """
    import gc
    import os
    import sys
    import types

    shell = get_ipython()  # noqa: F821
    at_start = shell.__dict__.setdefault("environment_at_start", dict(os.environ))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(at_start | environment)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    if "ipywidgets" in sys.modules:
        sys.modules["ipywidgets"].Widget.close_all()
    shell.reset(new_session=True)
    shell.user_ns |= types.ModuleType("__main__").__dict__  # __spec__ and the like, which have gone with the rest
    gc.collect()
    gc.freeze()  # what is left belongs to modules: the next collection, of a third of a second, need not look at it


class WarmEngine(NBClientEngine):
    """Papermill's engine, with the kernel of this process."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, environment, **_):
        client = PapermillNotebookClient(nb_man, km=_warm.start(), kernel_name=kernel_name, log=logger)
        client.kc = _warm.clean(environment)
        try:
            client.execute()
        finally:
            client.kc.stop_channels()


papermill_engines.register("warm", WarmEngine)


class _Warm:
    """The kernel of this process, started when it is first wanted."""

    def __init__(self):
        self.manager: AsyncKernelManager | None = None

    @run_sync
    async def start(self) -> AsyncKernelManager:
        if self.manager is None:
            self.manager = AsyncKernelManager(kernel_name="python3")
            await self.manager.start_kernel(extra_arguments=QUIET, cwd=str(store.ROOT))
        return self.manager

    @run_sync
    async def clean(self, environment: dict[str, str]) -> AsyncKernelClient:
        """A connection to the kernel, which has forgotten earlier notebooks and has these variables."""
        client = self.manager.client()
        client.allow_stdin = False
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=120)
            code = f"{inspect.getsource(forget)}\nforget({str(store.ROOT)!r}, {environment!r})"
            reply = await client.execute(code, silent=True, reply=True, timeout=120)
            if reply["content"]["status"] != "ok":
                raise NotebookError(f"its kernel cannot be cleaned: {reply['content']['evalue']}")
        except BaseException:
            client.stop_channels()
            raise
        return client

    @run_sync
    async def discard(self) -> None:
        """End the kernel, if there is one."""
        manager, self.manager = self.manager, None
        if manager is not None and manager.has_kernel:
            await manager.shutdown_kernel(now=True)


_warm = _Warm()
Finalize(None, _warm.discard, exitpriority=10)  # where a process of multiprocessing ends, no atexit is run
