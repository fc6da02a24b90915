"""Pure drawing functions: data in, Matplotlib axes out. They train nothing, read no file, and change no global setting.

A function with one panel takes an ``ax`` (or makes one) and returns it; one with several panels returns them all.
Percentages are on the axes wherever a fraction goes in; bands are mean ± standard deviation over seeds.
"""

from galc.plots.classes import class_gains
from galc.plots.curves import error_curves, learning_curves, noise_curves, noise_panels
from galc.plots.labels import calibration_curve, label_montage, label_statistics
from galc.plots.matrices import (
    diagonal_scatter,
    requested_vs_observed,
    row_errors,
    transition_comparison,
    transition_heatmap,
)
from galc.plots.style import method_style, style
from galc.plots.tables import (
    cost_table,
    error_table,
    history_frame,
    margin_table,
    part_table,
    record_table,
    results_frame,
    results_table,
    run_table,
)

__all__ = [
    "calibration_curve",
    "class_gains",
    "cost_table",
    "diagonal_scatter",
    "error_curves",
    "error_table",
    "history_frame",
    "label_montage",
    "label_statistics",
    "learning_curves",
    "margin_table",
    "method_style",
    "noise_curves",
    "noise_panels",
    "part_table",
    "record_table",
    "requested_vs_observed",
    "results_frame",
    "results_table",
    "row_errors",
    "run_table",
    "style",
    "transition_comparison",
    "transition_heatmap",
]
