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

from galc import store
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


def ema_decay(step: int, limit: float) -> float:
    """Warm-up of the moving average: step / (step + 9) until it reaches ``limit`` (step counts from 1)."""
    return min(limit, step / (step + 9))


def optimizer_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels only, never for biases and other 1-D parameters (ASL recipe)."""
    decay = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    return [{"params": decay, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]


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
    run = _Run(model, data, loss, recipe, seed, transform)
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
            model.eval()
            record["choice"] = float(choose(model))
            run.keep_if_best(record["choice"])
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

    def __init__(self, model, data, loss, recipe, seed, transform):
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = to_device_layout(model, self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.loss = loss.to(self.device) if isinstance(loss, nn.Module) else loss
        self.data, self.recipe, self.seed = data, recipe, seed
        self.transform = transform or (lambda batch: batch)
        self.steps_per_epoch = math.ceil(len(data.targets) / recipe.batch_size)
        groups = optimizer_groups(model, recipe.weight_decay)
        if learnt := [p for p in self.parts.get("loss", nn.Identity()).parameters() if p.requires_grad]:
            groups.append({"params": learnt, "weight_decay": 0.0})
        self.optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate, fused=True)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            max_lr=recipe.learning_rate,
            total_steps=self.steps_per_epoch * recipe.epochs,
            pct_start=self.pct_start(),
        )
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

    def keep_if_best(self, score: float) -> None:
        if score > self.best:
            self.chosen_epoch, self.best = self.epoch, score
            self.chosen = {name: value.detach().clone() for name, value in self.state().items()}

    def take_chosen(self) -> None:
        """Put the weights of the chosen epoch, if there is one, in the place of the last ones."""
        if self.chosen:
            self.load(self.chosen)

    def load(self, state: dict[str, torch.Tensor]) -> None:
        for part, module in self.parts.items():
            module.load_state_dict(_under(f"{part}/", state))

    def pct_start(self) -> float:
        """The recipe's, off by a hair where the rise would last exactly 0 steps, which torch divides by."""
        exactly_one = self.recipe.pct_start * self.steps_per_epoch * self.recipe.epochs == 1
        return self.recipe.pct_start + (1e-9 if exactly_one else 0)

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
        weight = 1 - ema_decay(self.step, self.recipe.ema_decay)
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), weight)
        for average, current in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            average.copy_(current)  # running statistics and counters are averages already

    def save(self, path: Path) -> None:
        arrays = {name: value.cpu().numpy() for name, value in self.state().items()}
        arrays |= {f"chosen/{name}": value.cpu().numpy() for name, value in self.chosen.items()}
        for number, slots in self.optimizer.state_dict()["state"].items():
            arrays |= {f"adam/{number}/{name}": value.cpu().numpy() for name, value in slots.items()}
        groups = self.optimizer.state_dict()["param_groups"]
        schedule = {k: v for k, v in self.scheduler.state_dict().items() if isinstance(v, int | float | list)}
        record = {
            "fingerprint": self.fingerprint(),
            "epoch": self.epoch,
            "step": self.step,
            "history": self.history,
            "chosen_epoch": self.chosen_epoch,
            "groups": groups,
            "schedule": schedule,
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
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        slots: dict[int, dict] = {}
        for name, value in _under("adam/", arrays).items():
            number, slot = name.split("/")
            if value.ndim:  # in the weights' memory layout, which the fused Adam takes for granted
                value = torch.empty_like(weights[int(number)], device="cpu").copy_(value)
            slots.setdefault(int(number), {})[slot] = value
        groups = [{**group, "betas": tuple(group["betas"])} for group in entry.record["groups"]]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.scheduler.load_state_dict(entry.record["schedule"])
        self.epoch, self.step, self.history = (entry.record[name] for name in ("epoch", "step", "history"))
        self.chosen, self.chosen_epoch = _under("chosen/", arrays), entry.record["chosen_epoch"]
        self.best = self.history[self.chosen_epoch - 1]["choice"] if self.chosen else -math.inf

    def fingerprint(self) -> str:
        data = store.array_digest(*(t.numpy() for t in (self.data.index, self.data.targets, self.data.trusted)))
        loss = {name: list(value.shape) for name, value in self.state().items() if name.startswith("loss/")}
        return store.digest([vars(self.recipe), self.seed, data, str(self.model), loss, self.data.inputs.shape])


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
