"""A metric against noise (Figs. 2 and 5 of the paper), epochs (Figs. 6a and 6c), or a budget of clean images.

Each is a line a method, its mean over seeds in a band of ± std. Tables have a row per run (and epoch): method, seed,
what it is drawn against, and the metric in percent.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import MaxNLocator

from galc.plots.style import AXES, Look, band, label_ends, method_style, method_styles, panels, style
from galc.results.groups import group_label, group_title, over_seeds

DASHES = [(0, ()), (0, (5, 1.5)), (0, (2, 1)), (0, (6, 1.5, 1, 1.5))]


def named(metric: str) -> str:
    return metric.replace("_macro", ", macro")


@style()
def noise_curves(
    table: pd.DataFrame,
    metric: str = "mAP",
    published: pd.DataFrame | None = None,
    ax: Axes | None = None,
    labels: bool = True,
) -> Axes:
    """Figs. 2 and 5: a metric against the noise level, one line a method, mean ± std over seeds.

    ``published`` (`galc.results.about_the_paper.reported`) is drawn as thin dashed lines. ``labels=False``
    leaves the names to a legend.
    """
    ax, ends, curves = ax or panels(1, (7.6, 4.8))[0], [], over_seeds(table, "noise", metric)
    for look, curve in zip(method_styles(curves).values(), curves.values(), strict=True):
        ends.append(band(ax, curve, look, 100 * curve.index))
    for name, curve in (over_seeds(published, "noise", metric) if published is not None else {}).items():
        look = method_style(name)._replace(title=f"{method_style(name).title} (paper)", marker="")
        ends.append(band(ax, curve, look, 100 * curve.index, linestyle="--", linewidth=0.9, zorder=2))
    ax.set(xlabel="labels flipped (%)", ylabel=f"{named(metric)} (%)")
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
    """Fig. 5: one panel a metric beside each other, with one legend below. Arguments as in `noise_curves`."""
    axes = panels(len(metrics), (3.3 * len(metrics), 3.9), sharey=True)
    for ax, metric, letter in zip(axes, metrics, "abcdefgh", strict=False):
        noise_curves(table, metric, published, ax, labels=False)
        ax.set(title=f"({letter}) {named(metric)}", ylabel="")
    axes[0].set_ylabel("on the clean test set (%)")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return axes


@style()
def learning_curves(
    history: pd.DataFrame,
    metric: str = "mAP",
    ax: Axes | None = None,
    published: Mapping[str, int] | None = None,
) -> Axes:
    """Fig. 6a, memorization: a metric against epochs. The peak of the mean is marked, the last epoch is labelled.

    ``published``: the epochs of the paper's peaks, by method, marked at the lower edge.
    """
    ax, ends, curves = ax or panels(1, (7.2, 4.4))[0], [], over_seeds(history, "epoch", metric)
    for look, curve in zip(method_styles(curves).values(), curves.values(), strict=True):
        x, last, title, colour = band(ax, curve, look, marker="")
        peak, highest = curve["mean"].idxmax(), curve["mean"].max()
        ax.plot(peak, highest, "*", color=colour, markersize=10, markeredgecolor="white", zorder=4)
        ends.append((x, last, f"{title}  {last:.1f}" + (f"  (peak {highest:.1f})" if peak != x else ""), colour))
    for name, epoch in (published or {}).items():
        star = dict(color=method_style(name).colour, fillstyle="none", markersize=9)
        ax.plot(epoch, 0.02, "*", transform=ax.get_xaxis_transform(), **star)
    paper = ", ☆ the paper's" if published else ""
    ax.set(xlabel=f"epoch (★ the highest{paper})", ylabel=f"{metric} on the clean test set (%)")
    ax.set_xmargin(0.02)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    label_ends(ax, ends)
    return ax


@style()
def learning_panels(
    history: pd.DataFrame, by: str, metric: str = "mAP", reference: pd.DataFrame | None = None
) -> Sequence[Axes]:
    """Fig. 6c: a metric against epochs, one panel a method, one line a group of ``by``, mean ± std over seeds.

    The groups share the method's colour and differ in shade and dashes. ``reference``, the same for one method that
    does not depend on ``by``, is drawn in every panel. Returns one axes a method.
    """
    names = list(history["method"].unique())
    axes, ends = panels(len(names), (4.6 * len(names) + 0.4, 3.9), sharex=True, sharey=True), {}
    for ax, name in zip(axes, names, strict=True):
        method, curves = method_style(name), over_seeds(history[history["method"] == name], "epoch", metric, series=by)
        lines = [
            (curve, Look(group_label(by, group), colour, ""), DASHES[n % len(DASHES)])
            for n, ((group, curve), colour) in enumerate(
                zip(curves.items(), shades(method.colour, len(curves)), strict=True)
            )
        ]
        for other, curve in (over_seeds(reference, "epoch", metric) if reference is not None else {}).items():
            lines.append((curve, method_style(other)._replace(marker=""), (0, (1, 1))))
        found = [band(ax, curve, look, linestyle=dashes) for curve, look, dashes in lines]
        ends[ax] = [(x, y, f"{title}  {y:.1f}", colour) for x, y, title, colour in found]
        ax.set(title=f"{method.title}, {group_title(by)}", xlabel="epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel(f"{metric} on the clean test set (%)")
    axes[0].set_xmargin(0.02)
    for ax in axes:  # only now are the limits final
        label_ends(ax, ends[ax])
    return axes


def shades(colour: str, count: int) -> list[tuple]:
    """``count`` colours of one method, from its dark to its light shade."""
    dark = 0.75 * np.array(to_rgb(colour))
    light = 0.45 * np.array(to_rgb(colour)) + 0.55
    return [tuple((1 - w) * dark + w * light) for w in (np.linspace(0, 0.9, count) if count > 1 else [0.3])]


@style()
def error_curves(errors: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How far estimates of C are from the true one, against the noise level: a line an estimator, mean ± std.

    ``errors`` (`galc.study.runs.estimator_errors`) has a row per estimate: estimator, noise in [0, 1], seed, row_l1.
    The axis is logarithmic above 0.1 and linear below. Grey: the error of believing every label, 2 · noise.
    """
    ax, curves = ax or panels(1, (7.2, 4.4))[0], over_seeds(errors, "noise", "row_l1", series="estimator")
    for look, curve in zip(method_styles(curves).values(), curves.values(), strict=True):
        band(ax, curve, look, 100 * curve.index, markersize=6)
    levels = np.array(sorted(errors["noise"].unique()))
    ax.plot(100 * levels, 2 * levels, color="#999999", linestyle=":", label="C = identity")
    ax.set_yscale("symlog", linthresh=0.1)
    ax.set_ylim(0, None)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(xlabel="labels flipped (%)", ylabel=AXES["row_l1"], xticks=100 * levels)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return ax


@style()
def budget_curves(
    table: pd.DataFrame,
    by: str,
    metrics: Sequence[str] = ("mAP", "C_row_l1"),
    believing: float | None = None,
) -> Sequence[Axes]:
    """Metrics against a budget of clean images (gold_fraction, single_label_limit), one line a method, mean ± std.

    Methods without a metric (no C) are left out of its panel, and a metric that none has altogether. ``believing``: the
    row L1 error of the identity, of who takes every label as it is; above it, an estimate is worse than none. Budgets
    are evenly spaced, as in the table.
    """
    metrics = [metric for metric in metrics if metric in table and table[metric].notna().any()]
    axes = panels(len(metrics), (5.2 * len(metrics) + 0.6, 4.0))
    for ax, metric in zip(axes, metrics, strict=True):
        known = table.dropna(subset=metric)
        curves = over_seeds(known, by, metric)
        groups = sorted(known[by].unique()) if pd.api.types.is_numeric_dtype(known[by]) else list(table[by].unique())
        for look, curve in zip(method_styles(curves).values(), curves.values(), strict=True):
            band(ax, curve, look, [groups.index(group) for group in curve.index])
        if metric == "C_row_l1" and believing is not None:
            ax.axhline(believing, color="black", linestyle=":", linewidth=1.1, label="every label believed")
        ax.set_xticks(range(len(groups)), [group_label(by, group) for group in groups])
        ax.set(xlabel=group_title(by), ylabel=AXES.get(metric, metric))
    handles = {line.get_label(): line for ax in axes for line in ax.get_legend_handles_labels()[0]}
    axes[0].figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=min(len(handles), 5))
    return axes


@style()
def loss_curves(losses: Mapping[str, Callable], num_classes: int) -> Sequence[Axes]:
    """The loss of one class against its output p: where its label is given, and where it is not.

    ``losses``: name -> function of logits (n, K) and labels (n, K) that returns losses (n, K). The image surely shows
    the second class, and no other; none of their labels is given.
    """
    axes = panels(2, (7.6, 3.4))
    logits = np.full((141, num_classes), -8, np.float32)
    logits[:, 0], logits[:, 1] = np.linspace(-7, 7, len(logits)), 8
    for ax, given in zip(axes, (1, 0), strict=True):
        labels = np.zeros_like(logits)
        labels[:, 0] = given
        for (name, loss), dashes in zip(losses.items(), DASHES, strict=False):
            drawn = np.asarray(loss(logits, labels))[:, 0]
            ax.plot(1 / (1 + np.exp(-logits[:, 0])), drawn, label=name, linestyle=dashes)
        ax.set(xlabel="output p", title="label given" if given else "label not given")
    axes[0].set_ylabel("loss")
    axes[0].legend()
    return axes
