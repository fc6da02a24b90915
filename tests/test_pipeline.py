"""The command: bad input is refused before any work, failures are named, a second call does nothing again."""

import csv

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_grid import InThreads

from galc import grid, pipeline, stages, store
from galc.params import ParameterError
from galc.pipeline import main, read, source_of


def no_work(*_, **__):
    """Work that must not be done."""
    raise AssertionError("work was done")


def file(tmp_path, text: str) -> str:
    return str(store.write_text(tmp_path / "tiny.yaml", text))


GOOD = "base: {epochs: 2}\ngrid: {noise: [0.1, 0.2]}\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "no such parameter file"),
        ("base: {noise: [0.1\n", [], "tiny.yaml is not valid YAML"),
        ("- 1\n", [], "tiny.yaml must hold a mapping"),
        ("bases: {}\n", [], "unknown key 'bases'; did you mean 'base'"),
        ("base: {nois: 0.1}\n", [], "unknown parameter 'nois'; did you mean 'noise'"),
        ("base: {noise: banana}\n", [], "parameter 'noise' = 'banana'"),
        ("grid: {noise: [0.1, 1.5]}\n", [], "parameter 'noise' = 1.5"),
        ("grid: {noise: 0.1}\n", [], "grid 'noise' must be a list"),
        (GOOD, ["-p", "nois", "0.5"], "unknown parameter 'nois'"),
        (GOOD, ["-p", "noise", "banana"], "parameter 'noise' = 'banana'"),
        (GOOD, ["-p", "noise", "[0.1"], "parameter 'noise' = '[0.1' is no valid YAML"),
        (GOOD + "notebooks: [99_none]\n", [], "no such notebook"),
        (GOOD + "report: 04_noise_sweep\n", [], "report '04_noise_sweep' is none of its notebooks"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work_and_the_exit_status_is_2(
    text, options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(grid, "run_all", no_work)
    path = str(tmp_path / "none.yaml") if text is None else file(tmp_path, text)
    assert main([path, *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and "Traceback" not in said
    assert not store.outputs().exists()


def test_a_parameter_of_the_command_goes_before_base_and_grid(tmp_path):
    spec = read(file(tmp_path, GOOD), {"noise": "0.5", "epochs": "3", "data": "a b", "single_label_limit": "null"})
    (point,) = grid.expand(spec["base"], spec["grid"])
    assert (point.noise, point.epochs, point.data, point.single_label_limit) == (0.5, 3, "a b", None)
    with pytest.raises(ParameterError, match="unknown parameter 'epoch'"):
        grid.expand(**{k: v for k, v in read(file(tmp_path, GOOD), {"epoch": "3"}).items() if k != "notebooks"})


def test_the_studies_of_the_project_name_parameters_and_notebooks_that_exist():
    paths = sorted((store.ROOT / "params").glob("*.yaml"))
    assert paths
    for path in paths:
        spec = read(str(path), {})
        assert grid.expand(spec["base"], spec["grid"])


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("photo.jpg is no readable image"), 2, "error: photo.jpg is no readable image"),
        (FileNotFoundError("3 image files are missing"), 2, "error: 3 image files are missing"),
        (FloatingPointError("the loss became nan in epoch 1"), 2, "error: the loss became nan in epoch 1"),
        (grid.WorkerError("a worker process was killed"), 2, "error: a worker process was killed"),
        (KeyboardInterrupt(), 130, "interrupted; what has finished is kept"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_failure_of_the_runs_is_one_line_and_a_status(error, status, message, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise error

    monkeypatch.setattr(grid, "run_all", fail)
    assert main([file(tmp_path, GOOD)]) == status
    assert capsys.readouterr().err.strip().startswith(message)


def test_a_bug_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "run_all", no_work)
    with pytest.raises(AssertionError, match="work was done"):
        main([file(tmp_path, GOOD)])


# --- from a file to the report -------------------------------------------------------------------------------------

READS = """from galc.params import read
print("noise", read(globals()).noise, "epochs", read(globals()).epochs)"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a notebook that works and one that fails; training in this process."""
    good = [new_markdown_cell("# Result"), new_code_cell("noise: float = 0.1"), new_code_cell(READS)]
    good[1].metadata["tags"] = ["parameters"]
    bad = [new_code_cell("print('so far')"), new_code_cell("raise RuntimeError('broken on purpose')")]
    for name, cells in (("good", good), ("bad", bad)):
        notebook = new_notebook(cells=cells)
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        store.write_text(tmp_path / "notebooks" / f"{name}.ipynb", nbformat.writes(notebook))
    monkeypatch.setattr(store, "ROOT", tmp_path)
    monkeypatch.setattr(grid, "ProcessPoolExecutor", InThreads)
    return tmp_path


def test_notebooks_are_found_by_name(project):
    assert source_of("good") == project / "notebooks" / "good.ipynb"
    with pytest.raises(FileNotFoundError, match=r"no such notebook: .*none\.ipynb"):
        source_of("none")


def test_from_a_file_to_the_report_and_a_failing_notebook_is_named_and_kept(tiny, project, monkeypatch, capsys):
    base = store.json.dumps(tiny | {"noise": 0.2})
    text = f"base: {base}\ngrid: {{method: [asl, gold-only]}}\nreport: good\nnotebooks: [good%s]\n"
    assert main([file(project, text % ", bad")]) == 2
    said = capsys.readouterr().err
    assert "error: bad failed" in said and "broken on purpose" in said and "Traceback" in said
    assert f"are in {store.outputs() / 'bad.ipynb'}" in said
    kept = nbformat.read(store.outputs() / "bad.ipynb", as_version=4)
    assert "broken on purpose" in str(kept.cells) and "so far" in str(kept.cells)
    assert not (store.outputs() / "report.html").exists()

    monkeypatch.setattr(stages, "fit", no_work)
    assert main([file(project, text % "")]) == 0  # the runs are there already
    out = capsys.readouterr().out
    assert "report: " in out and "table: " in out and "done in" in out
    page = (store.outputs() / "report.html").read_text()
    assert "Result" in page and "noise 0.2 epochs 2" in page  # the study's own parameters, declared or not
    with open(store.outputs() / "tiny.csv", newline="") as table:
        assert [(row["method"], row["noise"]) for row in csv.DictReader(table)] == [
            ("asl", "0.2"),
            ("gold-only", "0.2"),
        ]

    monkeypatch.setattr(pipeline, "_papermill", no_work)
    assert main([file(project, text % "")]) == 0  # and now the notebook is, too


def test_a_notebook_is_executed_again_where_its_source_the_study_or_the_code_changed(project, monkeypatch):
    ran = []

    def papermill(name, output, spec):
        ran.append(name)
        store.write_text(output, source_of(name).read_text())

    monkeypatch.setattr(pipeline, "_papermill", papermill)
    spec = {"base": {"noise": 0.2}, "grid": {}}
    for expected, change in ((1, None), (1, None), (2, "study"), (3, "source"), (4, "broken"), (4, None)):
        if change == "study":
            spec = {"base": {"noise": 0.3}, "grid": {}}
        if change == "source":
            path = source_of("good")
            path.write_text(path.read_text().replace("# Result", "# Results"))
        if change == "broken":
            (store.outputs() / "good.ipynb").write_text('{"cells": [')
        pipeline.execute(["good"], spec)
        assert len(ran) == expected, change
