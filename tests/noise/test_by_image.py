"""Noise that follows a weak classifier, image by image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from galc.noise.by_image import InstanceNoise, average, capped, flat, logistic, scores
from galc.noise.draw import observed

K = 6


def case(seed, n=60, density=0.3):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, K, generator=generator) < density
    labels[labels.all(1), 0] = False
    return torch.rand(n, K, generator=generator), labels


def literal_average(rates, weights, labels):
    """The slow loop: the expected fate of every label, averaged by class."""
    matrix, counts = torch.zeros(K, K, dtype=torch.float64), labels.sum(0)
    for n in range(len(labels)):
        absent = [j for j in range(K) if not labels[n, j]]
        for i in range(K):
            if labels[n, i]:
                matrix[i, i] += 1 - rates[n, i]
                for j in absent:
                    matrix[i, j] += rates[n, i] * weights[n, j] / sum(weights[n, m] for m in absent)
    return torch.stack([row / n if n else torch.eye(K)[i] for i, (row, n) in enumerate(zip(matrix, counts))])  # noqa: B905


@given(seed=st.integers(0, 2**31), rate=st.sampled_from([0.1, 0.4, 0.8]))
def test_its_transition_is_the_average_over_the_labels(seed, rate):
    score, labels = case(seed)
    model = InstanceNoise.of_scores(score, labels, rate)
    torch.testing.assert_close(model.transition, literal_average(model.rates, model.weights, labels))
    torch.testing.assert_close(model.rates[labels].mean().item(), rate)
    assert model.rates.max() <= 1 and model.nature == "instance" and model.keeps_count


@given(seed=st.integers(0, 2**31), rate=st.sampled_from([0.1, 0.4, 0.6]))
def test_flips_keep_the_count_are_wrong_and_as_many_as_asked_for(seed, rate):
    score, labels = case(seed)
    done = InstanceNoise.of_scores(score, labels, rate).inject(labels, seed)
    flips = done.flips
    assert torch.equal(done.noisy.sum(1), labels.sum(1)) and not labels[flips.image, flips.target].any()
    assert flips.requested == round(round(rate * int(labels.sum()), 6)) >= len(flips.image)


def test_labels_that_the_classifier_sees_stay_and_others_go_where_it_looks():
    labels = torch.zeros(4000, K, dtype=torch.bool)
    labels[:, 0] = True
    score = torch.full((4000, K), 0.01)
    score[:2000, 0], score[2000:, 0] = 0.9, 0.1  # seen in one half, not in the other
    score[:, 1], score[:, 2] = 0.6, 0.3
    flips = InstanceNoise.of_scores(score, labels, 0.3).inject(labels, 0).flips
    seen = (flips.image < 2000).double().mean().item()
    assert seen == pytest.approx(0.1, abs=0.01)  # rates are as 0.1 to 0.9
    share = torch.bincount(flips.target, minlength=K) / len(flips.target)
    assert share[1].item() == pytest.approx(0.6 / 0.93, abs=0.04) and share[2].item() == pytest.approx(
        0.3 / 0.93, abs=0.04
    )


def test_rates_are_capped_at_one_and_still_meet_their_mean():
    labels = torch.ones(1, 4, dtype=torch.bool)
    rates = capped(torch.tensor([[0.01, 0.1, 0.5, 1.0]]).double(), labels, 0.7)
    assert rates.max() == 1 and rates.mean().item() == pytest.approx(0.7) and (rates.diff() >= 0).all()


def test_a_class_without_labels_has_the_identity_row():
    labels = torch.tensor([[True, False, False]])
    matrix = average(torch.full((1, 3), 0.5).double(), torch.ones(1, 3).double(), labels)
    torch.testing.assert_close(matrix, torch.tensor([[0.5, 0.25, 0.25], [0, 1, 0], [0, 0, 1]]).double())


def test_it_belongs_to_its_images():
    score, labels = case(0)
    with pytest.raises(ValueError, match=r"labels \(59, 6\) are not of the 60 images"):
        InstanceNoise.of_scores(score, labels, 0.3).inject(labels[1:], 0)


def test_the_classifier_is_ridge_penalised_logistic_regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(120, 5, generator=generator, dtype=torch.float64)
    labels = inputs[:, :2] + 0.5 * torch.randn(120, 2, generator=generator) > 0
    predict = logistic(inputs, labels, ridge=2.0)
    scaled = (inputs / 5**0.5).numpy()
    for k in range(2):
        theirs = LogisticRegression(C=0.5, tol=1e-8).fit(scaled, labels[:, k].numpy())
        torch.testing.assert_close(
            predict(inputs)[:, k], torch.from_numpy(theirs.decision_function(scaled)), atol=5e-3, rtol=1e-2
        )


def test_scores_of_an_image_come_from_a_classifier_that_has_not_seen_its_labels():
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(30, 4, generator=generator), torch.rand(30, K, generator=generator) < 0.3
    before = scores(inputs, labels, seed=5)
    for n in range(30):  # whatever the labels of image n are: its own scores stay
        changed = labels.clone()
        changed[n] = ~changed[n]
        assert torch.equal(scores(inputs, changed, seed=5)[n], before[n])
    assert not torch.equal(scores(inputs, labels, seed=6), before)


def test_scores_are_better_than_chance_and_far_from_perfect():
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(1000, 20, generator=generator)
    labels = inputs[:, :K] + torch.randn(1000, K, generator=generator) > 1
    found = scores(inputs, labels, seed=0)
    right, wrong = found[labels].mean(), found[~labels].mean()
    assert wrong + 0.1 < right < 0.9


def test_pictures_are_averaged_over_blocks():
    pictures = torch.randint(0, 256, (10, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = flat(pictures)
    assert found.shape == (10, 192)
    first = pictures[:, 0, :4, :4].double().mean((1, 2))
    torch.testing.assert_close(found[:, 0], (first - first.mean()) / first.std(), rtol=1e-5, atol=1e-5)


def test_its_observed_matrix_comes_near_the_average():
    score, labels = case(3, n=20_000)
    model = InstanceNoise.of_scores(score, labels, 0.4)
    assert (observed(labels, model.inject(labels, 0).flips) - model.transition).abs().max() < 0.03
