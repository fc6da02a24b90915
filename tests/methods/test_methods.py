"""The table of methods: three named GALC methods that are never mixed up, and rows that differ in what they say."""

from dataclasses import replace

import pytest

from galc.estimators.base import ESTIMATORS
from galc.methods.base import METHODS
from galc.methods.objectives import CORRECTIONS, PLAIN
from galc.study.run import RELABELLED, WEIGHTED


def test_titles_are_different_and_every_row_says_what_it_does():
    titles = [method.title for method in METHODS.values()]
    assert len(set(titles)) == len(titles)
    for name, method in METHODS.items():
        assert method.about.endswith(".") and len(method.about) < 160, name


def test_every_row_names_what_exists():
    for name, method in METHODS.items():
        assert method.loss in PLAIN, name
        assert method.estimator is None or method.estimator in ESTIMATORS, name
        homes = [method.correction in names for names in (CORRECTIONS, RELABELLED, WEIGHTED)]
        assert sum(homes) == (method.correction is not None), name
        assert method.estimator is None or method.correction is not None, name  # no C is estimated for nothing


def test_the_three_forms_of_the_method_differ_as_documented():
    literal, slr, plus = METHODS["galc-slr-literal"], METHODS["galc-slr"], METHODS["galc-plus"]
    assert (literal.estimator, literal.correction) == ("algorithm-1", "literal-clamped")
    assert (slr.estimator, slr.correction) == ("calibrated-regulators", "forward-asl")
    assert (plus.estimator, plus.correction) == ("attribution", "posterior")
    assert {literal.data, slr.data} == {"all"} and plus.data == "everything"


def test_true_correction_differs_from_galc_slr_in_the_matrix_alone():
    text = {"title": "", "about": ""}
    assert replace(METHODS["true-correction"], estimator=METHODS["galc-slr"].estimator, **text) == replace(
        METHODS["galc-slr"], **text
    )


def test_only_the_row_that_says_so_trains_without_dropout():
    assert [name for name, method in METHODS.items() if not method.dropout] == ["asl-no-dropout"]
    text = {"title": "", "about": ""}
    assert replace(METHODS["asl-no-dropout"], dropout=True, **text) == replace(METHODS["asl"], **text)


@pytest.mark.parametrize("name, field, value", [("asl-mixup", "mixup", 0.0), ("asl-gold-stop", "gold_stop", False)])
def test_mixup_and_early_stopping_are_asl_but_for_that(name, field, value):
    text = {"title": "", "about": ""}
    assert replace(METHODS[name], **{field: value}, **text) == replace(METHODS["asl"], **text)
    plain = [row for row, method in METHODS.items() if row != name and getattr(method, field) != value]
    assert not plain


def test_galc_plus_is_the_row_of_fixed_labels_but_for_their_revision():
    text = {"title": "", "about": ""}
    assert replace(METHODS["galc-plus"], refined=False, **text) == replace(METHODS["galc-plus-fixed"], **text)
    assert [name for name, method in METHODS.items() if method.refined] == ["galc-plus"]


def test_forward_rows_differ_in_the_form_alone_and_from_galc_plus_in_the_use_of_c():
    rows = [METHODS[f"forward-{form}"] for form in ("linear", "exact", "noisy-or")]
    text = {"title": "", "about": "", "correction": ""}
    assert len({replace(row, **text) for row in rows}) == 1 and len({row.correction for row in rows}) == 3
    assert replace(rows[0], loss="asl", **text) == replace(METHODS["galc-plus-fixed"], **text)


def test_the_key_of_a_row_is_all_but_its_texts():
    row = METHODS["asl"]
    assert replace(row, title="other", about="other").key == row.key
    for change in (
        {"data": "gold"},
        {"loss": "bce"},
        {"dropout": False},
        {"mixup": 0.1},
        {"gold_stop": True},
        {"refined": True},
    ):
        assert replace(row, **change).key != row.key
    assert len({str(method.key) for method in METHODS.values()}) == len(METHODS)  # no two rows are one


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sees_noise_exactly_where_it_trains_on_silver_images(name):
    assert METHODS[name].sees_noise == (name not in ("gold-only", "clean-only"))
