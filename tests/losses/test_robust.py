"""Robust losses: their published formulas written out, their limits, and slopes that stay finite."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from galc.losses.robust import focal_margin, gce, hill, splc

LOGITS = st.floats(-12, 12)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def loss(function, x: float, label: float, **options) -> float:
    logits = torch.tensor([[x]], dtype=torch.float64)
    return function(logits, torch.tensor([[label]]), **options).item()


# --- the formulas, a label at a time -----------------------------------------------------------------------------


@given(x=LOGITS, q=st.floats(0.05, 1))
def test_gce_is_the_box_cox_of_the_labels_probability(x, q):
    p = sigmoid(x)
    assert loss(gce, x, 1.0, q=q) == pytest.approx((1 - p**q) / q, rel=1e-6, abs=1e-9)
    assert loss(gce, x, 0.0, q=q) == pytest.approx((1 - (1 - p) ** q) / q, rel=1e-6, abs=1e-9)


@given(x=LOGITS)
def test_hill_is_the_published_formula(x):
    p, p_m = sigmoid(x), sigmoid(x - 1.0)
    assert loss(hill, x, 1.0) == pytest.approx(-((1 - p_m) ** 2) * math.log(p_m), rel=1e-6, abs=1e-12)
    assert loss(hill, x, 0.0) == pytest.approx((1.5 - p) * p**2, rel=1e-6, abs=1e-12)


@given(x=LOGITS, epoch=st.integers(1, 4))
def test_splc_is_the_published_formula(x, epoch):
    p, p_m = sigmoid(x), sigmoid(x - 1.0)
    assert loss(splc, x, 1.0, epoch=epoch) == pytest.approx(-((1 - p_m) ** 2) * math.log(p_m), rel=1e-6, abs=1e-12)
    absent = -((1 - p) ** 2) * math.log(p) if epoch > 1 and p > 0.6 else -(p**2) * math.log(1 - p)
    assert loss(splc, x, 0.0, epoch=epoch) == pytest.approx(absent, rel=1e-6, abs=1e-12)


# --- what they promise -------------------------------------------------------------------------------------------


def batch(n: int = 50):
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(n, 6, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(n, 6, generator=generator) < 0.3).double()


def test_gce_tends_to_cross_entropy_and_ends_at_the_absolute_error():
    logits, targets = batch()
    cross_entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(gce(logits, targets, 1e-9), cross_entropy, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gce(logits, targets, 1.0), (logits.sigmoid() - targets).abs())
    assert (gce(logits, targets, 0.3) <= cross_entropy + 1e-12).all()
    assert (gce(logits, targets, 0.3) <= 1 / 0.3).all()  # bounded, however wrong the label


def test_the_slope_of_gce_is_that_of_cross_entropy_times_the_labels_probability_to_the_q():
    logits, targets = batch()
    slopes = []
    for value in (gce, lambda x, t: binary_cross_entropy_with_logits(x, t, reduction="none")):
        x = logits.clone().requires_grad_()
        slopes.append(torch.autograd.grad(value(x, targets).sum(), x)[0])
    p = torch.where(targets.bool(), logits.sigmoid(), (-logits).sigmoid())
    torch.testing.assert_close(slopes[0], slopes[1] * p**0.1)


@pytest.mark.parametrize("q", [0.0, -0.1, 1.1])
def test_gce_names_a_q_out_of_range(q):
    with pytest.raises(ValueError, match="q must be above 0 and at most 1"):
        gce(*batch(), q)


def test_hill_and_splc_push_an_absent_label_down_less_where_the_model_is_sure_of_it():
    x = torch.linspace(-4, 8, 121, dtype=torch.float64).requires_grad_()
    absent = torch.zeros_like(x)
    slope = torch.autograd.grad(hill(x, absent).sum(), x)[0]
    p = x.detach().sigmoid()
    torch.testing.assert_close(slope, 3 * p.square() * (1 - p).square())  # with lam = 1.5
    assert p[slope.argmax()].item() == pytest.approx(
        0.5
    )  # the published reason for lam = 1.5: beyond p = 0.5 the slope falls
    corrected = torch.autograd.grad(splc(x, absent, 2).sum(), x)[0]
    assert (corrected[x.sigmoid() > 0.6] < 0).all() and (corrected[x.sigmoid() < 0.6] > 0).all()
    assert (torch.autograd.grad(splc(x, absent, 1).sum(), x)[0] > 0).all()  # not in the first epoch


def test_without_margin_and_focus_the_focal_margin_is_cross_entropy():
    x, _ = batch()
    torch.testing.assert_close(focal_margin(x, 0.0, 0.0), -x.sigmoid().log())
    torch.testing.assert_close(splc(x, torch.zeros_like(x), 1, gamma=0.0), -(-x).sigmoid().log())


LOSSES = {"gce": gce, "hill": hill, "splc": lambda x, t: splc(x, t, 2)}


@pytest.mark.parametrize("name", LOSSES)
def test_soft_targets_give_the_expectation_over_labels(name):
    logits, _ = batch()
    ends = [LOSSES[name](logits, torch.full_like(logits, t)) for t in (0.0, 1.0)]
    torch.testing.assert_close(LOSSES[name](logits, torch.full_like(logits, 0.3)), 0.7 * ends[0] + 0.3 * ends[1])


@pytest.mark.parametrize("name", LOSSES)
def test_values_and_slopes_are_finite_for_any_finite_logit(name):
    x = torch.tensor([-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4]).repeat(2, 1).requires_grad_()
    value = LOSSES[name](x, torch.tensor([[0.0], [1.0]]).expand_as(x))
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.dtype == torch.float32 and torch.isfinite(value).all() and torch.isfinite(slope).all()
    assert LOSSES[name](x.bfloat16(), torch.ones_like(x)).dtype == torch.float32
