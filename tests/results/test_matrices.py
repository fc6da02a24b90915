"""Scales, orders, filters and rows of corruption matrices, against the estimators, slow loops and known answers."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galc.estimators.algorithm_1 import algorithm_1
from galc.estimators.base import matrix_error
from galc.results import matrices as confusion

NAMES = ["cat", "dog", "car", "bus"]
TRUE = np.array([[0.6, 0.4, 0, 0], [0.1, 0.9, 0, 0], [0, 0, 0.8, 0.2], [0, 0, 0, 1.0]])
ESTIMATE = np.array([[0.5, 0.3, 0.1, 0.1], [0.2, 0.8, 0, 0], [0, 0.3, 0.7, 0], [0, 0, 0, 1.0]])


def random_matrix(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (size, size)).round(1)  # rounded: with ties


seeds = st.integers(0, 10**6)


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["sigmoid", "rows"])
@pytest.mark.parametrize("missing", [False, True], ids=["all classes", "a class without images"])
def test_the_scales_are_those_of_algorithm_1_also_where_a_row_is_a_fallback(scale, missing):
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40, 5, generator=generator)
    labels = torch.rand(40, 5, generator=generator) < 0.4
    labels[:, 2] &= not missing
    regulators = torch.rand(5, 5, generator=generator).softmax(1)
    raw, wanted = (algorithm_1(scores, labels, regulators, name) for name in ("raw", scale))
    np.testing.assert_allclose(confusion.scaled(raw.double().numpy(), scale), wanted, atol=1e-6)


def test_raw_is_the_matrix_itself_and_a_row_without_anything_positive_becomes_the_identitys():
    np.testing.assert_array_equal(confusion.scaled(TRUE, "raw"), TRUE)
    np.testing.assert_array_equal(
        confusion.scaled(np.array([[-1.0, -2.0], [1.0, 3.0]]), "rows"), [[1, 0], [0.25, 0.75]]
    )


def test_another_scale_or_order_is_an_error_that_names_those_there_are():
    with pytest.raises(ValueError, match="scale must be one of sigmoid, raw, rows, got 'log'"):
        confusion.scaled(TRUE, "log")
    with pytest.raises(
        ValueError, match="order must be one of data set, frequency, supercategory, clustering, got 'abc'"
    ):
        confusion.ordered("abc", TRUE)
    with pytest.raises(ValueError, match="order 'frequency' needs sizes of the classes"):
        confusion.ordered("frequency", TRUE)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.eye(3), r"mine: shape \(3, 3\) does not fit 4 classes; it must be \(4, 4\)"),
        (np.ones(4), r"mine: shape \(4,\) does not fit 4 classes"),
        (np.diag([1, 1, np.nan, 1]), r"mine: entry \[2, 2\] is nan; all must be finite"),
    ],
)
def test_a_matrix_that_does_not_fit_is_refused_with_its_name(matrix, message):
    with pytest.raises(ValueError, match=message):
        confusion.checked(matrix, 4, "mine")


# --- orders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", confusion.ORDERS)
@given(seed=seeds)
def test_every_order_is_a_permutation(how, seed):
    groups = [f"group {k % 3}" for k in range(6)]
    order = confusion.ordered(how, random_matrix(seed), sizes=np.arange(6) % 4, groups=groups)
    assert sorted(order.tolist()) == list(range(6))


def test_orders_by_frequency_and_by_supercategory_keep_ties_in_the_order_of_the_data_set():
    assert confusion.ordered("frequency", TRUE, sizes=[5, 9, 5, 7]).tolist() == [1, 3, 0, 2]
    assert confusion.ordered("supercategory", TRUE, groups=["pet", "street", "pet", "street"]).tolist() == [0, 2, 1, 3]
    assert confusion.ordered("supercategory", TRUE, groups=["z", "a", "z", "a"]).tolist() == [0, 2, 1, 3]


def test_clustering_puts_classes_together_that_are_taken_for_one_another():
    pairs = [(0, 3), (1, 4), (2, 5)]
    matrix = np.eye(6)
    for one, other in pairs:
        matrix[one, other] = 0.4  # one direction is enough
    order = confusion.ordered("clustering", matrix).tolist()
    assert all(abs(order.index(one) - order.index(other)) == 1 for one, other in pairs)


@pytest.mark.parametrize("size", [1, 2])
def test_one_or_two_classes_have_nothing_to_cluster(size):
    assert confusion.ordered("clustering", np.eye(size)).tolist() == list(range(size))


# --- the strongest confusions ----------------------------------------------------------------------------------------


@given(seed=seeds, most=st.integers(1, 40))
def test_the_strongest_are_those_a_slow_search_finds(seed, most):
    matrix = random_matrix(seed)
    off = [(-matrix[i, j], i, j) for i in range(6) for j in range(6) if i != j and matrix[i, j] > 0]
    wanted = {(i, j) for _, i, j in sorted(off)[:most]}
    assert {(int(i), int(j)) for i, j in np.argwhere(confusion.strongest(matrix, most))} == wanted


@given(seed=seeds, most=st.integers(1, 40))
def test_a_filtered_view_shows_the_strongest_and_the_diagonal_of_their_classes_and_nothing_else(seed, most):
    true, estimate, order = random_matrix(seed), random_matrix(seed + 1), np.random.default_rng(seed).permutation(6)
    kept = confusion.strongest(estimate, most)
    seen = confusion.view(true, estimate, order, most)
    involved = {int(k) for k in np.argwhere(kept).ravel()} or set(range(6))
    assert seen.index.tolist() == [k for k in order if k in involved]
    for a, i in enumerate(seen.index):
        for b, j in enumerate(seen.index):
            if kept[i, j] or i == j or not kept.any():
                assert (seen.true[a, b], seen.estimate[a, b]) == (true[i, j], estimate[i, j])
                assert seen.difference[a, b] == estimate[i, j] - true[i, j]
            else:
                assert np.isnan([seen.true[a, b], seen.estimate[a, b], seen.difference[a, b]]).all()


def test_a_view_without_a_filter_is_the_matrices_in_that_order():
    seen = confusion.view(TRUE, ESTIMATE, np.array([3, 1, 0, 2]))
    assert seen.true[1].tolist() == [0, 0.9, 0.1, 0] and seen.estimate[2].tolist() == [0.1, 0.3, 0.5, 0.1]


def test_where_nothing_is_confused_the_filter_leaves_all_classes():
    assert confusion.view(TRUE, np.eye(4), np.arange(4), 10).index.tolist() == [0, 1, 2, 3]


# --- rows ------------------------------------------------------------------------------------------------------------


def test_targets_are_the_largest_of_either_row_without_the_class_itself():
    assert confusion.targets([0.5, 0.1, 0.4, 0], [0.2, 0.6, 0, 0.2], 0).tolist() == [1, 2, 3]
    assert confusion.targets([0.5, 0.1, 0.4, 0], [0.2, 0.6, 0, 0.2], 1, most=2).tolist() == [0, 2]


def test_the_sentence_on_a_row_has_its_errors_and_its_worst_excess():
    text = confusion.row_text(TRUE[2], ESTIMATE[2], 2, NAMES)
    assert text == (
        "car: row L1 error 0.600; kept 0.700, true 0.800 (error 0.100); "
        "most overestimated: car → dog, 0.3000, true 0.0000."
    )
    assert confusion.row_text(TRUE[3], ESTIMATE[3], 3, NAMES).endswith("no wrong label is overestimated.")


def test_an_overestimated_diagonal_is_no_wrong_label():
    text = confusion.row_text(np.array([0.5, 0.5]), np.array([0.9, 0.1]), 0, ["a", "b"])
    assert text.endswith("no wrong label is overestimated.")


def test_the_errors_of_a_matrix_are_the_estimators_own():
    error = matrix_error(torch.from_numpy(ESTIMATE), torch.from_numpy(TRUE))
    wanted = f"mean row L1 error {error['row_l1']:.3f}, mean diagonal error {error['diagonal']:.3f}"
    assert confusion.matrix_text(TRUE, ESTIMATE) == wanted
