"""Precision at N: what 20 looks at a ranking say about it, with an interval that keeps its promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from galc.clean.review import Precision, precision, sample


def test_a_known_answer():
    found = Precision(first=200, sampled=20, reviewed=20, at_fault=16)
    assert found.value == 0.8
    np.testing.assert_allclose(found.interval, (0.5634, 0.9427), atol=1e-4)  # binom.test(16, 20) of R
    assert str(found) == (
        "Precision at 200: 80 % (95 % interval 56 to 94 %); 16 of the 20 reviewed labels were at fault."
    )


def test_without_a_review_everything_is_possible():
    found = Precision(200, 20, 0, 0)
    assert np.isnan(found.value) and found.interval == (0.0, 1.0)
    assert str(found) == "Precision at 200: unknown, none of 20 drawn labels is reviewed yet."


def test_half_a_review_says_so():
    assert "3 of the 4 of 20 reviewed labels" in str(Precision(1000, 20, 4, 3))


@given(reviewed=st.integers(1, 200), data=st.data())
def test_the_interval_is_clopper_and_pearsons(reviewed, data):
    hits = data.draw(st.integers(0, reviewed))
    low, high = Precision(1000, reviewed, reviewed, hits).interval
    assert low == pytest.approx(beta.ppf(0.025, hits, reviewed - hits + 1) if hits else 0)
    assert high == pytest.approx(beta.ppf(0.975, hits + 1, reviewed - hits) if hits < reviewed else 1)
    assert low <= hits / reviewed <= high


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_the_interval_holds_the_true_precision_at_least_19_times_in_20(share):
    first = 400
    at_fault = np.arange(first) < share * first
    within = 0
    for seed in range(400):
        drawn = sample(10_000, first, 20, seed)
        found = precision({n: "remove" if at_fault[n] else "keep" for n in range(first)}, drawn, first)
        low, high = found.interval
        within += low <= share <= high
    assert within >= 0.95 * 400


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 50), st.integers(0, 9))
def test_a_sample_is_of_different_labels_among_the_first_and_always_the_same(number, first, size, seed):
    drawn = sample(number, first, size, seed)
    assert len(drawn) == min(number, first, size) == len(set(drawn.tolist()))
    assert sorted(drawn.tolist()) == drawn.tolist() and all(0 <= n < min(first, number) for n in drawn)
    np.testing.assert_array_equal(drawn, sample(number, first, size, seed))


def test_every_label_is_as_likely_to_be_drawn():
    counts = sum(np.bincount(sample(50, 40, 10, seed), minlength=50) for seed in range(2000))
    assert counts[40:].sum() == 0 and np.all(np.abs(counts[:40] - 500) < 5 * np.sqrt(500 * 0.75))


def test_decisions_beyond_the_sample_do_not_count():
    decided = {0: "remove", 1: "remove", 5: "keep", 7: "add"}
    assert precision(decided, np.array([1, 5, 7, 9]), 10) == Precision(10, 4, 3, 2)


@pytest.mark.parametrize("arguments", [{"first": 0}, {"size": 0}])
def test_an_empty_sample_is_refused(arguments):
    with pytest.raises(ValueError, match="first and size must be at least 1"):
        sample(100, **arguments)
