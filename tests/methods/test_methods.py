"""The table of methods: three named GALC methods that are never mixed up, and rows that differ in what they say."""

import pytest

from galc.estimators.base import ESTIMATORS
from galc.methods.base import ASL, BCE, DATA, METHODS, Method, method
from galc.training.batch import TrainingSet

TABLE = [  # in the order of figures and tables
    "asl", "asl-no-dropout", "bce", "bce-everything", "gold-only", "clean-only", "galc-slr-literal",
    "galc-slr-literal-unclamped", "galc-slr", "true-correction", "galc-plus", "galc-plus-fixed", "galc-plus-bce",
    "galc-plus-iterated", "galc-slr-attribution", "galc-slr-likelihood", "glc", "dual-t", "t-revision", "reweighting",
    "cleanlab", "silver-only", "asl-gold-stop", "asl-mixup", "forward-linear", "forward-exact", "forward-noisy-or",
    "gce", "elr", "hill", "splc", "small-loss",
]  # fmt: skip


def settings(name: str, **changes) -> dict:
    """All of a row but its name, texts and look."""
    row = {field: getattr(METHODS[name], field) for field in Method.__dataclass_fields__}
    return {field: row[field] for field in row if field not in ("name", "title", "about", "look", "home")} | changes


def test_the_table_has_its_rows_in_its_order():
    assert list(METHODS) == TABLE and [row.name for row in METHODS.values()] == TABLE


def test_titles_are_different_and_every_row_says_what_it_does():
    titles = [row.title for row in METHODS.values()]
    assert len(set(titles)) == len(titles)
    for name, row in METHODS.items():
        assert row.about.endswith(".") and len(row.about) < 160, name


def test_every_row_names_what_exists_and_estimates_no_c_for_nothing():
    for name, row in METHODS.items():
        assert row.data in DATA and row.estimator in (None, *ESTIMATORS), name
        assert row.estimator is None or row.make is not None, name


def test_the_three_forms_of_the_method_differ_as_documented():
    literal, slr, plus = METHODS["galc-slr-literal"], METHODS["galc-slr"], METHODS["galc-plus"]
    assert [row.estimator for row in (literal, slr, plus)] == ["algorithm-1", "calibrated-regulators", "attribution"]
    assert len({literal.make, slr.make, plus.make}) == 3
    assert {literal.data, slr.data} == {"all"} and plus.data == "everything"


@pytest.mark.parametrize(
    "name, estimator",
    [
        ("true-correction", "true"),
        ("galc-slr-attribution", "attribution"),
        ("galc-slr-likelihood", "likelihood"),
        ("glc", "glc"),
        ("dual-t", "dual-t"),
    ],
)
def test_rows_of_other_matrices_are_galc_slr_but_for_the_estimator(name, estimator):
    assert settings(name) == settings("galc-slr", estimator=estimator)


def test_only_the_row_that_says_so_trains_without_dropout():
    assert [name for name, row in METHODS.items() if not row.dropout] == ["asl-no-dropout"]
    assert settings("asl-no-dropout", dropout=True) == settings("asl")


@pytest.mark.parametrize("name, field, value", [("asl-mixup", "mixup", 0.0), ("asl-gold-stop", "gold_stop", False)])
def test_mixup_and_early_stopping_are_asl_but_for_that(name, field, value):
    assert settings(name, **{field: value}) == settings("asl")
    assert [row for row in METHODS if getattr(METHODS[row], field) != value] == [name]


def test_the_rows_of_galc_plus_differ_in_the_last_training_alone():
    for name in ("galc-plus-fixed", "galc-plus-iterated"):
        assert settings(name, make=None) == settings("galc-plus", make=None)
    assert settings("galc-plus-bce", loss=ASL, make=None) == settings("galc-plus", make=None)


def test_forward_rows_differ_in_the_form_alone_and_from_galc_plus_in_the_use_of_c():
    names = [f"forward-{form}" for form in ("linear", "exact", "noisy-or")]
    assert len({METHODS[name].make for name in names}) == 3
    for name in names:
        assert settings(name, make=None) == settings("galc-plus-fixed", loss=BCE, make=None)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sees_noise_exactly_where_it_trains_on_silver_images(name):
    assert METHODS[name].sees_noise == (name not in ("gold-only", "clean-only"))


# --- how a row comes into the table --------------------------------------------------------------------------------

ROW = {"title": "Mine", "data": "all", "about": "A row of a test."}


@pytest.fixture(autouse=True)
def table():
    """What a test puts into the table is gone after it."""
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "asl"}, "method 'asl' exists already, in galc.methods.baselines; choose another name"),
        ({"title": "GALC-plus"}, "method 'mine': the title 'GALC-plus' is another method's"),
        ({"data": "silvr"}, "method 'mine': no data 'silvr'; choose one of silver, gold, clean, all, everything"),
        ({"estimator": "atribution"}, "method 'mine': no estimator 'atribution'; choose one of None, true, "),
        ({"look": "red"}, "method 'mine': look must be a colour and a marker"),
        ({"look": ("red", 3)}, "method 'mine': look must be a colour and a marker"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(ValueError) as error:
        method(**{"name": "mine"} | ROW | change)
    assert str(error.value).startswith(message) and list(METHODS) == TABLE


def test_a_row_without_a_function_trains_its_loss_and_declared_anew_it_takes_its_own_place():
    method("mine", **ROW, loss=BCE)
    assert METHODS["mine"].make is None and METHODS["mine"].loss is BCE
    method("mine", **ROW | {"title": "Mine, mended"})
    assert METHODS["mine"].title == "Mine, mended" and METHODS["mine"].loss is ASL


def test_rows_that_name_no_look_get_looks_that_no_other_row_has():
    for n in range(5):
        method(f"mine-{n}", **ROW | {"title": f"Mine {n}"})
    looks = [row.look for row in METHODS.values()]
    assert len(set(looks)) == len(looks) == len(TABLE) + 5
    method("mine-5", **ROW)
    assert METHODS["mine-5"].look in looks


def test_a_decorated_class_is_the_loss_and_keeps_the_labels_as_they_are():
    @method("mine", **ROW)
    class Mine:
        def __init__(self, stages, estimate, data):
            self.made_of = stages, estimate, data

    data = object.__new__(TrainingSet)
    trained_on, loss = METHODS["mine"].training("stages", "estimate", data)
    assert trained_on is data and isinstance(loss, Mine) and loss.made_of == ("stages", "estimate", data)


def test_the_text_of_a_row_is_the_first_paragraph_of_its_functions_docstring_where_it_says_none():
    @method("mine", "Mine", data="all")
    def mine(stages, estimate, data):
        """What it does,
        in a sentence.

        And more.
        """

    assert METHODS["mine"].about == "What it does, in a sentence."
    method("mine", "Mine", data="all", about="Another text.")(mine)
    assert METHODS["mine"].about == "Another text."
