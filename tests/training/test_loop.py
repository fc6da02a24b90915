"""The training loop: exact resume, the recipe as written, and no way for a broken run to pass for a good one."""

import dataclasses
import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from galc.estimators.base import Estimate
from galc.losses.asl import calibrate_logits
from galc.losses.forward import ForwardASL, ForwardBCE
from galc.methods.base import ASL as ELEMENTWISE
from galc.methods.base import BCE, METHODS, Corrected, by_matrix, plain
from galc.noise import symmetric
from galc.training import checkpoint, models
from galc.training import loop as trainer
from galc.training.augment import Augment, to_unit
from galc.training.batch import TrainingSet
from galc.training.loop import Recipe, fit
from galc.training.models import predict

RECIPE = Recipe(epochs=5, batch_size=10, learning_rate=1e-2, weight_decay=1e-2, ema_decay=0.9)
ASL = plain(ELEMENTWISE)


def data(n: int = 23, seed: int = 0) -> TrainingSet:
    """n of 40 images with 5 features and 4 classes; the last batch of 10 is a partial one."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(40, generator=generator)[:n]
    targets = (torch.rand(n, 4, generator=generator) < 0.4).float()
    return TrainingSet(torch.randn(40, 5, generator=generator), index, targets, torch.arange(n) % 3 == 0)


def probe(seed: int = 0, hidden: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    return models.probe(5, 4, hidden, dropout=0.3)


def images(n: int = 24) -> TrainingSet:
    """n images of 32 pixels: noise, with one bright block a label."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 60, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)
    targets = torch.rand(n, 4, generator=generator) < 0.4
    for k in range(4):
        pixels[targets[:, k], k % 3, :, 8 * k : 8 * k + 8] = 255
    return TrainingSet(pixels, torch.arange(n), targets.float(), torch.zeros(n, dtype=torch.bool))


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return models.finetune("test_efficientnet", 4, "none", dropout=0.1)


def assert_same(first: trainer.Fit, second: trainer.Fit) -> None:
    """Bit-identical weights, averages and history (but for the seconds)."""
    for one, two in ((first.model, second.model), (first.ema, second.ema)):
        two = two.state_dict()
        for name, value in one.state_dict().items():
            assert torch.equal(value, two[name]), name
    plain = [[{k: v for k, v in r.items() if k != "seconds"} for r in run.history] for run in (first, second)]
    assert plain[0] == plain[1]


class Killed(BaseException):
    """The end of a process, as far as the loop can tell."""


def killer(epoch: int):
    """A monitor that records a metric and kills the run in the given epoch."""
    done = []

    def monitor(model):
        done.append(1)
        if len(done) == epoch:
            raise Killed
        return {"norm": float(next(model.parameters()).detach().norm())}

    return monitor


def norm(model: nn.Module) -> dict:
    return {"norm": float(next(model.parameters()).detach().norm())}


# --- resume --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", range(1, RECIPE.epochs + 1))
def test_a_run_killed_in_any_epoch_and_resumed_is_bit_identical(epoch, tmp_path):
    whole = fit(probe(), data(), ASL, RECIPE, 3, monitor=norm)
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(probe(), data(), ASL, RECIPE, 3, monitor=killer(epoch), checkpoint=checkpoint, checkpoint_seconds=0)
    assert checkpoint.exists() == (epoch > 1)
    epochs = []
    start = probe(99 if epoch > 1 else 0)  # the weights that a resumed run starts with do not matter
    count = lambda model: epochs.append(1) or norm(model)  # noqa: E731
    resumed = fit(start, data(), ASL, RECIPE, 3, monitor=count, checkpoint=checkpoint)
    assert len(epochs) == RECIPE.epochs - (epoch - 1)
    assert_same(whole, resumed)


def test_a_run_killed_and_resumed_after_every_epoch_is_bit_identical(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    for _ in range(RECIPE.epochs - 1):
        with pytest.raises(Killed):
            fit(probe(), data(), ASL, RECIPE, 3, monitor=killer(2), checkpoint=checkpoint, checkpoint_seconds=0)
    resumed = fit(probe(), data(), ASL, RECIPE, 3, monitor=norm, checkpoint=checkpoint)
    assert_same(fit(probe(), data(), ASL, RECIPE, 3, monitor=norm), resumed)


def test_a_finished_run_is_taken_from_its_checkpoint(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    whole = fit(probe(), data(), ASL, RECIPE, 3, checkpoint=checkpoint, checkpoint_seconds=0)
    again = fit(probe(), data(), ASL, RECIPE, 3, monitor=killer(1), checkpoint=checkpoint)
    assert_same(whole, again)


class Tiring:
    """A transform that does something in step ``step`` of this process, counted from 1, and changes nothing."""

    def __init__(self, step: int, what):
        self.steps, self.step, self.what = 0, step, what

    def __call__(self, batch):
        self.steps += 1
        if self.steps == self.step:
            self.what()
        return batch


@pytest.mark.parametrize("step", [1, 2, 3, 8])
def test_sigterm_saves_the_very_step_and_ends_the_process(step, tmp_path):
    left = []
    handler = lambda *_: left.append(1)  # noqa: E731
    before = signal.signal(signal.SIGTERM, handler)
    try:
        checkpoint = tmp_path / "checkpoint"
        tired = Tiring(step, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as end:
            fit(probe(), data(), Memory(), RECIPE, 3, transform=tired, checkpoint=checkpoint, monitor=norm)
        assert end.value.code == 143 and left == [1]  # what the caller does with the signal comes after
        assert tired.steps == step and checkpoint.exists()
        assert signal.getsignal(signal.SIGTERM) is handler
        whole, resumed, rest = Memory(), Memory(), Tiring(0, None)
        done = fit(probe(99), data(), resumed, RECIPE, 3, transform=rest, checkpoint=checkpoint, monitor=norm)
        assert rest.steps == 15 - step
        assert_same(fit(probe(), data(), whole, RECIPE, 3, monitor=norm), done)
        assert torch.equal(whole.last, resumed.last) and torch.equal(whole.bias, resumed.bias)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sigterm_in_a_fine_tuning_with_augmentation_is_resumed_bit_for_bit(tmp_path):
    recipe, steps = Recipe(epochs=2, batch_size=6, learning_rate=1e-3), []

    class Preempted(Augment):
        def __call__(self, batch, draws):
            steps.append(1)
            if len(steps) == 6:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__call__(batch, draws)

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            fit(backbone(), images(), ASL, recipe, 0, transform=Preempted(), checkpoint=tmp_path / "c")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(steps) == 6
    resumed = fit(backbone(), images(), ASL, recipe, 0, transform=Augment(), checkpoint=tmp_path / "c")
    assert_same(fit(backbone(), images(), ASL, recipe, 0, transform=Augment()), resumed)


def train_until_terminated(checkpoint: Path) -> None:
    tired = Tiring(8, lambda: os.kill(os.getpid(), signal.SIGTERM))
    fit(probe(), data(), ASL, RECIPE, 3, transform=tired, checkpoint=checkpoint)


def test_a_process_that_does_not_handle_sigterm_ends_by_it_once_it_has_saved(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    process = multiprocessing.get_context("spawn").Process(target=train_until_terminated, args=(checkpoint,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGTERM
    rest = Tiring(0, None)
    resumed = fit(probe(), data(), ASL, RECIPE, 3, transform=rest, checkpoint=checkpoint)
    assert rest.steps == 15 - 8
    assert_same(fit(probe(), data(), ASL, RECIPE, 3), resumed)


def test_checkpoints_take_a_twentieth_of_the_time_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    pace = checkpoint.Pace(30)
    now[0] = 29
    assert not pace.is_due()
    now[0] = 30
    assert pace.is_due()
    with pace:
        now[0] += 5  # seconds to write it
    now[0] += 99
    assert not pace.is_due()
    now[0] += 1
    assert pace.is_due()


def train_until_killed(checkpoint: Path) -> None:
    """SIGKILL in the middle of the third epoch, as by the out-of-memory killer."""
    steps = []

    def transform(batch):
        steps.append(1)
        if len(steps) == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return batch

    fit(probe(), data(), ASL, RECIPE, 3, transform=transform, checkpoint=checkpoint, checkpoint_seconds=0)


def test_a_process_killed_inside_an_epoch_is_resumed_bit_identically(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    process = multiprocessing.get_context("spawn").Process(target=train_until_killed, args=(checkpoint,))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL and checkpoint.exists()
    epochs = []
    resumed = fit(probe(), data(), ASL, RECIPE, 3, monitor=lambda _: epochs.append(1) or {}, checkpoint=checkpoint)
    assert len(epochs) == 3
    assert_same(fit(probe(), data(), ASL, RECIPE, 3), resumed)


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": Recipe(epochs=6, batch_size=10, learning_rate=1e-2, weight_decay=1e-2, ema_decay=0.9)},
        {"seed": 4},
        {"data": data(seed=1)},
        {"model": probe(hidden=9)},
        {"data": dataclasses.replace(data(), inputs=1 + data().inputs)},
        {"choose": lambda model: 1.0},
        {"loss": plain(BCE)},
        {"loss": Corrected(ELEMENTWISE, by_matrix(ForwardASL, Estimate(symmetric(4, 0.3))))},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_checkpoint_of_another_run_is_refused(other, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    own = {"model": probe(), "data": data(), "loss": ASL, "recipe": RECIPE, "seed": 3}
    fit(**own, checkpoint=checkpoint, checkpoint_seconds=0)
    before = checkpoint.read_bytes()
    with pytest.raises(
        ValueError, match=r"checkpoint .* belongs to another recipe, model, loss, data set or seed; remove"
    ):
        fit(**(own | other), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


def test_a_truncated_checkpoint_is_reported_and_training_starts_anew(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        fit(probe(), data(), ASL, RECIPE, 3, monitor=killer(4), checkpoint=checkpoint, checkpoint_seconds=0)
    os.truncate(checkpoint, checkpoint.stat().st_size // 2)
    with pytest.warns(UserWarning, match=r"checkpoint is broken"):
        anew = fit(probe(), data(), ASL, RECIPE, 3, checkpoint=checkpoint)
    assert_same(fit(probe(), data(), ASL, RECIPE, 3), anew)


# --- the recipe ----------------------------------------------------------------------------------------------------


def test_the_moving_average_equals_its_closed_form():
    model, weights = probe(), []

    def transform(batch):  # sees the weights before each step
        weights.append([p.detach().clone() for p in model.parameters()])
        return batch

    done = fit(model, data(), ASL, RECIPE, 0, transform=transform)
    weights.append([p.detach().clone() for p in model.parameters()])
    steps = len(weights) - 1
    decays = [min(RECIPE.ema_decay, t / (t + 9)) for t in range(1, steps + 1)]
    assert decays[0] == 0.1 and decays[-1] == pytest.approx(15 / 24)
    share = [math.prod(decays)] + [(1 - decays[t]) * math.prod(decays[t + 1 :]) for t in range(steps)]
    assert sum(share) == pytest.approx(1)
    for number, average in enumerate(done.ema.parameters()):
        expected = sum(s * w[number].double() for s, w in zip(share, weights, strict=True))
        torch.testing.assert_close(average.double(), expected, rtol=0, atol=1e-6)


def test_the_loop_equals_a_plain_one_with_adam_and_one_cycle():
    own = data()
    done = fit(probe(), own, ASL, RECIPE, 0)
    model = probe().train()
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": RECIPE.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.Adam(groups, lr=RECIPE.learning_rate)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, RECIPE.learning_rate, total_steps=15, pct_start=0.2)
    for epoch in range(RECIPE.epochs):
        seed = int(np.random.SeedSequence([0, epoch]).generate_state(1)[0])
        torch.manual_seed(seed)
        order = torch.randperm(23, generator=torch.Generator().manual_seed(seed))
        for start in (0, 10, 20):
            batch = order[start : start + 10]
            optimizer.zero_grad()
            ASL(model(own.inputs[own.index[batch]]), own.batch(batch, epoch + 1)).backward()
            optimizer.step()
            scheduler.step()
    for got, expected in zip(done.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)


def rates(recipe: Recipe, n: int, monkeypatch) -> list[float]:
    """The learning rate of every step."""
    seen, step = [], trainer._Run.train_step

    def spy(self, *batch):
        seen.append([group["lr"] for group in self.optimizer.param_groups])
        return step(self, *batch)

    monkeypatch.setattr(trainer._Run, "train_step", spy)
    fit(probe(), data(n), ASL, recipe, 0)
    assert all(first == second for first, second in seen)
    return [first for first, _ in seen]


def test_the_learning_rate_rises_and_falls_as_one_cycle_does(monkeypatch):
    def cosine(start, end, share):
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    low, high, final, top = 1e-2 / 25, 1e-2, 1e-2 / 25 / 1e4, 0.2 * 15 - 1  # torch's defaults: 25 and 1e4
    up, down = [cosine(low, high, t / top) for t in range(3)], [cosine(high, final, t / 12) for t in range(1, 13)]
    assert rates(RECIPE, 23, monkeypatch) == pytest.approx(up + down)


@pytest.mark.parametrize("epochs", [1, 2, 5, 10])
def test_a_run_of_any_length_has_a_schedule(epochs, monkeypatch):
    got = rates(Recipe(epochs=epochs, batch_size=64, learning_rate=1e-2), 23, monkeypatch)  # one step an epoch
    assert len(got) == epochs and all(0 < rate <= 1e-2 * (1 + 1e-9) for rate in got)
    assert got[-1] == pytest.approx(1e-2 / 25 / 1e4)


def convolution() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


class Slack(nn.Module):
    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(3, 3))
        self.frozen = nn.Parameter(torch.ones(3, 3), requires_grad=False)


def test_weight_decay_is_for_matrices_and_kernels_of_the_model_alone():
    net, loss = convolution(), Slack()
    names = {id(p): name for name, p in [*net.named_parameters(), *loss.named_parameters()]}
    decay, plain, learnt = trainer.param_groups(net, loss, 0.1)
    assert [names[id(p)] for p in decay["params"]] == ["0.weight", "3.weight"] and decay["weight_decay"] == 0.1
    assert [names[id(p)] for p in plain["params"]] == ["0.bias", "1.weight", "1.bias", "3.bias"]
    assert [names[id(p)] for p in learnt["params"]] == ["matrix"]
    assert plain["weight_decay"] == learnt["weight_decay"] == 0
    assert (
        len(trainer.param_groups(net, None, 0.1))
        == len(trainer.param_groups(net, nn.BatchNorm1d(3, affine=False), 0.1))
        == 2
    )
    net[0].requires_grad_(False)
    assert [names[id(p)] for p in trainer.param_groups(net, None, 0.1)[0]["params"]] == ["3.weight"]


def test_weight_decay_spares_biases():
    linear = nn.Linear(5, 4)
    nn.init.ones_(linear.bias)
    bias, norm = linear.bias.detach().clone(), linear.weight.detach().norm()
    fit(linear, data(), lambda logits, *_: 0 * logits.sum(), Recipe(epochs=2, weight_decay=1.0), 0)
    assert torch.equal(linear.bias, bias) and linear.weight.norm() < norm


def test_every_epoch_sees_every_image_once_the_partial_batch_included_in_another_order():
    own, batches = data(), []
    own.inputs[:, 0] = torch.arange(40)
    fit(probe(), own, ASL, RECIPE, 0, transform=lambda batch: batches.append(batch[:, 0].tolist()) or batch)
    assert [len(batch) for batch in batches] == [10, 10, 3] * RECIPE.epochs
    epochs = [[*batches[k], *batches[k + 1], *batches[k + 2]] for k in range(0, len(batches), 3)]
    assert all(sorted(epoch) == sorted(own.index.tolist()) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == RECIPE.epochs


def test_trusted_and_noisy_images_are_mixed_by_one_shuffle_an_epoch():
    generator, counts = torch.Generator().manual_seed(0), []
    own = TrainingSet(
        torch.randn(200, 5, generator=generator), torch.arange(200), torch.zeros(200, 4), torch.arange(200) < 60
    )

    def loss(logits, batch):
        counts.append(int(batch.trusted.sum()))
        return logits.square().mean()

    fit(probe(), own, loss, Recipe(epochs=40, batch_size=20), 0)
    epochs = torch.tensor(counts).view(40, 10)
    assert (epochs.sum(1) == 60).all()  # none is drawn more often for being trusted
    expected = 20 * 0.3 * 0.7 * 180 / 199  # the variance of a draw without replacement
    assert epochs.double().var() == pytest.approx(expected, rel=0.2)


def test_images_meet_their_own_labels():
    own = data()
    own.inputs[own.index, 0] = torch.arange(23.0)
    seen = []

    def loss(logits, batch):
        seen.append(batch)
        return logits.sum()

    order = []
    fit(probe(), own, loss, Recipe(epochs=1, batch_size=10), 0, transform=lambda b: order.append(b[:, 0].long()) or b)
    for rows, batch in zip(order, seen, strict=True):
        assert torch.equal(batch.rows, rows) and batch.epoch == 1
        assert torch.equal(batch.targets, own.targets[rows]) and torch.equal(batch.trusted, own.trusted[rows])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (fit(probe(), data(), ASL, RECIPE, seed) for seed in (0, 0, 1))
    assert_same(first, again)
    assert not torch.equal(first.model[0].weight, other.model[0].weight)


def test_the_state_of_the_global_generator_does_not_matter():
    model, other = probe(), probe()
    torch.manual_seed(123)
    first = fit(model, data(), ASL, RECIPE, 0)
    torch.rand(7)
    assert_same(first, fit(other, data(), ASL, RECIPE, 0))


def test_a_monitor_never_influences_the_weights():
    def meddle(model):
        assert not model.training
        model.train()
        torch.manual_seed(1)
        return {"mAP": float(torch.rand(()))}

    watched = fit(probe(), data(), ASL, RECIPE, 0, monitor=meddle)
    alone = fit(probe(), data(), ASL, RECIPE, 0)
    for one, two in ((watched.model, alone.model), (watched.ema, alone.ema)):
        for p, q in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(p, q)
    assert all("mAP" in record for record in watched.history) and not watched.model.training


def test_one_line_an_epoch_says_how_it_goes():
    lines = []
    fit(probe(), data(), ASL, RECIPE, 0, monitor=lambda _: {"mAP": 12.34, "OF1": 5.0}, log=lines.append)
    assert len(lines) == RECIPE.epochs
    assert lines[1].startswith("epoch   2/5  loss") and "mAP 12.34" in lines[1] and lines[1].endswith("s left")


def test_the_recorded_loss_is_the_mean_over_the_steps():
    losses = []

    def loss(*arguments):
        value = ASL(*arguments)
        losses.append(float(value.detach()))
        return value

    history = fit(probe(), data(), loss, RECIPE, 0).history
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5]
    for n, record in enumerate(history):
        assert record["loss"] == pytest.approx(sum(losses[3 * n : 3 * n + 3]) / 3)


def test_a_few_dozen_samples_are_learnt_by_heart():
    own = data(36)
    torch.manual_seed(0)
    done = fit(models.probe(5, 4, 64, 0.0), own, ASL, Recipe(epochs=150, batch_size=12, learning_rate=2e-2), 0)
    learnt = calibrate_logits(predict(done.model, own.inputs, own.index)) > 0
    assert torch.equal(learnt, own.targets.bool())
    assert done.history[-1]["loss"] < done.history[0]["loss"] / 20


# --- losses with a state, early stopping, mixup ----------------------------------------------------------------------


class Memory(nn.Module):
    """A loss that learns a bias a class and remembers the last logits of every image."""

    def __init__(self, images: int = 23):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4))
        self.register_buffer("last", torch.zeros(images, 4))

    def forward(self, logits, batch):
        pull = (logits - self.last[batch.rows]).square().sum(1).mean()
        self.last[batch.rows] = logits.detach()
        return ASL(logits + self.bias, batch) + 0.1 * batch.epoch * pull


def test_a_loss_with_a_state_is_trained_with_the_model_and_spared_weight_decay():
    loss = Memory()
    fit(probe(), data(), loss, RECIPE, 0)
    assert (loss.bias != 0).all() and (loss.last != 0).all()  # every image was met, under its own row
    still = Memory()
    nn.init.ones_(still.bias)
    still.forward = lambda logits, batch: logits.square().mean() + 0 * still.bias.sum()
    fit(probe(), data(), still, Recipe(epochs=2, weight_decay=1.0), 0)
    assert torch.equal(still.bias, torch.ones(4))


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_loss_with_a_state_goes_on_from_the_checkpoint_bit_for_bit(epoch, tmp_path):
    options = {"checkpoint": tmp_path / "checkpoint", "checkpoint_seconds": 0}
    with pytest.raises(Killed):
        fit(probe(), data(), Memory(), RECIPE, 3, monitor=killer(epoch), **options)
    whole, resumed = Memory(), Memory()
    expected = fit(probe(), data(), whole, RECIPE, 3, monitor=norm)
    assert_same(expected, fit(probe(99), data(), resumed, RECIPE, 3, monitor=norm, **options))
    assert torch.equal(whole.bias, resumed.bias) and torch.equal(whole.last, resumed.last)
    with pytest.raises(ValueError, match="belongs to another recipe"):
        fit(probe(), data(), ASL, RECIPE, 3, **options)


def test_a_parameter_of_a_loss_that_breaks_stops_the_run():
    loss = Memory()
    loss.forward = lambda logits, batch: logits.square().mean() + (0 * loss.bias.sum()).abs().sqrt()
    with pytest.raises(FloatingPointError, match="weights became NaN"):
        fit(probe(), data(), loss, Recipe(epochs=2, batch_size=64), 0)


SCORES = [3.0, 1.0, 7.0, 7.0, 2.0]  # the best epoch is the third, the first of equals


def chooser(scores=SCORES, kill: int = 0, done: int = 0):
    """Scores of the epochs after ``done``; kills the run in epoch ``kill``. ``norms`` are those it saw."""
    norms = []

    def choose(model):
        assert not model.training
        norms.append(norm(model)["norm"])
        if done + len(norms) == kill:
            raise Killed
        return scores[done + len(norms) - 1]

    choose.norms = norms
    return choose


def test_the_weights_of_the_epoch_that_is_best_on_held_out_images_are_the_result():
    choose = chooser()
    done = fit(probe(), data(), ASL, RECIPE, 0, choose=choose)
    assert done.epoch == 3 and norm(done.model)["norm"] == choose.norms[2] != choose.norms[-1]
    assert [record["choice"] for record in done.history] == SCORES
    plain = fit(probe(), data(), ASL, RECIPE, 0, monitor=norm)
    assert [record["norm"] for record in plain.history] == choose.norms  # choosing changes no epoch


def test_without_a_choice_the_last_epoch_is_the_result():
    assert fit(probe(), data(), ASL, RECIPE, 0).epoch == RECIPE.epochs


@pytest.mark.parametrize("kill", [2, 3, 4, 5])
def test_a_choice_is_the_same_after_a_resume(kill, tmp_path):
    options = {"checkpoint": tmp_path / "checkpoint", "checkpoint_seconds": 0}
    whole = fit(probe(), data(), ASL, RECIPE, 3, choose=chooser())
    with pytest.raises(Killed):
        fit(probe(), data(), ASL, RECIPE, 3, choose=chooser(kill=kill), **options)
    resumed = fit(probe(99), data(), ASL, RECIPE, 3, choose=chooser(done=kill - 1), **options)
    assert_same(whole, resumed)
    assert whole.epoch == resumed.epoch == 3
    again = fit(probe(), data(), ASL, RECIPE, 3, choose=chooser(), **options)  # finished: nothing is trained
    assert_same(whole, again)
    assert again.epoch == 3


def test_mixup_is_drawn_from_the_seed_and_resumed_bit_for_bit(tmp_path):
    recipe = dataclasses.replace(RECIPE, mixup=0.4)
    options = {"checkpoint": tmp_path / "checkpoint", "checkpoint_seconds": 0}
    with pytest.raises(Killed):
        fit(probe(), data(), ASL, recipe, 3, monitor=killer(3), **options)
    resumed = fit(probe(99), data(), ASL, recipe, 3, monitor=norm, **options)
    assert_same(fit(probe(), data(), ASL, recipe, 3, monitor=norm), resumed)
    assert not torch.equal(resumed.model[0].weight, fit(probe(), data(), ASL, RECIPE, 3).model[0].weight)


# --- failures ------------------------------------------------------------------------------------------------------

TRANSITION = symmetric(4, 0.3).float()
LOSSES = {"asl": ASL, "bce": plain(BCE)} | {
    name: METHODS[name].training(None, Estimate(TRANSITION), data())[1]
    for name in ("galc-slr", "forward-noisy-or", "galc-slr-literal", "galc-slr-literal-unclamped")
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_loss_that_is_not_finite_stops_the_run_by_name_and_keeps_the_checkpoint(loss, tmp_path):
    checkpoint, steps = tmp_path / "checkpoint", []

    def poison(batch):
        steps.append(1)
        return batch * float("nan") if len(steps) == 8 else batch

    options = {"checkpoint": checkpoint, "checkpoint_seconds": 0}
    with pytest.raises(FloatingPointError, match=r"the loss became nan in epoch 3, step 2; lower the learning"):
        fit(probe(), data(), loss, RECIPE, 3, transform=poison, **options)
    assert_same(fit(probe(), data(), loss, RECIPE, 3), fit(probe(), data(), loss, RECIPE, 3, **options))


def test_an_infinite_loss_is_named_too():
    with pytest.raises(FloatingPointError, match="the loss became inf in epoch 1, step 1"):
        fit(probe(), data(), lambda logits, *_: logits.sum() + float("inf"), RECIPE, 0)


def test_weights_broken_by_the_last_step_are_not_taken_for_a_result(tmp_path):
    checkpoint, steps = tmp_path / "checkpoint", []

    def loss(logits, *_):  # finite, but its slope is not
        steps.append(1)
        return (0 * logits).sum().abs().sqrt() if len(steps) == 3 else logits.square().mean()

    with pytest.raises(FloatingPointError, match="weights became NaN or infinite in epoch 1, step 3"):
        fit(probe(), data(), loss, RECIPE, 0, checkpoint=checkpoint, checkpoint_seconds=0)
    assert not checkpoint.exists()


def test_a_faulty_correction_matrix_is_not_mistaken_for_a_loss_that_is_not_finite():
    with pytest.raises(ValueError, match="does not sum to at most 1"):
        fit(probe(), data(), Corrected(BCE, by_matrix(ForwardBCE, Estimate(2 * TRANSITION))), RECIPE, 0)


def test_a_training_set_that_does_not_fit_together_is_refused():
    own = data()
    with pytest.raises(ValueError, match=r"one non-zero length, not \[22, 23\]"):
        TrainingSet(own.inputs, own.index[:22], own.targets, own.trusted)
    with pytest.raises(ValueError, match="non-zero"):
        own.take(torch.zeros(23, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        TrainingSet(own.inputs, own.index, own.targets * float("nan"), own.trusted)


# --- fine-tuning ---------------------------------------------------------------------------------------------------


def test_a_fine_tuned_backbone_learns_a_few_images_by_heart():
    own = images()
    recipe = Recipe(epochs=25, batch_size=8, learning_rate=3e-3, ema_decay=0.9)
    done = fit(backbone(), own, plain(BCE), recipe, 0, transform=to_unit)
    assert torch.equal(predict(done.model, own.inputs, transform=to_unit) > 0, own.targets.bool())
    assert all(p.requires_grad for p in done.model.parameters())


def test_the_moving_average_has_the_running_statistics_of_the_model():
    done = fit(backbone(), images(), ASL, Recipe(epochs=2, batch_size=12), 0, transform=to_unit)
    start, own, average = (dict(model.named_buffers()) for model in (backbone(), done.model, done.ema))
    assert all(torch.equal(own[name], average[name]) for name in own)
    assert not torch.equal(own["0.bn1.running_mean"], start["0.bn1.running_mean"])
    assert not torch.equal(done.model[2].weight, done.ema[2].weight)


def test_fine_tuning_with_augmentation_killed_and_resumed_is_bit_identical(tmp_path):
    recipe = Recipe(epochs=4, batch_size=10, learning_rate=1e-3, ema_decay=0.9)
    options = {"transform": Augment(), "checkpoint": tmp_path / "checkpoint", "checkpoint_seconds": 0}
    with pytest.raises(Killed):
        fit(backbone(), images(), ASL, recipe, 0, monitor=killer(3), **options)
    resumed = fit(backbone(), images(), ASL, recipe, 0, monitor=norm, **options)
    assert_same(fit(backbone(), images(), ASL, recipe, 0, monitor=norm, transform=Augment()), resumed)


def test_bfloat16_stays_finite_and_keeps_weights_and_loss_in_float32():
    dtypes = set()

    def loss(logits, batch):
        dtypes.add(logits.dtype)
        return ASL(logits, batch)

    recipe = Recipe(epochs=2, batch_size=12, bf16=True)
    done = fit(backbone(), images(), loss, recipe, 0, transform=to_unit)
    assert dtypes == {torch.float32} == {p.dtype for p in done.model.parameters()}
    plain = fit(backbone(), images(), ASL, Recipe(epochs=2, batch_size=12), 0, transform=to_unit)
    losses = [[record["loss"] for record in run.history] for run in (done, plain)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.1)


def test_the_same_seed_augments_alike_and_another_epoch_otherwise():
    seen = []

    class Spy(Augment):
        def __call__(self, batch, draws):
            seen.append(draws)
            return super().__call__(batch, draws)

    fit(backbone(), images(), ASL, Recipe(epochs=2, batch_size=10), 0, transform=Spy())
    assert [tuple(draws.shape) for draws in seen] == [(10, Augment.draws), (10, Augment.draws), (4, Augment.draws)] * 2
    assert not torch.equal(seen[0], seen[3])
    again = seen.copy()
    seen.clear()
    fit(backbone(), images(), ASL, Recipe(epochs=2, batch_size=10), 0, transform=Spy())
    assert all(torch.equal(one, other) for one, other in zip(seen, again, strict=True))


def test_a_last_batch_of_one_image_does_not_stop_batch_norm():
    own, sizes = images(13), []
    spy = lambda batch: sizes.append(len(batch)) or to_unit(batch)  # noqa: E731
    done = fit(backbone(), own, ASL, Recipe(epochs=2, batch_size=6), 0, transform=spy)
    assert sizes == [6, 7] * 2 and done.steps == 4 and len(done.history) == 2
    fit(probe(), data(21), ASL, Recipe(epochs=1, batch_size=10), 0, transform=lambda b: sizes.append(len(b)) or b)
    assert sizes[4:] == [10, 10, 1]  # a model without it has its small batch
    with pytest.raises(
        ValueError, match="1 images to train on, at least 2 are needed: one a process, two with BatchNorm"
    ):
        fit(backbone(), images(1), ASL, Recipe(epochs=1), 0, transform=to_unit)


def small_gpu(limit: int):
    """A transform that runs out of GPU memory for more than ``limit`` images."""

    def transform(batch):
        if len(batch) > limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return to_unit(batch)

    return transform


@pytest.mark.parametrize(
    ("limit", "words"),
    [(5, "'batch_size' = 5 was tried and fits"), (2, "= 2 was tried"), (0, "not even one image fits")],
)
def test_out_of_memory_is_answered_with_the_batch_size_that_fits(limit, words, tmp_path):
    recipe = Recipe(epochs=2, batch_size=20, learning_rate=1e-3)
    with pytest.raises(MemoryError, match=rf"'batch_size' = 20 does not fit in the memory.*{words}") as error:
        fit(backbone(), images(), ASL, recipe, 0, transform=small_gpu(limit), checkpoint=tmp_path / "c")
    assert "with 'bf16' a batch takes about half" in str(error.value)


def test_a_prediction_takes_smaller_batches_where_a_gpu_has_too_little_memory():
    model, own = backbone(), images()
    expected = predict(model, own.inputs, transform=to_unit)
    torch.testing.assert_close(predict(model, own.inputs, transform=small_gpu(3), batch_size=20), expected)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        predict(model, own.inputs, transform=small_gpu(0))


def test_predictions_in_bfloat16_are_near_and_float32():
    model, own = backbone(), images()
    expected, got = (predict(model, own.inputs, transform=to_unit, bf16=bf16) for bf16 in (False, True))
    assert got.dtype == torch.float32 and not torch.equal(got, expected)
    torch.testing.assert_close(got, expected, atol=0.05, rtol=0.05)


# --- prediction ----------------------------------------------------------------------------------------------------


def test_predictions_come_in_the_order_of_the_index_whatever_the_batches():
    model, own = probe(), data()
    whole = predict(model, own.inputs)
    assert whole.shape == (40, 4) and whole.dtype == torch.float32
    torch.testing.assert_close(predict(model, own.inputs, own.index, batch_size=7), whole[own.index])
    torch.testing.assert_close(predict(model.train(), own.inputs), whole)  # dropout is off
    torch.testing.assert_close(predict(model, own.inputs / 2, transform=lambda b: 2 * b), whole)
