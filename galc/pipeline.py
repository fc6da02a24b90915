"""``python -m galc.pipeline params/table1.yaml``: the whole experiment of a file, the notebooks, the report.

The runs come first, side by side; then the notebooks are executed by papermill and find every result in the cache;
then the results notebook becomes ``report.html``. A second call computes nothing; an interrupted one goes on.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import yaml

from galc import grid, report, store
from galc.params import ParameterError, declared_in, load_study
from galc.progress import track


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="galc.pipeline", description=__doc__.splitlines()[0])
    parser.add_argument("file", help="a YAML file of params/: base, grid, notebooks, report")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    parser.add_argument("--workers", type=int, help="processes that train side by side (default: one a core)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        spec = read(options.file, dict(options.p))
        points = grid.expand(spec["base"], spec["grid"])
        records = grid.run_all(points, options.workers, "step 2 of 3, training")
        write_results(Path(options.file).stem, grid.frame(records))
        executed = execute(spec["notebooks"], spec)
        if name := spec.get("report"):
            page = report.from_notebook(executed[name], store.outputs() / "report.html")
            print(f"report: {page}")
    except (ValueError, OSError, FloatingPointError, NotebookError, grid.WorkerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; what has finished is kept, and the next call goes on from there", file=sys.stderr)
        return 130
    print(f"done in {time.monotonic() - started:.0f} s")
    return 0


def read(file: str, overrides: dict[str, str]) -> dict:
    """The checked content of a parameter file; ``-p`` values (YAML literals) take the place of its own.

    Raises ParameterError, or FileNotFoundError for a notebook that does not exist.
    """
    spec = {"notebooks": []} | load_study(file)
    for name, value in overrides.items():
        try:
            spec["base"][name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ParameterError(f"parameter {name!r} = {value!r} is no valid YAML: {error}") from None
        spec["grid"].pop(name, None)
    for name in spec["notebooks"]:
        source_of(name)
    if spec.get("report") and spec["report"] not in spec["notebooks"]:
        raise ParameterError(f"{file}: report {spec['report']!r} is none of its notebooks")
    return spec


def source_of(notebook: str) -> Path:
    """The file of a notebook, by name. Raises FileNotFoundError."""
    source = store.ROOT / "notebooks" / f"{notebook}.ipynb"
    if not source.is_file():
        raise FileNotFoundError(f"no such notebook: {source}")
    return source


def write_results(name: str, table) -> Path:
    """The table of all runs as CSV, whole or not at all."""
    path = store.outputs() / f"{name}.csv"
    store.write_text(path, table.to_csv(index=False))
    print(f"table: {path}")
    return path


class NotebookError(RuntimeError):
    """A notebook failed; the message names it, and where its output was kept."""


def execute(names: list[str], spec: dict, workers: int = 2) -> dict[str, Path]:
    """Execute notebooks into outputs/ through papermill, two at a time; returns name -> executed notebook.

    One that was executed with the same study, code and source is left as it is.
    """
    paths = {name: store.outputs() / f"{name}.ipynb" for name in names}
    marks = {name: _mark(name, spec) for name in names}
    todo = [name for name in names if _executed_mark(paths[name]) != marks[name]]

    def run(name: str) -> None:
        _papermill(name, paths[name], spec)
        notebook = nbformat.read(paths[name], as_version=4)
        notebook.metadata["galc"] = {"mark": marks[name]}
        store.write_text(paths[name], nbformat.writes(notebook))

    if todo:
        with ThreadPoolExecutor(workers) as pool:
            list(track(pool.map(run, todo), len(todo), "step 3 of 3, notebooks", "notebooks"))
    return paths


def _mark(name: str, spec: dict) -> str:
    """Identifies what an executed notebook comes from: its source, the study and all code of the package."""
    code = sorted(Path(__file__).parent.rglob("*.py"))
    return store.digest([store.file_digest(source_of(name)), spec, [store.file_digest(path) for path in code]])


def _executed_mark(path: Path) -> str | None:
    """The mark of an executed notebook; None if there is none, or it did not end well."""
    try:
        return nbformat.read(path, as_version=4).metadata.get("galc", {}).get("mark")
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None


def _papermill(name: str, output: Path, spec: dict) -> None:
    """Its own process, since papermill's logging and kernels are global; no input, since it could wait for some.

    The study is in the environment; those of its values that the notebook declares are injected as well, to be seen.
    """
    source = source_of(name)
    cells = [cell.source for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "code"]
    declared = {key for cell in cells for key in declared_in(cell)}
    injected = json.dumps({key: value for key, value in spec["base"].items() if key in declared})
    output.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "papermill", str(source), str(output), "--no-progress-bar"]
    command += ["--cwd", str(store.ROOT), "-y", injected]
    environment = os.environ | {"GALC_PARAMS": json.dumps({"base": spec["base"], "grid": spec["grid"]})}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    if done.returncode:
        tail = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise NotebookError(f"{name} failed; its cells and the traceback are in {output}\n{tail}")


if __name__ == "__main__":
    sys.exit(main())
