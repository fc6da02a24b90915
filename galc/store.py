"""What a run writes: one root, atomic files, and a cache that is verified whenever it is read.

A cache entry is one safetensors file whose header carries a JSON record and the checksum of all. A truncated or altered
one fails its checksum, is reported, and is computed again. What a killed write leaves behind is removed by the next
computation of the same entry, or by the next write to the folder once it is a day old.
"""

import hashlib
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

ROOT = Path(__file__).resolve().parents[1]
CHECKOUT = ROOT if (ROOT / "pyproject.toml").is_file() else None  # None where galc is installed
NO_CHECKOUT = "galc is installed without its own params/ and notebooks/: they are in a checkout of its repository"
DAY = 86400.0  # seconds


def typed(path: str | Path) -> Path:
    """A path as a user types it, absolute: relative ones start at the working directory, ``~`` is the home folder."""
    return Path(os.path.abspath(Path(path).expanduser()))


def outputs() -> Path:
    """The folder that everything a run writes goes to: ``$GALC_OUTPUTS``, or ``outputs/`` of the checkout that galc
    runs from, or of the working directory where it is installed."""
    return typed(os.environ.get("GALC_OUTPUTS") or (CHECKOUT or Path()) / "outputs")


def digest(value: object) -> str:
    """20 hex digits that identify any JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def array_digest(*arrays: np.ndarray) -> str:
    """20 hex digits that identify the bytes, dtypes and shapes of arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return sha.hexdigest()[:20]


def file_digest(path: Path) -> str:
    """20 hex digits that identify a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:20]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block ends without error.

    Raises whatever the block raises, after removing the temporary file (a full disk leaves nothing).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_left_over(folder: Path, pattern: str, seconds: float = 0.0) -> None:
    """Remove the files of ``folder`` that match and were not written to in the last ``seconds``."""
    for path in folder.glob(pattern):
        try:
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()
        except OSError:  # another process was quicker
            continue


def write_text(path: Path, text: str) -> Path:
    """Write a text file whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: object) -> Path:
    """Write a JSON file whole or not at all."""
    return write_text(path, json.dumps(value, indent=1, default=str) + "\n")


@dataclass(frozen=True)
class Entry:
    """Arrays and the JSON record that was stored with them."""

    arrays: dict[str, np.ndarray]
    record: dict
    path: Path


def save(path: Path, arrays: dict[str, np.ndarray], record: dict) -> Entry:
    """Write one entry atomically. Arrays of any shape and a plain dtype; the record is any JSON value."""
    arrays = {name: np.asarray(array, order="C") for name, array in sorted(arrays.items())}
    header = {"record": json.dumps(record, default=str)}
    header["sha256"] = _checksum(arrays, header["record"])
    remove_left_over(path.parent, ".*.tmp", DAY)
    with atomic(path) as temporary:
        save_file(arrays, temporary, metadata=header)
    return Entry(arrays, json.loads(header["record"]), path)


def _checksum(arrays: dict[str, np.ndarray], record: str) -> str:
    """Identifies the whole content of an entry: names, arrays and the record's text."""
    return digest([list(arrays), array_digest(*arrays.values()), record])


def read(path: Path, strict: bool = False) -> Entry | None:
    """Read one entry; ``None`` where it is missing, or broken (with a warning). Never runs code from the file.

    ``strict`` raises FileNotFoundError or ValueError instead.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if header["sha256"] != _checksum(arrays, header["record"]):
            raise ValueError("checksum differs")
        return Entry(arrays, json.loads(header["record"]), path)
    except FileNotFoundError:
        if strict:
            raise
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        if strict:
            raise ValueError(str(error)) from error
        warnings.warn(f"cache entry {path} is broken ({error}); computing it again", stacklevel=2)
    return None


def locked(file: Path) -> FileLock:
    """A lock to hold in a ``with`` block; the folder of its file is made. Raises OSError where it cannot be used."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fault = "" if os.access(file.parent, os.W_OK) else "it is read-only"
    except OSError as error:
        fault = error.strerror
    if fault:
        raise OSError(f"cannot write to {file.parent} ({fault}): set GALC_OUTPUTS to a folder that can be written to")
    return FileLock(file)


def path_of(stage: str, key: dict) -> Path:
    """Where the cache entry of ``stage`` for ``key`` lies, or will lie."""
    return outputs() / "cache" / stage / f"{digest(key)}.safetensors"


def cached(stage: str, key: dict, compute: Callable[[], tuple[dict[str, np.ndarray], dict]]) -> Entry:
    """The entry of ``stage`` for ``key``: read if whole, else computed once and stored.

    Processes that want the same entry at the same time wait for the first one, then read its result.
    ``compute`` returns (arrays, record); ``key`` is any JSON value and is kept in the record.
    """
    path = path_of(stage, key)
    if path.exists() and (entry := read(path)) is not None:
        return entry
    with locked(path.with_suffix(".lock")):
        if path.exists() and (entry := read(path)) is not None:
            return entry
        remove_left_over(path.parent, f".{path.name}.*.tmp")  # nobody else writes it while the lock is held
        arrays, record = compute()
        return save(path, arrays, {**record, "key": key})
