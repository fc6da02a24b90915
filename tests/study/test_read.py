"""What a notebook reads of its parameters, wherever it is executed: JupyterLab, papermill, nbval, %run, as a script."""

import os
import subprocess
import sys

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbformat.v4 import new_code_cell, new_notebook

CELL = "noise = 0.6\ndropout: float = 0.2  # of the hidden layer\nstudy = 'a.yaml'"
READ = "from galc.study.params import read\n\nparams = read(globals(), 'study')"
SHOW = "print('read', params.noise, params.dropout)"


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.fixture
def execute(kernel):
    """Executes cells, as JupyterLab does or, without history, as nbval does; returns what they print or raise."""

    def run(*cells: str, history: bool = True) -> str:
        said = []

        def hook(message):
            content = message["content"]
            said.append(content.get("text", "") or content.get("evalue", ""))

        for cell in cells:
            kernel.execute_interactive(cell, store_history=history, output_hook=hook, timeout=60)
        return "".join(said).strip()

    run("%reset -f", "from galc.study import params; In[:] = ['']", history=False)
    return run


@pytest.mark.parametrize("history", [True, False])
def test_every_assignment_counts_with_and_without_a_history(execute, history):
    assert execute(CELL, READ, SHOW, history=history) == "read 0.6 0.2"


@pytest.mark.parametrize("history", [True, False])
def test_an_unknown_name_is_an_error_with_and_without_a_history(execute, history):
    assert "unknown parameter 'nois'; did you mean 'noise'" in execute("nois = 0.6\nseed = 1", READ, history=history)
    assert "unknown parameter 'banana'" in execute("del nois\nbanana = 6\nseed = 1", READ, history=history)


def test_a_cell_that_was_mended_is_read_in_the_same_kernel(execute):
    assert "unknown parameter 'nois'" in execute("nois = 0.6\ndropout = 0.2", READ)
    assert execute("noise = 0.6\ndropout = 0.2", READ, SHOW) == "read 0.6 0.2"
    assert execute("points = [1, 2]\nwords = 'some'", READ, SHOW) == "read 0.6 0.2"  # read again after later cells


def test_a_script_and_run_read_the_namespace(execute, tmp_path):
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join([CELL, READ, SHOW]))
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "read 0.6 0.2"
    assert execute("noise = 0.1", f"%run {script}") == "read 0.6 0.2"
    script.write_text("\n\n".join(["nois = 0.6", READ]))
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode == 1 and "unknown parameter 'nois'; did you mean 'noise'" in run.stderr


def test_run_of_a_notebook_reads_the_namespace_whatever_else_is_in_it(execute, tmp_path):
    path = tmp_path / "notebook.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in (CELL, READ, SHOW)]), path)
    assert execute("x = 3\nseed = 1", f"%run {path}") == "read 0.6 0.2"


@pytest.mark.parametrize(
    "options",
    [["-p", "noise", "0.5"], ["-y", "{noise: 5e-1}"], ["-r", "noise", "0.5"], ["-p", "noise", "0.5", "--inject-paths"]],
)
def test_papermill_sets_a_parameter_by_each_of_its_ways(options, tmp_path):
    notebook = new_notebook(cells=[new_code_cell(cell) for cell in (CELL, READ, SHOW)])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path, output = tmp_path / "in.ipynb", tmp_path / "out.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "papermill", str(path), str(output), "--no-progress-bar", *options]
    run = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ)
    assert run.returncode == 0, run.stderr
    cells = nbformat.read(output, as_version=4).cells
    assert cells[-1].outputs[0].text.strip() == "read 0.5 0.2"
