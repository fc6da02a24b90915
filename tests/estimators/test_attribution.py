"""Attribution EM against literal loops and against corruption that is known."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galc.checks import check_transition
from galc.estimators import attribution
from galc.estimators.attribution import (
    INFINITE,
    KIND_MARGIN,
    RATE_MARGIN,
    Prior,
    choose,
    estimate,
    fit,
    match_counts,
    maximise,
    pooled,
    pooled_rate,
)
from galc.estimators.base import matrix_error
from galc.estimators.label_sets import Counts, LabelSets
from galc.noise import Noise, pair_flip, symmetric
from galc.noise.draw import inject

K = 24


def by_class(num_classes: int = K) -> torch.Tensor:
    """Flip rates from 0 to 0.6, spread evenly."""
    rates = torch.linspace(0, 0.6, num_classes, dtype=torch.float64)
    return symmetric(num_classes, 0.0) * (1 - rates)[:, None] + symmetric(num_classes, 1.0) * rates[:, None]


def images(n: int = 3000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Posteriors h (n, K) and clean labels drawn from them, 3 an image in the mean."""
    generator = torch.Generator().manual_seed(seed)
    h = (2 * torch.randn(n, K, generator=generator) - 3).sigmoid()
    return h, torch.rand(n, K, generator=generator) < h


def on_three_targets(num_classes: int = K) -> torch.Tensor:
    """The same flip rates, each class onto three random others."""
    generator, matrix = torch.Generator().manual_seed(0), torch.zeros(num_classes, num_classes, dtype=torch.float64)
    for i, rate in enumerate(torch.linspace(0, 0.6, num_classes).tolist()):
        others = torch.randperm(num_classes - 1, generator=generator)[:3]
        matrix[i, others + (others >= i)] = rate / 3
        matrix[i, i] = 1 - rate
    return matrix


def coming_and_going(missing: float, additional: float, flips: torch.Tensor | None = None) -> Noise:
    """Each class's own rates, up to twice the mean: ``missing`` of its labels, ``additional`` of the images without."""
    spread = torch.linspace(0, 2, K, dtype=torch.float64)
    order = torch.randperm(K, generator=torch.Generator().manual_seed(0))
    transition = torch.eye(K, dtype=torch.float64) if flips is None else flips
    return Noise(transition, missing * spread, additional * spread[order])


def counted(seed: int = 0, k: int = 6) -> Counts:
    """Expected numbers of fates, as an E step would give them."""
    generator = torch.Generator().manual_seed(seed)
    moved = 20 * torch.rand(k, k, generator=generator, dtype=torch.float64).square() + 30 * torch.eye(k)
    removed, added, spared = torch.rand(3, k, generator=generator, dtype=torch.float64)
    return Counts(moved, 20 * removed, 20 * added, 500 + 100 * spared)


def literal_m_step(moved, rate, target):
    k = len(moved)
    flipped = [sum(moved[i][j] for j in range(k) if j != i) for i in range(k)]
    total = [sum(moved[i]) for i in range(k)]
    pooled = sum(flipped) / sum(total)
    c = [[0.0] * k for _ in range(k)]
    for i in range(k):
        own = pooled if rate == INFINITE else (flipped[i] + rate * pooled) / (total[i] + rate)
        weight = [1.0] * k
        if target != INFINITE:
            weight = [math.exp(float(torch.digamma(torch.tensor(m + target).double()))) for m in moved[i]]
        for j in range(k):
            c[i][j] = 1 - own if i == j else own * weight[j] / (sum(weight) - weight[i])
    return torch.tensor(c).double()


@pytest.mark.parametrize("prior", [Prior(), Prior(30.0), Prior(target=0.25), Prior(10.0, 2.0)])
def test_the_m_step_equals_its_literal_transcription(prior):
    counts = counted()
    got = maximise(counts, prior)
    torch.testing.assert_close(got.transition, literal_m_step(counts.moved.tolist(), prior.rate, prior.target))
    assert got.keeps_count


@pytest.mark.parametrize("rate", [10.0, INFINITE])
def test_removed_and_added_rates_are_shares_shrunk_towards_that_of_all_classes(rate):
    counts = counted()
    got = maximise(counts, Prior(rate, flips=False, open=True))
    assert torch.equal(got.transition, torch.eye(6).double())
    stayed, removed, added, spared = (counts.moved.sum(1).tolist(), *(part.tolist() for part in counts[1:]))
    absent = [a + s for a, s in zip(added, spared, strict=True)]
    gone, come = sum(removed) / (sum(stayed) + sum(removed)), sum(added) / sum(absent)
    weight = rate * sum(absent) / (sum(stayed) + sum(added))  # as many absent classes as ``rate`` labels come with
    for k in range(6):
        own = gone if rate == INFINITE else (removed[k] + rate * gone) / (stayed[k] + removed[k] + rate)
        new = come if rate == INFINITE else (added[k] + weight * come) / (absent[k] + weight)
        assert (float(got.removed[k]), float(got.added[k])) == pytest.approx((own, new))


def test_sparse_targets_are_few_and_large_parameters_make_all_alike():
    counts = counted()
    entropy = lambda c: float(-(c.transition * c.transition.clamp(min=1e-30).log()).sum())  # noqa: E731
    values = [entropy(maximise(counts, Prior(30.0, target))) for target in (0.05, 0.25, 1.0, 10.0, INFINITE)]
    assert values == sorted(values) and values[0] < 0.9 * values[-1]
    near = maximise(counts, Prior(30.0, 1e9)).transition
    torch.testing.assert_close(near, maximise(counts, Prior(30.0)).transition)


def test_without_priors_no_step_lowers_the_likelihood():
    h, labels = images(300)
    sets = LabelSets(h, inject(labels, by_class(), 0))
    steps = [sets.log_likelihood(fit(sets, Prior(1e-9, 1e9), steps=n, rounds=8), 8) for n in range(8)]
    gains = [after - before for before, after in itertools.pairwise(steps)]
    assert min(gains) > -1e-3 and gains[0] > 0.01 and gains[-1] < gains[0] / 5


@pytest.mark.parametrize(
    ("transition", "chosen", "l1", "diagonal"),
    [
        (symmetric(K, 0.0), (False, False), 0.01, 0.005),
        (symmetric(K, 0.2), (False, False), 0.06, 0.03),
        (symmetric(K, 0.6), (False, False), 0.06, 0.03),
        (pair_flip(K, 0.4), (False, True), 0.15, 0.06),
        (by_class(), (True, False), 0.14, 0.07),
        (on_three_targets(), (True, True), 0.16, 0.06),
    ],
    ids=["none", "symmetric 0.2", "symmetric 0.6", "pair flip", "by class", "three targets"],
)
def test_known_corruption_is_found_and_its_kind_chosen_from_known_posteriors(transition, chosen, l1, diagonal):
    h, labels = images()
    noisy = inject(labels, transition, seed=0)
    sets = LabelSets(h, noisy)
    prior = choose(sets)
    assert (prior.rate != INFINITE, prior.target != INFINITE) == chosen
    got = fit(sets, prior)
    error = matrix_error(got.transition, transition)
    assert error["row_l1"] < l1 and error["diagonal"] < diagonal, error
    check_transition(got.transition, K)


@pytest.mark.parametrize(
    ("noise", "flips"),
    [
        (coming_and_going(0.3, 0.0), False),
        (coming_and_going(0.0, 0.06), False),
        (coming_and_going(0.25, 0.05), False),
        (coming_and_going(0.3, 0.05, pair_flip(K, 0.3)), True),  # weaker ones are within the margin: flips alone
    ],
    ids=["missing", "additional", "both", "both and pair flip"],
)
def test_removed_and_added_labels_are_told_apart_class_by_class(noise, flips):
    h, labels = images()
    sets = LabelSets(h, noise.inject(labels, 0).noisy)
    prior = choose(sets)
    assert prior == Prior(prior.rate, 0.25 if flips else INFINITE, flips, open=True)
    got = fit(sets, prior)
    assert (got.removed - noise.removed).abs().mean() < (0.12 if flips else 0.08)
    assert (got.added - noise.added).abs().mean() < (0.025 if flips else 0.012)
    assert (got.arrivals - noise.arrivals).abs().sum(1).mean() < (0.3 if flips else 0.06)
    for own, true in ((got.removed, noise.removed), (got.added, noise.added)):
        if true.any():
            assert torch.corrcoef(torch.stack([own, true]))[0, 1] > 0.9


def test_each_image_is_scored_by_noise_that_was_not_fitted_to_it(monkeypatch):
    h, labels = images(41)
    sets = LabelSets(h, inject(labels, symmetric(K, 0.4), 0))
    fitted, scored = [], []
    own = attribution.fit
    monkeypatch.setattr(attribution, "fit", lambda s, *a, **k: fitted.append(s.noisy) or own(s, *a, **k))
    monkeypatch.setattr(
        LabelSets, "log_likelihood", lambda s, noise: scored.append(s.noisy) or float(noise.transition[0, 0])
    )
    choose(sets, folds=4)
    assert len(fitted) == len(scored) and len(scored) % 4 == 0
    for fit_on, score_on in zip(fitted, scored, strict=True):
        assert len(fit_on) + len(score_on) == len(sets)
        both = torch.cat([fit_on, score_on]).float()
        assert torch.equal(both.sum(0), sets.noisy.float().sum(0))


def test_a_richer_prior_must_earn_its_margin(monkeypatch):
    """Made-up held-out likelihoods: what own rates, sparse targets, open noise without and with flips gain."""
    h, labels = images(60)
    sets = LabelSets(h, labels)
    monkeypatch.setattr(attribution, "fit", lambda s, prior, **k: prior)

    def chosen(rate=0.0, target=0.0, alone=-1.0, both=-1.0):
        def score(sets, prior):
            gain = (both if prior.flips else alone) if prior.open else target * (prior.target != INFINITE)
            return gain + rate * (prior.rate != INFINITE) - 9

        monkeypatch.setattr(LabelSets, "log_likelihood", score)
        prior = choose(sets)
        return prior.rate != INFINITE, prior.target != INFINITE, prior.flips, prior.open

    less, more = RATE_MARGIN * 0.9, RATE_MARGIN * 1.1
    few, many = KIND_MARGIN * 0.9, KIND_MARGIN * 1.1
    assert chosen() == chosen(less, few) == (False, False, True, False)
    assert chosen(rate=more) == (True, False, True, False)
    assert chosen(less, target=many) == (False, True, True, False)
    assert chosen(more, many) == (True, True, True, False)
    assert chosen(alone=few) == (False, False, True, False)
    assert chosen(alone=many) == (False, False, False, True)
    assert chosen(more, alone=many) == (True, False, False, True)
    assert chosen(both=many) == (False, False, True, False)  # flips onto any class: not told from what comes and goes
    assert chosen(target=many, alone=2.2 * many, both=2.2 * many + few) == (False, False, False, True)
    assert chosen(target=many, alone=2.2 * many, both=3.3 * many) == (False, True, True, True)


def test_many_images_are_thinned_for_the_choice_alone(monkeypatch):
    h, labels = images(100)
    noisy, sizes = inject(labels, symmetric(K, 0.4), 0), []
    own = attribution.fit
    monkeypatch.setattr(attribution, "CHOICE", 30)
    monkeypatch.setattr(attribution, "fit", lambda s, *a, **k: sizes.append(len(s)) or own(s, *a, **k))
    estimate(h, noisy)
    assert max(sizes[:-1]) <= 15 and sizes[-1] == len(h)


@given(seed=st.integers(0, 2**31), prior=st.sampled_from([Prior(30.0), Prior(1e-6, 0.25), Prior(target=1.0)]))
def test_rows_sum_to_one_and_a_class_that_nothing_is_attributed_to_gets_the_prior(seed, prior):
    generator = torch.Generator().manual_seed(seed)
    clean, noisy = torch.rand(25, 5, generator=generator), torch.rand(25, 5, generator=generator) < 0.4
    clean[:, 3], noisy[:, 3] = 0, False
    matrix = fit(LabelSets(clean, noisy), prior, steps=5).transition
    check_transition(matrix, 5)
    torch.testing.assert_close(matrix[3, [0, 1, 2, 4]], (1 - matrix[3, 3]).expand(4) / 4, rtol=0, atol=2e-3)


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.6])
def test_the_pooled_rate_is_the_rate(rate):
    h, labels = images()
    noisy = inject(labels, symmetric(K, rate), seed=1)
    # 3,000 images tell it within some points; flips avoid the image's own labels besides
    assert pooled_rate(labels.float(), noisy) == pytest.approx(rate, abs=0.04)
    assert pooled_rate(match_counts(h, noisy.sum(1)), noisy) == pytest.approx(rate, rel=0.14, abs=0.04)
    matrix = pooled(h, noisy)
    torch.testing.assert_close(matrix, symmetric(K, 1 - float(matrix[0, 0])).float())
    check_transition(matrix, K)


def test_the_pooled_rate_is_exact_where_flips_are_what_the_formula_holds():
    h = torch.tensor([[1.0, 0.0, 0.0]]).repeat(1000, 1)  # one certain label an image: every flip lands on an absent one
    noisy = inject(h.bool(), symmetric(3, 0.35), seed=0)
    assert pooled_rate(h, noisy) == pytest.approx(0.35, abs=0.02)


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
