"""Parameters: whatever does not fit is refused by name, before any work."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from galc import store
from galc.methods.base import METHODS
from galc.study.params import (
    ParameterError,
    Params,
    assigned_in,
    checked,
    from_environment,
    load_study,
    load_yaml,
    overridden,
    read,
)

# for every field: values of a wrong type, then values out of range
WRONG = {
    "plugins": [None, 1, "none.py"],
    "data": [None, 3],
    "gold_fraction": ["a tenth", None, True, 0.0, 1.0, -0.1, float("nan")],
    "gold_holdout": ["some", None, 1.0, -0.1],
    "single_label_limit": ["ten", 2.5, -1],
    "split_seed": ["first", 0.5, -1],
    "noise": ["banana", None, [0.1], True, 1.5, -0.1, 0.96, float("nan"), float("inf")],
    "noise_kind": [None, 1, "uniform"],
    "method": [None, 1, "galc"],
    "seed": ["first", None, 1.0, True, -1],
    "mode": [None, "train"],
    "backbone": [None, 5],
    "weights": [None, 5],
    "image_size": ["large", 224.0, 15],
    "mirror": [1, "yes", None],
    "components": ["eight", None, 0],
    "hidden": [8.0, None, 0],
    "input_dropout": ["none", None, 1.0, -0.1],
    "dropout": ["none", None, 1.0, -0.1],
    "epochs": [2.0, None, True, 0, -3],
    "batch_size": ["some", None, 0],
    "learning_rate": ["fast", None, 0.0, -1.0, float("inf")],
    "weight_decay": ["none", None, -1e-4, float("inf")],
    "ema_decay": [None, "most", 1.0, -0.1],
    "bf16": [1, "yes", None],
    "compile": [1, "yes", None],
    "folds": [3.0, None, 1],
    "fold_epochs": ["five", None, 0],
}


def test_every_parameter_is_in_the_table_above():
    assert list(WRONG) == list(Params.model_fields)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_value_that_does_not_fit_is_refused_by_the_name_of_its_parameter(name, value):
    with pytest.raises(ParameterError) as error:
        checked({name: value})
    assert str(error.value).startswith(f"parameter {name!r} = {value!r}: ")
    with pytest.raises(ParameterError, match=f"parameter '{name}'"):
        Params().replace(**{name: value})


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ParameterError, match=r"'noise' = 'banana': .*; parameter 'epochs' = 0: .*"):
        checked({"noise": "banana", "epochs": 0, "seed": 1})


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(
        ParameterError, match=r"^unknown parameter 'nois'; did you mean 'noise'\? \(known here: plugins, "
    ):
        checked({"nois": 0.5})
    with pytest.raises(ParameterError, match=r"^unknown parameter 'zzz' \(known"):
        checked({"zzz": 0.5})
    with pytest.raises(ParameterError, match="unknown parameter '1'"):
        checked({1: 2})
    with pytest.raises(ParameterError, match="did you mean 'epochs'"):
        Params().replace(epoch=2)


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(ParameterError, match=r"'method' = 'galc': choose one of asl, .*galc-plus"):
        checked({"method": "galc"})
    with pytest.raises(ValueError, match="choose one of"):
        Params(method="galc")
    assert [checked({"method": name}).method for name in METHODS] == list(METHODS)


def test_whole_numbers_pass_for_fractions():
    assert isinstance(checked({"learning_rate": 1}).learning_rate, float)
    assert checked({"noise": 0}).noise == 0.0


def test_parameters_cannot_be_changed_but_replaced():
    first = Params()
    with pytest.raises(ValueError, match="frozen"):
        first.noise = 0.1
    other = first.replace(noise=0.1, seed=3)
    assert (other.noise, other.seed, first.noise, first.seed) == (0.1, 3, Params().noise, 0)
    assert other.replace(noise=first.noise, seed=0) == first and hash(other) != hash(first)


@given(noise=st.floats(0, 0.95), seed=st.integers(0, 2**40), limit=st.none() | st.integers(0, 100))
def test_parameters_survive_json(noise, seed, limit):
    whole = Params(noise=noise, seed=seed, single_label_limit=limit)
    assert checked(json.loads(json.dumps(whole.model_dump()))) == whole


# --- notebooks -----------------------------------------------------------------------------------------------------

DEFAULTS = "noise: float = 0.4  # fraction of labels flipped\nmethod: str = 'galc-slr'\nlevels: list = [0.1, 0.2]\n"


READ = "params = read(globals())"


def notebook(*cells: str) -> dict:
    """The namespace of a notebook in which these cells were run, as `read(globals())` sees it."""
    namespace: dict = {}
    for cell in cells:
        if not cell.startswith("%") and cell != READ:
            exec(cell, namespace)
    return namespace | {"In": ["", *cells, READ]}


def injected(**values) -> str:
    """The cell that papermill adds, by papermill itself."""
    from papermill.translators import PythonTranslator

    return PythonTranslator.codify(values)


def test_a_notebook_reads_what_its_parameters_cell_assigns_annotated_or_not():
    p = read(notebook("%matplotlib inline", DEFAULTS), "levels")
    assert (p.noise, p.method, p.seed) == (0.4, "galc-slr", 0)
    p = read(notebook("noise = 0.6  # as in papermill's examples\ndropout = 0.2"))
    assert (p.noise, p.dropout) == (0.6, 0.2)
    with pytest.raises(ParameterError, match="unknown parameter 'nois'; did you mean 'noise'"):
        read(notebook("nois = 0.6\ndropout = 0.2"))
    assert read(notebook("data: str = ''")) == Params()  # an empty text says nothing


def test_what_papermill_injects_takes_the_place_of_the_defaults():
    p = read(notebook(DEFAULTS, injected(noise=0.5, levels=[0.3], seed=3)), "levels")
    assert (p.noise, p.method, p.seed) == (0.5, "galc-slr", 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nois": 0.5}, r"unknown parameter 'nois'; did you mean 'noise'\? \(known here: plugins, data, .*, levels\)"),
        ({"banana": 1}, r"unknown parameter 'banana' \(known here: plugins, data"),
        ({"noise": "banana"}, "parameter 'noise' = 'banana'"),
        ({"noise": 1.5}, "parameter 'noise' = 1.5: input should be less than or equal to 0.95"),
        ({"method": "galc"}, "parameter 'method' = 'galc': choose one of"),
    ],
)
def test_what_papermill_injects_and_does_not_fit_is_an_error(values, message):
    with pytest.raises(ParameterError, match=message):
        read(notebook(DEFAULTS, injected(**values)), "levels")


def test_the_latest_parameters_cell_counts_and_scratch_cells_do_not():
    bad, good = "nois = 0.5\nseed = 1", "noise = 0.5"
    assert read(notebook(bad, READ, good)).noise == 0.5
    assert read(notebook(bad, READ, good)).seed == 0  # it stands in the older one alone
    assert read(notebook(good, injected(nois=0.3), READ, injected(noise=0.3))).noise == 0.3
    assert read(notebook(good, READ, "table = [1, 2]\nx = 3")).noise == 0.5


def test_papermills_own_names_are_left_alone_and_numbers_may_be_texts():
    its = injected(
        PAPERMILL_INPUT_PATH="a.ipynb", PAPERMILL_OUTPUT_PATH="b.ipynb", noise="5e-1", epochs="3", bf16="True"
    )
    p = read(notebook("noise: float = 0.4", its))
    assert (p.noise, p.epochs, p.bf16) == (0.5, 3, True)
    p = checked({"single_label_limit": "null", "data": "1", "weights": "none", "learning_rate": "1e-3"})
    assert (p.single_label_limit, p.data, p.weights, p.learning_rate) == (None, "1", "none", 1e-3)


def test_assigned_are_names_at_top_level():
    assert assigned_in("noise: float = 0.4\nseed = 1\nif True:\n    epochs: int = 3\n") == ["noise", "seed"]
    assert assigned_in("!ls") == []


def test_fixed_values_go_before_all_and_are_checked():
    assert read(notebook(DEFAULTS, injected(method="asl")), "levels", method="bce").method == "bce"
    with pytest.raises(ParameterError, match="unknown parameter 'metod'"):
        read(notebook(DEFAULTS), "levels", metod="bce")


def test_a_study_in_the_environment_goes_before_the_defaults_and_after_the_injected(monkeypatch):
    monkeypatch.setenv("GALC_PARAMS", json.dumps({"base": {"noise": 0.2, "epochs": 3, "method": "asl"}}))
    p = read(notebook("noise = 0.4\nseed = 5", injected(method="bce")))
    assert (p.noise, p.epochs, p.method, p.seed) == (0.2, 3, "bce", 5)  # 0.4 is the default, 5 was asked for


# --- files ---------------------------------------------------------------------------------------------------------


def test_a_parameter_file_that_cannot_be_read_is_named(tmp_path):
    for name, text, message in (
        ("list.yaml", "- 1\n- 2\n", "list.yaml must hold a mapping of parameters, not list"),
        ("empty.yaml", "", "must hold a mapping of parameters, not NoneType"),
        ("broken.yaml", "base: {noise: [0.1\n", "broken.yaml is not valid YAML"),
        ("code.yaml", "base: !!python/object/apply:os.getcwd []\n", "code.yaml is not valid YAML"),
    ):
        with pytest.raises(ParameterError, match=message):
            load_yaml(store.write_text(tmp_path / name, text))
    (tmp_path / "latin.yaml").write_bytes(b"base: {data: caf\xe9}\n")
    with pytest.raises(ParameterError, match=r"latin\.yaml is not valid YAML"):
        load_yaml(tmp_path / "latin.yaml")
    with pytest.raises(ParameterError, match=rf"{tmp_path.name} cannot be read"):
        load_yaml(tmp_path)
    with pytest.raises(ParameterError, match=r"no such parameter file: .*none.yaml \(params/ holds .*table1.yaml"):
        load_yaml(tmp_path / "none.yaml")


def test_a_study_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_study("params/table1.yaml")
    assert study["base"]["data"] == "pictograms" and set(study["grid"]) == {"noise", "method", "seed"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bases: {}\n", "file.yaml: unknown key 'bases'; did you mean 'base'"),
        ("base: [1]\n", "file.yaml: 'base' must map names to values, not list"),
        ("base:\n", "file.yaml: 'base' must map names to values, not NoneType"),
        ("grid: 3\n", "file.yaml: 'grid' must map names to values, not int"),
        ("notebooks: 04_noise_sweep\n", "file.yaml: 'notebooks' must be a list of names, not '04_noise_sweep'"),
        ("partial: true\n", "file.yaml: unknown key 'partial'"),  # for the environment alone
    ],
)
def test_a_study_file_with_other_contents_is_refused(text, message, tmp_path):
    with pytest.raises(ParameterError, match=message):
        load_study(store.write_text(tmp_path / "file.yaml", text))


def test_the_environment_names_a_file_or_holds_the_study_itself(tmp_path, monkeypatch):
    assert from_environment() is None
    path = store.write_text(tmp_path / "file.yaml", "base: {noise: 0.2}\n")
    for text in (str(path), '{"base": {"noise": 0.2}}'):
        monkeypatch.setenv("GALC_PARAMS", text)
        assert from_environment() == {"base": {"noise": 0.2}, "grid": {}}
    for text, message in (
        ("{", "GALC_PARAMS is neither a file nor JSON"),
        ('{"bas": 1}', "unknown key 'bas'"),
        ("none.yaml", "no such parameter file"),
    ):
        monkeypatch.setenv("GALC_PARAMS", text)
        with pytest.raises(ParameterError, match=message):
            from_environment()


def test_a_study_goes_before_another_by_its_values():
    study = {"base": {"epochs": 3, "folds": 2}, "grid": {"noise": [0.1], "seed": [0, 1]}, "report": "r"}
    assert overridden(study, None) == study
    by = {"base": {"epochs": 4, "seed": 7}, "grid": {"noise": [0.5, 0.6], "method": ["asl"]}, "report": "other"}
    assert overridden(study, by) == {
        "base": {"epochs": 4, "folds": 2, "seed": 7},
        "grid": {"noise": [0.5, 0.6]},
        "report": "r",
    }
    assert study["grid"] == {"noise": [0.1], "seed": [0, 1]}


def test_only_the_environment_can_say_that_runs_are_missing(monkeypatch):
    monkeypatch.setenv("GALC_PARAMS", '{"partial": true}')
    assert from_environment() == {"base": {}, "grid": {}, "partial": True}


def test_paths_that_exist_are_absolute_from_where_they_are_read_and_names_stay(tmp_path, monkeypatch):
    for name in ("mine/x", "pictograms/x", "auto", "pair", "own.csv", "w.pth"):
        store.write_text(tmp_path / name, "")
    text = "base: {data: mine, weights: w.pth, noise_kind: pair}\ngrid: {noise_kind: [own.csv, symmetric]}\n"
    study = store.write_text(tmp_path / "study.yaml", text)
    monkeypatch.chdir(tmp_path)
    read, plain = load_study(study.name), Params(data="mine", noise_kind="own.csv")
    named, gone = Params(data="pictograms", weights="auto", noise_kind="pair"), Params(data="gone/x")
    monkeypatch.chdir("/")  # as in a kernel, or in a worker
    assert read["base"] == {"data": f"{tmp_path}/mine", "weights": f"{tmp_path}/w.pth", "noise_kind": "pair"}
    assert read["grid"] == {"noise_kind": [f"{tmp_path}/own.csv", "symmetric"]}
    assert (plain.data, plain.noise_kind) == (f"{tmp_path}/mine", f"{tmp_path}/own.csv")
    assert (named.data, named.weights, named.noise_kind, gone.data) == ("pictograms", "auto", "pair", "gone/x")
