"""Cross-fitting: no image is predicted by a model that saw it; calibration with few gold images."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from galc.estimators.base import Estimate
from galc.losses.forward import ForwardBCE
from galc.methods.base import ASL, BCE, Corrected, by_matrix, plain
from galc.noise import symmetric
from galc.training import crossfit as module
from galc.training.batch import TrainingSet
from galc.training.crossfit import Platt, crossfit, folds
from galc.training.loop import Fit, Recipe, fit
from galc.training.models import predict

K = 3
RECIPE = Recipe(epochs=30, batch_size=4, learning_rate=0.1, ema_decay=0.5)


def one_hot_images(n: int = 11, outside: int = 4) -> TrainingSet:
    """Image i is the i-th unit vector: a linear model can know an image by its own weight alone, that is by heart."""
    targets = (torch.rand(n, K, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    index = torch.randperm(n + outside, generator=torch.Generator().manual_seed(1))[:n]
    return TrainingSet(torch.eye(n + outside), index, targets, torch.ones(n, dtype=torch.bool))


def by_heart() -> nn.Module:
    model = nn.Linear(15, K, bias=False)
    nn.init.zeros_(model.weight)
    return model


def test_no_image_is_predicted_by_a_model_that_saw_it():
    data = one_hot_images()
    learnt = predict(fit(by_heart(), data, plain(BCE), RECIPE, 0).ema, data.inputs, data.index)
    assert torch.equal(learnt > 1, data.targets.bool())  # this model repeats what it has seen
    logits = crossfit(by_heart, data, plain(BCE), RECIPE, 3, seed=0)
    assert logits.shape == (15, K) and logits.dtype == torch.float32
    assert torch.equal(logits[data.index], torch.zeros(11, K))


class Constant(nn.Module):
    """Answers with one number, whatever the image."""

    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, batch):
        return self.value.expand(len(batch), K)


def test_an_image_gets_the_model_of_its_fold_and_an_image_outside_the_mean(monkeypatch):
    data, trained = one_hot_images(), []

    def stub(model, part, loss, recipe, seed, transform):
        trained.append((part.index, seed))
        return Fit(Constant(-1.0), Constant(10.0 ** len(trained)))  # the averaged weights count

    monkeypatch.setattr(module, "fit", stub)
    logits = crossfit(by_heart, data, plain(BCE), RECIPE, 3, seed=5)
    fold = folds(11, 3, 5)
    for k, (index, _) in enumerate(trained):
        assert torch.equal(index, data.index[fold != k])
        assert (logits[data.index[fold == k]] == 10.0 ** (k + 1)).all()
    assert len({seed for _, seed in trained}) == 3
    outside = torch.ones(15, dtype=torch.bool).index_fill(0, data.index, False)
    torch.testing.assert_close(logits[outside], torch.full((4, K), 1110 / 3))


def test_training_batches_are_augmented_and_predicted_ones_only_prepared():
    data, seen = one_hot_images(), {"augmented": 0, "prepared": 0}

    def note(name):
        def transform(batch):
            seen[name] += len(batch)
            return batch

        return transform

    recipe = Recipe(epochs=2, batch_size=4)
    crossfit(by_heart, data, plain(BCE), recipe, 2, 0, transform=note("augmented"), prepare=note("prepared"))
    assert seen == {"augmented": 2 * 11, "prepared": 2 * 15}


def test_the_same_seed_gives_the_same_predictions_and_every_fold_says_when_it_is_done():
    data, lines = one_hot_images(), []
    data = TrainingSet(data.inputs + 0.1, data.index, data.targets, data.trusted)  # images share something
    first = crossfit(by_heart, data, plain(ASL), RECIPE, 2, 0, log=lines.append)
    assert torch.equal(first, crossfit(by_heart, data, plain(ASL), RECIPE, 2, 0))
    assert not torch.equal(first, crossfit(by_heart, data, plain(ASL), RECIPE, 2, 1))
    assert lines == ["fold 1/2 predicted", "fold 2/2 predicted"]


class Counting(nn.Module):
    """A loss that counts its steps, and refuses to go on counting in another fold."""

    def __init__(self):
        super().__init__()
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, logits, batch):
        self.steps += 1
        assert self.steps <= 2 * 2  # epochs, batches
        return plain(BCE)(logits, batch)


def test_a_loss_with_a_state_starts_every_fold_anew_and_is_left_as_it_was():
    loss = Counting()
    crossfit(by_heart, one_hot_images(), loss, Recipe(epochs=2, batch_size=4), 3, 0)
    assert loss.steps == 0


def test_what_a_folds_models_learn_is_worked_out_of_their_own_images_alone():
    data, seen = one_hot_images(), []

    def relabel(part):
        seen.append(part.index)
        return TrainingSet(part.inputs, part.index, 1 - part.targets, part.trusted)

    data = TrainingSet(data.inputs + 0.1, data.index, data.targets, data.trusted)  # images share something
    logits = crossfit(by_heart, data, plain(BCE), RECIPE, 3, 0, relabel=relabel)
    fold = folds(11, 3, 0)
    assert [part.tolist() for part in seen] == [data.index[fold != k].tolist() for k in range(3)]
    opposite = TrainingSet(data.inputs, data.index, 1 - data.targets, data.trusted)
    assert torch.equal(logits, crossfit(by_heart, opposite, plain(BCE), RECIPE, 3, 0))


@given(count=st.integers(2, 60), number=st.integers(2, 8), seed=st.integers(0, 2**31))
def test_folds_are_equal_in_size_within_one(count, number, seed):
    if count < number:
        with pytest.raises(ValueError, match=f"{count} images cannot be split into {number} folds; use fewer"):
            folds(count, number, seed)
        return
    sizes = folds(count, number, seed).bincount(minlength=number)
    assert len(sizes) == number and sizes.sum() == count and sizes.max() - sizes.min() <= 1


def test_folds_are_drawn_from_the_seed():
    assert torch.equal(folds(50, 3, 1), folds(50, 3, 1))
    assert not torch.equal(folds(50, 3, 1), folds(50, 3, 2))


# --- calibration ---------------------------------------------------------------------------------------------------


def simulate(n: int, slope: float, bias: torch.Tensor, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels that they predict with the given slope and biases."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, len(bias), generator=generator) - 1
    return logits, torch.rand(n, len(bias), generator=generator) < (slope * logits + bias).sigmoid()


def test_platt_recovers_slope_and_biases():
    bias = torch.linspace(-1.5, 1, 6)
    platt = Platt(6).fit(*simulate(20_000, 0.6, bias))
    assert platt.slope.item() == pytest.approx(0.6, abs=0.02)
    torch.testing.assert_close((platt.shift + platt.bias).detach().float(), bias, atol=0.06, rtol=0)


def test_calibrated_probabilities_are_the_rates_of_the_labels():
    bias = torch.linspace(-1.5, 1, 6)
    platt = Platt(6).fit(*simulate(5000, 0.4, bias))
    logits, labels = simulate(40_000, 0.4, bias, seed=1)
    p = platt.probabilities(logits)
    assert p.shape == logits.shape and p.dtype == torch.float32
    raw = logits.sigmoid()
    for low in torch.arange(0, 1, 0.2):
        inside = (p >= low) & (p < low + 0.2)
        assert p[inside].mean().item() == pytest.approx(labels[inside].float().mean().item(), abs=0.02)
    gap = [abs(x[:, 0].mean() - labels[:, 0].float().mean()).item() for x in (p, raw)]
    assert gap[0] < 0.01 < gap[1]


def test_the_fit_is_the_maximum_of_the_penalised_likelihood():
    logits, labels = simulate(60, 0.5, torch.linspace(-1, 1, 4))
    platt = Platt(4).fit(logits, labels, ridge=2.0)
    p, y = torch.sigmoid(platt(logits)), labels.double()  # the gradients of the likelihood, written out
    gradients = [((p - y) * logits).sum(), (p - y).sum(), (p - y).sum(0) + 2.0 * platt.bias]
    for gradient in gradients:
        assert gradient.abs().max().item() < 1e-2


def test_a_class_without_gold_images_gets_the_common_bias_not_minus_infinity():
    logits, labels = simulate(200, 1.0, torch.tensor([0.5, 0.5, 0.5]))
    labels[:, 2] = False
    free, held = (Platt(3).fit(logits, labels, ridge).bias[2].item() for ridge in (1e-3, 20.0))
    assert free < held < 0
    assert torch.isfinite(Platt(3).fit(logits, labels).probabilities(100 * logits)).all()


def test_platt_weighs_several_sources_as_the_labels_say():
    generator = torch.Generator().manual_seed(0)
    good, poor, useless = torch.randn(3, 20_000, 3, generator=generator)
    labels = torch.rand(20_000, 3, generator=generator) < (2 * good + 0.5 * poor - 1).sigmoid()
    stacked = torch.stack([good, poor, useless])
    platt = Platt(3, sources=3).fit(stacked, labels)
    torch.testing.assert_close(platt.slope.detach(), torch.tensor([2.0, 0.5, 0.0]).double(), rtol=0, atol=0.08)
    one, alone = Platt(3).fit(good, labels), Platt(3, 2).fit(torch.stack([good, good]), labels)
    torch.testing.assert_close(
        one.probabilities(good), alone.probabilities(torch.stack([good, good])), rtol=0, atol=1e-3
    )


# --- going on after an interruption ----------------------------------------------------------------------------------


class Killed(BaseException):
    """The end of a process, as far as the code can tell."""


@pytest.mark.parametrize(("fold", "trained"), [(0, 3), (1, 2), (2, 1)])
def test_finished_folds_are_not_trained_again_after_an_interruption(fold, trained, tmp_path, monkeypatch):
    data = one_hot_images()
    expected = crossfit(by_heart, data, plain(BCE), RECIPE, 3, seed=0)
    options = {"checkpoint": tmp_path / "x.safetensors", "checkpoint_seconds": 0}
    own_fit, begun = module.fit, []

    def killing(*arguments, **options):
        begun.append(1)
        if len(begun) == fold + 1:
            raise Killed
        return own_fit(*arguments, **options)

    monkeypatch.setattr(module, "fit", killing)
    with pytest.raises(Killed):
        crossfit(by_heart, data, plain(BCE), RECIPE, 3, seed=0, **options)
    begun[:] = [1] * 9
    got = crossfit(by_heart, data, plain(BCE), RECIPE, 3, seed=0, **options)
    assert torch.equal(got, expected) and len(begun) == 9 + trained
    assert not list(tmp_path.iterdir())


C = symmetric(K, 0.3).float()
OTHERS = {
    "loss": {"loss": plain(ASL)},
    "C": {"loss": Corrected(BCE, by_matrix(ForwardBCE, Estimate(symmetric(K, 0.2))))},
    "targets": {"data": replace(one_hot_images(), targets=1 - one_hot_images().targets)},
    "inputs": {"data": replace(one_hot_images(), inputs=2 * torch.eye(15))},
    "recipe": {"recipe": replace(RECIPE, learning_rate=0.2)},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_no_fold_of_another_cross_fitting_is_read(other, tmp_path, monkeypatch):
    own = {
        "data": one_hot_images(),
        "loss": Corrected(BCE, by_matrix(ForwardBCE, Estimate(C))),
        "recipe": RECIPE,
        "seed": 0,
    }
    options = {"build": by_heart, "number": 3, "checkpoint": tmp_path / "x.safetensors", "checkpoint_seconds": 0}
    own_fit, begun = module.fit, []

    def killing(*arguments, **options):
        begun.append(1)
        if len(begun) == 3:  # two folds are there, and the third one's training
            own_fit(*arguments, **options)
            raise Killed
        return own_fit(*arguments, **options)

    monkeypatch.setattr(module, "fit", killing)
    with pytest.raises(Killed):
        crossfit(**own, **options)
    left = set(tmp_path.iterdir())
    got = crossfit(**(own | other), **options)
    assert len(begun) == 6 and set(tmp_path.iterdir()) == left
    assert torch.equal(got, crossfit(**(own | other), build=by_heart, number=3))
    crossfit(**own, **options)
    assert len(begun) == 10 and not list(tmp_path.iterdir())


def test_a_fold_goes_on_from_its_own_checkpoint(tmp_path):
    data, seen = one_hot_images(), []
    expected = crossfit(by_heart, data, plain(BCE), RECIPE, 3, seed=0)

    def dying(batch):
        seen.append(1)
        if len(seen) == 35:  # in the second of three folds of two steps an epoch
            raise Killed
        return batch

    options = {"checkpoint": tmp_path / "x.safetensors", "checkpoint_seconds": 0}
    recipe = Recipe(epochs=30, batch_size=4, learning_rate=0.1, ema_decay=0.5)
    with pytest.raises(Killed):
        crossfit(by_heart, data, plain(BCE), recipe, 3, seed=0, transform=dying, **options)
    count = len(seen)
    got = crossfit(by_heart, data, plain(BCE), recipe, 3, seed=0, transform=lambda b: seen.append(1) or b, **options)
    assert torch.equal(got, expected) and len(seen) - count < 3 * 60


def test_short_folds_leave_no_files(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(module.store, "save", lambda *_: saved.append(1))
    crossfit(by_heart, one_hot_images(), plain(BCE), RECIPE, 3, seed=0, checkpoint=tmp_path / "x.safetensors")
    assert not saved and not list(tmp_path.iterdir())
