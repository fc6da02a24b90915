"""Pure drawing functions: data in, Matplotlib axes out. They train nothing, read no file, and change no global setting.

A function with one panel takes an ``ax`` (or makes one) and returns it; one with several panels returns them all.
Percentages are on the axes wherever a fraction goes in; bands are mean ± standard deviation over seeds.
"""

from galc.plots.ablation import dot_panels, learning_panels
from galc.plots.classes import class_gains
from galc.plots.curves import error_curves, learning_curves, noise_curves, noise_panels
from galc.plots.groups import paired, setting
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
from galc.plots.rows import transition_row
from galc.plots.style import method_style, style
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
    "budget_table",
    "calibration_curve",
    "class_gains",
    "cost_table",
    "diagonal_scatter",
    "dot_panels",
    "error_curves",
    "error_table",
    "history_frame",
    "label_montage",
    "label_statistics",
    "learning_curves",
    "learning_panels",
    "margin_table",
    "method_style",
    "noise_by_class",
    "noise_curves",
    "noise_panels",
    "paired",
    "part_table",
    "peak_table",
    "record_table",
    "requested_vs_observed",
    "results_frame",
    "results_table",
    "row_errors",
    "run_table",
    "setting",
    "style",
    "transition_comparison",
    "transition_heatmap",
    "transition_levels",
    "transition_panels",
    "transition_row",
]
