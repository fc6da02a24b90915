"""Notebooks in a warm kernel: as in a fresh one, and what fails, dies or is repeated leaves nothing wrong behind."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from galc import store
from galc.sweep import kernel
from galc.sweep.kernel import Job, NotebookError, execute, metadata

LEAVES_MUCH = [
    "left = 1; import os; os.environ['LEFT'] = 'here'; os.chdir('/')",
    "import matplotlib.pyplot as plt\nplt.figure(); plt.plot([1, 2]);\n1 + 1",
    "from ipywidgets import IntSlider\nIntSlider(3)",
    "raise_later = lambda: left\n%alias gone echo gone\nimport sys; sys.modules['json'].left = 1",
]
LOOKS_AROUND = [
    "print(sorted(name for name in globals() if not name.startswith('_')), len(In), Out)",
    "import os, sys\nprint(os.environ.get('LEFT'), os.environ.get('GIVEN'), os.getcwd(), __name__, __spec__)",
    "print(sys.modules['matplotlib.pyplot'].get_fignums() if 'matplotlib.pyplot' in sys.modules else [])",
    "6 * 7",
    "_, Out",
]
TELLS_ITS_PROCESS = ["import os\nos.getpid()"]


@pytest.fixture(autouse=True)
def cold():
    """Every test starts without a kernel and leaves none."""
    kernel._warm.discard()
    yield
    kernel._warm.discard()


@pytest.fixture
def job(tmp_path):
    """A job of a notebook of these cells."""

    def job(name: str, cells: list[str], **fields) -> Job:
        source = tmp_path / f"{name}.ipynb"
        notebook = new_notebook(cells=[new_markdown_cell("# Title"), *map(new_code_cell, cells)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        for n, cell in enumerate(notebook.cells):
            cell.id = f"cell-{n}"
        notebook.cells[1].metadata["tags"] = ["parameters"]
        store.write_text(source, nbformat.writes(notebook))
        return Job(**{"source": source, "output": tmp_path / "out" / f"{name}.ipynb", "mark": "1"} | fields)

    return job


def shown(job: Job) -> list:
    """Execution counts and outputs of the executed notebook."""
    cells = nbformat.read(execute(job), as_version=4).cells
    return [(cell.execution_count, cell.outputs) for cell in cells if cell.cell_type == "code"]


def pid(job: Job) -> int:
    return int(shown(job)[0][1][0].data["text/plain"])


def test_a_notebook_sees_nothing_of_the_one_before_and_shows_what_it_shows_in_a_fresh_kernel(job):
    looks = job("looks", LOOKS_AROUND, environment={"GIVEN": "first"})
    fresh = shown(looks)
    assert [count for count, _ in fresh] == [1, 2, 3, 4, 5]
    assert fresh[1][1][0].text.startswith(f"None first {store.ROOT} __main__ None")
    shown(job("leaves", LEAVES_MUCH))
    assert shown(replace(looks, output=looks.output.with_name("warm.ipynb"))) == fresh
    other = shown(replace(looks, output=looks.output.with_name("other.ipynb"), environment={}))
    assert other[1][1][0].text.startswith("None None ")


def test_the_kernel_stays_warm_until_something_fails_in_it(job):
    first, second = (pid(job(name, TELLS_ITS_PROCESS)) for name in "ab")
    assert first == second
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        execute(job("bad", ["1 / 0"]))
    assert not psutil.pid_exists(first)
    assert pid(job("c", TELLS_ITS_PROCESS)) != first


def test_what_is_injected_is_in_the_notebook_and_what_it_is_of_in_its_metadata(job):
    its = job("n", ["noise: float = 0.1", "print(noise, limit)"], parameters={"noise": 0.4, "limit": None})
    output = execute(replace(its, about={"results_of": "table1"}))
    cells = nbformat.read(output, as_version=4).cells
    assert "noise = 0.4" in cells[2].source and cells[3].outputs[0].text == "0.4 None\n"
    assert metadata(output) == {"results_of": "table1", "mark": "1"}


def test_one_that_fails_is_kept_with_its_traceback_and_executed_again(job):
    its = job("n", ["print('so far')", "if True:\n    raise KeyError('first line\\nlast line')", "print('never')"])
    with pytest.raises(NotebookError, match=r"^KeyError: 'first line\\nlast line'$"):
        execute(its)
    kept = its.output.read_text()
    assert "so far" in kept and "Traceback" in kept and 'never\\n"\n' not in kept and not its.is_done
    mended = job("n", ["print('mended')"])
    execute(mended)
    assert mended.is_done and "Traceback" not in its.output.read_text()
    assert [path.name for path in its.output.parent.glob("[!.]*")] == ["n.ipynb"]


def test_one_that_is_done_is_left_alone_and_one_that_changed_or_broke_is_not(job):
    its = job("n", TELLS_ITS_PROCESS)
    first = execute(its).stat().st_mtime_ns
    assert execute(its).stat().st_mtime_ns == first
    again = execute(replace(its, mark="2")).stat().st_mtime_ns
    assert again != first and not its.is_done
    its.output.write_text('{"cells": [')
    assert metadata(its.output) == {} and execute(replace(its, mark="2")).stat().st_mtime_ns != again


KILLS_ITSELF = "import os, signal, pathlib\nmarker = pathlib.Path(os.environ['MARKER'])\n"
KILLS_ITSELF += "marker.write_text((marker.read_text() if marker.exists() else '') + '.')\n"
KILLS_ITSELF += "if len(marker.read_text()) <= %d: os.kill(os.getpid(), signal.SIGKILL)"


def test_a_kernel_that_dies_is_made_up_for_and_given_up_at_the_third_time(job, tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "TRIES", 2)
    once = job("once", [KILLS_ITSELF % 1], environment={"MARKER": str(tmp_path / "once")})
    execute(once)
    assert once.is_done and (tmp_path / "once").read_text() == ".."
    with pytest.raises(NotebookError, match=r"its kernel died 2 times \(out of memory\?\)"):
        execute(job("always", [KILLS_ITSELF % 9], environment={"MARKER": str(tmp_path / "always")}))
    assert (tmp_path / "always").read_text() == ".."


def test_of_two_that_want_the_same_notebook_one_executes_it(job, monkeypatch):
    ran, its = [], job("n", TELLS_ITS_PROCESS)

    def slowly(job):
        ran.append(job)
        time.sleep(0.2)
        notebook = nbformat.read(job.source, as_version=4)
        notebook.metadata["galc"] = {"mark": job.mark}
        store.write_text(job.output, nbformat.writes(notebook))

    monkeypatch.setattr(kernel, "_execute", slowly)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(execute, [its, its])) == [its.output] * 2
    assert len(ran) == 1


def test_a_kernel_does_not_outlive_its_process(job, tmp_path):
    its = job("n", ["import os\nopen(os.environ['MARKER'], 'w').write(str(os.getpid()))\nimport time; time.sleep(600)"])
    marker = tmp_path / "pid"
    script = "import sys; from pathlib import Path; from galc.sweep.kernel import *\n"
    script += "execute(Job(Path(sys.argv[1]), Path(sys.argv[2]), '1', environment={'MARKER': sys.argv[3]}))"
    process = subprocess.Popen([sys.executable, "-c", script, str(its.source), str(its.output), str(marker)])
    wait_for(lambda: marker.exists() and marker.read_text(), 60)
    started = int(marker.read_text())
    assert psutil.pid_exists(started)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not psutil.pid_exists(started) or psutil.Process(started).status() == "zombie", 20)
    assert not its.output.exists()


def wait_for(condition, seconds: float) -> None:
    """Until it holds; a failure after so long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
