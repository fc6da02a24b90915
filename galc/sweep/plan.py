"""``galc sweep params/table1.yaml``: every run of a study file as a notebook, their results, the report.

Each point of the grid is a notebook that papermill executes, many side by side on Dask; then come the notebooks that
show the results, and the pages made of them. What is done is skipped, so a second call does nothing, and one that was
interrupted goes on. A point that fails is kept with its traceback, and the others go on; but whatever of the file does
not fit is said before anything starts.
"""

import json
import os
import re
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from os.path import isabs
from pathlib import Path

from galc.checks import needs

needs("nbformat", "study")

import joblib
import nbformat
import pandas as pd
import torch

from galc import store
from galc.methods import plugins
from galc.study import params, stage_cache
from galc.study import run as study
from galc.study import runs as grid
from galc.study.inputs import INPUTS
from galc.study.params import ParameterError, Params
from galc.study.run import RunRecord
from galc.study.workers import WorkerError, Workers
from galc.sweep import chapter, from_notebooks, kernel, write_page
from galc.sweep.kernel import Job, NotebookError
from galc.training import parallel

POINT = "one_run"  # the notebook of a point, where a study file names none
RESULTS = "results_of"  # in the metadata of an executed notebook: it is a chapter of the report
RUNS = "results.parquet"
COMPLETE = (NotebookError, WorkerError)  # errors whose message says all
LOST = "its record is not in the cache; does the notebook train, and was the code changed meanwhile?"
TITLE = "Learning with wrong labels: the results"
LEAD = "Each chapter is an executed notebook. The notebooks lie beside this page, and so does the record of every run."


@dataclass(frozen=True)
class Sweep:
    """A study file, checked; ``base`` and ``grid`` are the file's behind the environment and the command."""

    name: str
    file: Path
    base: dict
    grid: dict[str, list]
    points: list[Params]  # every run, once
    notebook: str  # executed for each point
    notebooks: list[str]  # executed once, after the points
    report: str | None  # the one of these that shows the results


def read(file: str, overrides: dict) -> Sweep:
    """A study file; $GALC_PARAMS goes before its values, and ``overrides`` before both.

    Raises ParameterError for whatever does not fit, and FileNotFoundError for a notebook that does not exist.
    """
    spec = params.overridden(params.load_study(file), params.from_environment())
    spec = params.overridden(spec, {"base": overrides})
    notebook, notebooks = spec.get("notebook", POINT), spec.get("notebooks", [])
    points = list(dict.fromkeys(grid.expand(spec["base"], spec["grid"])))
    known = declared(notebook)
    if unknown := [name for name in spec["grid"] if name not in known]:
        raise ParameterError(f"{file}: the notebook {notebook}: {params.unknown_message(unknown, known)}")
    for name in notebooks:
        source_of(name)
    if spec.get("report") and spec["report"] not in notebooks:
        raise ParameterError(f"{file}: report {spec['report']!r} is none of its notebooks")
    path = params.file_of(file)
    return Sweep(path.stem, path, spec["base"], spec["grid"], points, notebook, notebooks, spec.get("report"))


def source_of(notebook: str) -> Path:
    """The file of a notebook, by name. Raises FileNotFoundError."""
    source = store.ROOT / "notebooks" / f"{notebook}.ipynb"
    if not source.is_file():
        raise FileNotFoundError(f"no such notebook: {source}" + ("" if store.CHECKOUT else f" ({store.NO_CHECKOUT})"))
    return source


def declared(notebook: str) -> list[str]:
    """The names that a notebook declares as parameters. Raises FileNotFoundError."""
    cells = nbformat.read(source_of(notebook), as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", ())]
    return [name for cell in tagged for name in params.assigned_in(cell.source)]


def point_jobs(sweep: Sweep) -> list[Job]:
    """A notebook for each point: what it declares is injected, all other parameters are in its environment."""
    names = declared(sweep.notebook)
    folder = store.outputs() / "sweeps" / sweep.name
    jobs, code = [], stage_cache.code_digest()
    for point, title in zip(sweep.points, titles(sweep.points, list(sweep.grid)), strict=True):
        values = point.model_dump()
        jobs.append(_job(sweep.notebook, folder / f"{title}.ipynb", values, names, {"base": values}, code, {}))
    return jobs


def notebook_jobs(sweep: Sweep, partial: bool) -> list[Job]:
    """The notebooks after the points; ``partial``: the results are of those runs alone that have finished.

    A notebook may show other study files beside this one: it gets the values of this one's base and what goes before
    every file, but not the lists of this one's grid, which it reads from the file; but for lists of paths, which start
    at this process's working directory.
    """
    paths = {name: values for name, values in sweep.grid.items() if name in params.PATHS}
    lists = {name: values for name, values in paths.items() if any(isabs(str(value)) for value in values)}
    lists |= (params.from_environment() or {"grid": {}})["grid"]
    spec = {"base": sweep.base, "grid": lists} | ({params.PARTIAL: True} if partial else {})
    file = str(sweep.file.resolve()).removeprefix(f"{store.ROOT}/")
    code = [store.file_digest(path) for path in sorted(Path(grid.__file__).parents[1].rglob("*.py"))]
    code.append(store.digest(sweep.grid))
    values, jobs = sweep.base | {"study": file}, []
    for name in sweep.notebooks:
        about = {RESULTS: sweep.name} if name == sweep.report else {}
        jobs.append(_job(name, store.outputs() / f"{name}.ipynb", values, declared(name), spec, code, about))
    return jobs


def _job(name: str, output: Path, values: dict, names: list[str], spec: dict, code: object, about: dict) -> Job:
    """``names``: those of ``values`` that are injected; ``spec``: what goes before every file."""
    source, text = source_of(name), json.dumps(spec)
    injected = {key: values[key] for key in names if key in values}
    mark = store.digest([store.file_digest(source), injected, text, [code, *plugins.digests()]])
    environment = {"GALC_PARAMS": text, "GALC_OUTPUTS": str(store.outputs()), "GALC_WORKERS": "1"}
    return Job(source, output, mark, injected, environment, about)


def titles(points: list[Params], names: list[str]) -> list[str]:
    """A name for each point that can be a file's, of the parameters in the grid: noise=0.4_method=asl_seed=0."""
    texts = []
    for point in points:
        text = "_".join(f"{name}={getattr(point, name)}" for name in names) or "run"
        texts.append(re.sub(r"[^\w.=+-]+", "-", text)[:150])
    return [
        f"{text}_{store.digest(point.model_dump())}" if texts.count(text) > 1 else text
        for text, point in zip(texts, points, strict=True)
    ]


# --- what is done ----------------------------------------------------------------------------------------------------


def command(file: str, overrides: dict, workers: int | None = None, scheduler: str | None = None) -> int:
    """``galc sweep``: all of a study file, and what failed, on stderr. Returns 1 where a notebook failed, else 0.

    ``workers``: processes side by side, by default one a GPU or a core; ``scheduler``: the address of a running Dask
    cluster. Raises as `read` and `run` do.
    """
    started = time.monotonic()
    sweep = read(file, overrides)
    with Workers(workers, scheduler) as its:
        failed = run(sweep, its, here=scheduler is None)
    print(f"done in {time.monotonic() - started:.0f} s")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def run(sweep: Sweep, workers: Workers, here: bool = True) -> list[str]:
    """Do all of a sweep that is not done yet; returns a line for each notebook that failed.

    Data and features are prepared in this process, with all its cores, if ``here``; else by a worker. What makes a
    point impossible is raised before any is begun: ValueError or OSError, naming the file, class or parameter.
    """
    prepare(sweep.points, workers, here)
    jobs = list(zip(point_jobs(sweep), sweep.points, strict=True))
    todo = [job for job, point in jobs if not is_done(job, point)]
    failed = execute(workers, todo, "step 2 of 3, training", "runs")
    finished = [point for point in sweep.points if study.Run(point).is_cached]
    failed += [f"{job.output.stem}: {LOST}" for job, point in jobs if job.is_done and point not in finished]
    if not finished:
        return failed
    write_tables(sweep.name, [study.run(point) for point in finished])
    jobs = notebook_jobs(sweep, partial=len(finished) < len(sweep.points))
    todo = [job for job in jobs if not job.is_done]
    failed += execute(workers, todo, "step 3 of 3, notebooks", "notebooks")
    write_pages(sweep)
    return failed


def prepare(points: list[Params], workers: Workers, here: bool) -> None:
    """Load all data sets, and make what models take from them, through the caches."""
    if not here:
        setups = {tuple(getattr(point, name) for name in INPUTS): point for point in points}
        there = partial(grid.prepare, outputs=str(store.outputs()))
        for outcome in workers.outcomes(there, list(setups.values()), "step 1 of 3, data sets", "data sets"):
            if outcome.error is not None:
                raise outcome.error
    for point in points:
        grid.prepare(point)


def is_done(job: Job, point: Params) -> bool:
    """Whether a point has its notebook and its record; a notebook whose record is gone is removed."""
    if not study.Run(point).is_cached:
        job.output.unlink(missing_ok=True)
    return job.is_done


def execute(workers: Workers, jobs: list[Job], what: str, unit: str) -> list[str]:
    """Execute notebooks side by side; returns a line for each that failed: its name, the error, where it is kept."""
    failed = []
    for outcome in workers.outcomes(kernel.execute, jobs, what, unit):
        if outcome.error is not None:
            error, output = outcome.error, outcome.item.output
            text = str(error) if isinstance(error, COMPLETE) else f"{type(error).__name__}: {error}"
            failed.append(f"{output.stem}: {text}" + (f" ({output})" if output.exists() else ""))
    return failed


def write_tables(name: str, records: list[RunRecord]) -> None:
    """The runs of this sweep as CSV and on the screen, and in the table of all runs."""
    table = grid.frame(records)
    path = store.write_text(store.outputs() / f"{name}.csv", table.to_csv(index=False))
    settings = [column for column in table.columns[: table.columns.get_loc("mAP")] if column not in ("method", "seed")]
    print(table.pivot_table("mAP", "method", settings, sort=False).round(1).to_string())
    print(f"table: {path}")
    print(f"all runs so far: {add_runs(records)}")


def write_pages(sweep: Sweep) -> None:
    """The results of this sweep as a page, and all that this folder has as chapters of the report."""
    folder = store.outputs()
    chapters = [path for path in sorted(folder.glob("[!.]*.ipynb")) if RESULTS in kernel.metadata(path)]
    if (own := folder / f"{sweep.report}.ipynb") in chapters:
        print(f"page: {write_page(folder / f'{sweep.name}.html', *chapter(own))}")
    if chapters:
        print(f"report: {from_notebooks(chapters, folder / 'report.html', TITLE, LEAD)}")


def add_runs(records: Sequence[RunRecord]) -> Path:
    """Put runs into ``results.parquet``, a row each, in the place of older ones with the same parameters.

    A row has all parameters, the summary, the code that computed it, its file, and ``key``, which identifies it.
    Processes write one after the other, and a reader sees the old table or the new one. A broken table is reported,
    and begun anew. Returns its path.
    """
    path, rows = store.outputs() / RUNS, []
    for record in records:
        params, origin = record.details["params"], {"code": stage_cache.code_digest(), "file": record.details["file"]}
        rows.append({"key": store.digest(params)} | params | record.summary | origin)
    with store.locked(path.with_name(".results.lock")):
        table = pd.DataFrame([*_runs(path), *rows]).drop_duplicates("key", keep="last", ignore_index=True)
        with store.atomic(path) as temporary:
            table.to_parquet(temporary, index=False)
    return path


def _runs(path: Path) -> list[dict]:
    try:
        table = pd.read_parquet(path)
        if "key" not in table:
            raise ValueError("it has no column 'key'")
        return table.to_dict("records")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        warnings.warn(f"{path} is broken ({error}); it is begun anew, with the runs of this sweep", stacklevel=3)
        return []


# --- one run at a time on all GPUs -----------------------------------------------------------------------------------


def train(file: str, overrides: dict) -> None:
    """``galc train``: the runs of a study file one after the other, each on all the processes that torchrun started.

    A sweep has a run on each GPU; this has one run on several, and without torchrun on one. Records go to the cache,
    where a sweep of the same file finds them.
    """
    with parallel.processes():
        # torchrun gives each process one core, too few for decoding
        torch.set_num_threads(max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
        for point in read(file, overrides).points:
            own = study.Run(point, say)
            name = f"{point.method}, noise {point.noise:g}, seed {point.seed}"
            where = f"{parallel.count()} process(es), {parallel.device().type}"
            say(f"{name}: {'done before' if own.is_cached else where}")
            summary = own.record().summary
            say(f"{name}: mAP {summary['mAP']:.2f}  CF1 {summary['CF1']:.2f}  OF1 {summary['OF1']:.2f}")


def say(text: str) -> None:
    """Print once, whatever the number of processes."""
    if parallel.rank() == 0:
        print(text, flush=True)
