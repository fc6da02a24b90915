"""A training on disk: everything that decides how it goes on, down to the step and the random numbers to come."""

import time
from pathlib import Path

import torch

from galc import store
from galc.training import optimizer, parallel

SAVING = 0.05  # the share of the time that may go into checkpoints


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


def save(run, path: Path) -> None:
    """Write the state of a `galc.training.loop` run, whole or not at all; the first process writes."""
    arrays = {name: value.cpu().numpy() for name, value in run.state().items()}
    arrays |= {f"chosen/{name}": value.cpu().numpy() for name, value in run.chosen.items()}
    arrays |= {f"adam/{name}": value for name, value in optimizer.arrays(run.optimizer).items()}
    if run.losses:  # in the middle of an epoch
        arrays |= {"losses": parallel.total(torch.stack(run.losses)).numpy()}
        arrays |= {f"random/{name}": value.numpy() for name, value in random_state().items()}
    record = {
        "fingerprint": run.fingerprint(),
        "epoch": run.epoch,
        "step": run.step,
        "history": run.history,
        "chosen_epoch": run.chosen_epoch,
        "groups": run.optimizer.state_dict()["param_groups"],
        "schedule": optimizer.schedule(run.scheduler),
    }
    if parallel.rank() == 0:
        store.save(path, arrays, record)


def load(run, path: Path) -> None:
    """Take up a checkpoint of this very run; ValueError for one of another recipe, model, data or seed.

    In the middle of an epoch the numbers go on bit for bit where there are as many processes as before.
    """
    entry = store.read(path)
    if entry is None:
        return
    if entry.record["fingerprint"] != run.fingerprint():
        raise ValueError(
            f"checkpoint {path} belongs to another recipe, model, data set or seed; remove it or name another"
        )
    arrays = {name: torch.from_numpy(array) for name, array in entry.arrays.items()}
    run.load(arrays)
    optimizer.load(run.optimizer, under("adam/", arrays), entry.record["groups"])
    run.scheduler.load_state_dict(entry.record["schedule"])
    run.epoch, run.step, run.history = (entry.record[name] for name in ("epoch", "step", "history"))
    run.chosen, run.chosen_epoch = under("chosen/", arrays), entry.record["chosen_epoch"]
    if run.chosen:
        run.best = run.history[run.chosen_epoch - 1]["choice"]
    losses = arrays.get("losses", torch.zeros(0)).to(run.device)
    run.losses = list(losses if parallel.rank() == 0 else torch.zeros_like(losses))  # their sum was written
    run.random = under("random/", arrays)


def random_state() -> dict[str, torch.Tensor]:
    """(processes, bytes) states of the generators of all processes."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    number, size = parallel.rank(), parallel.count()
    return {name: parallel.gathered(state[None], number, size) for name, state in states.items()}


def set_random_state(states: dict[str, torch.Tensor]) -> None:
    """Put back what `random_state` gave; nothing where the number of processes is another one."""
    for name, setter in {"cpu": torch.set_rng_state, "cuda": torch.cuda.set_rng_state}.items():
        if name in states and len(states[name]) == parallel.count():
            setter(states[name][parallel.rank()].clone())  # torch takes its alignment for granted


def under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The entries below a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
