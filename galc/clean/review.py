"""Decisions about labels: kept, removed or added one by one, saved at once, undone in turn; and what a sample says.

All lie in one file, decisions.json, in their order; of several on one image and class the last counts. Each says
whether the class is on the image, so it holds whatever the labels become, and whether or not a table lists the class.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from filelock import FileLock
from scipy.stats import binomtest

from galc import store

DECISIONS = "decisions.json"
VERSION = 1
CONFIDENCE = 0.95  # of the interval of a precision
# what can be done about a label of each kind; the first leaves it as it was given
ACTIONS = {"wrong": ("keep", "remove"), "missing": ("keep", "add")}

Latest = dict[tuple[str, str], bool]  # (file, class) -> whether the class is on the image


class Decision(NamedTuple):
    """Whether a class is on an image, as a person says."""

    file: str
    name: str
    present: bool


Log = list[Decision]


# --- the file ------------------------------------------------------------------------------------------------------


def read(path: Path) -> Log:
    """The decisions of a file in their order; none where there is no file. Raises ValueError for any other content."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["decisions"]
        log = [Decision(row["file"], row["class"], row["present"]) for row in rows]
        if any(tuple(map(type, decision)) != (str, str, bool) for decision in log):
            raise TypeError("an entry is not of file, class and present")
        return log
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} holds no decisions ({error}); mend it, or move it away to begin anew") from error


def latest(log: Log) -> Latest:
    """What is decided, in the order of the first decisions."""
    return {(decision.file, decision.name): decision.present for decision in log}


def write(path: Path, change: Callable[[Log], Log]) -> Log:
    """The only writer: ``change`` what is on the disk, under a lock that all processes wait for; returns it.

    Raises ValueError for a file that holds no decisions, which is left as it is, and what the disk raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        store.remove_left_over(path.parent, f".{path.name}.*.tmp")
        log = change(read(path))
        rows = [{"file": d.file, "class": d.name, "present": d.present} for d in log]
        store.write_json(path, {"version": VERSION, "decisions": rows})
    return log


# --- decisions about a table ---------------------------------------------------------------------------------------


class Review:
    """The decisions of one file, made by the first of them, about the labels of a table.

    ``suspicious``: one row a label, named by its place, with the columns file, class, given (0 or 1) and kind ("wrong"
    or "missing"); ``rows`` has the place of (file, class). An error while a decision is written (full disk) leaves both
    the file and this object as they were. Processes may share a file. Raises ValueError where it holds no decisions.
    """

    def __init__(self, suspicious: pd.DataFrame, path: Path):
        self.table, self.path = suspicious.reset_index(drop=True), Path(path)
        if missing := {"file", "class", "given", "kind"} - set(self.table):
            raise ValueError(f"the table of suspicious labels has no column {', '.join(sorted(missing))}")
        self.rows = {pair: n for n, pair in enumerate(zip(self.table["file"], self.table["class"], strict=True))}
        if len(self.rows) < len(self.table):
            raise ValueError("the table of suspicious labels has an image and class twice; keep one row of them")
        self._log = read(self.path)

    def actions(self, row: int) -> tuple[str, ...]:
        """What can be done about a row: keep, and remove or add."""
        return ACTIONS[self.table["kind"][row]]

    def decide(self, row: int, action: str) -> Decision:
        """Save a decision about a row. Raises ValueError for an action that does not fit, and what the disk raises."""
        file, name, given = (self.table[part][row] for part in ("file", "class", "given"))
        if action not in (can := self.actions(row)):
            state = "given" if given else "not given"
            raise ValueError(f"{name!r} is {state} for {file}: {' or '.join(can)} it, not {action!r}")
        return self.add(Decision(str(file), str(name), bool(given) if action == "keep" else action == "add"))

    def add(self, decision: Decision) -> Decision:
        """Save a decision about any image and class, also one that the table does not list; returns it."""
        self._log = write(self.path, lambda log: [*log, decision])
        return decision

    def undo(self) -> Decision | None:
        """Take back the last decision of the file and return it; None where there is none."""
        taken: Log = []
        self._log = write(self.path, lambda log: taken.extend(log[-1:]) or log[:-1])
        return next(iter(taken), None)

    def latest(self) -> Latest:
        """All that is decided, in the table or not."""
        return latest(self._log)

    def decided(self) -> dict[int, str]:
        """{row: action} of the decided rows."""
        found = {self.rows.get(pair): present for pair, present in self.latest().items()}
        return {row: done(self.table["given"][row], now) for row, now in found.items() if row is not None}


def done(given: bool, present: bool) -> str:
    """The action by which a label that is given, or not, comes to be present, or not."""
    return "keep" if present == given else "add" if present else "remove"


# --- how good the ranking is ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Precision:
    """The share of the ``first`` most suspicious labels that are indeed at fault, from a sample that a person reviews.

    Of them ``sampled`` were drawn, ``reviewed`` of these decided, ``at_fault`` of these removed or added.
    """

    first: int
    sampled: int
    reviewed: int
    at_fault: int

    @property
    def value(self) -> float:
        """The share of reviewed labels at fault; NaN without any."""
        return self.at_fault / self.reviewed if self.reviewed else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's 95 % interval (1934); (0, 1) where nothing is reviewed.

        Exact for drawing from many labels; for drawing a good part of them it is wider than it need be.
        """
        if not self.reviewed:
            return 0.0, 1.0
        found = binomtest(self.at_fault, self.reviewed).proportion_ci(CONFIDENCE, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        if not self.reviewed:
            return f"Precision at {self.first:,}: unknown, none of {self.sampled} drawn labels is reviewed yet."
        low, high = (f"{100 * share:.0f}" for share in self.interval)
        whole = "" if self.reviewed == self.sampled else f" of {self.sampled}"
        text = f"Precision at {self.first:,}: {100 * self.value:.0f} % (95 % interval {low} to {high} %)"
        return f"{text}; {self.at_fault} of the {self.reviewed}{whole} reviewed labels were at fault."


def sample(number: int, first: int = 200, size: int = 20, seed: int = 0) -> np.ndarray:
    """The places, ascending, of ``size`` labels drawn from the ``first`` of a ranking of ``number``; all where few.

    The same arguments give the same places. Raises ValueError for a first or size below 1.
    """
    if first < 1 or size < 1:
        raise ValueError(f"first and size must be at least 1, got {first} and {size}")
    return np.sort(np.random.default_rng(seed).permutation(min(first, number))[:size])


def precision(decided: Mapping[int, str], drawn: np.ndarray, first: int) -> Precision:
    """From the decisions {place: "keep", "remove" or "add"} about the ``drawn`` places: which others are reviewed is
    no chance.
    """
    actions = [decided[place] for place in drawn.tolist() if place in decided]
    return Precision(first, len(drawn), len(actions), sum(action != "keep" for action in actions))
