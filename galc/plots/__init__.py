"""Pure drawing functions: data in, Matplotlib axes out. They train nothing, read no file, and change no global setting.

A function with one panel takes an ``ax`` (or makes one) and returns it; one with several panels returns them all.
Percentages are on the axes wherever a fraction goes in; bands are mean ± standard deviation over seeds.
"""

from galc.plots.ablation import dot_panels, learning_panels
from galc.plots.classes import class_gains
from galc.plots.comparison import decision_table, noise_table, overview_table, setting_table, significance_table
from galc.plots.curves import error_curves, learning_curves, noise_curves, noise_panels
from galc.plots.dominance import dominance_matrix, lead_intervals, rank_intervals
from galc.plots.groups import paired, ranked, setting
from galc.plots.labels import calibration_curve, label_montage, label_statistics
from galc.plots.matrices import (
    diagonal_scatter,
    row_errors,
    transition_comparison,
    transition_heatmap,
    transition_levels,
    transition_panels,
)
from galc.plots.noise import noise_by_class, requested_vs_observed
from galc.plots.rates import rate_intervals
from galc.plots.robustness import budget_curves, cost_scatter, ladder_bars, setting_dots
from galc.plots.rows import transition_row
from galc.plots.style import method_style, method_title, rendered, style
from galc.plots.tables import (
    budget_table,
    cost_table,
    error_table,
    history_frame,
    margin_table,
    part_table,
    peak_table,
    record_table,
    results_frame,
    results_table,
    run_table,
)

__all__ = [
    "budget_curves",
    "budget_table",
    "calibration_curve",
    "class_gains",
    "cost_scatter",
    "cost_table",
    "decision_table",
    "diagonal_scatter",
    "dominance_matrix",
    "dot_panels",
    "error_curves",
    "error_table",
    "history_frame",
    "label_montage",
    "label_statistics",
    "ladder_bars",
    "lead_intervals",
    "learning_curves",
    "learning_panels",
    "margin_table",
    "method_style",
    "method_title",
    "noise_by_class",
    "noise_curves",
    "noise_panels",
    "noise_table",
    "overview_table",
    "paired",
    "part_table",
    "peak_table",
    "rank_intervals",
    "ranked",
    "rate_intervals",
    "record_table",
    "rendered",
    "requested_vs_observed",
    "results_frame",
    "results_table",
    "row_errors",
    "run_table",
    "setting",
    "setting_dots",
    "setting_table",
    "significance_table",
    "style",
    "transition_comparison",
    "transition_heatmap",
    "transition_levels",
    "transition_panels",
    "transition_row",
]
