"""Dual-T: two counted factors, exact where the scores are."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galc.checks import check_transition
from galc.estimators.algorithm_1 import dual_t, intermediate
from galc.estimators.base import matrix_error
from galc.noise import pair_flip, symmetric
from galc.noise.draw import inject, observed

K = 10


def images(n: int, seed: int = 0, most: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    rank = torch.rand(n, K, generator=generator).argsort(1).argsort(1)
    return rank < torch.randint(1, most + 1, (n, 1), generator=generator)


def literal(clean_scores, clean_labels, noisy_scores, noisy_labels):
    """The docstring, image by image and label by label."""

    def factor(before, after):
        counts = torch.zeros(K, K, dtype=torch.float64)
        for b, a in zip(before.tolist(), after.tolist(), strict=True):
            gained = [j for j in range(K) if a[j] and not b[j]]
            for i in range(K):
                if b[i] and a[i]:
                    counts[i, i] += 1
                elif b[i]:
                    for j in gained:
                        counts[i, j] += 1 / len(gained)
        for i in range(K):
            if counts[i].sum() == 0:
                counts[i, i] = 1
        return counts / counts.sum(1, keepdim=True)

    def top(scores, labels):
        chosen = torch.zeros_like(labels)
        for n in range(len(labels)):
            best = sorted(range(K), key=lambda k: -float(scores[n, k]))[: int(labels[n].sum())]
            chosen[n, best] = True
        return chosen

    first = factor(clean_labels, top(clean_scores, clean_labels))
    return first @ factor(top(noisy_scores, noisy_labels), noisy_labels)


def evidence(seed: int, n: int = 40):
    generator = torch.Generator().manual_seed(seed)
    scores = lambda: torch.randn(n, K, generator=generator)  # noqa: E731
    return scores(), images(n, seed % 1000), scores(), images(n, seed % 1000 + 1)


@given(seed=st.integers(0, 2**31))
def test_dual_t_equals_its_literal_transcription(seed):
    got = dual_t(*evidence(seed))
    torch.testing.assert_close(got, literal(*evidence(seed)).float(), atol=1e-6, rtol=1e-5)
    check_transition(got, K)


@given(seed=st.integers(0, 2**31), order=st.permutations(range(K)))
def test_rows_and_columns_follow_the_classes_when_these_are_renumbered(seed, order):
    parts = evidence(seed)
    expected = dual_t(*parts)[order][:, order]
    torch.testing.assert_close(dual_t(*(part[:, order] for part in parts)), expected)


@pytest.mark.parametrize("transition", [symmetric(K, 0.4), pair_flip(K, 0.4)], ids=["symmetric", "pair flip"])
def test_with_exact_scores_it_is_the_c_that_the_flips_had_and_near_the_one_they_were_drawn_from(transition):
    clean, gold = images(4000), images(200, 1)
    noisy = inject(clean, transition, 0)
    got = dual_t(gold.float(), gold, clean.float(), noisy)
    torch.testing.assert_close(got, observed(clean, noisy).float())
    single = images(4000, most=1)  # with one label an image, which label became which is known
    error = matrix_error(dual_t(gold.float(), gold, single.float(), inject(single, transition, 0)), transition)
    assert error["row_l1"] < 0.1 and error["diagonal"] < 0.03


def test_errors_of_the_model_are_taken_for_noise():
    """The known weakness: with a random model even clean labels look noisy."""
    clean = images(2000)
    scores = torch.randn(2000, K, generator=torch.Generator().manual_seed(0))
    assert dual_t(scores, clean, scores, clean).diagonal().max() < 0.5


def test_an_image_has_as_many_intermediate_labels_as_labels_and_they_are_the_best_scored():
    labels = images(50)
    scores = torch.randn(50, K, generator=torch.Generator().manual_seed(0))
    chosen = intermediate(scores, labels)
    assert torch.equal(chosen.sum(1), labels.sum(1))
    lowest = scores.masked_fill(~chosen, torch.inf).min(1).values
    assert (lowest >= scores.masked_fill(chosen, -torch.inf).max(1).values).all()
    assert torch.equal(intermediate(torch.zeros(50, K), labels).sum(1), labels.sum(1))  # ties as well


def test_bad_input_is_named():
    scores, labels = torch.zeros(3, K), images(3)
    with pytest.raises(ValueError, match="differ in shape"):
        dual_t(scores[1:], labels, scores, labels)
    scores[1, 2] = float("nan")
    with pytest.raises(ValueError, match="row 1, class 2"):
        dual_t(scores, labels, scores, labels)
