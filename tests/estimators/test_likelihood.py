"""Bernoulli likelihood: its maximum against a literal objective, and corruption that is known."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galc.checks import check_transition
from galc.estimators import likelihood
from galc.estimators.attribution import INFINITE, match_counts, pooled, pooled_rate
from galc.estimators.base import matrix_error
from galc.estimators.likelihood import estimate, log_likelihood, maximise
from galc.noise import pair_flip, symmetric
from galc.noise.draw import inject

K = 12


def by_class(num_classes: int = K) -> torch.Tensor:
    """Flip rates from 0 to 0.6, spread evenly over the classes; half of a class's flips go to the next class."""
    rates = torch.linspace(0, 0.6, num_classes, dtype=torch.float64)[:, None]
    mixed = (symmetric(num_classes, 1.0) + pair_flip(num_classes, 1.0)) / 2
    return symmetric(num_classes, 0.0) * (1 - rates) + mixed * rates


def images(n: int, k: int = K, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Posteriors h (n, k) and clean labels drawn from them; images with 1 to 5 labels."""
    generator = torch.Generator().manual_seed(seed)
    h = (2.5 * torch.randn(3 * n, k, generator=generator) - 3).sigmoid()
    labels = torch.rand(3 * n, k, generator=generator) < h
    several = (labels.sum(1) >= 1) & (labels.sum(1) <= 5)
    return h[several][:n], labels[several][:n]


def small(seed: int = 0, n: int = 30, k: int = 4):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, k, generator=generator) * 0.9 + 0.05, torch.rand(n, k, generator=generator) < 0.4


def objective(c, clean, noisy, rate, kappa_rate, kappa_target):
    """Log-likelihood and priors of the docstring, entry by entry; C as nested lists."""
    k, value = len(c), 0.0
    for h, y in zip(clean.tolist(), noisy.tolist(), strict=True):
        for j in range(k):
            q = min(max(sum(h[i] * c[i][j] for i in range(k)), 1e-9), 1 - 1e-9)
            value += math.log(q if y[j] else 1 - q)
    for i in range(k):
        flipped = 1 - c[i][i]
        if kappa_rate != INFINITE:
            value += kappa_rate * (rate * math.log(flipped) + (1 - rate) * math.log(c[i][i]))
        if kappa_target != INFINITE:
            value += sum(kappa_target / (k - 1) * math.log(c[i][j] / flipped) for j in range(k) if j != i)
    return value


def moves(kappa_rate, kappa_target, k=4):
    """Directions in which a row may change, one entry down and others up: (row, (k,) change that sums to 0)."""
    for i, a, b in itertools.permutations(range(k), 3):
        if kappa_target != INFINITE:
            yield i, torch.eye(k)[a] - torch.eye(k)[b]
    for i, sign in itertools.product(range(k), (-1, 1)):
        if kappa_rate != INFINITE:
            yield i, sign * (torch.eye(k)[i] - (1 - torch.eye(k)[i]) / (k - 1))


@pytest.mark.parametrize("kappas", [(3.0, 3.0), (30.0, 0.5), (30.0, INFINITE), (INFINITE, 3.0)])
def test_no_move_within_a_row_improves_the_literal_objective(kappas):
    clean, noisy = small()
    c = maximise(clean, noisy, 0.3, *kappas, steps=500).double()
    best = objective(c.tolist(), clean, noisy, 0.3, *kappas)
    start = objective(symmetric(4, 0.3).tolist(), clean, noisy, 0.3, *kappas)
    assert best > start + 0.1
    for row, change in moves(*kappas):
        moved = c.clone()
        moved[row] += 0.02 * c[row].min() * change
        assert objective(moved.tolist(), clean, noisy, 0.3, *kappas) < best + 1e-5, (row, change)


def test_held_parts_stay_at_the_prior():
    clean, noisy = small()
    rates_only = maximise(clean, noisy, 0.3, 3.0, INFINITE)
    off = rates_only[~torch.eye(4, dtype=torch.bool)].view(4, 3)
    torch.testing.assert_close(off, off.mean(1, keepdim=True).expand(-1, 3))
    assert rates_only.diagonal().std() > 0.01
    targets_only = maximise(clean, noisy, 0.3, INFINITE, 3.0)
    torch.testing.assert_close(targets_only.diagonal(), torch.full((4,), 0.7))
    assert targets_only[0, 1:].std() > 0.01
    torch.testing.assert_close(maximise(clean, noisy, 0.3, INFINITE, INFINITE), symmetric(4, 0.3).float())
    torch.testing.assert_close(maximise(clean, noisy, 0.3, 1e9, 1e9), symmetric(4, 0.3).float(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("k", [8, 20])
@pytest.mark.parametrize("kind", ["symmetric", "pair flip", "by class"])
def test_a_known_corruption_is_recovered_from_known_posteriors(kind, k):
    truth, kappas, l1 = {
        "symmetric": (symmetric(k, 0.4), (INFINITE, INFINITE), 0.08),
        "pair flip": (pair_flip(k, 0.4), (300.0, 3.0), 0.25),
        "by class": (by_class(k), (30.0, 3.0), 0.35),
    }[kind]
    h, labels = images(3000, k)
    noisy = inject(labels, truth, seed=0)
    clean = match_counts(h, noisy.sum(1))
    got = maximise(clean, noisy, pooled_rate(clean, noisy), *kappas)
    error = matrix_error(got, truth)
    assert error["row_l1"] < l1 and error["diagonal"] < 0.08, error
    assert error["row_l1"] < matrix_error(torch.eye(k), truth)["row_l1"] / 1.5
    check_transition(got, k)


def test_the_strengths_are_chosen_by_the_data():
    h, labels = images(1500)
    options = {"kappa_rates": (30.0, INFINITE), "kappa_targets": (3.0, INFINITE)}
    uniform = estimate(h, inject(labels, symmetric(K, 0.4), 0), **options)
    off = uniform[~torch.eye(K, dtype=torch.bool)]
    assert off.max() - off.min() < 0.05  # no structure is read into symmetric noise
    paired = estimate(h, inject(labels, pair_flip(K, 0.4), 0), **options)
    assert matrix_error(paired, pair_flip(K, 0.4))["off_diagonal_correlation"] > 0.9
    noisy = inject(labels, by_class(), 0)
    own, symmetrical = (matrix_error(c, by_class()) for c in (estimate(h, noisy, **options), pooled(h, noisy)))
    assert own["diagonal"] < symmetrical["diagonal"] / 1.5


def test_without_noise_no_noise_is_found():
    h, labels = images(800)
    assert torch.equal(estimate(h, labels, (30.0, INFINITE), (30.0, INFINITE)), torch.eye(K))
    assert torch.equal(maximise(h, labels, 0.0, 30.0, 30.0), torch.eye(K))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), rate=st.floats(0, 0.95), kappas=st.sampled_from([(30.0, 0.5), (3.0, INFINITE)]))
def test_rows_sum_to_one(seed, rate, kappas):
    clean, noisy = small(seed)
    check_transition(maximise(clean, noisy, rate, *kappas, steps=10), 4)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), order=st.permutations(range(4)))
def test_rows_and_columns_follow_the_classes_when_these_are_renumbered(seed, order):
    clean, noisy = small(seed)
    got = maximise(clean[:, order], noisy[:, order], 0.3, 3.0, 3.0, steps=300)
    torch.testing.assert_close(
        got, maximise(clean, noisy, 0.3, 3.0, 3.0, steps=300)[order][:, order], atol=2e-3, rtol=0
    )


def test_certain_posteriors_and_impossible_labels_leave_it_finite():
    clean = torch.eye(4).repeat(5, 1)
    noisy = torch.ones(20, 4, dtype=torch.bool)
    check_transition(maximise(clean, noisy, 0.3, 3.0, 3.0), 4)
    check_transition(maximise(clean, ~noisy, 0.3, 3.0, 3.0), 4)


def test_each_image_is_scored_by_a_matrix_that_was_not_fitted_to_it(monkeypatch):
    h, labels = images(40)
    noisy = inject(labels, symmetric(K, 0.4), 0)
    fitted, scored = [], []
    fit, score = likelihood.maximise, likelihood.log_likelihood
    monkeypatch.setattr(likelihood, "maximise", lambda c, n, *a: fitted.append(len(n)) or fit(c, n, *a))
    monkeypatch.setattr(likelihood, "log_likelihood", lambda t, c, n: scored.append(len(n)) or score(t, c, n))
    estimate(h, noisy, (30.0,), (30.0, INFINITE), folds=4)
    assert fitted == [30] * 8 + [40] and scored == [10] * 8
    fitted.clear(), scored.clear()
    estimate(h, noisy, (30.0,), (30.0, INFINITE), folds=2, judged=10)  # strengths by a few images, C from all
    assert fitted == [5] * 4 + [40] and scored == [5] * 4


def test_the_likelihood_is_the_bernoulli_one():
    generator = torch.Generator().manual_seed(0)
    clean, noisy = torch.rand(6, 5, generator=generator), torch.rand(6, 5, generator=generator) < 0.4
    c = symmetric(5, 0.3)
    expected = 0.0
    for h, y in zip(clean.double().tolist(), noisy.tolist(), strict=True):
        for j in range(5):
            q = min(sum(h[i] * float(c[i, j]) for i in range(5)), 1 - 1e-9)
            expected += math.log(q if y[j] else 1 - q) / 6
    assert log_likelihood(c, clean, noisy) == pytest.approx(expected)
