import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galc.checks import check_transition
from galc.estimator import fallback_rows, galc_slr, glc, matrix_error, regulators
from galc.noise import pair_flip, symmetric

K = 5


def literal_regulators(softmax, labels):
    """Algorithm 1, lines 5-15, image by image."""
    k = labels.shape[1]
    total, count = [[0.0] * k for _ in range(k)], [0] * k
    for f, y in zip(softmax.tolist(), labels.tolist(), strict=True):
        label = y.index(True)
        count[label] += 1
        for j in range(k):
            total[label][j] += f[j]
    return torch.tensor([[v / n if n else 1 / k for v in row] for row, n in zip(total, count, strict=True)])


def literal_galc_slr(sigmoid, labels, reg, scale):
    """Algorithm 1, lines 17-38, image by image and label by label."""
    k = labels.shape[1]
    result = torch.eye(k)
    for c in range(k):
        total, count = [0.0] * k, 0
        for f, y in zip(sigmoid.tolist(), labels.tolist(), strict=True):
            if not y[c]:
                continue
            estimate, others = list(f), 0
            for p in range(k):
                if p != c and y[p]:
                    others += 1
                    estimate = [e - r for e, r in zip(estimate, reg[p].tolist(), strict=True)]
            estimate = [e + others * r for e, r in zip(estimate, reg[c].tolist(), strict=True)]
            total = [t + e for t, e in zip(total, estimate, strict=True)]
            count += 1
        if not count:
            continue
        row = [t / count for t in total]
        if scale == "sigmoid":
            row = [1 / (1 + math.exp(-v)) for v in row]
        if scale == "rows":
            row = [max(v, 0.0) for v in row]
            if sum(row) <= 0:
                continue
            row = [v / sum(row) for v in row]
        result[c] = torch.tensor(row)
    return result


def single_label(seed, n=40):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.eye(K, dtype=torch.bool)[torch.randint(K - 1, (n,), generator=generator)]  # never the last class
    return torch.randn(n, K, generator=generator).softmax(1), labels


def multi_label(seed, n=30):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, K, generator=generator) < 0.4
    labels[:, 2] = False  # a class without gold images
    return torch.randn(n, K, generator=generator).sigmoid(), labels


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31), scale=st.sampled_from(["sigmoid", "raw", "rows"]))
def test_algorithm_1_equals_its_literal_transcription(seed, scale):
    reg = regulators(*single_label(seed))
    torch.testing.assert_close(reg, literal_regulators(*single_label(seed)), rtol=1e-5, atol=1e-6)
    scores, labels = multi_label(seed)
    expected = literal_galc_slr(scores, labels, reg, scale)
    torch.testing.assert_close(galc_slr(scores, labels, reg, scale), expected, rtol=1e-4, atol=1e-5)


def test_algorithm_1_on_a_case_worked_by_hand():
    reg = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    scores = torch.tensor([[1.0, 0.5], [0.5, 0.0]])
    labels = torch.tensor([[True, True], [True, False]])
    # row 0: image 0 gives (1, .5) - (.5, .5) + (.75, .25) = (1.25, .25), image 1 gives (.5, 0); row 1: image 0 only
    raw = torch.tensor([[0.875, 0.125], [0.75, 0.75]])
    torch.testing.assert_close(galc_slr(scores, labels, reg, "raw"), raw)
    torch.testing.assert_close(galc_slr(scores, labels, reg), raw.sigmoid())
    torch.testing.assert_close(galc_slr(scores, labels, reg, "rows"), torch.tensor([[0.875, 0.125], [0.5, 0.5]]))


def test_classes_without_images_get_the_documented_rows_and_are_named():
    softmax, one = single_label(0)
    reg = regulators(softmax, one)
    assert fallback_rows(one).tolist() == [False] * (K - 1) + [True]
    torch.testing.assert_close(reg[-1], torch.full((K,), 1 / K))
    scores, labels = multi_label(0)
    assert fallback_rows(labels).tolist() == [False, False, True, False, False]
    for matrix in (*(galc_slr(scores, labels, reg, s) for s in ("sigmoid", "raw", "rows")), glc(scores, labels)):
        assert matrix[2].tolist() == torch.eye(K)[2].tolist()


def test_a_row_without_positive_entries_is_the_identity_row():
    labels = torch.tensor([[True, True]])
    matrix = galc_slr(torch.zeros(1, 2), labels, torch.tensor([[0.0, 0.0], [0.5, 0.5]]), "rows")
    assert matrix[0].tolist() == [1.0, 0.0]
    check_transition(matrix)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_rows_and_glc_are_transition_matrices_and_the_papers_form_is_not(seed):
    scores, labels = multi_label(seed)
    reg = regulators(*single_label(seed))
    check_transition(galc_slr(scores, labels, reg, "rows"), K)
    check_transition(glc(scores, labels), K)
    with pytest.raises(ValueError, match="does not sum to 1"):
        check_transition(galc_slr(scores, labels, reg, "sigmoid"))


def test_glc_is_the_normalised_mean_score_of_each_class():
    scores, labels = multi_label(3)
    matrix = glc(scores, labels)
    for k in (0, 1, 3, 4):
        mean = scores[labels[:, k]].mean(0)
        torch.testing.assert_close(matrix[k], mean / mean.sum())


def test_glc_finds_the_matrix_from_scores_that_know_it():
    labels = torch.eye(K, dtype=torch.bool).repeat(3, 1)
    transition = symmetric(K, 0.4).float()
    torch.testing.assert_close(glc(labels.float() @ transition, labels), transition)


def test_matrix_error_on_known_answers():
    truth = pair_flip(3, 0.4)
    same = matrix_error(truth, truth)
    assert same["row_l1"] == 0 and same["diagonal"] == 0
    assert same["off_diagonal_correlation"] == pytest.approx(1)
    identity = matrix_error(torch.eye(3), truth)
    assert identity["row_l1"] == pytest.approx(0.8) and identity["diagonal"] == pytest.approx(0.4)
    assert math.isnan(identity["off_diagonal_correlation"])
    assert matrix_error(pair_flip(3, 0.4).T, truth)["off_diagonal_correlation"] == pytest.approx(-1)
    assert math.isnan(matrix_error(truth, symmetric(3, 0.4))["off_diagonal_correlation"])


def test_bad_input_is_named():
    softmax, one = single_label(1)
    scores, labels = multi_label(1)
    reg = regulators(softmax, one)
    two = one.clone()
    two[7] = torch.tensor([True, True, False, False, False])
    with pytest.raises(ValueError, match="image 7 has 2 labels"):
        regulators(softmax, two)
    two[7] = False
    with pytest.raises(ValueError, match="image 7 has 0 labels"):
        regulators(softmax, two)
    broken = scores.clone()
    broken[3, 1] = float("nan")
    for call in (lambda: galc_slr(broken, labels, reg), lambda: glc(broken, labels)):
        with pytest.raises(ValueError, match="row 3, class 1"):
            call()
    with pytest.raises(ValueError, match="differ in shape"):
        galc_slr(scores[1:], labels, reg)
    with pytest.raises(ValueError, match=r"regulators must be a finite \(5, 5\)"):
        galc_slr(scores, labels, reg[:4])
    with pytest.raises(ValueError, match="sigmoid, raw, rows"):
        galc_slr(scores, labels, reg, "softmax")
    with pytest.raises(ValueError, match="not logits"):
        glc(scores - 1, labels)
    with pytest.raises(ValueError, match="differ in shape"):
        matrix_error(torch.eye(4), symmetric(5, 0.1))
