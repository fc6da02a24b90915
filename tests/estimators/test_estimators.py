import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galc.checks import check_transition
from galc.estimators import attribution, likelihood
from galc.estimators.algorithm_1 import algorithm_1, calibrated_regulators, dual_t, fallback_rows, glc, regulators
from galc.estimators.base import (
    ESTIMATORS,
    LIMITS,
    MATRIX,
    Estimate,
    Evidence,
    estimate,
    estimator,
    limits,
    matrix_error,
    named,
    rate_error,
)
from galc.losses.asl import calibrate, calibrate_logits
from galc.noise import Noise, pair_flip, symmetric
from galc.noise.kinds import KINDS

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


def literal_algorithm_1(sigmoid, labels, reg, scale):
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
    expected = literal_algorithm_1(scores, labels, reg, scale)
    torch.testing.assert_close(algorithm_1(scores, labels, reg, scale), expected, rtol=1e-4, atol=1e-5)


def test_algorithm_1_on_a_case_worked_by_hand():
    reg = torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    scores = torch.tensor([[1.0, 0.5], [0.5, 0.0]])
    labels = torch.tensor([[True, True], [True, False]])
    # row 0: image 0 gives (1, .5) - (.5, .5) + (.75, .25) = (1.25, .25), image 1 gives (.5, 0); row 1: image 0 only
    raw = torch.tensor([[0.875, 0.125], [0.75, 0.75]])
    torch.testing.assert_close(algorithm_1(scores, labels, reg, "raw"), raw)
    torch.testing.assert_close(algorithm_1(scores, labels, reg), raw.sigmoid())
    torch.testing.assert_close(algorithm_1(scores, labels, reg, "rows"), torch.tensor([[0.875, 0.125], [0.5, 0.5]]))


def test_classes_without_images_get_the_documented_rows_and_are_named():
    softmax, one = single_label(0)
    reg = regulators(softmax, one)
    assert fallback_rows(one).tolist() == [False] * (K - 1) + [True]
    torch.testing.assert_close(reg[-1], torch.full((K,), 1 / K))
    scores, labels = multi_label(0)
    assert fallback_rows(labels).tolist() == [False, False, True, False, False]
    for matrix in (*(algorithm_1(scores, labels, reg, s) for s in ("sigmoid", "raw", "rows")), glc(scores, labels)):
        assert matrix[2].tolist() == torch.eye(K)[2].tolist()


def test_a_row_without_positive_entries_is_the_identity_row():
    labels = torch.tensor([[True, True]])
    matrix = algorithm_1(torch.zeros(1, 2), labels, torch.tensor([[0.0, 0.0], [0.5, 0.5]]), "rows")
    assert matrix[0].tolist() == [1.0, 0.0]
    check_transition(matrix)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**31))
def test_rows_and_glc_are_transition_matrices_and_the_papers_form_is_not(seed):
    scores, labels = multi_label(seed)
    reg = regulators(*single_label(seed))
    check_transition(algorithm_1(scores, labels, reg, "rows"), K)
    check_transition(glc(scores, labels), K)
    with pytest.raises(ValueError, match="does not sum to 1"):
        check_transition(algorithm_1(scores, labels, reg, "sigmoid"))


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
    for call in (lambda: algorithm_1(broken, labels, reg), lambda: glc(broken, labels)):
        with pytest.raises(ValueError, match="row 3, class 1"):
            call()
    with pytest.raises(ValueError, match="differ in shape"):
        algorithm_1(scores[1:], labels, reg)
    with pytest.raises(ValueError, match=r"regulators must be a finite \(5, 5\)"):
        algorithm_1(scores, labels, reg[:4])
    with pytest.raises(ValueError, match="sigmoid, raw, rows"):
        algorithm_1(scores, labels, reg, "softmax")
    with pytest.raises(ValueError, match="not logits"):
        glc(scores - 1, labels)
    with pytest.raises(ValueError, match="differ in shape"):
        matrix_error(torch.eye(4), symmetric(5, 0.1))


# --- beyond the paper ----------------------------------------------------------------------------------------------


def logits_of(q):
    """ASL's logits whose calibrated probabilities are q, by bisection."""
    low, high = torch.full_like(q, -40.0, dtype=torch.float64), torch.full_like(q, 40.0, dtype=torch.float64)
    for _ in range(80):
        middle = (low + high) / 2
        below = calibrate_logits(middle).sigmoid() < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low.float()


def literal_calibrated(logits, clean, labels, prior):
    """The docstring, class by class."""
    n, k = labels.shape
    q = calibrate(logits.double().sigmoid()).tolist()
    rows = [[] for _ in range(k)]
    for a in range(n):
        c = labels[a].tolist().index(True)
        rows[c].append((q[a][c], float(clean[a, c])))
    mean = sum(x for row in rows for x, _ in row) / sum(y for row in rows for _, y in row)
    matrix = torch.zeros(k, k)
    for c, row in enumerate(rows):
        ratio = sum(x for x, _ in row) / sum(y for _, y in row) if row else mean
        kept = min(max((len(row) * ratio + prior * mean) / (len(row) + prior), 0), 1)
        matrix[c] = (1 - kept) / (k - 1)
        matrix[c, c] = kept
    return matrix


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**31), prior=st.sampled_from([0.5, 5.0, 50.0]))
def test_calibrated_regulators_equal_a_literal_loop(seed, prior):
    _, labels = single_label(seed)
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(len(labels), K, generator=generator) + 1
    clean = torch.rand(len(labels), K, generator=generator) * 0.9 + 0.05
    got = calibrated_regulators(logits, clean, labels, prior)
    torch.testing.assert_close(got, literal_calibrated(logits, clean, labels, prior), rtol=1e-3, atol=1e-4)
    check_transition(got, K)


def test_calibrated_regulators_find_the_rates_of_a_perfect_silver_model():
    labels = torch.eye(K, dtype=torch.bool).repeat(500, 1)
    kept = torch.tensor([0.9, 0.8, 0.6, 0.5, 0.4])
    clean = torch.full((len(labels), K), 0.02) + 0.6 * labels  # not sure of anything, and calibrated
    noisy = clean * kept  # Q_kk = H_kk C_kk, whatever the classifier can tell
    got = calibrated_regulators(logits_of(noisy), clean, labels, prior=5)
    torch.testing.assert_close(got.diagonal(), kept, atol=0.01, rtol=0)
    torch.testing.assert_close(got[0, 1:], torch.full((K - 1,), 0.1 / (K - 1)), atol=0.01, rtol=0)


def test_calibrated_regulators_lean_on_the_mean_where_images_are_few():
    labels = torch.eye(K, dtype=torch.bool)[[0] * 200 + [1] * 5]  # none of the classes 2, 3, 4
    clean = torch.full((205, K), 0.8)
    kept = torch.tensor([0.5] * 200 + [0.9] * 5)[:, None]
    diagonal = calibrated_regulators(logits_of(0.8 * kept.expand(-1, K)), clean, labels, prior=5).diagonal()
    mean = (200 * 0.5 + 5 * 0.9) / 205
    torch.testing.assert_close(diagonal[2:], torch.full((3,), mean), atol=1e-3, rtol=0)
    assert diagonal[1].item() == pytest.approx((0.9 + mean) / 2, abs=1e-3)  # five images, as many as the prior
    assert diagonal[0].item() == pytest.approx(0.5, abs=1e-3)


def test_calibrated_regulators_say_what_is_wrong():
    labels, scores = torch.eye(K, dtype=torch.bool), torch.zeros(K, K)
    with pytest.raises(ValueError, match="need a clean image: raise single_label_limit or gold_fraction"):
        calibrated_regulators(scores[:0], scores[:0], labels[:0])
    broken = scores.clone()
    broken[2, 1] = float("nan")
    with pytest.raises(ValueError, match="single_logits must be finite, got nan in row 2, class 1"):
        calibrated_regulators(broken, scores, labels)
    with pytest.raises(ValueError, match="single_clean"):
        calibrated_regulators(scores, scores[:3], labels)


# --- by name -------------------------------------------------------------------------------------------------------


def evidence() -> dict:
    """All that an estimator may ask for: 40 single-label, 30 gold and 60 silver images."""
    _, one = single_label(0)
    _, several = multi_label(0)
    generator = torch.Generator().manual_seed(1)
    silver = torch.rand(60, K, generator=generator) < 0.4
    return {
        "gold_logits": torch.randn(len(several), K, generator=generator),
        "gold_labels": several,
        "gold_clean": torch.rand(len(several), K, generator=torch.Generator().manual_seed(2)),
        "single_logits": torch.randn(len(one), K, generator=generator),
        "single_labels": one,
        "single_clean": torch.rand(len(one), K, generator=generator),
        "silver_posterior": torch.rand(60, K, generator=generator),
        "silver_logits": torch.randn(60, K, generator=generator),
        "silver_labels": silver,
        "noise": Noise(pair_flip(K, 0.3)),
    }


DIRECT = {
    "true": lambda e: e["noise"].transition.float(),
    "identity": lambda e: torch.eye(K),
    "algorithm-1": lambda e: literal_of(e, "sigmoid"),
    "algorithm-1-raw": lambda e: literal_of(e, "raw"),
    "algorithm-1-rows": lambda e: literal_of(e, "rows"),
    "glc": lambda e: glc(e["gold_logits"].sigmoid(), e["gold_labels"]),
    "glc-calibrated": lambda e: glc(calibrate(e["gold_logits"].sigmoid()), e["gold_labels"]),
    "calibrated-regulators": lambda e: literal_calibrated(
        e["single_logits"], e["single_clean"], e["single_labels"], 50.0
    ),
    "pooled-rate": lambda e: attribution.pooled(e["silver_posterior"], e["silver_labels"]),
    "attribution": lambda e: attribution.estimate(e["silver_posterior"], e["silver_labels"]).transition.float(),
    "likelihood": lambda e: likelihood.estimate(e["silver_posterior"], e["silver_labels"]),
    "dual-t": lambda e: dual_t(
        torch.cat([e["gold_logits"], e["single_logits"]]),
        torch.cat([e["gold_labels"], e["single_labels"]]),
        e["silver_logits"],
        e["silver_labels"],
    ),
}


def literal_of(e, scale):
    reg = literal_regulators(e["single_logits"].softmax(1), e["single_labels"])
    return literal_algorithm_1(e["gold_logits"].sigmoid(), e["gold_labels"], reg, scale)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_called_by_its_name_with_its_evidence(name):
    found = estimate(name, Evidence(**evidence()))
    assert found.transition.shape == found.arrivals.shape == (K, K) and found.arrivals.dtype == torch.float32
    torch.testing.assert_close(found.transition.float(), DIRECT[name](evidence()), rtol=1e-3, atol=1e-4)
    if name not in ("algorithm-1", "algorithm-1-raw"):
        check_transition(found.transition, K)


def test_without_single_label_images_gold_images_are_the_regulators():
    e = evidence()
    none = {name: value[:0] if name.startswith("single") else value for name, value in e.items()}
    expected = calibrated_regulators(e["gold_logits"], e["gold_clean"], e["gold_labels"])
    assert torch.equal(estimate("calibrated-regulators", Evidence(**none)).transition, expected)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_needs_what_it_says_and_no_more(name):
    wanted = named(name).needs
    assert wanted and set(wanted) <= set(evidence())
    own, everything = Evidence(**{need: evidence()[need] for need in wanted}), Evidence(**evidence())
    assert torch.equal(estimate(name, own).transition, estimate(name, everything).transition)
    for need in wanted:
        rest = {key: value for key, value in evidence().items() if key != need}
        with pytest.raises(ValueError, match=f"estimator '{name}' needs {need}"):
            estimate(name, Evidence(**rest))


def test_an_unknown_estimator_is_refused_with_the_known_ones():
    for call in (lambda: named("gcl"), lambda: estimate("gcl", Evidence()), lambda: limits("gcl", "pair")):
        with pytest.raises(ValueError, match=r"no estimator 'gcl'; choose one of true, .*dual-t"):
            call()


def test_only_the_upper_bound_knows_the_truth():
    assert [name for name, row in ESTIMATORS.items() if "noise" in row.needs] == ["true"]


def test_evidence_is_worked_out_once_and_only_what_is_asked_for():
    asked = []
    part = lambda name: lambda: asked.append(name) or evidence()[name]  # noqa: E731
    e = Evidence(**{name: part(name) for name in evidence()})
    assert asked == [] and not e.lacks(evidence())
    estimate("glc", e)
    estimate("glc-calibrated", e)
    assert sorted(asked) == ["gold_labels", "gold_logits"]


def test_evidence_of_another_name_and_what_was_not_given_are_errors():
    with pytest.raises(ValueError, match="no evidence gold_logit; it is gold_logits, "):
        Evidence(gold_logit=torch.zeros(2, 2))
    with pytest.raises(AttributeError, match="the evidence has no gold_labels"):
        Evidence(gold_logits=torch.zeros(2, 2)).gold_labels  # noqa: B018


def test_an_estimator_of_one_s_own_is_one_decorated_function(monkeypatch):
    monkeypatch.setattr("galc.estimators.base.ESTIMATORS", dict(ESTIMATORS))

    @estimator("half", needs=("silver_labels",), scope=MATRIX)
    def half(evidence: Evidence) -> Estimate:
        return Estimate(symmetric(evidence.silver_labels.shape[1], 0.5))

    assert torch.equal(estimate("half", Evidence(**evidence())).transition, symmetric(K, 0.5))
    assert limits("half", "pair") == "" != limits("half", "missing")
    with pytest.raises(ValueError, match="estimator 'mine': there is no labels to need"):
        estimator("mine", needs=("labels",))


# --- what they give ------------------------------------------------------------------------------------------------


def test_an_estimate_gives_corrections_c_and_what_appears():
    removed, added = torch.linspace(0, 0.4, K), torch.linspace(0.3, 0, K)
    noise = Noise(pair_flip(K, 0.3), removed, added)
    found = Estimate.of(noise)
    assert found.arrivals.dtype == found.appearing.dtype == torch.float32 and found.has_rates
    assert torch.equal(found.arrivals, noise.arrivals.float()) and torch.equal(found.appearing, noise.added.float())
    flips = Estimate.of(Noise(pair_flip(K, 0.3)))
    assert flips.appearing is None and torch.equal(flips.arrivals, pair_flip(K, 0.3).float())
    alone = Estimate(pair_flip(K, 0.3).float())
    assert alone.appearing is None and not alone.has_rates and torch.equal(alone.arrivals, alone.transition)
    assert alone.noise.keeps_count and torch.equal(alone.noise.transition, alone.transition.double())


def test_the_literal_matrix_of_the_paper_is_an_estimate_but_no_noise():
    found = estimate("algorithm-1", Evidence(**evidence()))
    assert found.arrivals is found.transition and found.appearing is None
    with pytest.raises(ValueError, match=r"row 0 of the transition matrix does not sum to 1"):
        found.noise  # noqa: B018


def test_an_estimate_is_a_finite_square_matrix():
    for matrix in (torch.zeros(2, 3), torch.full((2, 2), torch.nan), torch.zeros(4)):
        with pytest.raises(ValueError, match=r"an estimate must be a finite \(K, K\) matrix"):
            Estimate(matrix)


# --- what an estimator can represent -------------------------------------------------------------------------------


def test_every_estimator_has_a_scope_and_none_can_represent_noise_by_image():
    assert all("instance" not in row.scope and row.scope <= set(LIMITS) for row in ESTIMATORS.values())
    for name in ESTIMATORS:
        for kind in KINDS:
            text = limits(name, kind)
            assert (text == "") == (KINDS[kind].nature in ESTIMATORS[name].scope)
            assert not text or (text.startswith(name) and f"({kind})" in text and text.endswith("."))


def test_limits_say_why():
    assert limits("pooled-rate", "symmetric") == limits("true", "missing") == limits("glc", "pair") == ""
    assert "spreads wrong labels evenly" in limits("pooled-rate", "semantic")
    assert "keep its number of labels" in limits("glc", "additional")
    assert "the average" in limits("true", "instance-dependent")
    assert "takes every label to be right" in limits("identity", "pair")
    assert limits("glc", "count-changing") != ""  # the nature of a Noise, where there is no name


def test_limits_of_what_there_is_not_are_an_error():
    with pytest.raises(ValueError, match="no limits known"):
        limits("glc", "pairs")


def test_rates_of_removed_and_added_labels_have_errors_of_their_own():
    none, some = torch.zeros(K), torch.linspace(0, 0.4, K)
    first, second = Noise(torch.eye(K), none, some), Noise(pair_flip(K, 0.3), some / 2, some)
    assert rate_error(first, second) == pytest.approx({"removed": 0.1, "added": 0.0})
    assert rate_error(first, Noise(torch.eye(K))) == pytest.approx({"removed": 0.0, "added": 0.2})
