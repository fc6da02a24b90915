"""Pure drawing functions: data in, Matplotlib axes out. They train nothing, read no file, and change no global setting.

A function with one panel takes an ``ax`` (or makes one) and returns it; one with several panels returns them all.
Percentages are on the axes wherever a fraction goes in; bands are mean ± standard deviation over seeds.
"""

from galc.plots.curves import learning_curves, noise_curves, noise_panels
from galc.plots.labels import calibration_curve, label_montage, label_statistics
from galc.plots.matrices import (
    diagonal_scatter,
    requested_vs_observed,
    row_errors,
    transition_comparison,
    transition_heatmap,
)
from galc.plots.style import method_style, style
from galc.plots.tables import results_frame, results_table

__all__ = [
    "calibration_curve",
    "diagonal_scatter",
    "label_montage",
    "label_statistics",
    "learning_curves",
    "method_style",
    "noise_curves",
    "noise_panels",
    "requested_vs_observed",
    "results_frame",
    "results_table",
    "row_errors",
    "style",
    "transition_comparison",
    "transition_heatmap",
]
