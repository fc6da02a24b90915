"""``results.parquet``: every run that was ever made in an outputs folder as one table, one row a run."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet

from galc import store
from galc.study.run import RunRecord
from galc.study.stages import code_digest


def row(record: RunRecord) -> dict:
    """All parameters of a run, its summary, the code that computed it, its file, and ``key``, which identifies it."""
    params = record.details["params"]
    origin = {"code": code_digest(), "file": record.details["file"]}
    return {"key": store.digest(params)} | params | record.summary | origin


def update(records: Sequence[RunRecord]) -> Path:
    """Put runs into the table, in the place of older ones with the same parameters; returns its path.

    Processes do so one after the other, and a reader sees the old table or the new one. A broken table is reported,
    and begun anew.
    """
    path = store.outputs() / "results.parquet"
    with store.locked(path.with_name(".results.lock")):
        rows = {old["key"]: old for old in _read(path)} | {new["key"]: new for new in map(row, records)}
        columns = list(dict.fromkeys(name for values in rows.values() for name in values))
        table = pyarrow.table({name: [values.get(name) for values in rows.values()] for name in columns})
        with store.atomic(path) as temporary:
            pyarrow.parquet.write_table(table, temporary)
    return path


def _read(path: Path) -> list[dict]:
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
        if rows and "key" not in rows[0]:
            raise ValueError("it has no column 'key'")
        return rows
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        warnings.warn(f"{path} is broken ({error}); it is begun anew, with the runs of this sweep", stacklevel=2)
        return []
