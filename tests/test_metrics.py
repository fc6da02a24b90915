import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from galc.metrics import average_precision, best_threshold, calibration, evaluate


def random_case(seed, n=60, k=6, levels=None):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(n, k, generator=generator)
    if levels:
        scores = (scores * levels).round() / levels
    return scores, torch.rand(n, k, generator=generator) < 0.2


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), levels=st.sampled_from([None, 1, 3, 10]))
def test_average_precision_is_scikit_learns_ties_included(seed, levels):
    scores, labels = random_case(seed, levels=levels)
    labels[0] = True
    expected = [average_precision_score(labels[:, k], scores[:, k]) for k in range(labels.shape[1])]
    np.testing.assert_allclose(average_precision(scores, labels), expected, atol=1e-9)


def test_average_precision_needs_no_probabilities():
    scores, labels = random_case(3)
    torch.testing.assert_close(average_precision(scores, labels), average_precision(20 * scores - 10, labels))


def test_metrics_of_a_case_worked_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.6], [0.8, 0.7, 0.4], [0.2, 0.6, 0.3], [0.1, 0.4, 0.2]])
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]], dtype=torch.bool)
    # class 0: predicted 0, 1; hit 1 of 2. class 1: predicted 1, 2; hit 1 of 2. class 2: predicted once, no positive.
    result = evaluate(scores, labels)
    assert result["classes_evaluated"] == 2
    assert result["CF1"] == pytest.approx(50.0)
    assert result["CF1_macro"] == pytest.approx(50.0)
    assert result["OF1"] == pytest.approx(100 * 2 * 2 / (5 + 4))  # the false alarm of class 2 counts
    assert result["mAP"] == pytest.approx(100 * ((1 + 2 / 3) / 2 + (1 + 2 / 3) / 2) / 2)


def test_cf1_and_macro_f1_are_the_two_forms_of_the_literature():
    scores, labels = random_case(5)
    labels[0] = True
    predicted = scores > 0.5
    precision, recall, f1 = [], [], []
    for k in range(labels.shape[1]):
        hit = int((predicted[:, k] & labels[:, k]).sum())
        precision.append(hit / max(int(predicted[:, k].sum()), 1))
        recall.append(hit / int(labels[:, k].sum()))
        f1.append(2 * hit / int(predicted[:, k].sum() + labels[:, k].sum()))
    cp, cr = np.mean(precision), np.mean(recall)
    result = evaluate(scores, labels)
    assert result["CF1"] == pytest.approx(100 * 2 * cp * cr / (cp + cr))
    assert result["CF1_macro"] == pytest.approx(100 * np.mean(f1))
    assert abs(result["CF1"] - result["CF1_macro"]) > 0.1


def test_classes_without_positives_are_left_out_of_class_averages():
    scores, labels = random_case(7)
    labels[0] = True
    labels[:, 2] = False
    kept = [0, 1, 3, 4, 5]
    whole, part = evaluate(scores, labels), evaluate(scores[:, kept], labels[:, kept])
    for name in ("mAP", "CF1", "CF1_macro", "classes_evaluated"):
        assert whole[name] == pytest.approx(part[name])
    assert whole["OF1"] < part["OF1"]
    assert torch.isnan(average_precision(scores, labels)).tolist() == [False, False, True, False, False, False]


def test_perfect_scores_give_100_and_no_prediction_gives_0():
    labels = random_case(1)[1]
    assert evaluate(labels.float(), labels)["mAP"] == evaluate(labels.float(), labels)["OF1"] == 100
    silent = evaluate(labels.float() / 4, labels)
    assert silent["CF1"] == silent["CF1_macro"] == silent["OF1"] == 0 and silent["mAP"] == 100


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**31), levels=st.sampled_from([None, 2, 8]))
def test_best_threshold_beats_every_other_one(seed, levels):
    scores, labels = random_case(seed, n=15, k=3, levels=levels)
    labels[0, 0] = True
    best = evaluate(scores, labels, best_threshold(scores, labels))["OF1"]
    others = [-1.0, *scores.flatten().tolist()]
    assert best == pytest.approx(max(evaluate(scores, labels, t)["OF1"] for t in others))


def test_best_threshold_separates_neighbouring_floats():
    high = torch.tensor(0.5)
    low = torch.nextafter(high, torch.tensor(0.0))
    scores, labels = torch.stack([high, low])[:, None], torch.tensor([[True], [False]])
    assert evaluate(scores, labels, best_threshold(scores, labels))["OF1"] == 100


@pytest.mark.parametrize("call", [evaluate, average_precision, best_threshold, calibration])
def test_bad_input_is_named(call):
    scores, labels = random_case(2)
    for value in (float("nan"), float("inf")):
        broken = scores.clone()
        broken[4, 3] = value
        with pytest.raises(ValueError, match="row 4, class 3"):
            call(broken, labels)
    with pytest.raises(ValueError, match="differ in shape"):
        call(scores[:, :5], labels)
    with pytest.raises(ValueError, match=r"\(N, K\)"):
        call(scores[0], labels[0])
    with pytest.raises(ValueError, match="got 2 in row 1, class 0"):
        call(scores[:2, :1], torch.tensor([[0], [2]]))


def test_labels_without_any_positive_are_an_error():
    for call in (evaluate, best_threshold):
        with pytest.raises(ValueError, match="no positive"):
            call(torch.rand(3, 2), torch.zeros(3, 2, dtype=torch.bool))


# --- calibration -----------------------------------------------------------------------------------------------------


def literal_calibration(p: list[float], y: list[bool], bins: int) -> tuple[float, float]:
    """ECE and Brier score, pair by pair: the bin of a pair is the place of the first one with its probability."""
    members = {}
    for value, label in zip(p, y, strict=True):
        members.setdefault(bins * sum(other < value for other in p) // len(p), []).append((value, label))
    gaps = [abs(sum(value - label for value, label in pairs)) for pairs in members.values()]
    return 100 * sum(gaps) / len(p), 100 * sum((a - b) ** 2 for a, b in zip(p, y, strict=True)) / len(p)


@given(seed=st.integers(0, 2**31), levels=st.sampled_from([None, 1, 7]), bins=st.integers(1, 20))
def test_calibration_is_the_literal_sum_over_bins(seed, levels, bins):
    p, labels = random_case(seed, n=13, k=3, levels=levels)
    ece, brier = literal_calibration(p.double().flatten().tolist(), labels.flatten().tolist(), bins)
    found = calibration(p, labels, bins)
    assert (found["ECE"], found["Brier"]) == pytest.approx((ece, brier), abs=1e-9)
    assert found["ECE_signed"] == pytest.approx(100 * float(p.double().mean() - labels.double().mean()), abs=1e-9)
    assert abs(found["ECE_signed"]) <= found["ECE"] + 1e-9


def test_labels_drawn_with_their_probabilities_are_calibrated_and_their_squares_are_not():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(4000, 20, generator=generator)
    labels = torch.rand(p.shape, generator=generator) < p
    good, timid = calibration(p, labels), calibration(p.square(), labels)
    assert good["ECE"] < 1 and abs(good["ECE_signed"]) < 0.5 and good["Brier"] == pytest.approx(100 / 6, abs=0.3)
    assert timid["ECE"] == pytest.approx(100 / 6, abs=0.5) and timid["ECE_signed"] == pytest.approx(-100 / 6, abs=0.5)


def test_the_order_of_pairs_with_one_probability_does_not_matter():
    labels = torch.tensor([[1, 1, 0, 0, 0, 0]]).bool().T
    p = torch.full((6, 1), 1 / 3)
    assert calibration(p, labels)["ECE"] == pytest.approx(0, abs=1e-5)
    assert calibration(p, labels.flip(0))["ECE"] == pytest.approx(0, abs=1e-5)


def test_what_is_no_probability_is_refused():
    scores, labels = random_case(0)
    with pytest.raises(ValueError, match=r"probabilities must lie in \[0, 1\], got"):
        calibration(2 * scores, labels)
