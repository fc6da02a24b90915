"""The notebooks as they are stored: thin, clean, readable on their own, and strict about their parameters.

That they run is nbval's to show (notebooks/conftest.py); here is what a run would not notice.
"""

import ast
import importlib
import inspect
import json
import subprocess
import sys

import nbformat
import papermill
import pytest

from galc import plots
from galc.explorer import widget
from galc.store import ROOT
from galc.study import params, runs
from galc.study.params import ParameterError, Params, assigned_in, load_study, read

PATHS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
STORED = [*PATHS, ROOT / "notebooks" / "one_run.ipynb"]  # which a sweep executes for each of its points
OF_STUDIES = [path for path in PATHS if "04" <= path.stem[:2] <= "09"]  # they show the runs of study files
each_notebook = pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])


def notebook(path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook(path).cells if cell.cell_type == "code"]


def test_the_notebooks_are_numbered_without_a_gap():
    assert [int(path.stem[:2]) for path in PATHS] == list(range(len(PATHS))) and len(PATHS) >= 5


@each_notebook
def test_it_is_stored_without_outputs_and_for_any_python_3(path):
    stored = notebook(path)
    nbformat.validate(stored)
    assert all(not cell.outputs and cell.execution_count is None for cell in code(path))
    assert stored.metadata.kernelspec.name == "python3" and "version" not in stored.metadata.language_info


@each_notebook
def test_it_opens_with_a_heading_and_a_question_and_names_its_cells(path):
    cells = notebook(path).cells
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ") and "?" in cells[0].source
    assert all(not cell.id.isdigit() and len(cell.id) >= 3 for cell in cells)


@each_notebook
def test_its_parameters_come_first_as_annotated_literals_with_a_comment_and_our_defaults(path):
    tagged = [cell for cell in code(path) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == [code(path)[0]]
    found = papermill.inspect_notebook(str(path))
    names = assigned_in(tagged[0].source)
    assert list(found) == names and "data" in names
    for name, parameter in found.items():
        assert parameter["inferred_type_name"] != "None" and len(parameter["help"]) > 10, name
        default = ast.literal_eval(parameter["default"])
        if name == "study":  # none of Params: which runs a notebook of results shows
            assert path.stem in load_study(default)["notebooks"]
        elif name == "level":  # what an explorer begins with
            assert path.stem == "08_explore_matrices" and default == Params().noise
        elif path in OF_STUDIES:  # an empty text: the study says it
            assert (name, default) == ("data", "")
        elif name in ("trusted", "out"):  # of one's own data: none, and a folder of its own in outputs
            assert path.stem == "10_your_data" and default == ""
        else:
            assert default == Params.model_fields[name].default, name


@each_notebook
def test_the_cell_after_the_parameters_checks_them(path):
    assert code(path)[1].source.startswith("import galc.study.params\n\nparams = galc.study.params.read(globals()")


def test_the_check_of_parameters_imports_no_networks_of_others_and_no_plots():
    heavy = "('timm', 'torchvision', 'matplotlib')"
    script = f"import sys, galc.study.params; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@each_notebook
def test_it_holds_no_logic_of_its_own(path):
    for cell in code(path):
        nodes = list(ast.walk(ast.parse(cell.source)))
        assert not [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.For | ast.While | ast.If)]
        assert len(cell.source.splitlines()) <= 9, cell.id


@each_notebook
def test_every_function_that_it_calls_is_there(path):
    """A misspelt one would be found by running, too, but only after minutes."""
    modules = {}
    for node in ast.walk(ast.parse("\n".join(cell.source for cell in code(path)))):
        if isinstance(node, ast.ImportFrom):
            source = importlib.import_module(node.module)
            for name in node.names:
                part = getattr(source, name.name, None) or importlib.import_module(f"{node.module}.{name.name}")
                modules[name.name] = part
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            assert hasattr(modules[node.value.id], node.attr), f"{node.value.id}.{node.attr}"
    assert modules


@each_notebook
def test_a_cell_that_draws_shows_the_figure_and_not_its_axes(path):
    for cell in code(path):
        last = cell.source.splitlines()[-1]
        if last.startswith("plots."):
            function = getattr(plots, last.removeprefix("plots.").split("(")[0])
            draws = "Styler" not in str(inspect.signature(function).return_annotation)
            assert last.endswith(";") == draws, last


# --- the study decides -----------------------------------------------------------------------------------------------


class Asked(Exception):
    """The runs that a notebook has asked for."""


def asked_for(path, study: str | None = None, data: str | None = None) -> list[Params]:
    """The first runs that a notebook asks for with these parameters. Nothing is trained."""

    def stop(points, *_, **__):
        raise Asked(points)

    cells = [cell.source for cell in code(path)]
    changes = {name: value for name, value in {"study": study, "data": data}.items() if value is not None}
    scope: dict = {}
    exec(cells[0], scope)
    scope |= changes
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Asked) as caught:
        patch.setattr(runs, "run_all", stop)
        patch.setattr(runs, "is_finished", lambda _: False)
        patch.setattr(widget, "Explorer", stop)
        for cell in cells[1:]:
            exec(cell, scope)
    return caught.value.args[0]


@pytest.mark.parametrize("path", OF_STUDIES, ids=[path.stem for path in OF_STUDIES])
def test_the_study_file_says_what_no_parameter_does(path):
    takes_a_study = "study" in assigned_in(code(path)[0].source)
    own = asked_for(path, "params/paper.yaml" if takes_a_study else None)
    if takes_a_study:
        (the_only,) = {(p.data, p.backbone, p.mode) for p in own}
        assert the_only == ("coco2014", "tresnet_m.miil_in21k", "finetune")
    assert {p.data for p in asked_for(path, data="pictograms-tiny")} == {"pictograms-tiny"}
    assert {p.data for p in asked_for(path)} == {"pictograms"}


def test_a_parameter_that_is_added_to_a_notebook_of_results_counts(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "code", with_first_line("dropout = 0.2", code))
    assert {p.dropout for p in asked_for(OF_STUDIES[0])} == {0.2}


def with_first_line(line: str, cells_of):
    """`code` of notebooks whose parameters cell has one more line."""

    def changed(path):
        cells = cells_of(path)
        cells[0].source += f"\n{line}"
        return cells

    return changed


# --- parameters from outside -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nois", "0.5", "unknown parameter 'nois'; did you mean 'noise'?"),
        ("noise", "banana", "parameter 'noise' = 'banana': input should be a valid number"),
        ("noise", "1.5", "parameter 'noise' = 1.5: input should be less than or equal to 0.95"),
    ],
)
def test_papermill_stops_at_once_at_a_parameter_that_does_not_fit_and_names_it(tmp_path, name, value, message):
    source, output = ROOT / "notebooks" / "03_gold_train.ipynb", tmp_path / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(source), str(output), "--no-progress-bar", "-p", name, value]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 1 and f"ParameterError: {message}" in run.stderr
    counts = [cell.execution_count for cell in code(output) if cell.source and "ParameterError" not in cell.source]
    assert len([count for count in counts if count]) == 3  # the parameters, what papermill injected, and the check


def namespace(*cells: str, **values) -> dict:
    """What a notebook's globals hold after these cells."""
    return {"In": ["", *cells, "read(globals())"], **values}


STUDY = {"base": {"epochs": 2, "noise": 0.2}, "grid": {"seed": [3]}}


def test_a_study_in_the_environment_replaces_defaults_but_not_what_was_asked_for(monkeypatch):
    monkeypatch.setenv("GALC_PARAMS", json.dumps(STUDY))
    declared = "noise: float = 0.4  # fraction"
    assert read(namespace(declared, noise=0.4)) == Params(noise=0.2, epochs=2)
    asked = namespace(declared, "# Parameters\nnoise = 0.5", noise=0.5)
    assert read(asked) == Params(noise=0.5, epochs=2)
    assert read(asked, epochs=7) == Params(noise=0.5, epochs=7)


def test_a_study_in_the_environment_may_be_a_file(monkeypatch, tmp_path):
    (tmp_path / "study.yaml").write_text("base: {epochs: 2}")
    monkeypatch.setenv("GALC_PARAMS", str(tmp_path / "study.yaml"))
    assert read(namespace("noise: float = 0.4", noise=0.4)) == Params(epochs=2)
    assert params.from_environment()["grid"] == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"base": {"epoch": 2}}', "unknown parameter 'epoch'; did you mean 'epochs'"),
        ('{"bas": {}}', "GALC_PARAMS: unknown key 'bas'; did you mean 'base'"),
        ('{"base": [1]}', "GALC_PARAMS: 'base' must map names to values, not list"),
        ("no/such.yaml", "no such parameter file: no/such.yaml"),
        ("{", "GALC_PARAMS is neither a file nor JSON"),
    ],
)
def test_a_faulty_study_in_the_environment_is_an_error_that_says_so(monkeypatch, text, message):
    monkeypatch.setenv("GALC_PARAMS", text)
    with pytest.raises(ParameterError, match=message):
        read(namespace("noise: float = 0.4", noise=0.4))


def test_the_runs_of_a_study_file_give_way_to_the_environment(monkeypatch):
    from galc.study import runs as grid

    whole = grid.from_file("params/table1.yaml", data="pictograms")
    assert len(whole) > 100
    monkeypatch.setenv("GALC_PARAMS", "params/smoke.yaml")
    small = grid.from_file("params/table1.yaml", data="pictograms-tiny")
    assert {p.noise for p in small} == {0.0, 0.4} and {(p.epochs, p.seed) for p in small} == {(3, 0)}
