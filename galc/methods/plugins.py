"""Plug-ins: methods, estimators and kinds of noise that come from outside the package.

A plug-in is a Python file whose decorators (`galc.methods.base.method`, `galc.estimators.base.estimator`,
`galc.noise.kinds.noise_kind`) put rows into the tables. A study names its files, and an installed package its modules
as entry points of the group "galc.plugins". docs/your_method.md shows one of each.
"""

import importlib.metadata
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from galc import store
from galc.estimators.base import ESTIMATORS
from galc.methods.base import METHODS
from galc.noise.kinds import KINDS

GROUP = "galc.plugins"
TABLES = (METHODS, ESTIMATORS, KINDS)
DIGESTS: dict[str, str] = {}  # of the content of each file as it was executed, by the name of its module


class PluginError(ValueError):
    """A plug-in that cannot be used; the message names file, line and mend."""


def load(files: Iterable[str | Path] = ()) -> None:
    """Put the rows of all installed plug-ins and of these ``files`` into the tables; a file that changed, once more.

    Raises PluginError for a file that does not exist, raises an error, or takes a name that another one has; of its
    rows none is left in the tables.
    """
    _installed()
    for file in files:
        _execute(store.typed(file).resolve())


def code(module: str) -> str | None:
    """Digest of the code of a module that declared a row; None for galc's own, whose code is in all keys anyway.

    Raises PluginError for a row that was declared in no file, as in a notebook's cell: a cached result could not tell
    whether it is of its latest code.
    """
    if module.partition(".")[0] == "galc":
        return None
    if module in DIGESTS:
        return DIGESTS[module]
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise PluginError(f"a row declared in {module} has no file; write it to one, and name that under 'plugins'")
    return store.file_digest(Path(file))


def codes(**rows: object) -> dict[str, str]:
    """What a key needs of code from outside: {"method code": digest, ...} of ``method=its row`` and the like."""
    return {f"{what} code": digest for what, row in rows.items() if (digest := code(home(row))) is not None}


def digests() -> list[str]:
    """The code of all rows from outside that are in the tables."""
    homes = {home(row) for table in TABLES for row in table.values()}
    return sorted(filter(None, map(code, homes - {"__main__"})))


def _execute(path: Path) -> None:
    name = f"galc_plugin_{path.stem}_{store.digest(os.fspath(path))}"
    try:
        content, digest = path.read_bytes(), store.file_digest(path)
    except OSError as error:
        raise PluginError(f"the plug-in {path} cannot be read: {error.strerror}") from None
    if DIGESTS.get(name) == digest:
        return
    module = ModuleType(name)
    module.__file__ = os.fspath(path)
    with _all_or_nothing(name, str(path)):
        sys.modules[name] = module
        try:
            exec(compile(content, path, "exec"), module.__dict__)
        except Exception as error:
            raise PluginError(f"{path}, {_line(error, path)}{type(error).__name__}: {_text(error)}") from error
    DIGESTS[name] = digest


@cache
def _installed() -> None:
    for point in importlib.metadata.entry_points(group=GROUP):
        whose = f"the plug-in {point.value} of the installed package {point.dist.name}"
        with _all_or_nothing(point.value, whose):
            try:
                point.load()
            except Exception as error:
                raise PluginError(f"{whose} is broken, mend or uninstall it: {_text(error)}") from error


@contextmanager
def _all_or_nothing(module: str, where: str) -> Iterator[None]:
    """The rows of ``module`` are those that the block adds; where it fails, the tables are as they were.

    Raises PluginError that says ``where`` if it takes the name of another module's row.
    """
    before = [dict(table) for table in TABLES]
    for table in TABLES:
        for key in [key for key, row in table.items() if home(row) == module]:
            del table[key]
    try:
        yield
        others = [(key, row, table) for rows, table in zip(before, TABLES, strict=True) for key, row in rows.items()]
        if taken := [key for key, row, table in others if home(row) != module and table.get(key) is not row]:
            raise PluginError(f"{where}: the name {taken[0]!r} is taken already; choose another one")
    except BaseException:
        for table, rows in zip(TABLES, before, strict=True):
            table.clear()
            table.update(rows)
        raise


def home(row: object) -> str:
    """The module that a row of any of the tables was declared in."""
    return getattr(row, "home", None) or getattr(row, "compute", getattr(row, "make", row)).__module__


def _line(error: Exception, path: Path) -> str:
    """ "line 3: ", the last one of a file that an error came from."""
    if isinstance(error, SyntaxError) and error.filename == os.fspath(path):
        return f"line {error.lineno}: "
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == os.fspath(path)]
    return f"line {lines[-1]}: " if lines else ""


def _text(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)
