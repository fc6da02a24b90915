"""Losses of the training loop: trusted images are never corrected, and no correction is a correction by identity."""

from types import SimpleNamespace

import pytest
import torch
from host import NothingReadBack

from galc.estimators.base import Estimate
from galc.losses.asl import calibrate
from galc.losses.forward import ForwardASL, ForwardBCE, LiteralASL
from galc.methods.base import ASL, BCE, METHODS, Corrected, Weighted, by_matrix, plain, probabilities
from galc.noise import pair_flip, symmetric
from galc.training.batch import Batch, TrainingSet

K = 5
STAGES = SimpleNamespace(params=SimpleNamespace(epochs=4))
PLAIN = {name: METHODS[name].loss for name in ("asl", "bce", "hill", "splc")}
FORWARD = {
    "galc-slr": lambda c: ForwardASL(c, reduction="none"),
    "forward-noisy-or": lambda c: ForwardBCE(c, reduction="none"),
    "forward-linear": lambda c: ForwardBCE(c, "linear", reduction="none"),
    "forward-exact": lambda c: ForwardBCE(c, "exact", reduction="none"),
    "galc-slr-literal": lambda c: LiteralASL(c, clamp=True, reduction="none"),
    "galc-slr-literal-unclamped": lambda c: LiteralASL(c, clamp=False, reduction="none"),
}
UNCORRECTED = ["gce", "splc", "elr", "small-loss"]  # without a C, or with one that is no part of the loss


def batch(n: int = 12):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n, K, generator=generator)
    targets = (torch.rand(n, K, generator=generator) < 0.4).float()
    return logits, targets, torch.arange(n) % 3 == 0


def its(targets, trusted) -> Batch:
    return Batch(targets, trusted, torch.arange(len(targets)), 1)


def loss_of(name: str, *noise):
    """The loss of a method for 12 images, by an estimate of the noise."""
    estimate = Estimate(*noise)
    data = TrainingSet(torch.zeros(12, 1), torch.arange(12), torch.zeros(12, K), torch.zeros(12, dtype=torch.bool))
    return METHODS[name].training(STAGES, estimate, data)[1]


def base(name: str):
    return plain(METHODS[name].loss)


@pytest.mark.parametrize("name", PLAIN)
def test_plain_losses_are_the_batch_mean_of_the_sum_over_classes(name):
    logits, targets, trusted = batch()
    rows = [PLAIN[name](logits[n : n + 1], targets[n : n + 1]).sum() for n in range(12)]
    torch.testing.assert_close(plain(PLAIN[name])(logits, its(targets, trusted)), torch.stack(rows).mean())
    torch.testing.assert_close(
        plain(PLAIN[name])(logits, its(targets, ~trusted)), plain(PLAIN[name])(logits, its(targets, trusted))
    )


def test_plain_losses_take_soft_targets():
    logits, _, trusted = batch()
    soft = torch.full_like(logits, 0.3)
    for name in PLAIN:
        ends = [plain(PLAIN[name])(logits, its(torch.full_like(logits, t), trusted)) for t in (0.0, 1.0)]
        torch.testing.assert_close(plain(PLAIN[name])(logits, its(soft, trusted)), 0.7 * ends[0] + 0.3 * ends[1])


@pytest.mark.parametrize("name", FORWARD)
def test_trusted_rows_get_the_plain_loss_and_the_others_the_corrected_one(name):
    logits, targets, trusted = batch()
    matrix = pair_flip(K, 0.4).float()
    loss = loss_of(name, matrix)
    noisy = FORWARD[name](matrix)(logits, targets).sum(1)
    everyone = torch.ones_like(trusted)
    torch.testing.assert_close(loss(logits, its(targets, everyone)), base(name)(logits, its(targets, everyone)))
    torch.testing.assert_close(loss(logits, its(targets, ~everyone)), noisy.mean())
    own = METHODS[name].loss(logits, targets).sum(1)
    expected = sum(own[n] if trusted[n] else noisy[n] for n in range(12)) / 12
    torch.testing.assert_close(loss(logits, its(targets, trusted)), expected)
    assert not torch.isclose(loss(logits, its(targets, trusted)), base(name)(logits, its(targets, trusted)))


@pytest.mark.parametrize("name", FORWARD)
def test_the_identity_corrects_nothing_in_value_and_gradient(name):
    logits, targets, trusted = batch()
    values, slopes = [], []
    for loss in (loss_of(name, torch.eye(K)), base(name)):
        x = logits.clone().requires_grad_()
        values.append(loss(x, its(targets, trusted)))
        slopes.append(torch.autograd.grad(values[-1], x)[0])
    torch.testing.assert_close(values[0], values[1], rtol=1e-3, atol=1e-4)
    there = calibrated_part(logits)
    torch.testing.assert_close(slopes[0][there], slopes[1][there], rtol=2e-2, atol=1e-4)


def calibrated_part(logits):
    """Above the chord near p = clip, and below calibrate(1), where `ForwardASL` is exact."""
    return (logits.sigmoid() > 0.25) & (logits.sigmoid() < 0.95)


@pytest.mark.parametrize("name", FORWARD)
def test_values_and_gradients_are_finite_for_any_finite_logit_in_both_kinds_of_rows(name):
    extremes = torch.tensor([-100.0, -20.0, 0.0, 20.0, 100.0]).repeat(8, 1).requires_grad_()
    targets = (torch.arange(8)[:, None] >> torch.arange(K)) % 2
    for matrix in (torch.eye(K), pair_flip(K, 1.0).float(), torch.full((K, K), 1 / K)):
        value = loss_of(name, matrix)(extremes, its(targets.float(), torch.arange(8) % 2 == 0))
        (slope,) = torch.autograd.grad(value, extremes)
        assert torch.isfinite(value) and torch.isfinite(slope).all()


@pytest.mark.parametrize("name", ["asl", "bce"])
def test_weights_go_by_the_rows_of_the_batch_and_all_ones_are_the_plain_loss(name):
    logits, targets, trusted = batch()
    rows = torch.randperm(30, generator=torch.Generator().manual_seed(0))[:12]
    weights = torch.rand(30, K, generator=torch.Generator().manual_seed(1))
    got = Weighted(PLAIN[name], weights)(logits, Batch(targets, trusted, rows, 1))
    losses = PLAIN[name](logits, targets)
    expected = sum(float(weights[rows[n], k] * losses[n, k]) for n in range(12) for k in range(K)) / 12
    assert got.item() == pytest.approx(expected, rel=1e-5)
    ones = Weighted(PLAIN[name], torch.ones(30, K))(logits, Batch(targets, trusted, rows, 1))
    torch.testing.assert_close(ones, plain(PLAIN[name])(logits, its(targets, trusted)))


def test_a_label_of_weight_zero_teaches_nothing():
    logits, targets, trusted = batch()
    weights = torch.ones(12, K)
    weights[3, 2] = 0
    x = logits.clone().requires_grad_()
    Weighted(ASL, weights)(x, its(targets, trusted)).backward()
    assert x.grad[3, 2] == 0 and (x.grad != 0).sum() > 30


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_weights_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="finite and not negative"):
        Weighted(ASL, torch.full((2, K), value))


@pytest.mark.parametrize("name", UNCORRECTED)
def test_losses_of_the_literature_leave_trusted_images_their_plain_loss(name):
    logits, targets, trusted = batch()
    loss = loss_of(name, symmetric(K, 0.4).float())
    everyone = torch.ones_like(trusted)
    for epoch in (1, 2):
        on = Batch(targets, everyone, torch.arange(12), epoch)
        torch.testing.assert_close(loss(logits, on), base(name)(logits, on))
    mixed = [float(loss(logits, Batch(targets, trusted, torch.arange(12), epoch))) for epoch in (1, 2, 11)]
    assert any(value != pytest.approx(float(base(name)(logits, on))) for value in mixed)


@pytest.mark.parametrize("name", PLAIN)
def test_probabilities_are_where_the_expected_slope_of_the_loss_vanishes(name):
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)[:, None].requires_grad_()
    q = probabilities(PLAIN[name], x).double()
    expected = q * PLAIN[name](x, torch.ones_like(x)) + (1 - q) * PLAIN[name](x, torch.zeros_like(x))
    (slope,) = torch.autograd.grad(expected.sum(), x)
    assert slope.abs().max() < 1e-6
    far = probabilities(PLAIN[name], torch.linspace(-200, 200, 4001)[:, None])
    assert far.min() >= 0 and far.max() <= 1 and (far.diff(dim=0) > -1e-6).all()


def test_probabilities_of_cross_entropy_are_the_sigmoid_and_those_of_asl_its_calibration():
    logits, _, _ = batch()
    torch.testing.assert_close(probabilities(BCE, logits), logits.sigmoid())
    torch.testing.assert_close(probabilities(ASL, logits), calibrate(logits.sigmoid()), atol=1e-6, rtol=1e-5)


# --- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*FORWARD, *UNCORRECTED, "t-revision"])
def test_after_the_first_step_no_loss_makes_the_processor_wait_for_a_gpu(name):
    logits, targets, trusted = batch()
    logits.requires_grad_()
    matrix = symmetric(K, 0.4)
    loss = loss_of(name, matrix, *(() if "literal" in name else (torch.zeros(K), torch.full((K,), 0.01))))
    values = []
    for epoch in (1, 2, 4):
        on = Batch(targets, trusted, torch.arange(12), epoch)
        loss(logits, on)  # the first step of an epoch may look
        with NothingReadBack():
            value = loss(logits, on)
            value.backward()
        values.append(value)
    assert all(torch.isfinite(value) for value in values)


def test_a_matrix_is_on_the_device_of_the_loss_and_in_no_checkpoint():
    loss = Corrected(BCE, by_matrix(ForwardBCE, Estimate(symmetric(K, 0.4)))).to("meta")
    assert loss.noisy.loss.transition.is_meta and not loss.state_dict()
