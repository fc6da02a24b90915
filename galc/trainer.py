"""One training loop, for the probe and for fine-tuning.

The recipe is the one of the ASL authors (Ridnik et al. 2021, as used by arXiv 2108.02032): Adam with weight
decay on weights only, a OneCycle learning rate, an exponential moving average of the weights, and the LAST
epoch as the result. The best epoch and the averaged weights are recorded beside it, never chosen from.

Every epoch draws its randomness from (seed, epoch) alone, so a run that was killed and resumed is the same
run: bit for bit on a CPU.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from galc import optimizer, store
from galc.batch import Loss, TrainingSet
from galc.mixup import mixed
from galc.models import to_device_layout

# a batch as it is stored -> a batch as the model takes it
Transform = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Recipe:
    """How to train; the values of `galc.params.Params`.

    mixup: a of the Beta(a, a) that mixes the images of a batch in pairs (Zhang et al. 2018); 0 mixes nothing
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    pct_start: float = 0.2
    ema_decay: float = 0.9997
    bf16: bool = False
    mixup: float = 0.0


@dataclass
class Fit:
    """A finished training: the model and its moving average after ``epoch``, and one record an epoch.

    ``epoch`` counts from 1: the last one, or the chosen one where there was a choice. 0: none was trained.
    """

    model: nn.Module
    ema: nn.Module
    history: list[dict] = field(default_factory=list)
    epoch: int = 0


def fit(
    model: nn.Module,
    data: TrainingSet,
    loss: Loss,
    recipe: Recipe,
    seed: int,
    *,
    transform: Transform | None = None,
    monitor: Callable[[nn.Module], dict] | None = None,
    choose: Callable[[nn.Module], float] | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
    log: Callable[[str], None] | None = None,
) -> Fit:
    """Train ``model`` in place and return it with its moving average and the record of every epoch.

    ``loss`` is trained in place, too, where it is a module (`galc.batch`).
    ``monitor(model)`` gives the metrics of an epoch (model in eval mode); nothing is selected by them.
    ``choose(model)`` gives the score of an epoch on images that are not trained on: the weights of the epoch with
    the highest score, the first of equals, are the result; the history has the scores as "choice".
    ``checkpoint`` names a file to resume from and to write at most every ``checkpoint_seconds``.
    Raises FloatingPointError, naming epoch and step, as soon as an epoch met a loss or left a weight that is not
    finite; the last checkpoint stays. Raises ValueError for a checkpoint of another run.
    """
    run = _Run(model, data, loss, recipe, seed, transform, choose)
    if checkpoint is not None:
        run.resume(checkpoint)
    saved = time.monotonic()
    while run.epoch < recipe.epochs:
        started = time.monotonic()
        record = {"epoch": run.epoch + 1, "loss": run.train_epoch(), "lr": run.scheduler.get_last_lr()[0]}
        record["seconds"] = time.monotonic() - started
        if monitor is not None:
            model.eval()
            record |= monitor(model)
        if choose is not None:
            record["choice"] = run.score_epoch()
        run.history.append(record)
        if log is not None:
            left = (recipe.epochs - run.epoch) * (time.monotonic() - started)
            log(describe(record, recipe.epochs) + f"  {left:4.0f} s left")
        if checkpoint is not None and time.monotonic() - saved >= checkpoint_seconds:
            run.save(checkpoint)
            saved = time.monotonic()
    run.take_chosen()
    model.eval()
    run.ema.eval()
    return Fit(model, run.ema, run.history, run.chosen_epoch or run.epoch)


def describe(record: dict, epochs: int) -> str:
    """One line for one epoch."""
    metrics = "  ".join(f"{name} {record[name]:5.2f}" for name in ("mAP", "CF1", "OF1") if name in record)
    return f"epoch {record['epoch']:3d}/{epochs}  loss {record['loss']:8.4f}  {metrics}  {record['seconds']:.1f} s"


class _Run:
    """The state of one training: all that a checkpoint must hold."""

    def __init__(self, model, data, loss, recipe, seed, transform, choose=None):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = to_device_layout(model, self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.loss = loss.to(self.device) if isinstance(loss, nn.Module) else loss
        self.data, self.recipe, self.seed = data, recipe, seed
        self.transform, self.choose = transform or (lambda batch: batch), choose
        groups = optimizer.groups(model, self.parts.get("loss"), recipe.weight_decay)
        self.optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate, fused=True)
        steps = recipe.epochs * math.ceil(len(data.targets) / recipe.batch_size)
        self.scheduler = optimizer.one_cycle(self.optimizer, recipe.learning_rate, steps, recipe.pct_start)
        self.epoch, self.step, self.history = 0, 0, []
        self.chosen_epoch, self.best, self.chosen = 0, -math.inf, {}

    @property
    def parts(self) -> dict[str, nn.Module]:
        """The modules that training changes."""
        parts = {"model": self.model, "ema": self.ema}
        return parts | ({"loss": self.loss} if isinstance(self.loss, nn.Module) else {})

    def state(self) -> dict[str, torch.Tensor]:
        parts = self.parts.items()
        return {f"{part}/{name}": value for part, module in parts for name, value in module.state_dict().items()}

    def score_epoch(self) -> float:
        """The score that the epoch is chosen by; keeps the weights if it is the highest so far."""
        self.model.eval()
        score = float(self.choose(self.model))
        if score > self.best:
            self.chosen_epoch, self.best = self.epoch, score
            self.chosen = {name: value.detach().clone() for name, value in self.state().items()}
        return score

    def take_chosen(self) -> None:
        """Put the weights of the chosen epoch, if there is one, in the place of the last ones."""
        if self.chosen:
            self.load(self.chosen)

    def load(self, state: dict[str, torch.Tensor]) -> None:
        for part, module in self.parts.items():
            module.load_state_dict(_under(f"{part}/", state))

    def train_epoch(self) -> float:
        """One pass over the data; returns the mean loss. With a plain loss no step waits for the device."""
        self.model.train()
        seed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        torch.manual_seed(seed)
        order = torch.randperm(len(self.data.targets), generator=torch.Generator().manual_seed(seed))
        losses = [self.train_step(batch) for batch in order.split(self.recipe.batch_size)]
        losses = torch.stack(losses).cpu()
        if not torch.isfinite(losses).all():
            step = int((~torch.isfinite(losses)).nonzero()[0])
            raise self.failure(f"the loss became {losses[step]:.3g}", step + 1)
        if not all(torch.isfinite(p).all() for group in self.optimizer.param_groups for p in group["params"]):
            raise self.failure("weights became NaN or infinite", len(losses))  # by the last step: its loss was finite
        self.epoch += 1
        return float(losses.mean())

    def failure(self, what: str, step: int) -> FloatingPointError:
        return FloatingPointError(
            f"{what} in epoch {self.epoch + 1}, step {step}; lower the learning rate "
            f"({self.recipe.learning_rate:g}) or check the correction matrix for zero or negative entries"
        )

    def train_step(self, rows: torch.Tensor) -> torch.Tensor:
        inputs = self.data.inputs[self.data.index[rows]].to(self.device, non_blocking=True)
        batch = self.data.batch(rows, self.epoch + 1, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            inputs, loss = mixed(self.transform(inputs), self.loss, self.recipe.mixup)
            logits = self.model(inputs)
        try:
            value = loss(logits.float(), batch)
        except ValueError:  # corrections refuse scores that are not finite; the epoch's end names the step
            if torch.isfinite(logits).all():
                raise
            value = logits.sum()
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.update_ema()
        return value.detach()

    @torch.no_grad()
    def update_ema(self) -> None:
        weight = 1 - optimizer.ema_decay(self.step, self.recipe.ema_decay)
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), weight)
        for average, current in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            average.copy_(current)  # running statistics and counters are averages already

    def save(self, path: Path) -> None:
        arrays = {name: value.cpu().numpy() for name, value in self.state().items()}
        arrays |= {f"chosen/{name}": value.cpu().numpy() for name, value in self.chosen.items()}
        arrays |= {f"adam/{name}": value for name, value in optimizer.arrays(self.optimizer).items()}
        record = {
            "fingerprint": self.fingerprint(),
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "chosen_epoch": self.chosen_epoch,
            "groups": self.optimizer.state_dict()["param_groups"],
            "schedule": optimizer.schedule(self.scheduler),
        }
        store.save(path, arrays, record)

    def resume(self, path: Path) -> None:
        """Take up a checkpoint of this very run; one of another recipe, model, data or seed is an error."""
        entry = store.read(path)
        if entry is None:
            return
        if entry.record["fingerprint"] != self.fingerprint():
            raise ValueError(
                f"checkpoint {path} belongs to another recipe, model, data set or seed; remove it or name another"
            )
        arrays = {name: torch.from_numpy(array) for name, array in entry.arrays.items()}
        self.load(arrays)
        optimizer.load(self.optimizer, _under("adam/", arrays), entry.record["groups"])
        self.scheduler.load_state_dict(entry.record["schedule"])
        self.epoch, self.step, self.history = (entry.record[name] for name in ("epoch", "step", "history"))
        self.chosen, self.chosen_epoch = _under("chosen/", arrays), entry.record["chosen_epoch"]
        self.best = self.history[self.chosen_epoch - 1]["choice"] if self.chosen else -math.inf

    def fingerprint(self) -> str:
        data = store.array_digest(*(t.numpy() for t in (self.data.index, self.data.targets, self.data.trusted)))
        loss = {name: list(value.shape) for name, value in self.state().items() if name.startswith("loss/")}
        own = [str(self.model), loss, self.choose is not None]
        return store.digest([vars(self.recipe), self.seed, data, self.data.inputs.shape, *own])


def _under(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


@torch.inference_mode()
def predict(
    model: nn.Module, inputs: torch.Tensor, index: torch.Tensor | None = None, transform=None, batch_size: int = 512
) -> torch.Tensor:
    """(n, K) float32 logits, on the CPU, of a model in eval mode for ``inputs[index]`` (all inputs without index)."""
    model.eval()
    device = next(model.parameters()).device
    transform = transform or (lambda batch: batch)
    index = torch.arange(len(inputs)) if index is None else index
    parts = [model(transform(inputs[part].to(device))).float().cpu() for part in index.split(batch_size)]
    return torch.cat(parts)
