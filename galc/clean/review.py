"""Decisions about labels: kept, removed or added one by one, saved at once, undone in turn.

Most are about suspicious labels of a table; any other class of an image can be decided as well.

They lie in the decisions.json of `galc.clean.result`, in the order in which they were made; of several on one image and
class the last counts. Each says whether the class is on the image, so it holds whatever the labels become.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from filelock import FileLock

from galc import store
from galc.clean.result import VERSION

# what can be done about a label of each kind; the first leaves it as it was given
ACTIONS = {"wrong": ("keep", "remove"), "missing": ("keep", "add")}


class Decision(NamedTuple):
    """Whether a class is on an image, as a person says."""

    file: str
    name: str
    present: bool


class Review:
    """The decisions of one file about the labels of a table.

    suspicious : one row a label, the most suspicious first, with the columns file, class, given (0 or 1) and kind
                 ("wrong": given, and perhaps wrong; "missing": perhaps missing); a row is named by its place, from 0
    path       : the JSON file; it is made by the first decision

    A decision counts once it is on the disk: an error while it is written (full disk, no permission) leaves both the
    file and this object as they were. Processes may share a file. Raises ValueError for a file that holds no decisions;
    it is never overwritten.
    """

    def __init__(self, suspicious: pd.DataFrame, path: Path):
        self.table, self.path = suspicious.reset_index(drop=True), Path(path)
        if missing := {"file", "class", "given", "kind"} - set(self.table):
            raise ValueError(f"the table of suspicious labels has no column {', '.join(sorted(missing))}")
        self._places = Places(self.table["file"], self.table["class"])
        self._log = read(self.path)

    def __len__(self) -> int:
        """The number of labels that are decided, of this table."""
        return len(self.decided())

    def actions(self, row: int) -> tuple[str, ...]:
        """What can be done about a row: keep, and remove or add."""
        return ACTIONS[self.table["kind"][row]]

    def decide(self, row: int, action: str) -> Decision:
        """Save a decision about a row. Raises ValueError for an action that does not fit, and what the disk raises."""
        file, name, given, kind = (self.table[part][row] for part in ("file", "class", "given", "kind"))
        if action not in ACTIONS[kind]:
            state = "given" if given else "not given"
            raise ValueError(f"{name!r} is {state} for {file}: {' or '.join(ACTIONS[kind])} it, not {action!r}")
        return self.add(Decision(str(file), str(name), bool(given) if action == "keep" else action == "add"))

    def add(self, decision: Decision) -> Decision:
        """Save a decision about any image and class, also one that the table does not list; returns it."""
        self._write(lambda log: [*log, decision])
        return decision

    def undo(self) -> Decision | None:
        """Take back the last decision of the file and return it; None where there is none."""
        taken: list[Decision] = []

        def without_last(log: list[Decision]) -> list[Decision]:
            taken.extend(log[-1:])
            return log[:-1]

        self._write(without_last)
        return taken[0] if taken else None

    def row(self, decision: Decision) -> int | None:
        """The row that a decision is about; None where the table does not list it."""
        return self._places.of(decision.file, decision.name)

    def latest(self) -> dict[tuple[str, str], bool]:
        """{(file, class): present} of all that is decided, in the table or not, in the order of the first decisions."""
        return {(d.file, d.name): d.present for d in self._log}

    def decided(self) -> dict[int, str]:
        """{row: action} of the decided rows."""
        found = {self._places.of(*pair): present for pair, present in self.latest().items()}
        given = self.table["given"]
        return {row: done(bool(given[row]), present) for row, present in found.items() if row is not None}

    def _write(self, change: Callable[[list[Decision]], list[Decision]]) -> None:
        """Change the log on the disk, then here. Under a lock and from what is on the disk: it may have grown."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            store.remove_left_over(self.path.parent, f".{self.path.name}.*.tmp")
            log = change(read(self.path))
            rows = [{"file": d.file, "class": d.name, "present": d.present} for d in log]
            store.write_json(self.path, {"version": VERSION, "decisions": rows})
        self._log = log


def done(given: bool, present: bool) -> str:
    """The action by which a label that is given, or not, comes to be present, or not."""
    return "keep" if present == given else "add" if present else "remove"


class Places:
    """The rows of pairs of file and class, among millions of them. Raises ValueError for a pair that comes twice."""

    def __init__(self, files: pd.Series, classes: pd.Series):
        (file, names), (label, labels) = pd.factorize(files), pd.factorize(classes)
        self._file = {str(name): n for n, name in enumerate(names)}
        self._label = {str(name): k for k, name in enumerate(labels)}
        keys = file.astype(np.int64) * len(self._label) + label
        self._order = keys.argsort(kind="stable")
        self._keys = keys[self._order]
        if (self._keys[1:] == self._keys[:-1]).any():
            raise ValueError("the table of suspicious labels has an image and class twice; keep one row of them")

    def of(self, file: str, label: str) -> int | None:
        """The row of a pair; None where there is none."""
        if file not in self._file or label not in self._label:
            return None
        key = self._file[file] * len(self._label) + self._label[label]
        at = int(self._keys.searchsorted(key))
        return int(self._order[at]) if at < len(self._keys) and self._keys[at] == key else None


def read(path: Path) -> list[Decision]:
    """The decisions of a file in their order; none where there is no file. Raises ValueError for any other content."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["decisions"]
        decisions = [Decision(row["file"], row["class"], row["present"]) for row in rows]
        if any(tuple(map(type, decision)) != (str, str, bool) for decision in decisions):
            raise TypeError("an entry is not of file, class and present")
        return decisions
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} holds no decisions ({error}); mend it, or move it away to begin anew") from error
