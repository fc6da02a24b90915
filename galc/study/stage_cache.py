"""What a result costs: the seconds of every stage it needs, whoever computed them and whenever.

Runs share stages through the cache, and the first that asks pays for them. A table of costs must not depend on who that
was: so a cache entry keeps the seconds of the stages behind it, each counted once.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from galc import store
from galc.training import parallel


class Costs:
    """The cached stages of one study; entries are kept in memory once they were asked for.

    An entry's record gets ``seconds``: {"stage/file": seconds} of itself and of all that it asked for on the way. A
    stage's own time is without that of the stages it asked for, and without what happens `apart`.
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
        stage = name.split("/")[0]
        seconds[stage] = seconds.get(stage, 0.0) + value
    return seconds
