"""The matrix explorer: estimated, true and difference matrices to look into, in JupyterLab.

    explorer = Explorer(grid.from_file("params/table1.yaml"))             # the matrices of a study
    explorer = Explorer(Matrices(true, {"mine": estimate}, classes))      # matrices of one's own, up to K = 500 or so

Controls are native ones with a name before them; each part has a class to find it by, galc-run, galc-noise, ..., and
the whole has galc-explorer. A click on a cell of a heatmap chooses the class of its row. Where no widget can live
(GitHub, papermill's output, HTML), the explorer is the picture that `Explorer.picture` draws.
"""

import base64
import html
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from torch import Tensor

from galc import plots, store
from galc.estimators.base import row_errors
from galc.explorer import figure
from galc.explorer.sources import Matrices, Runs, gallery
from galc.progress import track
from galc.results import matrices
from galc.results.groups import Finding, group_label
from galc.study.params import Params

LOOK = {"style": {"description_width": "initial"}, "layout": {"margin": "2px 16px 2px 2px"}}  # of all controls
percent = partial(group_label, "noise")  # a noise level in percent, with as many digits as it needs
KINDS = ("png", "svg", "csv")  # of exports
STRONGEST = [("all", 0), ("100", 100), ("50", 50), ("20", 20), ("10", 10)]
CSS = Path(__file__).with_name("explorer.css").read_text(encoding="utf-8")


class Explorer:
    """Controls, three heatmaps, one row, example images and exports; show it as the last line of a cell.

    ``points``: runs of a study (`galc.study.runs.from_file`), or `galc.explorer.sources.Matrices`; points that differ
    in method or noise alone are one run. ``noise``: begin with the nearest level, by default the highest. Matrices
    that are not in the cache are computed when they are asked for; `prepare` does so ahead.

    An error while a control moves is shown in the status line, and raised. Raises ParameterError where the points do
    not go together.
    """

    def __init__(self, points: Sequence[Params] | Matrices, noise: float | None = None):
        source = self.source = points if isinstance(points, Matrices) else Runs(points)
        first = source.levels[-1] if noise is None else min(source.levels, key=lambda level: abs(level - noise))
        levels = [(percent(level), level) for level in source.levels]
        orders = [how for how in matrices.ORDERS if how not in source.lacking]
        self.run = dropdown("run", list(source.runs))
        self.noise = ipywidgets.SelectionSlider(options=levels, value=first, description="noise",
                                                continuous_update=False, **LOOK)  # fmt: skip
        self.estimator = dropdown("estimator", source.estimators)
        self.scale = dropdown("scale", [(title, name) for name, title in matrices.SCALES.items()])
        self.order = dropdown("order of classes", orders)
        self.strongest = dropdown("strongest confusions", STRONGEST)
        self.label = dropdown("class", [(name, k) for k, name in enumerate(source.classes)])
        self.buttons = {kind: ipywidgets.Button(description=kind.upper()) for kind in KINDS}
        self.status = Status()
        self.summary, self.examples = ipywidgets.HTML(), ipywidgets.HTML()
        self._prepared: set[str] = set()

        true, estimate = self.matrices
        self.label.value = int(np.abs(estimate - true).sum(1).argmax())  # the worst row is a good one to begin with
        self.figure = figure.new(self.scene)
        self.widget = self._arranged()
        self.update()
        self._connect()

    # --- what is shown ---------------------------------------------------------------------------------------------

    @property
    def place(self) -> tuple[str, float]:
        """The chosen run and noise level."""
        return self.run.value, self.noise.value

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray]:
        """The true C and the chosen estimate on the chosen scale; (K, K), classes in the order of the data set."""
        estimate = self.source.estimate(*self.place, self.estimator.value)
        return self.source.true(*self.place), matrices.scaled(estimate, self.scale.value)

    @property
    def images(self) -> str:
        """What is behind the chosen row: "12 gold, 40 single-label, 310 noisy silver images"; "" where unknown."""
        counts = self.source.images(*self.place)
        parts = [f"{count[self.label.value]:,} {kind}" for kind, count in counts.items()]
        return ", ".join(parts) + (" images" if counts else "")

    @property
    def scene(self) -> figure.Scene:
        """What the figure shows, from the values of the controls."""
        source, (true, estimate) = self.source, self.matrices
        order = matrices.ordered(self.order.value, estimate, source.sizes, source.groups)
        view = matrices.view(true, estimate, order, self.strongest.value or None)
        k, title = self.label.value, self.estimator.value
        return figure.Scene(view, true, estimate, source.classes, source.groups, k, title, self.images)

    @property
    def finding(self) -> Finding:
        """How far the chosen row is from the true one, in a sentence."""
        k, (true, estimate) = self.label.value, self.matrices
        return Finding(matrices.row_text(true[k], estimate[k], k, self.source.classes))

    def rows(self) -> pd.DataFrame:
        """One row a class, the worst estimated first: its errors, and how many images of each kind are behind it."""
        true, estimate = self.matrices
        gap = np.abs(estimate - true)
        columns = {"row L1 error": gap.sum(1), "diagonal error": gap.diagonal()} | self.source.images(*self.place)
        table = pd.DataFrame(columns, index=pd.Index(self.source.classes, name="class"))
        return table.sort_values("row L1 error", ascending=False, kind="stable")

    def by_level(self, estimator: str, scale: str = "raw", most: int = 4) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """{"40 % flipped": (true, estimate)} of the chosen run, at up to ``most`` levels from lowest to highest.

        ``scale`` is one of `galc.results.matrices.SCALES`. For `galc.plots.transition_levels`.
        """
        places = np.linspace(0, len(self.source.levels) - 1, most).round().astype(int)
        run, shown = self.run.value, {}
        for level in [self.source.levels[n] for n in np.unique(places)]:
            estimate = matrices.scaled(self.source.estimate(run, level, estimator), scale)
            shown[f"{percent(level)} flipped"] = self.source.true(run, level), estimate
        return shown

    def montage(self, most: int = 6) -> tuple[list[Path], Tensor, Tensor]:
        """Files, clean and noisy labels (n, K) of images that lost the chosen class, for `galc.plots.label_montage`.

        Where fewer than ``most`` lost it, others with the class follow. A study's runs alone have images.
        """
        study, index = self.source.study(*self.place), self.source.telling(*self.place, self.label.value, most)
        return [study.train.files[i] for i in index], study.train.labels[index], study.observed[index]

    def prepare(self, estimators: Sequence[str] | None = None) -> "Explorer":
        """Compute all matrices of the chosen run (of ``estimators``), so that every move of a control answers at once.

        An estimator that lacks the images it needs is reported and left out. Returns the explorer.
        """
        run, names = self.run.value, estimators or self.source.estimators
        pairs = [(level, name) for level in self.source.levels for name in names]
        for level, name in track(pairs, len(pairs), f"matrices of {run}", "matrices"):
            try:
                self.source.estimate(run, level, name)
            except ValueError as error:
                print(f"{name} at {percent(level)} noise: {error}")
        self._prepared.add(run)
        self.noise.continuous_update = True
        return self

    def picture(self) -> Figure:
        """What is shown, as a static Matplotlib figure: the matrices, and below them the chosen row."""
        return picture(self.scene)

    def export(self, kind: str) -> Path:
        """Write what is shown to outputs/exports as one of KINDS, whole or not at all; the status line names the file.

        Raises ValueError for another kind.
        """
        if kind not in KINDS:
            raise ValueError(f"an export is one of {', '.join(KINDS)}, got {kind!r}")
        scene, several = self.scene, len(self.source.levels) > 1
        words = [self.source.name, self.run.value, f"noise={self.noise.value:g}" if several else ""]
        words += [self.estimator.value, self.scale.value, self.order.value]
        words += [f"strongest={self.strongest.value}" if self.strongest.value else ""]
        words += [] if kind == "csv" else [scene.classes[scene.k]]
        name = re.sub(r"[^\w.=-]+", "-", "_".join(word for word in words if word)).strip("-")[:150]
        path = store.outputs() / "exports" / f"{name}.{kind}"
        with store.atomic(path) as temporary:
            if kind == "csv":
                entries(scene).to_csv(temporary, index=False)
            else:
                temporary.write_bytes(plots.rendered(picture(scene), kind))
        self.status.say(f"written: {path}")
        return path

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        """The widget, and for those who cannot show it the picture."""
        picture = plots.rendered(self.picture())
        return self.widget._repr_mimebundle_() | {
            "text/plain": f"{self.estimator.value} at {percent(self.noise.value)} noise. {self.finding}",
            "image/png": base64.b64encode(picture).decode(),
        }

    # --- the widget ------------------------------------------------------------------------------------------------

    def update(self) -> None:
        """Bring everything up to date with the controls."""
        name = self.estimator.value
        if not self.source.is_ready(*self.place, name):
            self.status.say(f"computing {name} at {percent(self.noise.value)} noise …")
        scene = self.scene
        errors = matrices.matrix_text(scene.true, scene.estimate)
        self.summary.value = f"All rows: {html.escape(errors)}.<br>{html.escape(self.finding)}"
        if (examples := self.source.examples(*self.place, scene.k)) is not None:
            self.examples.value = gallery(examples, scene.classes[scene.k])
        figure.fill(self.figure, scene)
        self.status.say("")

    def _connect(self) -> None:
        for control in (self.run, self.noise, self.estimator, self.scale, self.order, self.strongest, self.label):
            control.observe(self._moved, "value")
        for kind, button in self.buttons.items():
            button.on_click(partial(self._pressed, kind))
        for trace in self.figure.data[figure.MAPS]:
            trace.on_click(self._clicked)

    def _moved(self, change) -> None:
        with self.status.shown():
            self.noise.continuous_update = self.run.value in self._prepared  # else each level passed would be computed
            self.update()

    def _pressed(self, kind: str, button) -> None:
        with self.status.shown():
            self.export(kind)

    def _clicked(self, trace, points, state) -> None:
        with self.status.shown():
            if points.point_inds:
                row, _ = points.point_inds[0]
                self.label.value = int(self.scene.view.index[row])

    def _arranged(self) -> ipywidgets.VBox:
        matrix = {"run": self.run, "noise": self.noise, "estimator": self.estimator, "scale": self.scale}
        look = {"order": self.order, "strongest": self.strongest, "class": self.label}
        texts = {"status": self.status, "summary": self.summary, "examples": self.examples}
        figure = ipywidgets.Box([self.figure], layout={"display": "block", "min_width": "760px"})
        parts = matrix | look | self.buttons | texts | {"figure": figure}
        for name, part in parts.items():
            part.add_class(f"galc-{name}")
        for kind, button in self.buttons.items():
            button.layout.width, button.tooltip = "auto", f"write what is shown to outputs/exports as {kind.upper()}"
        for part, options in ((self.run, list(self.source.runs)), (self.noise, self.source.levels)):
            part.layout.display = "none" if options in ([""], [0.0]) else None
        rows = [list(matrix.values()), [*look.values(), ipywidgets.Label("export"), *self.buttons.values()]]
        lines = [ipywidgets.Box(row, layout={"flex_flow": "row wrap"}) for row in rows]
        style = ipywidgets.HTML(f"<style>{CSS}</style>")
        whole = ipywidgets.VBox([style, *lines, self.status, self.summary, figure, self.examples])
        whole.add_class("galc-explorer")
        return whole


# --- what an export holds --------------------------------------------------------------------------------------------


def picture(scene: figure.Scene) -> Figure:
    """The three matrices as they are shown, and below them the chosen row; pyplot does not know the figure."""
    view, names = scene.view, [scene.classes[k] for k in scene.view.index]
    groups = [scene.groups[k] for k in view.index] if scene.groups else None
    with plots.style():
        page = Figure(figsize=(11.5, 7.2))
        grid = page.add_gridspec(2, 1, height_ratios=(1.55, 1))
        upper, lower = grid[0].subgridspec(1, 3), grid[1].subgridspec(1, 2, width_ratios=(1, 6))
        maps = [page.add_subplot(upper[n]) for n in range(3)]
        plots.transition_panels(view.true, view.estimate, names, groups, f"estimated: {scene.title}", maps)
        row, diagonal = row_errors(scene.estimate, scene.true)
        maps[2].set_title(f"difference\nrow L1 {row:.3f}, diagonal {diagonal:.3f}")
        bars = [page.add_subplot(lower[n]) for n in range(2)]
        name = scene.classes[scene.k]
        plots.transition_row(scene.true, scene.estimate, name, scene.classes, scene.images, axes=bars)
    for ax in maps:
        ax.collections[0].set_rasterized(True)  # thousands of cells are an image inside an SVG; all else stays vector
    return page


def entries(scene: figure.Scene) -> pd.DataFrame:
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


# --- what both widgets, this one and the review, are made of ---------------------------------------------------------


def dropdown(name: str, options: list) -> ipywidgets.Dropdown:
    """A dropdown with its name before it, on its first option."""
    layout = LOOK["layout"] | {"width": "auto", "min_width": "150px"}
    return ipywidgets.Dropdown(options=options, description=name, style=LOOK["style"], layout=layout)


def line(text: str, kind: str = "galc-note") -> str:
    """A line of plain text that screen readers speak when it changes."""
    return f"<div role='status' aria-live='polite' class='{kind}'>{html.escape(text)}</div>"


class Status(ipywidgets.HTML):
    """The line that says what was done, or went wrong."""

    def say(self, text: str, error: bool = False) -> None:
        self.value = line(text, "galc-error" if error else "galc-note")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show an error in the line before it goes on to whoever listens."""
        try:
            yield
        except Exception as error:
            self.say(f"Error: {error} ({type(error).__name__})", error=True)
            raise
