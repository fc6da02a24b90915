"""Attribution EM against a literal loop and against corruption that is known."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galc import attribution
from galc.attribution import INFINITE, estimate, log_likelihood, match_counts, maximise, pooled, pooled_rate
from galc.checks import check_transition
from galc.estimator import matrix_error
from galc.noise import inject, pair_flip, symmetric

K = 24


def by_class(num_classes: int = K) -> torch.Tensor:
    """Flip rates from 0 to 0.6, spread evenly."""
    rates = torch.linspace(0, 0.6, num_classes, dtype=torch.float64)
    return symmetric(num_classes, 0.0) * (1 - rates)[:, None] + symmetric(num_classes, 1.0) * rates[:, None]


def images(n: int = 3000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Posteriors h (n, K) and clean labels drawn from them; images with 2 to 6 labels."""
    generator = torch.Generator().manual_seed(seed)
    h = (2 * torch.randn(2 * n, K, generator=generator) - 4).sigmoid()
    labels = torch.rand(2 * n, K, generator=generator) < h
    several = (labels.sum(1) >= 2) & (labels.sum(1) <= 6)
    return h[several][:n], labels[several][:n]


def literal_em(clean, noisy, rate, kappa_rate, kappa_target, steps):
    """The E and M steps, image by image and label by label."""
    n, k = noisy.shape
    h, y = clean.double().tolist(), noisy.tolist()
    c = [[1 - rate if i == j else rate / (k - 1) for j in range(k)] for i in range(k)]
    for _ in range(steps):
        counts = [[0.0] * k for _ in range(k)]
        for a in range(n):
            for j in range(k):
                if y[a][j]:
                    weights = [h[a][i] * c[i][j] for i in range(k)]
                    for i in range(k):
                        counts[i][j] += weights[i] / sum(weights)
        for i in range(k):
            total, flipped = sum(counts[i]), sum(counts[i]) - counts[i][i]
            own = rate if kappa_rate == INFINITE else (flipped + kappa_rate * rate) / (total + kappa_rate)
            for j in range(k):
                if i == j:
                    c[i][j] = 1 - own
                elif kappa_target == INFINITE:
                    c[i][j] = own / (k - 1)
                else:
                    c[i][j] = own * (counts[i][j] + kappa_target / (k - 1)) / (flipped + kappa_target)
    return torch.tensor(c)


def small(seed: int = 0, n: int = 25, k: int = 5):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, k, generator=generator) * 0.9 + 0.05, torch.rand(n, k, generator=generator) < 0.4


@pytest.mark.parametrize("kappas", [(1e-9, 1e-9), (30.0, 300.0), (30.0, INFINITE), (INFINITE, 30.0)])
def test_em_equals_its_literal_transcription(kappas):
    clean, noisy = small()
    got = maximise(clean, noisy, 0.3, *kappas, steps=7)
    torch.testing.assert_close(got, literal_em(clean, noisy, 0.3, *kappas, steps=7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_without_priors_no_step_lowers_the_likelihood_of_the_observed_labels(seed):
    clean, noisy = small(seed)

    def likelihood(c):  # of the classes of the observed labels, which is what EM climbs
        return float((clean.double() @ c.double()).log()[noisy].sum())

    steps = [likelihood(maximise(clean, noisy, 0.3, 1e-9, 1e-9, steps=n)) for n in range(12)]
    gains = [after - before for before, after in itertools.pairwise(steps)]
    assert min(gains) > -1e-4 and gains[0] > 1 and gains[-1] < gains[0] / 5


@pytest.mark.parametrize(
    ("transition", "kappas", "l1", "diagonal"),
    [
        (symmetric(K, 0.4), (INFINITE, INFINITE), 0.06, 0.03),
        (pair_flip(K, 0.4), (3000.0, 1.0), 0.3, 0.05),
        (by_class(), (30.0, INFINITE), 0.12, 0.06),
    ],
    ids=["symmetric", "pair flip", "by class"],
)
def test_em_recovers_a_known_corruption_from_known_posteriors(transition, kappas, l1, diagonal):
    h, labels = images()
    noisy = inject(labels, transition, seed=0)
    clean = match_counts(h, noisy.sum(1))
    got = maximise(clean, noisy, pooled_rate(clean, noisy), *kappas)
    error = matrix_error(got, transition)
    assert error["row_l1"] < l1 and error["diagonal"] < diagonal, error
    untouched = matrix_error(torch.eye(K), transition)
    assert error["row_l1"] < untouched["row_l1"] / 2
    check_transition(got, K)


def test_the_strengths_are_chosen_by_the_data():
    h, labels = images(1500)
    options = {"kappa_rates": (30.0, INFINITE), "kappa_targets": (3.0, INFINITE), "folds": 2}
    uniform = estimate(h, inject(labels, symmetric(K, 0.4), 0), **options)
    off = uniform[~torch.eye(K, dtype=torch.bool)]
    assert off.max() - off.min() < 0.05  # no structure is read into symmetric noise
    paired = estimate(h, inject(labels, pair_flip(K, 0.4), 0), **options)
    assert matrix_error(paired, pair_flip(K, 0.4))["off_diagonal_correlation"] > 0.9
    error = matrix_error(estimate(h, inject(labels, by_class(), 0), **options), by_class())
    assert error["diagonal"] < 0.08 < matrix_error(pooled(h, inject(labels, by_class(), 0)), by_class())["diagonal"]
    for matrix in (uniform, paired):
        check_transition(matrix, K)


def test_without_noise_no_noise_is_found():
    h, labels = images(800)
    assert torch.equal(estimate(h, labels, (30.0, INFINITE), (30.0, INFINITE), 2), torch.eye(K))
    assert torch.equal(pooled(h, labels), torch.eye(K))
    assert torch.equal(maximise(h, labels, 0.0, 30.0, 30.0), torch.eye(K))


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.6])
def test_the_pooled_rate_is_the_rate(rate):
    h, labels = images()
    noisy = inject(labels, symmetric(K, rate), seed=1)
    assert pooled_rate(labels.float(), noisy) == pytest.approx(rate, rel=0.12)  # flips avoid the image's own labels
    assert pooled_rate(match_counts(h, noisy.sum(1)), noisy) == pytest.approx(rate, rel=0.12, abs=0.04)
    matrix = pooled(h, noisy)
    torch.testing.assert_close(matrix, symmetric(K, 1 - float(matrix[0, 0])).float())
    check_transition(matrix, K)


def test_the_pooled_rate_is_exact_where_flips_are_what_the_formula_holds():
    h = torch.tensor([[1.0, 0.0, 0.0]]).repeat(1000, 1)  # one certain label an image: every flip lands on an absent one
    noisy = inject(h.bool(), symmetric(3, 0.35), seed=0)
    assert pooled_rate(h, noisy) == pytest.approx(0.35, abs=0.02)


def test_infinite_strengths_hold_the_symmetric_matrix():
    clean, noisy = small()
    torch.testing.assert_close(maximise(clean, noisy, 0.3, INFINITE, INFINITE), symmetric(5, 0.3).float())
    strong = maximise(clean, noisy, 0.3, 1e9, 1e9)
    torch.testing.assert_close(strong, symmetric(5, 0.3).float(), atol=1e-4, rtol=0)


@given(seed=st.integers(0, 2**31), rate=st.floats(0, 0.95), kappas=st.sampled_from([(30.0, 0.5), (1e-6, INFINITE)]))
def test_rows_sum_to_one_and_a_class_that_nothing_is_attributed_to_gets_the_prior(seed, rate, kappas):
    clean, noisy = small(seed)
    clean[:, 3] = 0
    matrix = maximise(clean, noisy, rate, *kappas, steps=5)
    check_transition(matrix, 5)
    torch.testing.assert_close(matrix[3], symmetric(5, rate).float()[3])


@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 30), k=st.integers(3, 80))
def test_match_counts_gives_the_counts_and_keeps_the_order(seed, scale, k):
    generator = torch.Generator().manual_seed(seed)
    p = (scale * torch.randn(20, k, generator=generator)).sigmoid()
    counts = torch.randint(1, k, (20,), generator=generator)
    matched = match_counts(p, counts)
    torch.testing.assert_close(matched.double().sum(1), counts.double(), atol=1e-3, rtol=0)
    order = p.argsort(1)
    assert (matched.gather(1, order).diff(dim=1) >= 0).all()
    assert ((matched >= 0) & (matched <= 1)).all()


def test_match_counts_stays_finite_for_images_with_no_or_every_label():
    p = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5], [0.2, 0.2, 0.2]])
    matched = match_counts(p, torch.tensor([0, 3, 1]))
    torch.testing.assert_close(matched.sum(1), torch.tensor([0.05, 2.95, 1.0]), atol=1e-2, rtol=0)
    torch.testing.assert_close(matched[2], torch.full((3,), 1 / 3))


def test_the_likelihood_is_the_bernoulli_one():
    clean, noisy = small(n=6)
    c = symmetric(5, 0.3)
    expected = 0.0
    for h, y in zip(clean.double().tolist(), noisy.tolist(), strict=True):
        for j in range(5):
            q = min(sum(h[i] * float(c[i, j]) for i in range(5)), 1 - 1e-9)
            expected += math.log(q if y[j] else 1 - q) / 6
    assert log_likelihood(c, clean, noisy) == pytest.approx(expected)


def test_each_image_is_scored_by_a_matrix_that_was_not_fitted_to_it(monkeypatch):
    h, labels = images(40)
    noisy = inject(labels, symmetric(K, 0.4), 0)
    fitted, scored = [], []
    fit, score = attribution.maximise, attribution.log_likelihood
    monkeypatch.setattr(attribution, "maximise", lambda c, n, *a: fitted.append(len(n)) or fit(c, n, *a))
    monkeypatch.setattr(attribution, "log_likelihood", lambda t, c, n: scored.append(len(n)) or score(t, c, n))
    estimate(h, noisy, (30.0,), (30.0, INFINITE), folds=4)
    assert fitted == [30] * 8 + [40] and scored == [10] * 8
