"""The public door: every name of it, loaded when it is used, documented, and for arrays of any kind."""

import doctest
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.multiclass import OneVsRestClassifier

import galc
from galc import store
from galc.clean import ENOUGH

NAMES = """AsymmetricLoss ForwardASL ForwardBCE calibrate uncalibrate Noise symmetric pair_flip inject regulators
algorithm_1 glc estimate_noise posterior find_label_issues LabelCleaner load_data Params run METHODS method evaluate"""


def test_the_door_has_these_names_and_says_so():
    assert set(galc.__all__) == set(NAMES.split()) <= set(dir(galc))
    with pytest.raises(AttributeError, match="has no attribute 'calibrat'"):
        galc.calibrat  # noqa: B018


@pytest.mark.parametrize("name", NAMES.split())
def test_every_name_is_there_and_its_example_runs(name):
    thing = getattr(galc, name)
    if isinstance(thing, dict):  # METHODS
        assert thing and f"galc.{name}" in (store.ROOT / "docs" / "api.md").read_text()
        return
    (example, *_) = doctest.DocTestFinder(recurse=False).find(thing, name) or [None]
    assert example is not None and example.examples, f"the docstring of galc.{name} has no example"
    said = []
    failed = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=said.append).failed
    assert not failed, "".join(said)


def test_the_page_of_the_public_names_has_each_and_its_examples_run():
    page = store.ROOT / "docs" / "api.md"
    assert not [name for name in NAMES.split() if f"`galc.{name}" not in page.read_text()]
    failed, run = doctest.testfile(str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert run > 20 and not failed


def test_importing_galc_imports_nothing_large():
    code = "import sys, galc, json; dir(galc); print(json.dumps(sorted(sys.modules)))"
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert not {"torch", "numpy", "pandas", "sklearn", "pydantic", "galc.arrays"} & set(loaded)


# --- arrays of any kind ----------------------------------------------------------------------------------------------

KINDS = {
    "numpy": np.array,
    "torch": torch.tensor,
    "lists": lambda values: values,
    "pandas": lambda values: pd.DataFrame(values, [f"row{n}" for n in range(len(values))], ["cat", "dog", "bird"]),
}
SCORES = [[0.9, 0.1, 0.2], [0.2, 0.7, 0.1], [0.3, 0.1, 0.8], [0.8, 0.1, 0.4]]
LABELS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]]
CALLS = {
    "calibrate": lambda kind: galc.calibrate(kind(SCORES)),
    "uncalibrate": lambda kind: galc.uncalibrate(kind(SCORES)),
    "regulators": lambda kind: galc.regulators(kind(SCORES), kind(LABELS)),
    "algorithm_1": lambda kind: galc.algorithm_1(kind(SCORES), kind(LABELS), kind(SCORES[:3])),
    "glc": lambda kind: galc.glc(kind(SCORES), labels=kind(LABELS)),
    "inject": lambda kind: galc.inject(kind(LABELS), kind(galc.symmetric(3, 0.5).tolist())),
    "posterior": lambda kind: galc.posterior(kind(LABELS), kind(SCORES), galc.symmetric(3, 0.2)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_comes_out_is_of_the_kind_that_went_in(call):
    expected = {"numpy": np.ndarray, "torch": torch.Tensor, "lists": np.ndarray, "pandas": pd.DataFrame}
    found = {name: call(kind) for name, kind in KINDS.items()}
    assert {name: type(values) for name, values in found.items()} == expected
    for values in found.values():
        assert np.allclose(np.asarray(values), np.asarray(found["torch"]), atol=1e-6)
    assert list(found["pandas"].columns) == ["cat", "dog", "bird"]
    rows = ["row0", "row1", "row2", "row3"] if len(found["numpy"]) == 4 else ["cat", "dog", "bird"]
    assert list(found["pandas"].index) == rows


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_metrics_take_any_kind(kind):
    assert galc.evaluate(kind(SCORES), kind(LABELS))["mAP"] == 100.0


def test_one_number_gives_one_number():
    assert isinstance(galc.calibrate(0.8), float)
    assert galc.uncalibrate(galc.calibrate(0.8)) == pytest.approx(0.8, abs=1e-5)


# --- the noise of labels, from probabilities alone -------------------------------------------------------------------


def noisy_data(noise, num_examples: int = 800, seed: int = 0):
    """Features, true labels (N, 6), noisy ones, and cross-validated probabilities of a linear model of these."""
    generator = np.random.default_rng(seed)
    true = generator.random((num_examples, 6)) < 0.25
    true[~true.any(1), 0], true[true.all(1), 0] = True, False
    features = true @ generator.normal(size=(6, 12)) + generator.normal(size=(num_examples, 12))
    noisy = galc.inject(true, noise)
    model = OneVsRestClassifier(LogisticRegression(max_iter=1000))
    return features, true, noisy, cross_val_predict(model, features, noisy, cv=5, method="predict_proba")


NOISES = {
    "symmetric": galc.Noise(galc.symmetric(6, 0.3)),
    "pair": galc.Noise(galc.pair_flip(6, 0.3)),
    "missing": galc.Noise(torch.eye(6), torch.full((6,), 0.3), torch.zeros(6)),
}


@pytest.fixture(scope="module", params=NOISES)
def case(request):
    return NOISES[request.param], *noisy_data(NOISES[request.param])


def test_noise_is_found_with_and_without_trusted_examples(case):
    noise, _, true, noisy, probs = case
    none = (noise.arrivals - torch.eye(6)).abs().sum(1).mean()
    for trusted, share in ((None, 0.8), (np.arange(200), 0.5)):
        found = galc.estimate_noise(noisy, probs, trusted, true).noise
        assert (found.arrivals - noise.arrivals).abs().sum(1).mean() < share * none, trusted


def test_the_posterior_is_nearer_to_the_truth_than_the_labels_and_trusted_rows_are_the_truth(case):
    _, _, true, noisy, probs = case
    better = galc.posterior(noisy, probs, trusted=np.arange(200), true_labels=true)
    assert ((better > 0.5) == true).mean() > (noisy == true).mean()
    assert (better[:200] == true[:200]).all()


def test_issues_are_faults_that_are_named_and_in_order(case):
    _, _, true, noisy, probs = case
    table = pd.DataFrame(noisy.astype(int), index=[f"{n}.jpg" for n in range(len(noisy))], columns=list("abcdef"))
    issues = galc.find_label_issues(table, probs, trusted=[*range(40)], true_labels=true)
    row, column = issues["example"].str[:-4].astype(int).to_numpy(), issues["class"].map("abcdef".index).to_numpy()
    assert list(issues.columns) == ["example", "class", "given", "kind", "probability"] and row.min() >= 40
    assert issues["probability"].is_monotonic_decreasing and issues["probability"].min() >= 0.5
    assert (issues["given"] == noisy[row, column]).all() and set(issues["kind"]) <= {"wrong", "missing"}
    assert ((issues["kind"] == "wrong") == noisy[row, column]).all()
    assert (noisy != true)[row, column].mean() > 0.6


def test_fewer_trusted_examples_than_a_calibration_needs_change_no_estimate():
    _, true, noisy, probs = noisy_data(NOISES["symmetric"])
    few = galc.estimate_noise(noisy, probs, np.arange(ENOUGH - 1), true)
    assert torch.equal(few.transition, galc.estimate_noise(noisy, probs).transition)


def test_an_estimate_is_a_table_with_names_and_serves_as_noise():
    _, _, noisy, probs = noisy_data(NOISES["missing"])
    found = galc.estimate_noise(noisy, probs, classes=list("abcdef"))
    table = found.to_frame()
    assert list(table.columns) == [*"abcdef", "removed", "added"] and list(table.index) == list("abcdef")
    assert np.allclose(table[list("abcdef")].sum(axis=1), 1)
    assert np.array_equal(galc.posterior(noisy, probs, found), galc.posterior(noisy, probs, found.noise))


def test_one_class_is_enough():
    _, true, noisy, probs = noisy_data(NOISES["missing"])
    assert galc.posterior(noisy[:, :1], probs[:, :1]).shape == true[:, :1].shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pred_probs": [[0.5, 2.0]] * 4}, "got 2 in row 0, class 1; pass no logits"),
        ({"pred_probs": [[0.5, float("nan")]] * 4}, "pred_probs must be finite, got nan in row 0, class 1"),
        ({"pred_probs": [[0.5] * 3] * 4}, "differ in shape"),
        ({"labels": [[1, 2]] * 4}, "labels must be bool or 0/1, got 2 in row 0, class 1"),
        ({"labels": [1, 0, 1, 0]}, r"labels must be \(N, K\)"),
        ({"true_labels": [[1, 0]]}, r"true_labels must be \(N, K\) as labels are, got shape \(1, 2\)"),
        ({"noise": [[0.5, 0.2], [0.0, 1.0]]}, "row 0 of the transition matrix does not sum to 1"),
        ({"noise": galc.symmetric(3, 0.1)}, "the noise is of 3 classes, labels are of 2"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    given = {"labels": [[1, 0]] * 4, "pred_probs": [[0.5, 0.5]] * 4, "noise": galc.symmetric(2, 0.1)} | change
    with pytest.raises(ValueError, match=message):
        galc.find_label_issues(**given)


def test_classes_are_as_many_as_columns():
    with pytest.raises(ValueError, match="3 classes are named, and labels have 2 columns"):
        galc.estimate_noise([[1, 0]] * 4, [[0.5, 0.5]] * 4, classes=["a", "b", "c"])


# --- scikit-learn's way ----------------------------------------------------------------------------------------------


def test_the_cleaner_predicts_better_than_the_same_classifier_of_the_labels_as_given():
    features, _, noisy, _ = noisy_data(NOISES["pair"], 1200)
    known, truth = features[:800], noisy_data(NOISES["pair"], 1200)[1]
    cleaner = galc.LabelCleaner().fit(known, noisy[:800])
    plain = OneVsRestClassifier(LogisticRegression(max_iter=1000)).fit(known, noisy[:800])
    better, worse = ((model.predict(features[800:]) == truth[800:]).mean() for model in (cleaner, plain))
    assert better > worse and cleaner.predict_proba(features[800:]).shape == (400, 6)
    assert len(cleaner.issues_) and cleaner.noise_.transition.shape == (6, 6)


def test_the_cleaner_is_a_scikit_learn_estimator_for_tables_and_any_classifier():
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.tree import DecisionTreeClassifier

    features, _, noisy, _ = noisy_data(NOISES["symmetric"], 200)
    table = pd.DataFrame(noisy, columns=list("abcdef"))
    for base in (
        KNeighborsClassifier(5),
        DecisionTreeClassifier(max_depth=3, random_state=0),
    ):  # without and with sample_weight
        cleaner = clone(galc.LabelCleaner(base, cv=3, random_state=1))
        assert cleaner.get_params()["cv"] == 3
        cleaner.fit(pd.DataFrame(features), table, trusted=np.arange(30))
        assert list(cleaner.posterior_.columns) == list("abcdef") and cleaner.noise_.classes == tuple("abcdef")
        again = clone(cleaner).fit(pd.DataFrame(features), table, trusted=np.arange(30))
        assert np.array_equal(cleaner.posterior_, again.posterior_)


def test_a_class_that_a_fold_lacks_is_no_error():
    features, _, noisy, _ = noisy_data(NOISES["symmetric"], 200)
    noisy[:, 5] = False
    noisy[0, 5] = True
    assert galc.LabelCleaner(cv=3).fit(features, noisy).predict_proba(features).shape == (200, 6)


def test_examples_and_labels_are_as_many():
    with pytest.raises(ValueError, match="3 examples in X, 2 in y"):
        galc.LabelCleaner().fit([[0.0]] * 3, [[1, 0]] * 2)
