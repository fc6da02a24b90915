"""What a cached stage was made by and what it costs: its code, and the seconds of every stage that it needs.

Runs share stages through the cache, and the first that asks pays for them. A table of costs must not depend on who that
was: so a cache entry keeps the seconds of the stages behind it, each counted once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from galc import store
from galc.training import parallel

# What decides a result by its code: these folders and modules, but for those of this room that only keep its books.
SCIENCE = ("losses", "noise", "estimators", "training", "methods", "study", "checks.py", "metrics.py")
BOOKS = ("params", "runs", "stage_cache", "workers")


@cache
def code_digest() -> str:
    """Identifies the code that results depend on."""
    room = Path(__file__).parent
    places = [room.parent / name for name in SCIENCE]
    files = {file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))}
    counts = sorted(files - {room / f"{name}.py" for name in BOOKS})
    return store.digest([(str(file.relative_to(room.parent)), store.file_digest(file)) for file in counts])


class Costs:
    """The cached stages of one study; entries are kept in memory once they were asked for.

    An entry's record gets ``seconds``: {"stage/file": seconds} of itself, without what happens `apart`, and of all that
    it asked for on the way.
    """

    def __init__(self):
        self._entries: dict[Path, store.Entry] = {}
        self._needed: dict[str, float] = {}  # by what the stage that is being computed has asked for
        self._apart = 0.0  # seconds it has spent on them, and on what is no part of it

    def cached(self, stage: str, key: dict, compute: Callable[[], tuple[dict[str, np.ndarray], dict]]) -> store.Entry:
        """`galc.store.cached`, which computes an entry where there is none, with its record's ``seconds``."""
        outer, self._needed = self._needed, {}
        path = store.path_of(stage, key)
        name = f"{stage}/{path.stem}"
        with self.apart():

            def timed():
                started = time.monotonic()
                arrays, record = compute()
                own = time.monotonic() - started - self._apart
                return arrays, record | {"seconds": self._needed | {name: own}}

            try:
                entry = self._entries[path] if path in self._entries else parallel.cached(stage, key, timed)
            finally:
                self._needed = outer
        self._entries[path] = entry
        self._needed |= entry.record["seconds"]
        return entry

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What happens in the block takes no time of the stage that is being computed."""
        started, outer, self._apart = time.monotonic(), self._apart, 0.0
        try:
            yield
        finally:
            self._apart = outer + time.monotonic() - started


def by_stage(entry: store.Entry) -> dict[str, float]:
    """{stage: seconds} of an entry that `Costs` has made: its own stage, and those that it needs."""
    seconds: dict[str, float] = {}
    for name, value in entry.record["seconds"].items():
        stage = name.partition("/")[0]
        seconds[stage] = seconds.get(stage, 0.0) + value
    return seconds
