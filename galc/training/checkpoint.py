"""A training on disk: whose it is, all that decides how it goes on, when it is written, and SIGTERM, which asks for it.

A cluster sends SIGTERM before it takes a machine away. A training saves what it has, then ends.
"""

import os
import re
import signal
import threading
import time
from functools import cached_property, partial
from pathlib import Path
from types import CodeType, FunctionType

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from galc import store
from galc.training import parallel

SAVING = 0.05  # the share of the time that may go into checkpoints
WHOLE = 2**28  # bytes of a tensor that are read to identify it; of a larger one every second, third, ... row


def identity(*values: object) -> str:
    """20 hex digits that identify values by content, in every process alike: losses, training sets, numbers.

    Objects (a loss that is a module, say) count by their class and all their attributes, matrices included; functions
    by their code, their defaults and what they enclose. What a function finds by a global name is not looked into.
    """
    return store.digest([_content(value, ()) for value in values])


def _content(value: object, above: tuple[int, ...]) -> object:
    """What identifies a value, as JSON; ``above``: the ids of the objects that it was found in."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor | np.ndarray):
        rows = value[:: 1 + value.nbytes // WHOLE] if value.ndim else value
        return [value.shape, store.array_digest(rows.numpy(force=True) if isinstance(rows, Tensor) else rows)]
    if id(value) in above:
        return above.index(id(value))
    if isinstance(value, list | tuple):
        inside = list(value)
    elif isinstance(value, set | frozenset):  # whose order changes from process to process
        inside = sorted(value, key=repr)
    elif isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, partial):
        inside = [value.func, value.args, value.keywords]
    elif isinstance(value, CodeType):
        inside = [value.co_code.hex(), value.co_names, value.co_consts]
    elif isinstance(value, FunctionType):
        enclosed = [cell.cell_contents for cell in value.__closure__ or ()]
        inside = [value.__qualname__, value.__code__, value.__defaults__, value.__kwdefaults__, enclosed]
    elif hasattr(value, "__func__"):  # a bound method
        inside = [value.__func__, value.__self__]
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        kept = {k: v for k, v in vars(value).items() if not isinstance(getattr(type(value), k, None), cached_property)}
        inside = [type(value).__qualname__, kept]
    else:
        return re.sub(r" at 0x\w+", "", repr(value))
    return [_content(part, (*above, id(value))) for part in inside]


class Preemption:
    """``with Preemption() as stop``: from a SIGTERM on, ``stop.asked`` is True, and nothing else happens.

    Off the main thread, where Python takes no signals, nothing is changed. Nested blocks share the innermost one.
    """

    def __init__(self):
        self.asked = False
        self._before = None

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _ask(self, *_) -> None:
        self.asked = True

    def leave(self) -> None:
        """Do what SIGTERM would have done without the block: the process ends, unless the caller handles the signal."""
        self.__exit__()
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM)  # where a handler returned


class Pace:
    """When to write a checkpoint: not within ``seconds``, and only as often as takes `SAVING` of the time at most."""

    def __init__(self, seconds: float):
        self.seconds, self.cost, self.last = seconds, 0.0, time.monotonic()

    def is_due(self) -> bool:
        """The first process decides: clocks differ."""
        wait = max(self.seconds, self.cost / SAVING if self.seconds else 0.0)
        return parallel.any_of(parallel.rank() == 0 and time.monotonic() - self.last >= wait)

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *_) -> None:
        self.last = time.monotonic()
        self.cost = self.last - self.began


def save(run, path: Path, own: str) -> None:
    """Write the state of a `galc.training.loop` run of `identity` ``own``, whole or not at all; one process writes."""
    arrays = {f"state/{name}": value for name, value in run.parts.state_dict().items()}
    arrays |= {f"chosen/{name}": value for name, value in run.chosen.items()}
    arrays |= {f"adam/{name}": value for name, value in slots(run.optimizer).items()}
    if run.losses:  # in the middle of an epoch
        arrays |= {"losses": parallel.total(torch.stack(run.losses))}
        arrays |= {f"random/{name}": value for name, value in random_state().items()}
    record = {"fingerprint": own, "epoch": run.epoch, "step": run.step, "history": run.history}
    record |= {"chosen_epoch": run.chosen_epoch, "schedule": run.scheduler.state_dict()}
    record |= {"groups": run.optimizer.state_dict()["param_groups"]}
    if parallel.rank() == 0:
        store.save(path, {name: value.numpy(force=True) for name, value in arrays.items()}, record)


def load(run, path: Path, own: str) -> None:
    """Take up a checkpoint of this very run; ValueError for one of another recipe, model, loss, data or seed.

    In the middle of an epoch the numbers go on bit for bit where there are as many processes as before.
    """
    entry = store.read(path)
    if entry is None:
        return
    if entry.record["fingerprint"] != own:
        raise ValueError(
            f"checkpoint {path} belongs to another recipe, model, loss, data set or seed; remove it or name another"
        )
    arrays = {name: torch.from_numpy(array) for name, array in entry.arrays.items()}
    run.parts.load_state_dict(_under("state/", arrays))
    load_slots(run.optimizer, _under("adam/", arrays), entry.record["groups"])
    run.scheduler.load_state_dict(entry.record["schedule"])
    run.epoch, run.step, run.history = (entry.record[name] for name in ("epoch", "step", "history"))
    run.chosen, run.chosen_epoch = _under("chosen/", arrays), entry.record["chosen_epoch"]
    if run.chosen:
        run.best = run.history[run.chosen_epoch - 1]["choice"]
    losses = arrays.get("losses", torch.zeros(0)).to(run.device)
    run.losses = list(losses if parallel.rank() == 0 else torch.zeros_like(losses))  # their sum was written
    run.random = _under("random/", arrays)


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def slots(optimizer: Optimizer) -> dict[str, Tensor]:
    """What the optimiser keeps of each parameter, by "parameter number/name"."""
    state = optimizer.state_dict()["state"].items()
    return {f"{number}/{name}": value for number, own in state for name, value in own.items()}


def load_slots(optimizer: Optimizer, state: dict[str, Tensor], param_groups: list[dict]) -> None:
    """Put back what `slots` gave, and the "param_groups" of the optimiser's state."""
    weights = [p for group in optimizer.param_groups for p in group["params"]]
    found: dict[int, dict] = {}
    for name, value in state.items():
        number, slot = name.split("/")
        if value.ndim:  # in the weights' memory layout, which the fused Adam takes for granted
            value = torch.empty_like(weights[int(number)], device="cpu").copy_(value)
        found.setdefault(int(number), {})[slot] = value
    optimizer.load_state_dict({"state": found, "param_groups": param_groups})


def random_state() -> dict[str, Tensor]:
    """(processes, bytes) states of the generators of all processes."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    number, size = parallel.rank(), parallel.count()
    return {name: parallel.gathered(state[None], number, size) for name, state in states.items()}


def set_random_state(states: dict[str, Tensor]) -> None:
    """Put back what `random_state` gave; nothing where the number of processes is another one."""
    for name, setter in {"cpu": torch.set_rng_state, "cuda": torch.cuda.set_rng_state}.items():
        if name in states and len(states[name]) == parallel.count():
            setter(states[name][parallel.rank()].clone())  # torch takes its alignment for granted
