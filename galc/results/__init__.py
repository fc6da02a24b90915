"""What the numbers say, as sentences: computed from the data that a notebook shows, never written by hand.

Each function takes plain tables or arrays and returns a `Finding`, or the table that one is made of. Shares are of 1
in the arguments, percent in the text; labels are bool (N, K); transition matrices are (K, K), rows the true class.
"""

from galc.results.ablation import bound_claims, budget_claims, budgets, lost, memorization_claims, peaks, pool
from galc.results.about_methods import (
    BEST,
    BOUNDS,
    comparison,
    gains,
    hardest,
    is_above,
    margins,
    memorization,
    methods,
    ours,
    retention,
    sweep,
)
from galc.results.about_noise import calibration, estimators, fallbacks, limits, no_transition, noise
from galc.results.beyond import against, lead, nearest
from galc.results.evidence import (
    advice,
    believing,
    budget_limits,
    decisions,
    ladder,
    scopes,
    verdict_of_ladder,
    verdict_of_ranks,
    verdict_of_rivals,
    verdict_of_tests,
)
from galc.results.words import Finding

__all__ = [
    "BEST",
    "BOUNDS",
    "Finding",
    "advice",
    "against",
    "believing",
    "bound_claims",
    "budget_claims",
    "budget_limits",
    "budgets",
    "calibration",
    "comparison",
    "decisions",
    "estimators",
    "fallbacks",
    "gains",
    "hardest",
    "is_above",
    "ladder",
    "lead",
    "limits",
    "lost",
    "margins",
    "memorization",
    "memorization_claims",
    "methods",
    "nearest",
    "no_transition",
    "noise",
    "ours",
    "peaks",
    "pool",
    "retention",
    "scopes",
    "sweep",
    "verdict_of_ladder",
    "verdict_of_ranks",
    "verdict_of_rivals",
    "verdict_of_tests",
]
