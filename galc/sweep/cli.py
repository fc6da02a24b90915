"""``galc sweep params/table1.yaml``: every run of a study file as a notebook, their results, the report.

Each point of the grid is a notebook that papermill executes, many side by side on Dask; then come the notebooks that
show the results, and the pages made of them. What is done is skipped, so a second call does nothing, and one that was
interrupted goes on. A point that fails is kept with its traceback, and the others go on.
"""

import os
import sys
import time
from functools import partial

import joblib
import torch

from galc import store
from galc.study import run as study
from galc.study import runs as grid
from galc.study.inputs import INPUTS
from galc.study.params import Params
from galc.study.run import RunRecord
from galc.study.workers import WorkerError, Workers
from galc.sweep import kernel, plan, report
from galc.sweep.kernel import Job, NotebookError
from galc.sweep.plan import Sweep
from galc.training import parallel

COMPLETE = (NotebookError, WorkerError)  # errors whose message says all
LOST = "its record is not in the cache; does the notebook train, and was the code changed meanwhile?"
TITLE = "Learning with wrong labels: the results"
LEAD = "Each chapter is an executed notebook. The notebooks lie beside this page, and so does the record of every run."


def command(file: str, overrides: dict, workers: int | None = None, scheduler: str | None = None) -> int:
    """``galc sweep``: all of a study file, and what failed, on stderr. Returns 1 where a notebook failed, else 0.

    ``overrides`` go before the file's values; ``workers``: processes side by side, by default one a GPU or a core;
    ``scheduler``: the address of a running Dask cluster. Raises as `galc.sweep.plan.read` and `run` do.
    """
    started = time.monotonic()
    sweep = plan.read(file, overrides)
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
    jobs = list(zip(plan.point_jobs(sweep), sweep.points, strict=True))
    todo = [job for job, point in jobs if not is_done(job, point)]
    failed = execute(workers, todo, "step 2 of 3, training", "runs")
    finished = [point for point in sweep.points if study.Run(point).is_cached]
    failed += [f"{job.output.stem}: {LOST}" for job, point in jobs if job.is_done and point not in finished]
    if not finished:
        return failed
    write_tables(sweep.name, [study.run(point) for point in finished])
    jobs = plan.notebook_jobs(sweep, partial=len(finished) < len(sweep.points))
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
    print(f"all runs so far: {report.add_runs(records)}")


def write_pages(sweep: Sweep) -> None:
    """The results of this sweep as a page, and all that this folder has as chapters of the report."""
    executed = {path.stem: kernel.metadata(path) for path in sorted(store.outputs().glob("[!.]*.ipynb"))}
    chapters = [store.outputs() / f"{name}.ipynb" for name, about in executed.items() if plan.RESULTS in about]
    for path in chapters:
        if path.stem == sweep.report:
            print(f"page: {report.from_notebook(path, store.outputs() / f'{sweep.name}.html')}")
    if chapters:
        print(f"report: {report.from_notebooks(chapters, store.outputs() / 'report.html', TITLE, LEAD)}")


# --- one run at a time on all GPUs -----------------------------------------------------------------------------------


def train(file: str, overrides: dict, weights: str | None = None) -> None:
    """``galc train``: the runs of a study file one after the other, each on all the processes that torchrun started.

    A sweep has a run on each GPU; this has one run on several, and without torchrun on one. Records go to the cache,
    where a sweep of the same file finds them. ``weights``: a file of the backbone's weights.
    """
    with parallel.processes():
        # torchrun gives each process one core, too few for decoding
        torch.set_num_threads(max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
        for point in points(file, overrides, weights):
            own = study.Run(point, say)
            name = f"{point.method}, noise {point.noise:g}, seed {point.seed}"
            where = f"{parallel.count()} process(es), {parallel.device().type}"
            say(f"{name}: {'done before' if own.is_cached else where}")
            summary = own.record().summary
            say(f"{name}: mAP {summary['mAP']:.2f}  CF1 {summary['CF1']:.2f}  OF1 {summary['OF1']:.2f}")


def points(file: str, overrides: dict, weights: str | None = None) -> list[Params]:
    """Every run of a study file; a path of ``weights`` is relative to the working directory. Raises ParameterError."""
    if weights is not None:
        overrides = overrides | {"weights": str(store.typed(weights))}
    return plan.read(file, overrides).points


def say(text: str) -> None:
    """Print once, whatever the number of processes."""
    if parallel.rank() == 0:
        print(text, flush=True)
