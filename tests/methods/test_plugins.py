"""Methods, estimators and kinds of noise from outside: they are rows like any other, or an error before any work."""

import importlib.metadata
import pickle
import re
import shlex
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from galc import cli, plots, store
from galc.estimators.base import ESTIMATORS
from galc.methods import plugins
from galc.methods.base import METHODS
from galc.methods.plugins import PluginError, load
from galc.noise.kinds import KINDS
from galc.results import groups
from galc.study import runs
from galc.study.params import ParameterError, Params, checked, from_environment, load_study
from galc.study.run import Run

PAGE = Path(__file__).parents[2] / "docs" / "your_method.md"
SMALL = {"data": "pictograms-tiny", "epochs": 2, "folds": 2, "fold_epochs": 1, "batch_size": 16, "components": 32}
SMALL |= {"hidden": 32, "seed": 0}
MINE = """
from galc.methods.base import method

method("mine", title="Mine", data="all", about="A row of a test.")
"""


@pytest.fixture(autouse=True)
def tables(tmp_path, monkeypatch):
    """A folder to work in; what a test puts into the tables is gone after it."""
    monkeypatch.chdir(tmp_path)
    before = [dict(table) for table in plugins.TABLES]
    yield
    for table, rows in zip(plugins.TABLES, before, strict=True):
        table.clear()
        table.update(rows)
    plugins.DIGESTS.clear()


@pytest.fixture
def page(tmp_path):
    """The files of docs/your_method.md, written where the test works; its commands, as words."""
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"```(?:python|yaml)\n(.*?)```", text, re.DOTALL):
        name = re.match(r"# (\S+)\n", block)[1]
        Path(name).write_text(block, encoding="utf-8")
    return [shlex.split(line) for line in re.findall(r"```bash\n(galc .*?)\n```", text)]


def write(name: str, content: str) -> str:
    Path(name).write_text(content, encoding="utf-8")
    return name


# --- the page ------------------------------------------------------------------------------------------------------


def small(**more) -> list[str]:
    return [word for name, value in (SMALL | more).items() for word in ("-p", name, str(value))]


def test_the_command_of_the_page_puts_its_method_into_the_table_and_the_figure(page, monkeypatch):
    (galc, *words), _ = page
    monkeypatch.setenv("GALC_WORKERS", "2")  # other processes than this one
    assert galc == "galc" and cli.main([*words, *small()]) == 0
    table = pd.read_csv(store.outputs() / "my_study.csv")
    assert {"asl", "galc-plus", "by-class"} == set(table["method"]) and len(table) == 6
    report = (store.outputs() / "my_study.html").read_text(encoding="utf-8")
    rows = re.findall(r"<th[^>]*>\s*Weights by class\s*</th>", report)
    assert len(rows) >= 2  # results and cost
    line = {line.get_label(): line for line in plots.noise_curves(table, "mAP").lines}["Weights by class"]
    assert (line.get_color(), line.get_marker()) == ("#b8860b", "$K$")
    assert groups.method_title("by-class") == "Weights by class"


def test_the_estimator_and_the_noise_of_the_page_run(page):
    _, (_, command, study, *words) = page
    assert command == "sweep"
    values = dict(zip(words[1::3], words[2::3], strict=True))
    (point,) = runs.from_file(study, **checked(SMALL | values | {"noise": 0.4}).model_dump())
    record = runs.run_all([point])[0]
    assert record.summary["method"] == "slr-one-rate" and record.details["params"]["noise_kind"] == "to-the-first"
    assert (record.true[1:, 0] == 0.4).all() and record.true[0, 1] == 0.4
    assert record.estimate.diagonal().std() < 1e-6 and record.details["warnings"]  # it cannot say where labels go


# --- where they are loaded -----------------------------------------------------------------------------------------


def test_a_path_in_a_study_file_starts_at_that_file_or_else_at_the_working_directory(tmp_path):
    (tmp_path / "studies").mkdir()
    beside = tmp_path / "studies" / "mine.py"
    write(str(beside), MINE)
    here = write("here.py", MINE.replace("mine", "here").replace("Mine", "Here"))
    study = write("studies/one.yaml", yaml.dump({"plugins": ["mine.py", here], "grid": {"method": ["mine", "here"]}}))
    assert load_study(study)["base"]["plugins"] == (str(beside), str(tmp_path / here))
    assert [point.method for point in runs.from_file(study)] == ["mine", "here"]
    write("studies/two.yaml", yaml.dump({"base": {"plugins": "mine.py", "method": "mine"}}))
    assert runs.from_file("studies/two.yaml")[0].plugins == (str(beside),)


def test_all_methods_are_those_of_plug_ins_too_and_files_of_the_environment_come_on_top(monkeypatch):
    write("mine.py", MINE)
    write("yours.py", MINE.replace("mine", "yours").replace("Mine", "Yours"))
    study = write("all.yaml", yaml.dump({"plugins": ["mine.py"], "grid": {"method": "all"}}))
    assert [point.method for point in runs.from_file(study)] == [*METHODS] and "mine" in METHODS
    monkeypatch.setenv("GALC_PARAMS", '{"plugins": ["yours.py"], "base": {"epochs": 3}}')
    assert from_environment()["base"]["plugins"] == (str(Path("yours.py").absolute()),)
    points = runs.from_file(study)
    assert {"mine", "yours"} < {point.method for point in points} and points[0].epochs == 3
    assert [Path(file).name for file in points[0].plugins] == ["mine.py", "yours.py"]


def test_a_process_that_gets_the_parameters_loads_the_plug_ins(tmp_path):
    point = Params(plugins=(write("mine.py", MINE),), method="mine")
    (tmp_path / "point.pickle").write_bytes(pickle.dumps(point))
    code = "import pickle; p = pickle.load(open('point.pickle', 'rb')); from galc.methods.base import METHODS; "
    code += "print(p.method, METHODS['mine'].title)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["mine", "Mine"]


def test_installed_packages_name_their_plug_ins_as_entry_points(tmp_path, monkeypatch):
    write("their_method.py", MINE)
    point = EntryPoint("mine", "their_method", plugins.GROUP)
    vars(point)["dist"] = SimpleNamespace(name="theirs")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == plugins.GROUP else [])
    monkeypatch.syspath_prepend(tmp_path)
    plugins._installed.cache_clear()
    try:
        assert checked({"method": "mine"}).method == "mine"
        assert plugins.codes(method=METHODS["mine"]) == {"method code": store.file_digest(Path("their_method.py"))}
        del sys.modules["their_method"], METHODS["mine"]
        write("their_method.py", "1 / 0")
        plugins._installed.cache_clear()
        with pytest.raises(PluginError, match=r"their_method of the installed package theirs is broken.*division"):
            load()
    finally:
        monkeypatch.undo()
        plugins._installed.cache_clear()


# --- errors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, message",
    [
        ("x = 1\ny = nothing\n", r"mine\.py, line 2: NameError: name 'nothing' is not defined"),
        ("x = 1\ndef f(:\n", r"mine\.py, line 2: SyntaxError: invalid syntax"),
        ("import json\n\njson.loads('{')\n", r"mine\.py, line 3: JSONDecodeError"),
        (MINE.replace("mine", "asl"), r"mine\.py, line 4: ValueError: method 'asl' exists already"),
        (MINE.replace("Mine", "ASL"), r"mine\.py, line 4: ValueError: method 'mine': the title 'ASL' is another"),
        (
            "from galc.noise.kinds import noise_kind\nnoise_kind('pair', nature='targets')(lambda request: None)",
            r"mine\.py: the name 'pair' is taken already; choose another one",
        ),
        (
            "from galc.estimators.base import estimator\nestimator('glc', needs=())(lambda evidence: None)",
            r"mine\.py: the name 'glc' is taken already; choose another one",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named_by_file_and_line_and_leaves_nothing(content, message):
    first = MINE.replace('"mine"', '"first"').replace('"Mine"', '"First"')
    before = [dict(table) for table in plugins.TABLES]
    write("mine.py", content)
    study = write("study.yaml", "plugins: [mine.py]")
    with pytest.raises(ParameterError, match=rf"study\.yaml: parameter 'plugins'.*{message}"):
        load_study(study)
    write("mine.py", first + content)
    with pytest.raises(PluginError):
        load(["mine.py"])
    assert [dict(table) for table in plugins.TABLES] == before
    write("mine.py", MINE)  # mended, in the same process
    assert load_study(study) and "mine" in METHODS and "first" not in METHODS


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ParameterError, match=r"parameter 'plugins'.*none\.py cannot be read: No such file"):
        checked({"plugins": "none.py"})
    with pytest.raises(ParameterError, match=r"'plugins'.*string"):
        checked({"plugins": [3]})


def test_a_row_of_no_file_cannot_be_run():
    exec(MINE, {"__name__": "a cell"})
    with pytest.raises(PluginError, match="declared in a cell has no file; write it to one"):
        _ = plugins.codes(method=METHODS["mine"])


# --- keys ----------------------------------------------------------------------------------------------------------


def keys(**values) -> dict[str, str]:
    own = Run(checked(SMALL | values))
    estimate = own.stages.estimate_entry(own.method.estimator) if own.method.estimator else None
    return {"run": store.digest(own.key), "estimate": estimate and estimate.path.name}


def test_the_code_of_a_plug_in_is_in_the_keys_of_what_its_rows_decide_and_in_no_other(page):
    files = "my_method.py,my_estimator.py,my_noise.py"
    mine = {"method": "by-class", "plugins": "my_method.py"}
    before, plain = keys(**mine), keys(method="asl")
    assert keys(method="asl", plugins=files) == plain
    write("my_method.py", Path("my_method.py").read_text() + "\n# edited\n")
    after = keys(**mine)
    assert before["run"] != after["run"] and before["estimate"] == after["estimate"]

    mine = {"method": "slr-one-rate", "plugins": files}
    before = keys(**mine)
    write("my_estimator.py", Path("my_estimator.py").read_text() + "\n# edited\n")
    after = keys(**mine)
    assert before["run"] != after["run"] and before["estimate"] != after["estimate"]

    noisy = {"method": "asl", "plugins": files, "noise_kind": "to-the-first"}
    before = keys(**noisy)
    write("my_noise.py", Path("my_noise.py").read_text() + "\n# edited\n")
    assert keys(**noisy)["run"] != before["run"] and keys(method="asl", plugins=files) == plain


def test_a_file_that_changed_is_loaded_again_and_its_old_rows_are_gone():
    write("mine.py", MINE)
    load(["mine.py"])
    digests = plugins.digests()
    write("mine.py", MINE.replace('"mine"', '"other"').replace('"Mine"', '"Other"'))
    load(["mine.py"])
    assert "mine" not in METHODS and METHODS["other"].title == "Other" and plugins.digests() != digests
    assert not set(ESTIMATORS) & {"other"} and not set(KINDS) & {"other"}
