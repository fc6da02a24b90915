"""The command: bad input is refused before any work; failures, kills and interruptions cost nothing that was done."""

import json
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_kernel import wait_for

from galc import store
from galc.cli import main
from galc.study import params, stage_cache
from galc.study import run as study
from galc.study import runs as grid
from galc.study.params import ParameterError, Params
from galc.study.workers import WorkerError, Workers
from galc.sweep import kernel, plan
from galc.sweep.plan import declared, notebook_jobs, point_jobs, read, source_of, titles

GRID = {"noise": [0.2, 0.4], "method": ["asl", "bce"]}


def no_work(*_, **__):
    """Work that must not be done."""
    raise AssertionError("work was done")


def file(tmp_path: Path, content: str | dict) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    return str(store.write_text(tmp_path / "studies" / "tiny.yaml", text))


# --- what is refused -------------------------------------------------------------------------------------------------

GOOD = "base: {epochs: 2}\ngrid: {noise: [0.1, 0.2]}\n"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "no such parameter file"),
        ("base: {noise: [0.1\n", [], "tiny.yaml is not valid YAML"),
        ("- 1\n", [], "tiny.yaml must hold a mapping"),
        ("bases: {}\n", [], "unknown key 'bases'; did you mean 'base'"),
        ("base: {nois: 0.1}\n", [], "unknown parameter 'nois'; did you mean 'noise'"),
        ("grid: {nois: [0.1]}\n", [], "unknown parameter 'nois'; did you mean 'noise'"),
        ("base: {noise: banana}\n", [], "parameter 'noise' = 'banana'"),
        ("grid: {noise: [0.1, 1.5]}\n", [], "parameter 'noise' = 1.5"),
        ("grid: {noise: 0.1}\n", [], "grid 'noise' must be a list"),
        (
            "grid: {hidden: [16, 32]}\n",
            [],
            "the notebook one_run: unknown parameter 'hidden' (known here: data, method",
        ),
        (GOOD, ["-p", "nois", "0.5"], "unknown parameter 'nois'"),
        (GOOD, ["-p", "noise", "banana"], "parameter 'noise' = 'banana'"),
        (GOOD, ["-p", "noise", "[0.1"], "parameter 'noise' = '[0.1': input should be a valid number"),
        (GOOD, ["--workers", "0"], "workers must be at least 1, got 0"),
        (GOOD, ["--scheduler", "nowhere"], "no Dask scheduler answers at 'nowhere'"),
        (GOOD + "notebook: 99_none\n", [], "no such notebook"),
        (GOOD + "notebooks: [99_none]\n", [], "no such notebook"),
        (GOOD + "report: 04_noise_sweep\n", [], "report '04_noise_sweep' is none of its notebooks"),
        ("base: {data: /no/such/folder}\n", [], "/no/such/folder"),
    ],
)
def test_what_does_not_fit_is_said_before_any_work_and_the_exit_status_is_2(
    text, options, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(Workers, "outcomes", no_work)
    path = str(tmp_path / "none.yaml") if text is None else file(tmp_path, text)
    assert main(["sweep", path, *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and "Traceback" not in said
    assert not store.outputs().exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValueError("photo.jpg is no readable image"), 2, "error: photo.jpg is no readable image"),
        (FileNotFoundError("3 image files are missing"), 2, "error: 3 image files are missing"),
        (WorkerError("the Dask cluster was lost"), 2, "error: the Dask cluster was lost"),
        (KeyboardInterrupt(), 130, "interrupted; what has finished is kept"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_an_end_before_the_end_is_one_line_and_a_status(error, status, message, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(plan, "run", fail)
    assert main(["sweep", file(tmp_path, GOOD)]) == status
    assert capsys.readouterr().err.strip().startswith(message)


def test_a_bug_is_not_hidden(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "run", no_work)
    with pytest.raises(AssertionError, match="work was done"):
        main(["sweep", file(tmp_path, GOOD)])


# --- the plan --------------------------------------------------------------------------------------------------------


def test_a_parameter_of_the_command_goes_before_the_environment_and_that_before_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("GALC_PARAMS", '{"base": {"epochs": 4, "folds": 5}, "grid": {"noise": [0.3]}}')
    path = file(tmp_path, GOOD)
    (point,) = read(path, {"epochs": 3, "data": "a b", "single_label_limit": None}).points
    assert (point.noise, point.epochs, point.folds, point.data, point.single_label_limit) == (0.3, 3, 5, "a b", None)
    (point,) = read(path, {"noise": 0.5}).points
    assert point.noise == 0.5
    with pytest.raises(ParameterError, match="unknown parameter 'epoch'"):
        read(path, {"epoch": 3})


def test_the_studies_of_the_project_can_start():
    paths = sorted((store.ROOT / "params").glob("*.yaml"))
    assert len(paths) >= 2
    for path in paths:
        its = read(str(path), {})
        assert its.points and len(set(titles(its.points, list(its.grid)))) == len(its.points)


def test_a_point_that_is_there_twice_is_one():
    assert len(read(str(store.ROOT / "params" / "smoke.yaml"), {}).points) == 8


def test_a_point_is_named_by_what_differs_and_as_a_file_can_be():
    points = [Params(noise=n, data=data) for n in (0.0, 0.4) for data in ("a/b c", "a-b-c")]
    names = titles(points, ["noise"]), titles(points, ["noise", "data"]), titles([Params()], [])
    assert names[2] == ["run"]
    assert [name.rpartition("_")[0] for name in names[0]] == ["noise=0.0"] * 2 + ["noise=0.4"] * 2
    assert len(set(names[1])) == 4 and all("/" not in name and " " not in name for name in names[1])


def test_a_point_gets_all_parameters_what_its_notebook_declares_injected_the_rest_beside_it(tmp_path, monkeypatch):
    its = read(file(tmp_path, "base: {epochs: 2, hidden: 16}\ngrid: {noise: [0.1, 0.2]}\n"), {})
    first, second = point_jobs(its)
    assert second.parameters["noise"] == 0.2 and second.parameters["epochs"] == 2
    assert set(second.parameters) == set(declared("one_run")) and "hidden" not in second.parameters
    assert json.loads(second.environment["GALC_PARAMS"])["base"] == its.points[1].model_dump(mode="json")
    assert second.environment["GALC_OUTPUTS"] == str(store.outputs()) and second.environment["GALC_WORKERS"] == "1"
    assert second.output == store.outputs() / "sweeps" / "tiny" / "noise=0.2.ipynb" and first.mark != second.mark
    monkeypatch.setattr(stage_cache, "code_digest", lambda: "other")
    assert [job.mark for job in point_jobs(its)] != [first.mark, second.mark]


def test_a_notebook_of_results_gets_the_study_file_and_its_values(tmp_path, monkeypatch):
    its = read(file(tmp_path, GOOD + "notebooks: [00_data_and_noise, 04_noise_sweep]\nreport: 04_noise_sweep\n"), {})
    plain, results = notebook_jobs(its, partial=False)
    assert results.parameters["study"] == str(tmp_path / "studies" / "tiny.yaml") and "study" not in plain.parameters
    assert results.about == {"results_of": "tiny"} and plain.about == {}
    assert json.loads(results.environment["GALC_PARAMS"]) == {"base": {"epochs": 2}, "grid": {}}
    marks = {job.mark for changed in (True, False) for job in notebook_jobs(its, partial=changed)}
    marks |= {job.mark for job in notebook_jobs(read(str(its.file), {"epochs": 3}), partial=False)}
    marks |= {job.mark for job in notebook_jobs(replace(its, grid={"noise": [0.1]}), partial=False)}
    assert len(marks) == 8
    with monkeypatch.context() as patch:  # what goes before this file goes before all others the notebook reads
        patch.setenv("GALC_PARAMS", '{"grid": {"noise": [0.3], "seed": [7]}}')
        spec = json.loads(notebook_jobs(read(str(its.file), {}), partial=False)[1].environment["GALC_PARAMS"])
        assert spec["grid"] == {"noise": [0.3], "seed": [7]}
    monkeypatch.setenv("GALC_PARAMS", notebook_jobs(its, partial=True)[1].environment["GALC_PARAMS"])
    assert params.from_environment()["partial"] is True
    own = notebook_jobs(read("params/table1.yaml", {}), partial=False)[-1]
    assert own.parameters["study"] == "params/table1.yaml"


def test_notebooks_in_another_folder_find_the_data_that_were_named_from_here(tmp_path, monkeypatch):
    for name in ("one/x", "two/x", "own.csv"):
        store.write_text(tmp_path / name, "")
    text = "grid: {data: [one, two], noise: [0.1]}\nnotebooks: [00_data_and_noise]\n"
    path = file(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    its = read(path, params.from_words([("noise_kind", "own.csv")]))
    jobs = [*point_jobs(its), *notebook_jobs(its, partial=False)]
    specs = [json.loads(job.environment["GALC_PARAMS"]) for job in jobs]
    folders = [f"{tmp_path}/one", f"{tmp_path}/two"]
    assert [job.parameters["data"] for job in jobs[:2]] == folders
    assert {spec["base"]["noise_kind"] for spec in specs} == {f"{tmp_path}/own.csv"}
    assert specs[2]["grid"] == {"data": folders}  # the file itself names them from here


# --- from a file to the report ---------------------------------------------------------------------------------------

DECLARED = "data: str = ''\nmethod: str = 'asl'\nnoise: float = 0.1\nseed: int = 0"
READ = "import galc.study.params\n\nparams = galc.study.params.read(globals())"
RUN = "import galc.study.run\nprint(galc.study.run.run(params).summary['mAP'], params.epochs)"
# goes wrong for a method until something outside is mended
FRAIL = f"""from galc import store
assert params.method != "bce" or (store.outputs() / "mended").exists(), "broken on purpose"
{RUN}"""
# takes its worker with it, once
KILLS = f"""import os, signal, time
from galc import store
marker = store.outputs() / "killed"
if params.method == "bce" and not marker.exists():
    marker.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
{RUN}"""
RESULTS = """from galc.study import runs as grid
points = grid.from_file(study, params)
records = grid.run_all(points)
grid.frame(records)"""


@pytest.fixture(scope="module")
def workers():
    """Two workers that keep their kernels warm from test to test."""
    with Workers(2, devices=[]) as workers:
        list(workers.outcomes(str, [1]))
        yield workers


@pytest.fixture
def warm(workers, monkeypatch):
    """The command finds its workers started."""
    monkeypatch.setattr(plan, "Workers", lambda *_: nullcontext(workers))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Its notebooks are small ones: four for points, one for results."""
    folder = tmp_path / "project" / "notebooks"
    sources = {"point": RUN, "frail": FRAIL, "kills": KILLS, "idle": "1 + 1"}
    cells = {name: [DECLARED, READ, source] for name, source in sources.items()}
    cells["results"] = ["data: str = ''\nstudy: str = ''", READ.replace("()", "(), 'study'"), RESULTS]
    for name, code in cells.items():
        notebook = new_notebook(cells=[new_markdown_cell(f"# The {name}"), *map(new_code_cell, code)])
        notebook.cells[1].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        store.write_text(folder / f"{name}.ipynb", nbformat.writes(notebook))
    monkeypatch.setattr(store, "ROOT", tmp_path / "project")
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory) -> pd.DataFrame:
    """The table of the grid, run by run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GALC_OUTPUTS", str(tmp_path_factory.mktemp("undisturbed")))
        return grid.frame([study.run(point) for point in grid.expand(tiny, GRID)]).drop(columns="seconds")


def written() -> pd.DataFrame:
    """The CSV of the sweep; the table of all runs must agree with it."""
    table = pd.read_csv(store.outputs() / "tiny.csv").drop(columns="seconds")
    runs = pd.read_parquet(store.outputs() / "results.parquet")
    assert runs["key"].is_unique and sorted(runs["mAP"]) == sorted(table["mAP"])
    return table


def executed() -> dict[str, int]:
    """{name: time} of the points that are done."""
    paths = (store.outputs() / "sweeps" / "tiny").glob("[!.]*.ipynb")
    return {path.stem: path.stat().st_mtime_ns for path in paths if kernel.metadata(path)}


def test_a_worker_killed_in_the_middle_changes_nothing(tiny, project, warm, undisturbed):
    path = file(project, {"base": tiny, "grid": GRID, "notebook": "kills"})
    assert main(["sweep", path]) == 0
    assert (store.outputs() / "killed").exists()
    pd.testing.assert_frame_equal(written(), undisturbed)
    assert len(executed()) == 4


def test_from_a_file_to_the_report_and_a_second_call_does_nothing(
    tiny, project, workers, undisturbed, monkeypatch, capsys
):
    spec = {"base": tiny, "grid": GRID, "notebook": "point", "notebooks": ["results"], "report": "results"}
    path = file(project, spec)
    assert main(["sweep", path, "--scheduler", workers._client.scheduler.address]) == 0
    said = capsys.readouterr()
    assert "step 2 of 3, training: 4/4 runs" in said.err and "done in" in said.out
    pd.testing.assert_frame_equal(written(), undisturbed)
    assert set(executed()) == {f"noise={n}_method={m}" for n in GRID["noise"] for m in GRID["method"]}
    page, own = ((store.outputs() / name).read_text() for name in ("report.html", "tiny.html"))
    assert '<a href="#results">The results</a>' in page and "galc-plus" not in page
    assert all(f"{value:.6f}" in own for value in undisturbed["mAP"])

    monkeypatch.setattr(Workers, "outcomes", lambda self, function, items, *_: no_work() if items else iter(()))
    assert main(["sweep", path, "--workers", "1"]) == 0
    assert "table: " in capsys.readouterr().out


def test_a_point_that_fails_is_kept_and_the_rest_is_shown_without_it_and_only_it_is_done_again(
    tiny, project, warm, undisturbed, capsys
):
    grid = GRID | {"noise": [0.2]}
    spec = {"base": tiny, "grid": grid, "notebook": "frail", "notebooks": ["results"], "report": "results"}
    path = file(project, spec)
    assert main(["sweep", path]) == 1
    said = capsys.readouterr().err
    bad = store.outputs() / "sweeps" / "tiny" / "noise=0.2_method=bce.ipynb"
    assert "2/2 runs, 1 failed" in said
    assert f"failed: noise=0.2_method=bce: AssertionError: broken on purpose ({bad})" in said.splitlines()
    assert "Traceback" in bad.read_text()
    first = executed()
    assert list(first) == ["noise=0.2_method=asl"] and written()["method"].tolist() == ["asl"]
    assert "1 of 2 runs" in (store.outputs() / "report.html").read_text()

    (store.outputs() / "mended").touch()
    assert main(["sweep", path]) == 0
    second = executed()
    assert len(second) == 2 and first.items() <= second.items()
    pd.testing.assert_frame_equal(written(), undisturbed[:2])
    assert "of 2 runs" not in (store.outputs() / "report.html").read_text()


def test_a_point_without_a_record_is_not_done_though_its_notebook_is_there(tiny, tmp_path):
    its = read(file(tmp_path, {"base": tiny | {"method": "gold-only"}}), {})
    (job,), (point,) = point_jobs(its), its.points
    stored = {"cells": [], "metadata": {"galc": {"mark": job.mark}}}
    store.write_json(job.output, stored)
    assert not plan.is_done(job, point) and not job.output.exists()
    study.run(point)
    assert not plan.is_done(job, point)
    store.write_json(job.output, stored)
    assert plan.is_done(job, point)


def test_a_notebook_that_leaves_no_record_is_a_failure(tiny, project, warm, capsys):
    path = file(project, {"base": tiny, "notebook": "idle"})
    assert main(["sweep", path]) == 1
    assert "failed: run: its record is not in the cache" in capsys.readouterr().err


def test_notebooks_are_found_by_name(project):
    assert source_of("point") == project / "project" / "notebooks" / "point.ipynb"
    assert declared("results") == ["data", "study"]
    with pytest.raises(FileNotFoundError, match=r"no such notebook: .*none\.ipynb"):
        source_of("none")


# --- processes -------------------------------------------------------------------------------------------------------


def start(path: str, *options: str) -> subprocess.Popen:
    """The command itself, which hears Ctrl-C also where these tests run in the background of a shell, deaf to it."""
    command = [sys.executable, "-m", "galc.sweep", path, *options]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, cwd=store.ROOT, text=True, start_new_session=True, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)


def test_one_that_is_interrupted_ends_all_it_started_and_two_at_once_finish_the_rest(
    tiny, tmp_path, workers, undisturbed
):
    path = file(tmp_path, {"base": tiny, "grid": GRID})
    first = start(path, "--workers", "1")
    wait_for(executed, 120)
    family = psutil.Process(first.pid).children(recursive=True)
    assert len(family) >= 2  # a worker and its kernel
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, said = first.communicate(timeout=60)
    assert first.returncode == 130 and "interrupted; what has finished is kept" in said and "Traceback" not in said
    wait_for(lambda: not [process for process in family if process.is_running()], 20)
    kept = executed()
    assert 1 <= len(kept) < 4

    both = [start(path, "--scheduler", workers._client.scheduler.address) for _ in range(2)]
    ends = [process.communicate(timeout=240) for process in both]
    assert [process.returncode for process in both] == [0, 0], ends
    pd.testing.assert_frame_equal(written(), undisturbed)
    assert len(executed()) == 4 and kept.items() <= executed().items()
    assert not list(Path(os.environ["GALC_OUTPUTS"]).rglob("*.part.ipynb"))


@pytest.mark.parametrize("name", ["paper", "paper_true_correction", "paper_single_label"])
def test_the_papers_own_studies_end_in_their_notebooks_though_they_lack_our_methods(name, tiny, capsys):
    options = [part for key, value in (tiny | {"noise": 0.4}).items() for part in ("-p", key, str(value))]
    assert main(["sweep", f"params/{name}.yaml", *options, "--workers", "1"]) == 0, capsys.readouterr().err
    table = pd.read_csv(store.outputs() / f"{name}.csv")
    assert len(table) == len(grid.from_file(f"params/{name}.yaml", **tiny, noise=0.4)) and table["mAP"].notna().all()
    assert not list((store.outputs() / "cache").glob("posterior/*"))  # nothing was trained for a figure alone
