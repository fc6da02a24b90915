"""Importance weights: the literal ratio, the risk they restore, and their limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits

from galc.losses.forward import posterior
from galc.methods.reweighting import importance
from galc.noise import pair_flip, symmetric

K = 5


def case(seed: int, n: int = 20):
    generator = torch.Generator().manual_seed(seed)
    q = torch.rand(n, K, generator=generator, dtype=torch.float64)
    matrix = torch.rand(K, K, generator=generator, dtype=torch.float64) + 2 * torch.eye(K)
    return q, torch.rand(n, K, generator=generator) < 0.4, matrix / matrix.sum(1, keepdim=True)


@given(seed=st.integers(0, 2**31))
def test_weights_equal_the_ratio_of_probabilities_worked_out_one_by_one(seed):
    q, labels, c = case(seed, 4)
    got = importance(q, labels, c)
    for n in range(4):
        for j in range(K):
            rate = sum(float(c[i, j] * q[n, i]) for i in range(K) if i != j)
            noisy = float(c[j, j] * q[n, j] + (1 - q[n, j]) * (1 - math.exp(-rate)))
            ratio = float(q[n, j]) / noisy if labels[n, j] else (1 - float(q[n, j])) / (1 - noisy)
            assert got[n, j].item() == pytest.approx(ratio, rel=1e-9)


@given(seed=st.integers(0, 2**31))
def test_the_weighted_noisy_risk_is_the_clean_risk_for_any_loss(seed):
    """Over both values of the noisy label: sum of P(y~ = v) b(v) l(v) = sum of P(y = v) l(v), label by label."""
    q, _, c = case(seed)
    x = torch.randn(q.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noisy = sum(risk(x, q, c, torch.full_like(q, v)) for v in (0.0, 1.0))
    clean = q * binary_cross_entropy_with_logits(x, torch.ones_like(q), reduction="none")
    clean += (1 - q) * binary_cross_entropy_with_logits(x, torch.zeros_like(q), reduction="none")
    torch.testing.assert_close(noisy, clean)


def risk(x, q, c, value):
    """P(y~ = value) b(value) l(value), with P(y~) from the posterior's own denominator."""
    there = c.diagonal() * q
    seen = there / posterior(q, torch.ones_like(q), c)  # P(y~ = 1) = P(y = 1, y~ = 1) / P(y = 1 | y~ = 1)
    probability = torch.where(value.bool(), seen, 1 - seen)
    return probability * importance(q, value, c) * binary_cross_entropy_with_logits(x, value, reduction="none")


def test_without_noise_every_label_has_the_weight_one_certain_ones_included():
    q = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.3]])
    for labels in (torch.tensor([[0, 1, 1, 0, 1]]), torch.tensor([[1, 0, 0, 1, 0]])):
        assert torch.equal(importance(q, labels, torch.eye(K)), torch.ones(1, K))


def test_an_implausible_label_counts_little_and_a_plausible_one_more_than_once():
    q, c = torch.tensor([[0.02, 0.95, 0.01, 0.01, 0.01]]), symmetric(K, 0.4)
    weights = importance(q, torch.tensor([[1, 1, 0, 0, 0]]), c)
    assert weights[0, 0] < 0.25 and weights[0, 1] > 1.5


@given(seed=st.integers(0, 2**31), order=st.permutations(range(K)))
def test_weights_follow_the_classes_when_these_are_renumbered(seed, order):
    q, labels, c = case(seed)
    torch.testing.assert_close(
        importance(q[:, order], labels[:, order], c[order][:, order]), importance(q, labels, c)[:, order]
    )


@given(seed=st.integers(0, 2**31))
def test_weights_are_bounded_by_what_survives(seed):
    """q / q~ <= 1 / C_jj where observed; finite and not negative for certain q and any C."""
    q, labels, c = case(seed)
    weights = importance(q, labels, c)
    assert (weights[labels] <= (1 / c.diagonal()).expand_as(q)[labels] + 1e-9).all()
    extreme = importance(q.round(), labels, pair_flip(K, 1.0))
    assert torch.isfinite(extreme).all() and (extreme >= 0).all()


def test_bad_input_is_named():
    q, labels, c = case(0)
    with pytest.raises(ValueError, match="does not sum to at most 1"):
        importance(q, labels, c * 2)
    with pytest.raises(ValueError, match="q must be finite"):
        importance(q.log() * torch.inf, labels, c)
    with pytest.raises(ValueError, match="differ in shape"):
        importance(q[1:], labels, c)
