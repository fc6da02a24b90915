"""One training loop, for the probe and for fine-tuning.

The recipe is the one of the ASL authors (Ridnik et al. 2021, as used by arXiv 2108.02032): Adam with weight
decay on weights only, a OneCycle learning rate, an exponential moving average of the weights, and the LAST
epoch as the result. The best epoch and the averaged weights are recorded beside it, never chosen from.

Every epoch draws its randomness from (seed, epoch) alone, so a run that was killed and resumed is the same
run: bit for bit on a CPU. After a SIGTERM it is resumed at the very step.

A step never waits for a GPU: what it needs lies there or is on its way (`galc.training.loader`), what it gives is
looked at when the epoch ends.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from galc.training import checkpoint as files
from galc.training import loader, parallel
from galc.training.batch import Batch, Loss, TrainingSet, Transform, mixed
from galc.training.checkpoint import Pace, Preemption, identity
from galc.training.models import Compiled, in_layout, to_device_layout

AGREE = 10  # steps between two looks of several processes at whether one of them is to stop


@dataclass(frozen=True)
class Recipe:
    """How to train; the values of `galc.study.params.Params`.

    batch_size: of all processes together
    bf16, compile: bfloat16 inside the model; torch.compile of it, on a GPU alone
    mixup: a of the Beta(a, a) that mixes the images of a batch in pairs (Zhang et al. 2018); 0 mixes nothing
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    pct_start: float = 0.2
    ema_decay: float = 0.9997
    bf16: bool = False
    compile: bool = False
    mixup: float = 0.0


@dataclass
class Fit:
    """A finished training: the model and its moving average after ``epoch``, and one record an epoch.

    ``epoch``, from 1, is the last one, or the chosen one where there was a choice. ``steps`` counts all updates.
    """

    model: nn.Module
    ema: nn.Module
    history: list[dict] = field(default_factory=list)
    epoch: int = 0
    steps: int = 0


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
    """Train ``model`` in place, and ``loss`` where it is a module; with a moving average and a record of every epoch.

    ``monitor(model)`` gives the metrics of an epoch (model in eval mode); nothing is selected by them.
    ``choose(model)`` gives the score of an epoch on images that are not trained on: the weights of the epoch with
    the highest score, the first of equals, are the result; the history has the scores as "choice".
    ``checkpoint`` names a file to resume from and to write at most every ``checkpoint_seconds``, and when SIGTERM
    comes, which then ends the process. Of several processes (`galc.training.parallel`), the first one writes and logs.

    Raises FloatingPointError, naming epoch and step, at the end of an epoch with a loss or a weight that is not finite,
    and MemoryError with a batch size that fits where a GPU has too little; the last checkpoint stays. Raises ValueError
    for a checkpoint of another run, and for less images than a step needs.
    """
    # before the run, which changes the loss and moves it
    own = checkpoint and identity(vars(recipe), seed, data, loss, str(model), choose is not None)
    run = _Run(model, data, loss, recipe, seed, transform, choose)
    if checkpoint is not None:
        files.load(run, checkpoint, own)
    pace = Pace(checkpoint_seconds)
    with Preemption() as stop:
        while run.epoch < recipe.epochs:
            started = time.monotonic()
            mean_loss = run.train_epoch(stop)
            if mean_loss is not None:
                record = {"epoch": run.epoch, "loss": mean_loss, "lr": run.scheduler.get_last_lr()[0]}
                record["seconds"] = time.monotonic() - started
                if monitor is not None:
                    run.model.eval()
                    record |= monitor(run.model)
                if choose is not None:
                    record["choice"] = run.score_epoch()
                run.history.append(record)
                if log is not None and parallel.rank() == 0:
                    left = (recipe.epochs - run.epoch) * (time.monotonic() - started)
                    log(describe(record, recipe.epochs) + f"  {left:4.0f} s left")
            leaving = mean_loss is None or parallel.any_of(stop.asked)
            if checkpoint is not None and (leaving or pace.is_due()):
                with pace:
                    files.save(run, checkpoint, own)
            if leaving:
                parallel.any_of(False)  # nobody goes before the first process has written
                stop.leave()
    if run.chosen:
        run.parts.load_state_dict(run.chosen)
    run.model.eval()
    run.ema.eval()
    return Fit(run.model, run.ema, run.history, run.chosen_epoch or run.epoch, run.step)


def describe(record: dict, epochs: int) -> str:
    """One line for one epoch."""
    metrics = "  ".join(f"{name} {record[name]:5.2f}" for name in ("mAP", "CF1", "OF1") if name in record)
    return f"epoch {record['epoch']:3d}/{epochs}  loss {record['loss']:8.4f}  {metrics}  {record['seconds']:.1f} s"


def param_groups(model: nn.Module, loss: nn.Module | None, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels only, never for biases and other 1-D parameters (ASL recipe).

    Parameters of a loss that learns come last, without weight decay.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    found = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    learnt = [] if loss is None else [p for p in loss.parameters() if p.requires_grad]
    return found + ([{"params": learnt, "weight_decay": 0.0}] if learnt else [])


def one_cycle(optimizer: torch.optim.Optimizer, learning_rate: float, steps: int, pct_start: float) -> OneCycleLR:
    """OneCycle over ``steps``; ``pct_start`` is off by a hair where the rise would last 0 steps, a divisor."""
    pct_start += 1e-9 if pct_start * steps == 1 else 0
    return OneCycleLR(optimizer, max_lr=learning_rate, total_steps=steps, pct_start=pct_start)


class _Run:
    """The state of one training: all that a checkpoint must hold."""

    def __init__(self, model, data, loss, recipe, seed, transform, choose=None):
        self.device = parallel.device()
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # tries its algorithms once for each shape, and keeps the fastest
        self.model = parallel.with_shared_statistics(to_device_layout(model, self.device), self.device)
        self.ema = copy.deepcopy(self.model).requires_grad_(False)
        self.network = parallel.wrap(self.model, self.device)  # as it is called in a step
        if recipe.compile and self.device.type == "cuda":
            self.network = Compiled(self.network)
        self.parts = nn.ModuleDict({"model": self.model, "ema": self.ema})  # all that training changes
        self.learns = loss if isinstance(loss, nn.Module) else None
        if self.learns is not None:
            self.parts["loss"] = self.learns.to(self.device)
        self.loss = loss
        self.data, self.recipe, self.seed = data.on(self.device), recipe, seed
        self.transform, self.choose = transform or (lambda batch: batch), choose
        groups = param_groups(self.model, self.learns, recipe.weight_decay)
        self.optimizer = torch.optim.Adam(groups, lr=recipe.learning_rate, fused=True)
        norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules())
        self.least = parallel.count() * (2 if norms else 1)  # images of a step
        steps = recipe.epochs * len(loader.split(data.index, recipe.batch_size, self.least))
        self.scheduler = one_cycle(self.optimizer, recipe.learning_rate, steps, recipe.pct_start)
        self.epoch, self.step, self.history = 0, 0, []
        self.losses, self.random = [], {}  # of the steps of an epoch that was interrupted, and the generators there
        self.chosen_epoch, self.best, self.chosen = 0, -math.inf, {}

    def score_epoch(self) -> float:
        """The score that the epoch is chosen by; keeps the weights if it is the highest so far."""
        self.model.eval()
        score = float(self.choose(self.model))
        if score > self.best:
            self.chosen_epoch, self.best = self.epoch, score
            self.chosen = {name: value.detach().clone() for name, value in self.parts.state_dict().items()}
        return score

    def train_epoch(self, stop: Preemption) -> float | None:
        """One pass over the data; returns the mean loss, or None where it was stopped, ready to be saved."""
        self.model.train()
        seed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        torch.manual_seed(seed + parallel.rank())  # the masks of dropout differ between processes
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.data.targets), generator=generator)
        draws = torch.rand(len(order), getattr(self.transform, "draws", 0), generator=generator)
        parts, numbers = (loader.split(rows, self.recipe.batch_size, self.least) for rows in (order, draws))
        shares = [parallel.share(rows) for rows in parts]
        first = len(self.losses)
        files.set_random_state(self.random)
        stream = loader.batches(self.data.inputs, [self.data.index[rows] for rows in shares[first:]], self.device)
        for step, inputs in enumerate(stream, first):
            drawn = (parallel.share(numbers[step]),) if draws.shape[1] else ()
            self.losses.append(self.train_step(shares[step], inputs, drawn, len(parts[step])))
            if self.is_stopped(stop):
                self.agree(torch.cat(shares[: step + 1]), torch.cat([order[:0], *parts[step + 1 :]]))
                return None
        self.agree(torch.cat(shares), order[:0])
        losses = parallel.total(torch.stack(self.losses))
        self.losses, self.random = [], {}
        self.look_at(losses)
        self.epoch += 1
        return float(losses.mean())

    def is_stopped(self, stop: Preemption) -> bool:
        """Whether the training ends after this step, in all processes alike."""
        return (parallel.count() == 1 or self.step % AGREE == 0) and parallel.any_of(stop.asked)

    def agree(self, met: Tensor, unmet: Tensor) -> None:
        """Make the state of all processes one: what each has of the rows it has ``met``, of others the first's."""
        parallel.same_buffers(self.model)
        parallel.same_buffers(self.ema)
        owned = torch.cat([met, unmet]) if parallel.rank() == 0 else met
        parallel.merge_memory(self.learns, owned, len(self.data.targets))

    def look_at(self, losses: Tensor) -> None:
        """FloatingPointError unless the losses of an epoch, and the weights after it, are finite."""
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        if len(broken := (~torch.isfinite(losses)).nonzero()):
            what, step = f"the loss became {losses[broken[0, 0]]:.3g}", int(broken[0, 0]) + 1
        elif not all(torch.isfinite(p).all() for p in weights):
            what, step = "weights became NaN or infinite", len(losses)  # by the last step: its loss was finite
        else:
            return
        raise FloatingPointError(
            f"{what} in epoch {self.epoch + 1}, step {step}; lower the learning rate "
            f"({self.recipe.learning_rate:g}) or check the correction matrix for zero or negative entries"
        )

    def train_step(self, rows: Tensor, inputs: Tensor, drawn: tuple, images: int) -> Tensor:
        """One update by this process's ``rows`` of a batch of ``images``; returns its part of the batch's mean loss."""
        batch = self.data.batch(rows, self.epoch + 1)
        self.optimizer.zero_grad(set_to_none=True)
        share = len(rows) / images
        try:
            value = self.backward(self.network, inputs, batch, drawn, share * parallel.count())
        except loader.OUT_OF_MEMORY:
            value = None  # outside of this block nothing holds what the step has computed
        if value is None:
            raise MemoryError(self.too_large(inputs, batch, drawn))
        parallel.average_gradients(self.learns)
        self.optimizer.step()
        self.scheduler.step()
        self.step += 1
        self.update_ema()
        return value * share

    def backward(self, network: Callable, inputs: Tensor, batch: Batch, drawn: tuple, weight: float = 1.0) -> Tensor:
        """The loss of a batch, its gradients, times ``weight``, left in the parameters."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.bf16):  # inside the model alone
            inputs, loss = mixed(self.transform(inputs, *drawn), self.loss, self.recipe.mixup)
            logits = network(in_layout(inputs, self.model))
        value = loss(logits.float(), batch)
        (value if weight == 1 else value * weight).backward()
        return value.detach()

    def too_large(self, inputs: Tensor, batch: Batch, drawn: tuple) -> str:
        """What to say of a batch that does not fit in the GPU's memory, by trying smaller ones."""

        def step(images: int) -> None:
            self.optimizer.zero_grad(set_to_none=True)
            part = batch.take(torch.arange(images, device=self.device))
            self.backward(self.model, inputs[:images], part, tuple(numbers[:images] for numbers in drawn))

        return loader.too_large(self.recipe.batch_size, step, len(inputs), self.recipe.bf16, parallel.count())

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move the average on; its decay warms up, step / (step + 9), until it is that of the recipe."""
        weight = 1 - min(self.recipe.ema_decay, self.step / (self.step + 9))
        torch._foreach_lerp_(list(self.ema.parameters()), list(self.model.parameters()), weight)
        for average, current in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            average.copy_(current)  # running statistics and counters are averages already
