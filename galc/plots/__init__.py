"""Pure drawing functions: data in, Matplotlib axes out. They train nothing, read no file, and change no global setting.

A function with one panel takes an ``ax`` (or makes one) and returns it; one with several panels returns them all.
Percentages are on the axes wherever a fraction goes in; bands are mean ± standard deviation over seeds.
"""

from galc.checks import needs

needs("matplotlib", "study")
needs("seaborn", "study")

from galc.plots.ablation import class_gains, dot_panels, ladder_bars, rate_intervals
from galc.plots.curves import (
    budget_curves,
    error_curves,
    learning_curves,
    learning_panels,
    loss_curves,
    noise_curves,
    noise_panels,
)
from galc.plots.matrices import (
    diagonal_scatter,
    transition_comparison,
    transition_heatmap,
    transition_levels,
    transition_panels,
    transition_row,
)
from galc.plots.noise import calibration_curve, label_montage, label_statistics, noise_by_class, requested_vs_observed
from galc.plots.settings import cost_scatter, dominance_matrix, lead_intervals, rank_intervals, setting_dots
from galc.plots.style import method_style, rendered, style
