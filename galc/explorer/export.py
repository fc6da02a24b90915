"""What an explorer writes: the static picture of a scene, as PNG and SVG, and its matrices as CSV."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from galc import plots, store
from galc.estimators.base import row_errors
from galc.explorer.figure import Scene

KINDS = ("png", "svg", "csv")


def picture(scene: Scene) -> Figure:
    """The three matrices as they are shown, and below them the chosen row; pyplot does not know the figure."""
    view, names = scene.view, [scene.classes[k] for k in scene.view.index]
    groups = [scene.groups[k] for k in view.index] if scene.groups else None
    with plots.style():
        figure = Figure(figsize=(11.5, 7.2))
        grid = figure.add_gridspec(2, 1, height_ratios=(1.55, 1))
        upper, lower = grid[0].subgridspec(1, 3), grid[1].subgridspec(1, 2, width_ratios=(1, 6))
        maps = [figure.add_subplot(upper[n]) for n in range(3)]
        plots.transition_panels(view.true, view.estimate, names, groups, f"estimated: {scene.title}", maps)
        row, diagonal = row_errors(scene.estimate, scene.true)
        maps[2].set_title(f"difference\nrow L1 {row:.3f}, diagonal {diagonal:.3f}")
        bars = [figure.add_subplot(lower[n]) for n in range(2)]
        name = scene.classes[scene.k]
        plots.transition_row(scene.true, scene.estimate, name, scene.classes, scene.images, axes=bars)
    for ax in maps:
        ax.collections[0].set_rasterized(True)  # thousands of cells are an image inside an SVG; all else stays vector
    return figure


def frame(scene: Scene) -> pd.DataFrame:
    """The shown entries, one a row in the order shown: true_label, noisy_label, true, estimated, difference."""
    view = scene.view
    names = np.array([scene.classes[k] for k in view.index], dtype=object)
    rows, columns = np.nonzero(np.isfinite(view.estimate))
    return pd.DataFrame(
        {
            "true_label": names[rows],
            "noisy_label": names[columns],
            "true": view.true[rows, columns],
            "estimated": view.estimate[rows, columns],
            "difference": view.difference[rows, columns],
        }
    )


def write(scene: Scene, kind: str, words: Sequence[str]) -> Path:
    """Write a scene to ``outputs/exports``, whole or not at all; the file's name is made of ``words``.

    Raises ValueError for a kind that is none of KINDS.
    """
    if kind not in KINDS:
        raise ValueError(f"an export is one of {', '.join(KINDS)}, got {kind!r}")
    name = re.sub(r"[^\w.=-]+", "-", "_".join(word for word in words if word)).strip("-")[:150]
    path = store.outputs() / "exports" / f"{name}.{kind}"
    with store.atomic(path) as temporary:
        if kind == "csv":
            frame(scene).to_csv(temporary, index=False)
        else:
            temporary.write_bytes(plots.rendered(picture(scene), kind))
    return path
