"""What there is to execute for a study file; whatever does not fit is said before anything starts."""

import json
import re
from dataclasses import dataclass
from os.path import isabs
from pathlib import Path

import nbformat

from galc import store
from galc.methods import plugins
from galc.study import params, stage_cache
from galc.study import runs as grid
from galc.study.params import ParameterError, Params
from galc.sweep.kernel import Job

POINT = "one_run"  # the notebook of a point, where a study file names none
RESULTS = "results_of"  # in the metadata of an executed notebook: it is a chapter of the report


@dataclass(frozen=True)
class Sweep:
    """A study file, checked.

    name, file : of the study file
    base, grid : as in the file, behind the environment and the command
    points     : every run, once
    notebook   : executed for each point
    notebooks  : executed once, after the points
    report     : the one of these that shows the results, or None
    """

    name: str
    file: Path
    base: dict
    grid: dict[str, list]
    points: list[Params]
    notebook: str
    notebooks: list[str]
    report: str | None


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
    jobs = []
    for point, title in zip(sweep.points, titles(sweep.points, list(sweep.grid)), strict=True):
        values = point.model_dump()
        injected = {name: values[name] for name in names if name in values}
        code = stage_cache.code_digest()
        jobs.append(_job(sweep.notebook, folder / f"{title}.ipynb", injected, {"base": values}, code))
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
    jobs = []
    for name in sweep.notebooks:
        values = sweep.base | {"study": file}
        injected = {key: values[key] for key in declared(name) if key in values}
        about = {RESULTS: sweep.name} if name == sweep.report else {}
        jobs.append(_job(name, store.outputs() / f"{name}.ipynb", injected, spec, code, about))
    return jobs


def _job(name: str, output: Path, injected: dict, spec: dict, code: object, about: dict | None = None) -> Job:
    source, text = source_of(name), json.dumps(spec)
    code = [code, *plugins.digests()]
    mark = store.digest([store.file_digest(source), injected, text, code])
    environment = {"GALC_PARAMS": text, "GALC_OUTPUTS": str(store.outputs()), "GALC_WORKERS": "1"}
    return Job(source, output, mark, injected, environment, about or {})


def titles(points: list[Params], names: list[str]) -> list[str]:
    """A name for each point that can be a file's, of the parameters in the grid: noise=0.4_method=asl_seed=0."""
    texts = []
    for point in points:
        text = "_".join(f"{name}={getattr(point, name)}" for name in names) or "run"
        texts.append(re.sub(r"[^\w.=+-]+", "-", text)[:150])
    twice = {text for text in texts if texts.count(text) > 1}
    return [
        f"{text}_{store.digest(point.model_dump())}" if text in twice else text
        for text, point in zip(texts, points, strict=True)
    ]
