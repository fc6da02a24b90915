import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galc.losses.asl import AsymmetricLoss, asl_from_probability, calibrate, calibrate_logits, uncalibrate

SETTINGS = [  # gamma_neg, gamma_pos, clip
    (4.0, 0.0, 0.05),
    (4.0, 1.0, 0.05),
    (2.0, 0.5, 0.0),
    (0.0, 0.0, 0.0),
    (1.0, 2.0, 0.1),
]
both = pytest.mark.parametrize("detach", [True, False], ids=["detached", "undetached"])
every = pytest.mark.parametrize("setting", SETTINGS, ids=str)


def oracle(logit, target, gamma_neg, gamma_pos, clip, detach):
    """One label's loss and gradient by the paper's formulas, in float64."""
    p = 1 / (1 + math.exp(-logit))
    p_m = max(p - clip, 0.0)
    active = 1.0 if p > clip else 0.0
    weight_pos, weight_neg = (1 - p) ** gamma_pos, p_m**gamma_neg
    value = -(target * weight_pos * math.log(p) + (1 - target) * weight_neg * math.log(1 - p_m))
    slope_pos, slope_neg = -weight_pos / p, active * weight_neg / (1 - p_m)
    if not detach:
        slope_pos += gamma_pos * (1 - p) ** (gamma_pos - 1) * math.log(p) if gamma_pos else 0.0
        slope_neg -= gamma_neg * p_m ** (gamma_neg - 1) * math.log(1 - p_m) if gamma_neg and active else 0.0
    return value, (target * slope_pos + (1 - target) * slope_neg) * p * (1 - p)


@every
@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_equals_the_literal_oracle_in_value_and_gradient(setting, detach, dtype):
    grid = [x / 4 for x in range(-50, 51)]
    logits = torch.tensor([grid] * 3, dtype=dtype).T.clone().requires_grad_()
    targets = torch.tensor([[0.0, 1.0, 0.3]] * len(grid))
    loss = AsymmetricLoss(*setting, detach_focal=detach, reduction="none")(logits, targets)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    expected = [[oracle(x, t, *setting, detach) for t in (0.0, 1.0, 0.3)] for x in grid]
    expected = torch.tensor(expected, dtype=torch.float64)
    soft = float(torch.tensor(0.3))  # the target as float32 holds it
    expected[:, 2] = torch.tensor([oracle(x, soft, *setting, detach) for x in grid], dtype=torch.float64)
    torch.testing.assert_close(loss.detach().double(), expected[..., 0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected[..., 1], rtol=1e-6, atol=1e-6)


@every
@both
def test_loss_and_gradient_are_finite_at_extreme_logits_also_under_bf16_autocast(setting, detach):
    for dtype in (torch.float32, torch.bfloat16):
        logits = torch.tensor([[-1e4, -100.0, -30.0, 0.0, 30.0, 100.0, 1e4]] * 3, dtype=dtype).requires_grad_()
        targets = torch.tensor([[0.0], [1.0], [0.5]]).expand(3, 7)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = AsymmetricLoss(*setting, detach_focal=detach)(logits, targets)
        loss.backward()
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


def test_a_missed_label_still_pulls_at_minus_100():
    logits = torch.tensor([[-100.0]], requires_grad=True)
    AsymmetricLoss()(logits, torch.ones(1, 1)).backward()
    assert logits.grad.item() == pytest.approx(-1.0)


def test_reductions_sum_over_classes_and_average_over_the_batch():
    logits, targets = torch.randn(4, 3), torch.ones(4, 3)
    each = AsymmetricLoss(reduction="none")(logits, targets)
    assert each.shape == (4, 3)
    torch.testing.assert_close(AsymmetricLoss(reduction="sum")(logits, targets), each.sum())
    torch.testing.assert_close(AsymmetricLoss()(logits, targets), each.sum(1).mean())


@every
@both
def test_loss_from_probabilities_agrees_with_loss_from_logits(setting, detach):
    logits = torch.linspace(-8, 8, 41).double().expand(2, 41).clone().requires_grad_()
    targets = torch.tensor([[0.0], [1.0]]).expand(2, 41)
    first = AsymmetricLoss(*setting, detach_focal=detach, reduction="none")(logits, targets)
    second = asl_from_probability(logits.sigmoid(), targets, *setting, detach_focal=detach)
    torch.testing.assert_close(first, second)
    gradients = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (first, second)]
    torch.testing.assert_close(*gradients)


@every
@both
def test_calibrate_is_the_ratio_of_the_slopes_of_the_loss(setting, detach):
    gamma_neg, gamma_pos, clip = setting
    p = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    slopes = []
    for target in (0.0, 1.0):
        x = p.clone().requires_grad_()
        loss = asl_from_probability(x, torch.full_like(p, target), gamma_neg, gamma_pos, clip, detach)
        slopes.append(torch.autograd.grad(loss.sum(), x)[0])
    q = slopes[0] / (slopes[0] - slopes[1])
    torch.testing.assert_close(calibrate(p, *setting, detach_focal=detach), q)


@every
@both
def test_uncalibrate_inverts_calibrate_and_both_increase(setting, detach):
    clip = setting[2]
    p = torch.cat([torch.linspace(clip + 1e-4, 1 - 1e-4, 500), torch.tensor([clip + 2e-6, 1 - 1e-6])]).double()
    p = p.sort().values
    q = calibrate(p, *setting, detach_focal=detach)
    assert (q.diff() > 0).all()
    back = uncalibrate(q, *setting, detach_focal=detach)
    torch.testing.assert_close(back, p, rtol=0, atol=1e-8)
    single = uncalibrate(q.float(), *setting, detach_focal=detach)
    assert single.dtype == torch.float32 and (single.double() - p)[:-1].abs().max() < 1e-3
    again = calibrate(back, *setting, detach_focal=detach)
    torch.testing.assert_close(again, q, rtol=1e-9, atol=0)


@settings(deadline=None, max_examples=25)
@given(
    q=st.floats(1e-12, 1 - 1e-9),
    gamma_neg=st.floats(0, 8),
    gamma_pos=st.floats(0, 3),
    clip=st.floats(0, 0.3),
    detach=st.booleans(),
)
def test_calibrate_inverts_uncalibrate_within_its_range(q, gamma_neg, gamma_pos, clip, detach):
    setting = dict(gamma_neg=gamma_neg, gamma_pos=gamma_pos, clip=clip, detach_focal=detach)
    wanted = torch.tensor([q], dtype=torch.float64)
    p = uncalibrate(wanted, **setting)
    assert clip <= p.item() <= 1
    lowest, highest = calibrate(torch.tensor([clip + 1e-5, 1 - 1e-9], dtype=torch.float64), **setting)
    if lowest < wanted < highest:
        torch.testing.assert_close(calibrate(p, **setting), wanted, rtol=1e-6, atol=1e-9)


@every
@both
def test_minimising_the_loss_for_a_known_probability_finds_uncalibrate(setting, detach):
    q = torch.tensor([0.02, 0.3, 0.5, 0.8], dtype=torch.float64)
    logits = torch.zeros(1, 4, dtype=torch.float64, requires_grad=True)
    loss = AsymmetricLoss(*setting, detach_focal=detach, reduction="none")
    step, before = torch.full_like(logits, 0.5), torch.zeros_like(logits)
    for _ in range(60):  # descent along the gradient's sign, the step halved wherever the sign turns
        expected = q * loss(logits, torch.ones(1, 4)) + (1 - q) * loss(logits, torch.zeros(1, 4))
        (gradient,) = torch.autograd.grad(expected.sum(), logits)
        sign = gradient.sign()
        step *= torch.where(sign * before < 0, 0.5, 1.1)
        before = sign
        with torch.no_grad():
            logits -= step * sign
    found = logits.detach().sigmoid()[0]
    torch.testing.assert_close(found, uncalibrate(q, *setting, detach_focal=detach), rtol=0, atol=1e-5)


def test_known_answers_of_the_calibration():
    assert uncalibrate(torch.tensor(0.5)).item() == pytest.approx(0.80, abs=0.005)
    assert uncalibrate(torch.tensor(0.036)).item() == pytest.approx(0.50, abs=0.005)
    assert calibrate(torch.tensor(1.0)).item() == pytest.approx(0.95**4 / (0.95**4 + 0.05))
    edge = calibrate(torch.tensor([0.0, 0.02, 0.05]))
    assert edge.tolist() == [0.0, 0.0, 0.0]
    assert uncalibrate(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.05, 1.0])
    p = torch.linspace(0, 1, 11)
    torch.testing.assert_close(calibrate(p, 0.0, 0.0, 0.0), p)  # BCE is proper


@every
@both
def test_logit_form_agrees_with_probability_form_and_stays_finite(setting, detach):
    logits = torch.linspace(-2, 6, 50, dtype=torch.float64)
    p = logits.sigmoid()
    log_odds = calibrate_logits(logits, *setting, detach_focal=detach)
    torch.testing.assert_close(log_odds.sigmoid(), calibrate(p, *setting, detach_focal=detach))
    extreme = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4], requires_grad=True)
    value = calibrate_logits(extreme, *setting, detach_focal=detach)
    value.sum().backward()
    assert torch.isfinite(value).all() and torch.isfinite(extreme.grad).all()
    assert (value.detach().diff() >= 0).all()


@every
@both
def test_gradient_of_uncalibrate_is_that_of_the_inverse(setting, detach):
    p = torch.linspace(setting[2] + 0.1, 0.95, 20, dtype=torch.float64)
    q = calibrate(p, *setting, detach_focal=detach).requires_grad_()
    (slope,) = torch.autograd.grad(uncalibrate(q, *setting, detach_focal=detach).sum(), q)
    x = p.clone().requires_grad_()
    (inverse,) = torch.autograd.grad(calibrate(x, *setting, detach_focal=detach).sum(), x)
    torch.testing.assert_close(slope * inverse, torch.ones_like(p), rtol=1e-6, atol=1e-6)


@every
@both
def test_gradients_at_the_ends_are_finite(setting, detach):
    for function in (calibrate, uncalibrate):
        x = torch.tensor([0.0, 1e-38, 1e-8, setting[2], 1 - 1e-7, 1.0], requires_grad=True)
        function(x, *setting, detach_focal=detach).sum().backward()
        assert torch.isfinite(x.grad).all() and (x.grad >= 0).all()


@pytest.mark.parametrize("call", [calibrate, uncalibrate])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_values_outside_the_unit_interval_are_refused(call, value):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        call(torch.tensor([0.5, value]))


def test_bad_parameters_and_shapes_are_refused():
    with pytest.raises(ValueError, match="gamma_neg"):
        AsymmetricLoss(gamma_neg=-1)
    with pytest.raises(ValueError, match="clip"):
        calibrate(torch.tensor(0.5), clip=1.0)
    with pytest.raises(ValueError, match="reduction"):
        AsymmetricLoss(reduction="median")
    with pytest.raises(ValueError, match=r"must both be \(N, K\)"):
        AsymmetricLoss()(torch.zeros(2, 3), torch.zeros(3, 2))
