"""How good a ranking of suspicious labels is, from a few that a person has looked at.

The precision at N is the share of the N most suspicious labels that are indeed at fault. Of these N a sample is drawn
and reviewed: with 20 of them, whatever N is, the share is known to within 20 points or so.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Precision:
    """What a sample of reviewed labels says.

    first    : the sample is of so many most suspicious labels
    sampled  : how many were drawn
    reviewed : how many of these are decided
    at_fault : how many of these were removed or added
    """

    first: int
    sampled: int
    reviewed: int
    at_fault: int

    @property
    def value(self) -> float:
        """The share of reviewed labels at fault, the estimate of the precision at `first`; NaN without any."""
        return self.at_fault / self.reviewed if self.reviewed else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Clopper and Pearson's interval (1934) of 95 % for the precision at `first`; (0, 1) where nothing is reviewed.

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
    first = min(first, number)
    return np.sort(np.random.default_rng(seed).permutation(first)[:size])


def precision(decided: Mapping[int, str], drawn: np.ndarray, first: int) -> Precision:
    """The precision at ``first`` from the decisions {place: "keep", "remove" or "add"} about the ``drawn`` places.

    Decisions about other places say nothing: which ones are reviewed beyond the sample is no chance.
    """
    actions = [decided[place] for place in drawn.tolist() if place in decided]
    return Precision(first, len(drawn), len(actions), sum(action != "keep" for action in actions))
