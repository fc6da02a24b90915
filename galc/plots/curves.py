"""Metrics against noise (Figs. 2 and 5 of the paper) and against epochs (Fig. 6a)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from galc.plots.groups import over_seeds
from galc.plots.style import label_ends, method_style, method_styles, style


def draw_bands(ax: Axes, curves: dict[str, pd.DataFrame], scale: float = 1.0, marker: bool = True) -> None:
    """One line a method through the means, a band of ± std around it."""
    looks = method_styles(curves)
    for name, curve in curves.items():
        look, x = looks[name], curve.index.to_numpy() * scale
        mark = look.marker if marker else ""
        ax.plot(x, curve["mean"], color=look.colour, marker=mark, label=look.title, zorder=3)
        low, high = curve["mean"] - curve["std"], curve["mean"] + curve["std"]
        ax.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0)


@style()
def noise_curves(
    table: pd.DataFrame,
    metric: str = "mAP",
    published: pd.DataFrame | None = None,
    ax: Axes | None = None,
    labels: bool = True,
) -> Axes:
    """Figs. 2 and 5: a metric against the noise level, one line a method, mean ± std over seeds.

    ``table`` has a row per run: method, noise in [0, 1], seed, and the metric in percent. ``published``
    (``galc.results.published.table()``) is drawn as thin dashed lines. ``labels=False`` leaves the names to a legend.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.6, 4.8), layout="constrained")
    curves = over_seeds(table, "noise", metric)
    draw_bands(ax, curves, scale=100)
    looks = method_styles(curves)
    ends = [(c.index[-1] * 100, c["mean"].iloc[-1], *looks[name][:2]) for name, c in curves.items()]
    for name, curve in (over_seeds(published, "noise", metric) if published is not None else {}).items():
        look, x = method_style(name), curve.index.to_numpy() * 100
        ax.plot(x, curve["mean"], "--", color=look.colour, linewidth=0.9, label=f"{look.title} (paper)", zorder=2)
        ends.append((x[-1], curve["mean"].iloc[-1], f"{look.title} (paper)", look.colour))
    ax.set(xlabel="labels flipped (%)", ylabel=f"{metric.replace('_macro', ', macro')} (%)")
    ax.set_xticks(sorted(100 * table["noise"].unique()))
    ax.set_xmargin(0.02)
    if labels:
        label_ends(ax, ends)
    return ax


@style()
def noise_panels(
    table: pd.DataFrame,
    published: pd.DataFrame | None = None,
    metrics: Sequence[str] = ("mAP", "CF1", "OF1"),
) -> Sequence[Axes]:
    """Fig. 5: one panel a metric beside each other, with one legend below. Arguments as in ``noise_curves``."""
    figure, axes = plt.subplots(1, len(metrics), figsize=(3.3 * len(metrics), 3.9), sharey=True, layout="constrained")
    axes = [axes] if len(metrics) == 1 else list(axes)
    for ax, metric, letter in zip(axes, metrics, "abcdefgh", strict=False):
        noise_curves(table, metric, published, ax, labels=False)
        ax.set(title=f"({letter}) {metric.replace('_macro', ', macro')}", ylabel="")
    axes[0].set_ylabel("on the clean test set (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return axes


@style()
def learning_curves(
    history: pd.DataFrame,
    metric: str = "mAP",
    ax: Axes | None = None,
    published: Mapping[str, int] | None = None,
) -> Axes:
    """Fig. 6a, memorization: a metric against epochs. The peak of the mean is marked, the last epoch is labelled.

    ``history`` has a row per run and epoch: method, epoch (from 1), seed, and the metric in percent. ``published``:
    the epochs of the paper's peaks, by method, marked at the lower edge.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    curves = over_seeds(history, "epoch", metric)
    draw_bands(ax, curves, marker=False)
    ends, looks = [], method_styles(curves)
    for name, curve in curves.items():
        look, mean = looks[name], curve["mean"]
        peak, last = mean.idxmax(), mean.iloc[-1]
        ax.plot(peak, mean[peak], "*", color=look.colour, markersize=10, markeredgecolor="white", zorder=4)
        text = f"{look.title}  {last:.1f}" + (f"  (peak {mean[peak]:.1f})" if peak != mean.index[-1] else "")
        ends.append((mean.index[-1], last, text, look.colour))
    for name, epoch in (published or {}).items():
        colour = method_style(name).colour
        ax.plot(epoch, 0.02, "*", color=colour, fillstyle="none", markersize=9, transform=ax.get_xaxis_transform())
    paper = ", ☆ the paper's" if published else ""
    ax.set(xlabel=f"epoch (★ the highest{paper})", ylabel=f"{metric} on the clean test set (%)")
    ax.set_xmargin(0.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(ax, ends)
    return ax


@style()
def error_curves(errors: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How far estimates of C are from the true one, against the noise level: a line an estimator, mean ± std.

    ``errors`` (`galc.study.runs.estimator_errors`) has a row per estimate: estimator, noise in [0, 1], seed, row_l1.
    The axis is logarithmic above 0.1 and linear below. Grey: the error of believing every label, 2 · noise.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(7.2, 4.4), layout="constrained")
    data = errors.assign(percent=100 * errors["noise"])
    sns.lineplot(data, x="percent", y="row_l1", hue="estimator", style="estimator", markers=True, dashes=False,
                 errorbar="sd", palette="colorblind", markersize=7, ax=ax)  # fmt: skip
    levels = sorted(data["percent"].unique())
    ax.plot(levels, [level / 50 for level in levels], color="#999999", linestyle=":", label="C = identity")
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set_ylim(0, None)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(xlabel="labels flipped (%)", ylabel="mean row L1 error of C", xticks=levels)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax
