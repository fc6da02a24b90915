"""The likelihood of label sets against the enumeration of everything that may have happened."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galc.estimators.label_sets import ROOM, LabelSets
from galc.noise import Noise, symmetric

K = 4
LONG = 60  # rounds of belief propagation after which nothing moves


def some_noise(seed: int, size: int = K, closed: bool = False) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    transition = torch.rand(size, size, generator=generator, dtype=torch.float64) + torch.eye(size)
    removed, added = torch.rand(2, size, generator=generator, dtype=torch.float64) * (0 if closed else 0.3)
    return Noise(transition / transition.sum(1, keepdim=True), removed, added)


def some_clean(seed: int, n: int = 1, size: int = K) -> torch.Tensor:
    return torch.rand(n, size, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.05


def histories(h: list[float], noise: Noise):
    """(clean set, noisy set, flips, removed, added, probability) of every way in which an image can come out."""
    size = len(h)
    moved, removed, added = noise.arrivals.clone(), noise.removed.tolist(), noise.added.tolist()
    for i in range(size):  # targets that the image may have are barred, the others get their share
        others = [j for j in range(size) if j != i]
        taken = sum(float(moved[i, j]) * h[j] for j in others) / max(sum(float(moved[i, j]) for j in others), 1e-12)
        moved[i, others] /= max(1 - taken, ROOM)
    moved = moved.tolist()
    for clean in itertools.product([False, True], repeat=size):
        there = [i for i in range(size) if clean[i]]
        absent = [i for i in range(size) if not clean[i]]
        for fates in itertools.product(*[["stay", "go", *absent] for _ in there]):
            targets = [fate for fate in fates if not isinstance(fate, str)]
            if len(set(targets)) < len(targets):  # two labels cannot be turned into one
                continue
            weight = math.prod(h[i] if clean[i] else 1 - h[i] for i in range(size))
            for i, fate in zip(there, fates, strict=True):
                weight *= removed[i] if fate == "go" else moved[i][i if fate == "stay" else fate]
            rest = [j for j in absent if j not in targets]
            for new in itertools.product([False, True], repeat=len(rest)):
                extra = {j for j, is_new in zip(rest, new, strict=True) if is_new}
                p = weight * math.prod(added[j] if j in extra else 1 - added[j] for j in rest)
                kept = {i for i, fate in zip(there, fates, strict=True) if fate == "stay"}
                flips = [(i, fate) for i, fate in zip(there, fates, strict=True) if not isinstance(fate, str)]
                gone = {i for i, fate in zip(there, fates, strict=True) if fate == "go"}
                yield set(there), kept | set(targets) | extra, flips, gone, extra, p


def by_enumeration(h: list[float], noise: Noise, noisy: set[int]):
    """Likelihood, posterior (K,), expected fates (K, K), removed (K,), added (K,) and spared (K,) of a noisy set."""
    total, posterior, moved = 0.0, torch.zeros(K), torch.zeros(K, K)
    removed, added, spared = torch.zeros(3, K)
    for clean, after, flips, gone, extra, p in histories(h, noise):
        if after != noisy:
            continue
        total += p
        posterior[list(clean)] += p
        targets = {j for _, j in flips}
        for i, j in flips + [(i, i) for i in clean & after]:
            moved[i, j] += p
        removed[list(gone)] += p
        added[list(extra)] += p
        spared[[j for j in range(K) if j not in clean | extra | targets]] += p
    return total, *(part / total for part in (posterior, moved, removed, added, spared))


def row(members) -> torch.Tensor:
    return torch.tensor([[k in members for k in range(K)]])


def compare(h, noise, noisy, tolerance):
    sets = LabelSets(h, row(noisy))
    total, posterior, *expected = by_enumeration(h[0].tolist(), noise, noisy)
    assert sets.log_likelihood(noise, LONG) == pytest.approx(math.log(total), abs=tolerance)
    torch.testing.assert_close(sets.posterior(noise, LONG)[0], posterior, rtol=0, atol=tolerance)
    for got, wanted in zip(sets.counts(noise, LONG), expected, strict=True):
        torch.testing.assert_close(got.float(), wanted, rtol=0, atol=tolerance)


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("noisy", [set(), {2}, {0, 1, 2}, {0, 1, 2, 3}])
def test_sets_without_cycles_have_the_likelihood_and_posterior_of_enumeration(noisy, closed):
    """One label, or one class left outside: belief propagation is exact."""
    for seed in range(3):
        if not (closed and not noisy):  # an image without noisy labels had no clean ones
            compare(some_clean(seed), some_noise(seed, closed=closed), noisy, 2e-5)
    empty = LabelSets(some_clean(0), row(set()))
    assert empty.posterior(some_noise(0, closed=True)).tolist() == [[0.0] * K]


def test_sources_that_serve_one_label_each_are_exact():
    transition = torch.tensor([[0.5, 0, 0.5, 0], [0, 0.7, 0, 0.3], [0.2, 0, 0.8, 0], [0, 0.6, 0, 0.4]]).double()
    noise = Noise(transition, torch.full((K,), 0.2), torch.full((K,), 0.1))
    compare(some_clean(5), noise, {2, 3}, 2e-5)


@pytest.mark.parametrize("closed", [True, False])
def test_sets_with_cycles_come_close(closed):
    for seed, noisy in itertools.product(range(4), [{0, 1}, {1, 3}]):
        compare(some_clean(seed), some_noise(seed, closed=closed), noisy, 0.04)


def test_without_flips_the_likelihoods_of_all_sets_sum_to_one():
    rates = torch.tensor([0.1, 0.0, 0.4, 0.3]).double()
    noise = Noise(torch.eye(K), rates, rates.flip(0))
    every = torch.tensor(list(itertools.product([False, True], repeat=K)))
    h = some_clean(1)
    total = sum(math.exp(LabelSets(h, labels[None]).log_likelihood(noise)) for labels in every)
    assert total == pytest.approx(1, abs=1e-5)


@given(seed=st.integers(0, 2**31), size=st.integers(3, 12))
def test_posteriors_are_probabilities_and_sum_to_the_number_of_labels_where_noise_keeps_it(seed, size):
    generator = torch.Generator().manual_seed(seed)
    h = (3 * torch.randn(10, size, generator=generator)).sigmoid()
    noisy = torch.rand(10, size, generator=generator) < 0.4
    w = LabelSets(h, noisy).posterior(some_noise(seed, size, closed=True), LONG)
    torch.testing.assert_close(w.sum(1), noisy.sum(1).float(), rtol=0, atol=2e-2)
    w = LabelSets(h, noisy).posterior(some_noise(seed, size))
    assert ((w >= 0) & (w <= 1)).all()


@pytest.mark.parametrize("shift", [-2.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_common_shift_of_an_images_logits_says_nothing_of_targets_that_are_free(monkeypatch, seed, shift):
    monkeypatch.setattr("galc.estimators.label_sets.ROOM", 1.0)
    h, noise = some_clean(seed, 6), some_noise(seed, closed=True)
    noisy = torch.rand(6, K, generator=torch.Generator().manual_seed(seed)) < 0.5
    shifted = (torch.logit(h) + shift).sigmoid()
    torch.testing.assert_close(
        LabelSets(h, noisy).posterior(noise), LabelSets(shifted, noisy).posterior(noise), rtol=0, atol=1e-3
    )


@given(seed=st.integers(0, 2**31))
def test_the_order_of_images_and_classes_says_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    h, noisy = some_clean(seed, 12, 6), torch.rand(12, 6, generator=generator) < 0.4
    noise, order, turn = some_noise(seed, 6), torch.randperm(12, generator=generator), torch.randperm(6)
    turned = Noise(noise.transition[turn][:, turn], noise.removed[turn], noise.added[turn])
    first, second = LabelSets(h, noisy), LabelSets(h[order][:, turn], noisy[order][:, turn])
    torch.testing.assert_close(first.posterior(noise)[order][:, turn], second.posterior(turned), rtol=0, atol=1e-5)
    assert first.log_likelihood(noise) == pytest.approx(second.log_likelihood(turned), abs=1e-4)
    a, b = first.counts(noise), second.counts(turned)
    torch.testing.assert_close(a.moved[turn][:, turn], b.moved, rtol=0, atol=1e-4)


def test_images_are_taken_a_few_at_a_time_with_the_same_result(monkeypatch):
    h, noise = some_clean(0, 50), some_noise(0)
    noisy = torch.rand(50, K, generator=torch.Generator().manual_seed(0)) < 0.5
    whole = LabelSets(h, noisy)
    monkeypatch.setattr("galc.estimators.label_sets.CHUNK", 3 * K)
    parts = LabelSets(h, noisy)
    assert len(parts.parts) > len(whole.parts)
    assert torch.equal(torch.cat([index for index, _ in parts.parts]).sort().values, torch.arange(50))
    torch.testing.assert_close(parts.posterior(noise), whole.posterior(noise))
    for a, b in zip(parts.counts(noise), whole.counts(noise), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_noise_that_is_none_leaves_every_label():
    h = torch.tensor([[0.0, 1.0, 0.5, 0.0], [1.0, 0.0, 0.2, 0.9]])
    noisy = torch.tensor([[True, False, True, False], [False, True, False, True]])
    assert LabelSets(h, noisy).posterior(Noise(torch.eye(K))).tolist() == noisy.float().tolist()


def test_a_sure_class_that_is_not_observed_explains_one_label_and_no_more():
    h = torch.tensor([[0.5, 0.5, 0.5, 0.999999]])
    w = LabelSets(h, row({0, 1, 2})).posterior(Noise(symmetric(K, 0.3)))[0]
    assert w[3] == pytest.approx(1, abs=1e-3) and w[:3].tolist() == pytest.approx([2 / 3] * 3, abs=1e-2)


def test_what_makes_no_sense_is_refused():
    noisy = row({1})
    with pytest.raises(ValueError, match="clean must be finite, got nan in row 0, class 2"):
        LabelSets(torch.tensor([[0.1, 0.2, float("nan"), 0.4]]), noisy)
    with pytest.raises(ValueError, match="differ in shape"):
        LabelSets(torch.rand(2, K), noisy)
