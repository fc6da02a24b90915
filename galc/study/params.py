"""Every knob of a run: typed, validated, readable from a notebook's parameters cell or from YAML.

A study file (params/*.yaml) holds such values as ``base``, and lists of them as ``grid``: every combination is a run.
``GALC_PARAMS`` in the environment, a study file's path or content, goes before the defaults of all notebooks and files.
"""

import ast
import difflib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from galc import store
from galc.data.load import NAMED
from galc.methods import plugins
from galc.methods.base import METHODS
from galc.noise.from_file import FORMATS
from galc.noise.kinds import KINDS

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
# Parameters that may be paths, and what they may be beside them.
PATHS = {"data": NAMED, "weights": ("auto", "hub", "package", "none"), "noise_kind": KINDS}


class ParameterError(ValueError):
    """A parameter that does not exist or does not fit; the message names it and the mend."""


class Params(BaseModel):
    """The parameters of one run; immutable. See the comments for units and meaning.

    >>> from galc import Params
    >>> Params(noise=0.4, method="galc-slr").replace(seed=1).noise
    0.4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    # code from outside the package (galc.methods.plugins); first, since what follows may be names in it
    plugins: tuple[str, ...] = ()  # files with methods, estimators and kinds of noise of one's own

    # data (arXiv 2108.02032, Sec. 4.1)
    data: str = "pictograms"  # name of a data set, or the path of a COCO folder, a COCO JSON or a CSV
    gold_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1  # share of the >= 2-label images that is trusted
    gold_holdout: Fraction = 0.0  # share of the trusted images that is kept from training, to choose thresholds with
    single_label_limit: Annotated[int, Field(ge=0)] | None = None  # single-label images a class; None: all
    split_seed: Annotated[int, Field(ge=0)] | None = None  # draws the gold/silver split and the noise; None: the seed
    noise: Annotated[float, Field(ge=0, le=0.95)] = 0.4  # fraction of labels that are gone, or wrong; 0: none
    noise_kind: str = "symmetric"  # what becomes of them: one of galc.noise.kinds.KINDS, or a file with one's own rates

    # method (galc.methods.base)
    method: str = "galc-plus"
    seed: Annotated[int, Field(ge=0)] = 0  # draws weights and batches

    # model
    mode: Literal["probe", "finetune"] = "probe"  # a head on frozen features, or the whole backbone
    backbone: str = "tf_efficientnet_lite0"  # any timm model
    weights: str = "auto"  # auto, hub, package, none, or the path of a local file
    image_size: Annotated[int, Field(ge=16)] | None = None  # pixels; None: as the data set has them (224 at most)
    mirror: bool = False  # the probe sees the mean features of each image and its mirror image
    components: Count = 256  # principal components of the features that the probe sees
    hidden: Count = 512  # width of the probe's hidden layer
    input_dropout: Fraction = 0.0  # share of the components that the probe does not see in a step
    dropout: Fraction = 0.5  # of the probe's hidden layer, or the backbone's drop rate

    # recipe (ASL: Ridnik et al. 2021)
    epochs: Count = 15
    batch_size: Count = 128
    learning_rate: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    ema_decay: Fraction = 0.9997
    bf16: bool = False  # train in bfloat16 where the hardware has it; loss and metrics stay in float32
    compile: bool = False  # torch.compile the model on a GPU; what cannot be compiled runs as it is

    # cross-fitting (galc-plus and the estimators that need posteriors of the clean labels)
    folds: Annotated[int, Field(ge=2)] = 3
    fold_epochs: Count = 15

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: object, field: ValidationInfo) -> object:
        return located(field.field_name, typed(field.field_name, value))

    @field_validator("plugins")
    @classmethod
    def _loaded(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        plugins.load(files)
        return files

    def __reduce__(self):
        return checked, (self.model_dump(),)  # in a worker's process, too, the plug-ins are loaded

    @field_validator("method", "noise_kind")
    @classmethod
    def _known(cls, name: str, field: ValidationInfo) -> str:
        table, endings = (METHODS, ()) if field.field_name == "method" else (KINDS, FORMATS)
        if name not in table and not name.endswith(endings):
            file = f", or the path of a {'/'.join(endings)} file" if endings else ""
            raise ValueError(f"choose one of {', '.join(table)}{file}")
        return name

    @property
    def noise_file(self) -> str | None:
        """The path that `noise_kind` is, if it is one."""
        return None if self.noise_kind in KINDS else self.noise_kind

    def replace(self, **changes) -> "Params":
        """A checked copy with some parameters changed."""
        return checked(self.model_dump() | changes)


TEXTS = {name for name, field in Params.model_fields.items() if field.annotation is str} | {"mode", "plugins"}
PLAIN = (bool, int, float, str, list, tuple, dict, type(None))  # what a parameters cell may hold


def located(name: str, value: object) -> object:
    """The value of a parameter, or the list of its values; a path that exists is made absolute, for other processes.

    Relative paths start at the working directory. ``plugins`` may be a text with commas between its files.
    """
    if name == "plugins" and isinstance(value, str | list | tuple):
        files = value.split(",") if isinstance(value, str) else value
        return tuple(str(store.typed(one)) if isinstance(one, str) else one for one in files)
    if isinstance(value, list):
        return [located(name, one) for one in value]
    if name not in PATHS or not isinstance(value, str) or not value or value in PATHS[name]:
        return value
    return str(path) if (path := store.typed(value)).exists() else value


def typed(name: str, value: object) -> object:
    """The value of a parameter, the same in every command, notebook and file.

    A text is a number, true or false in any case, null or None where it stands for one and the parameter is no text.
    """
    if not isinstance(value, str) or name in TEXTS:
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    if value in ("null", "None"):
        return None
    for kind in (int, float):
        with suppress(ValueError):
            return kind(value)
    return value


def checked(values: dict) -> Params:
    """Params from a dict; raises ParameterError naming each unknown or ill-typed parameter."""
    if unknown := [name for name in values if name not in Params.model_fields]:
        raise ParameterError(unknown_message(unknown, list(Params.model_fields)))
    try:
        return Params(**values)
    except ValidationError as error:
        told = [(e["loc"][0], e["input"], e["msg"].removeprefix("Value error, ")) for e in error.errors()]
        lines = [f"parameter {name!r} = {value!r}: {what[:1].lower()}{what[1:]}" for name, value, what in told]
        raise ParameterError("; ".join(dict.fromkeys(lines))) from None


def from_words(pairs: Iterable[tuple[str, str]]) -> dict:
    """{name: value} of the ``-p NAME VALUE`` of every command, as `typed`; of two of one name the last one counts."""
    return {name: located(name, typed(name, text)) for name, text in pairs}


def unknown_message(unknown: list, known: list[str]) -> str:
    """ "unknown parameter 'nois'; did you mean 'noise'? (known here: ...)" """
    near = {name: difflib.get_close_matches(name, known, n=1) for name in map(str, unknown)}
    parts = [f"unknown parameter {name!r}" + "".join(f"; did you mean {one!r}?" for one in near[name]) for name in near]
    return "; ".join(parts) + f" (known here: {', '.join(known)})"


def read(namespace: dict, *own: str, **fixed) -> Params:
    """Params from a notebook: ``params = read(globals())`` in the cell after the parameters cell.

    Every name that the parameters cell assigns, or papermill adds, is a field of Params or one of the notebook's
    ``own``; another raises ParameterError. An empty text leaves a parameter to the study file that the notebook is
    given. The base of $GALC_PARAMS comes before what is as `Params` has it, other values before both, ``fixed`` first.
    """
    names, added = _assigned(namespace, known := [*Params.model_fields, *own])
    if unknown := [name for name in names if name not in known]:
        raise ParameterError(unknown_message(unknown, known))
    values = {name: namespace[name] for name in names if name not in own and namespace[name] != ""}
    defaults = {name: field.default for name, field in Params.model_fields.items()}
    asked = {name: value for name, value in values.items() if name in added or typed(name, value) != defaults[name]}
    return checked(values | (from_environment() or {"base": {}})["base"] | asked | fixed)


def _assigned(namespace: dict, known: list[str]) -> tuple[list[str], list[str]]:
    """The parameters that a notebook sets, and those of them that papermill has added.

    By IPython's history, those of the latest parameters cell and of what papermill added behind it; without one all
    plain values, or those that look like a known name where they may be another notebook's (``%run``).
    """
    history = [cell for cell in namespace.get("In", ()) if cell]
    if history and "read(" in history[-1]:
        added: list[str] | None = None
        for cell in reversed(history[:-1]):
            names = assigned_in(cell)
            if cell.lstrip().startswith("# Parameters"):
                added = names if added is None else added
            elif set(names) & set(known):
                return list(dict.fromkeys([*names, *(added or ())])), added or []
        if added is not None:
            return added, added
    hidden = ("_", "PAPERMILL_")
    named = {n: value for n, value in namespace.items() if n not in ("In", "Out") and not n.startswith(hidden)}
    plain = [n for n, value in named.items() if isinstance(value, PLAIN)]
    return [n for n in plain if not history or n in known or difflib.get_close_matches(n, known, n=1)], []


def assigned_in(source: str) -> list[str]:
    """The names that a cell assigns at its top level; none where it has magics. Without papermill's own paths."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return []
    parts = [part for node in body if isinstance(node, ast.Assign | ast.AnnAssign) for part in ast.walk(node)]
    stored = [part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)]
    return [name for name in dict.fromkeys(stored) if not name.startswith("PAPERMILL_")]


STUDY_KEYS = ("plugins", "base", "grid", "notebook", "notebooks", "report")
EVERY = "all"  # in the grid, in place of the list of methods: every row of galc.methods.base
PARTIAL = "partial"  # only in $GALC_PARAMS: leave out the runs that are not in the cache


def load_study(file: str | Path) -> dict:
    """A study file, checked: `STUDY_KEYS`, its plug-ins loaded and in the base. Raises ParameterError."""
    return _study(load_yaml(file), str(file), STUDY_KEYS, file_of(file).parent)


def overridden(study: dict, by: dict | None) -> dict:
    """``study`` with the values of ``by``, a study too, before its own.

    A parameter in its base is no longer in the grid; a list in its grid takes the place of the same parameter's list.
    """
    by = {"base": {}, "grid": {}} | (by or {})
    grid = {name: by["grid"].get(name, values) for name, values in study["grid"].items() if name not in by["base"]}
    base = study["base"] | by["base"]
    if files := (*study["base"].get("plugins", ()), *by["base"].get("plugins", ())):  # of both
        base["plugins"] = tuple(dict.fromkeys(files))
    return study | {"base": base, "grid": grid}


def from_environment() -> dict | None:
    """The study of $GALC_PARAMS, or None where that is not set; it may also hold ``partial``. Raises ParameterError."""
    if not (text := os.environ.get("GALC_PARAMS")):
        return None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"GALC_PARAMS is neither a file nor JSON: {error}") from None
    return _study(value, "GALC_PARAMS", (*STUDY_KEYS, PARTIAL)) if isinstance(value, dict) else load_study(str(value))


def check_keys(value: dict, where: str, known: Sequence[str]) -> None:
    """Raises ParameterError for a key of a file that it cannot have."""
    if unknown := [key for key in value if key not in known]:
        raise ParameterError(f"{where}: {unknown_message(unknown, list(known)).replace('parameter', 'key')}")


def _study(value: dict, where: str, known: tuple[str, ...], folder: Path = Path()) -> dict:
    check_keys(value, where, known)
    study = {"base": {}, "grid": {}} | value
    for key in ("base", "grid"):
        if not isinstance(study[key], dict):
            raise ParameterError(f"{where}: {key!r} must map names to values, not {type(study[key]).__name__}")
    study["base"] = study["base"] | _loaded(study, where, folder)
    for key in ("base", "grid"):
        study[key] = {name: located(name, value) for name, value in study[key].items()}
    if not isinstance(study.get("notebooks", []), list):
        raise ParameterError(f"{where}: 'notebooks' must be a list of names, not {study['notebooks']!r}")
    return study


def _loaded(study: dict, where: str, folder: Path) -> dict:
    """{"plugins": its plug-ins} of a study, absolute and loaded; a relative path starts at ``folder``, or else here."""
    files = [study.pop("plugins", []), study["base"].get("plugins", [])]
    files = [file for some in files for file in (some if isinstance(some, list | tuple) else [some])]
    if not files:
        return {}
    beside = [folder / str(file) for file in files]
    try:
        found = [str(own) if own.exists() else file for own, file in zip(beside, files, strict=True)]
        return {"plugins": checked({"plugins": found}).plugins}
    except ParameterError as error:
        raise ParameterError(f"{where}: {error}") from None


def file_of(path: str | Path) -> Path:
    """A parameter file as it is named, relative to the working directory or the project."""
    return project if not Path(path).exists() and (project := store.ROOT / path).exists() else Path(path)


def load_yaml(path: str | Path) -> dict:
    """A YAML file (`file_of`) as a dict; ParameterError names one that is missing, no valid YAML, or no mapping."""
    path = file_of(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        known = ", ".join(sorted(p.name for p in (store.ROOT / "params").glob("*.yaml")))
        hint = f"params/ holds {known}" if store.CHECKOUT else store.NO_CHECKOUT
        raise ParameterError(f"no such parameter file: {path} ({hint})") from None
    except OSError as error:
        raise ParameterError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(value, dict):
        raise ParameterError(f"{path} must hold a mapping of parameters, not {type(value).__name__}")
    return value
