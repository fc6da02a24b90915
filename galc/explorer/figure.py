"""The explorer's figure in Plotly: three heatmaps with class names on hover, and below them one row as bars.

Pure functions, `contents` for what a scene changes and `skeleton` for what stays; `Figure` is the widget made of them.
"""

import html
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import plotly
import plotly.graph_objects as go
import traitlets
from matplotlib import colormaps
from matplotlib.colors import to_hex
from plotly.serializers import custom_serializers

from galc.plots.matrices import FLOOR
from galc.plots.style import BLUE
from galc.results import matrices

COLUMNS = {"xaxis": (0.0, 0.265), "xaxis2": (0.28, 0.545), "xaxis3": (0.64, 0.905)}  # where the heatmaps are
MAPS, BARS = slice(0, 3), slice(5, 9)  # traces: heatmaps, and bars; those between carry the colour bars
LINEAR = 0.01  # colours of differences are linear up to here, logarithmic beyond
NAMED = 30  # so many classes have room for every name
FONT = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"
SERIES = {
    "estimated": {"color": BLUE},
    "true": {"color": "#ffffff", "line": {"color": "#222222", "width": 1},
             "pattern": {"shape": "/", "fgcolor": "#222222", "size": 6, "solidity": 0.25}},
}  # fmt: skip
BUNDLE = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"
NO_BUTTONS = ["sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d"]  # the first uploads the data


@dataclass(frozen=True, eq=False)
class Scene:
    """All that the figure shows. ``true`` and ``estimate`` are (K, K); ``view`` is what the heatmaps have of them."""

    view: matrices.View
    true: np.ndarray
    estimate: np.ndarray
    classes: Sequence[str]
    groups: Sequence[str] | None
    k: int  # the class whose row is shown
    title: str  # of the estimate
    images: str  # what is behind the row


def contents(scene: Scene) -> tuple[list[dict], dict]:
    """Heatmaps and bars of a scene, and its layout: matrices are float32, and the axes alone hold the names."""
    view, k, row = scene.view, scene.k, (scene.estimate[scene.k], scene.true[scene.k])
    names, own = [escaped(scene.classes[c]) for c in view.index], escaped(scene.classes[k])
    shown = view.estimate, view.true, view.difference
    maps = [{"z": matrix.astype(np.float32), "x": names, "y": names} for matrix in shown]
    targets = matrices.targets(row[1], row[0], k)
    bars = [
        {"x": [escaped(scene.classes[c]) for c in shown], "y": values[shown].astype(np.float32)}
        for shown in ([k], targets)
        for values in row
    ]
    titles = [
        f"<b>estimated</b>: {escaped(scene.title)}",
        "<b>true</b>",
        "<b>estimated − true</b>",
        f"<b>row of {own}</b>" + (f": {escaped(scene.images)}" if scene.images else ""),
        f"{own} kept",
        f"{own} turned into",
    ]
    groups = group_runs(scene.groups, view.index)
    across = {"categoryarray": names} | group_ticks(groups, names)
    layout = {axis: across for axis in COLUMNS} | {
        "yaxis": {"categoryarray": names},
        "annotations": [{"text": text} for text in titles],
        "shapes": shapes(view.index, k, groups),
    }
    return maps + bars, layout


# --- what changes --------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """Text that Plotly, which reads a little HTML, shows as it is."""
    return html.escape(text, quote=False)  # it knows no entity of a quotation mark


def group_runs(groups: Sequence[str] | None, index: np.ndarray) -> list[tuple[str, int, int]]:
    """(group, start, stop) of each group; none where they are mixed, too many, or each class has room for its name."""
    if groups is None or len(index) <= NAMED:
        return []
    runs = [(name, len(list(run))) for name, run in groupby(groups[k] for k in index)]
    if len(runs) > min(NAMED, len({name for name, _ in runs})):
        return []
    stops = np.cumsum([length for _, length in runs]).tolist()
    return [(name, stop - length, stop) for (name, length), stop in zip(runs, stops, strict=True)]


def group_ticks(groups: list[tuple[str, int, int]], names: list[str]) -> dict:
    """Ticks of a horizontal axis: the middle of each group, or what Plotly has room for."""
    if not groups:
        return {"tickmode": "auto"}
    middles = [names[(start + stop - 1) // 2] for _, start, stop in groups]
    return {"tickmode": "array", "tickvals": middles, "ticktext": [escaped(name) for name, _, _ in groups]}


def shapes(index: np.ndarray, k: int, groups: list[tuple[str, int, int]]) -> list[dict]:
    """In each heatmap a frame around the row of class k, and thin lines between the groups; hidden where there is none.

    They are always six, so that a move changes a few numbers. Places are counts of classes from the first, 0.
    """
    places, last = np.flatnonzero(index == k), len(index) - 0.5
    at = int(places[0]) if len(places) else 0
    row = {"y0": at - 0.5, "y1": at + 0.5, "visible": bool(len(places))}
    stops = [stop - 0.5 for _, _, stop in groups[:-1]]
    lines = [f"M-0.5,{stop}L{last},{stop}M{stop},-0.5L{stop},{last}" for stop in stops]
    return 3 * [row] + 3 * [{"path": "".join(lines) or "M0,0L0,0", "visible": bool(lines)}]


# --- what stays ----------------------------------------------------------------------------------------------------


def skeleton() -> dict:
    """Traces and layout as far as they never change."""
    hover = "%{y} → %{x}: %{z:.4f}<extra></extra>"
    signed = hover.replace(":.4f", ":+.4f")
    shared = {"type": "heatmap", "yaxis": "y", "zmax": 1, "showscale": False, "hoverongaps": False}
    maps = [
        shared | {"xaxis": axis, "zmin": low, "colorscale": colours, "hovertemplate": template}
        for axis, low, colours, template in (
            ("x", 0, log_colours(), hover),
            ("x2", 0, log_colours(), hover),
            ("x3", -1, symlog_colours(), signed),
        )
    ]
    scales = [
        colour_bar("viridis", -3, 0, ("≤ 0.001", "0.01", "0.1", "1"), "entry of C", 0.55),
        colour_bar("RdBu_r", -3, 3, ("−1", "−0.1", "−0.01", "0", "+0.01", "+0.1", "+1"), "difference", 0.91),
    ]
    bars = [
        {"type": "bar", "xaxis": axis, "yaxis": axis.replace("x", "y"), "name": name, "marker": look,
         "showlegend": axis == "x5", "hovertemplate": f"%{{x}}, {name}: %{{y:.4f}}<extra></extra>"}
        for axis in ("x4", "x5")
        for name, look in SERIES.items()
    ]  # fmt: skip
    return {"data": maps + scales + bars, "layout": frame()}


def frame() -> dict:
    """The layout: where everything is."""
    title = {"xref": "paper", "yref": "paper", "showarrow": False, "xanchor": "left", "yanchor": "bottom", "text": ""}
    places = [(left, 1.005) for left, _ in COLUMNS.values()] + [(0, 0.285), (0, 0.24), (0.16, 0.24)]
    frames = (("x", "white"), ("x2", "white"), ("x3", "black"))
    row = {"type": "rect", "yref": "y", "x0": 0, "x1": 1}
    lines = {"type": "path", "yref": "y", "line": {"color": "#999999", "width": 0.6}}
    category = {"type": "category", "categoryorder": "array", "ticks": "", "showgrid": False, "tickfont": {"size": 10}}
    across = {"anchor": "y", "tickangle": -90, "title": {"text": "noisy label", "standoff": 8}}
    axes = {axis: category | across | {"domain": domain} for axis, domain in COLUMNS.items()}
    named, valued = category | {"tickfont": {"size": 11}}, {"domain": (0, 0.235), "rangemode": "tozero"}
    axes |= {
        "yaxis": category | {"domain": (0.48, 1), "title": {"text": "true label"}},
        "xaxis4": named | {"domain": (0, 0.1), "anchor": "y4", "showticklabels": False},
        "xaxis5": named | {"domain": (0.16, 0.905), "anchor": "y5"},
        "yaxis4": valued | {"anchor": "x4", "title": {"text": "entry of C"}},
        "yaxis5": valued | {"anchor": "x5"},
        "xaxis6": {"visible": False, "domain": (0.9995, 1)},  # of the traces that carry the colour bars
        "yaxis6": {"visible": False, "domain": (0.9995, 1)},
    }
    return axes | {
        "height": 820,
        "margin": {"l": 100, "r": 10, "t": 30, "b": 40},
        "font": {"family": FONT, "size": 12, "color": "#222222"},
        "plot_bgcolor": "#eeeeee",
        "hoverlabel": {"font": {"size": 14}},
        "annotations": [title | {"x": x, "y": y} for x, y in places],
        "shapes": [row | {"xref": f"{axis} domain", "line": {"color": colour, "width": 1.3}} for axis, colour in frames]
        + [lines | {"xref": axis} for axis, _ in frames],
        "legend": {"orientation": "h", "x": 0.905, "xanchor": "right", "y": 0.28, "yanchor": "bottom"},
        "bargap": 0.3,
        "modebar": {"orientation": "v"},
    }


def colour_bar(colours: str, low: int, high: int, labels: Sequence[str], title: str, x: float) -> dict:
    """A trace without points: the colour bar of heatmaps whose logarithmic colours Plotly cannot label by itself."""
    stops = [(p, to_hex(colormaps[colours](p))) for p in np.linspace(0, 1, 33).tolist()]
    bar = {"title": {"text": title, "side": "right"}, "x": x, "xanchor": "left", "y": 1, "yanchor": "top", "len": 0.52,
           "thickness": 12, "tickvals": list(range(low, high + 1)), "ticktext": list(labels)}  # fmt: skip
    marker = {"color": [low], "colorscale": stops, "cmin": low, "cmax": high, "showscale": True, "colorbar": bar}
    return {"type": "scatter", "mode": "markers", "x": [None], "y": [None], "xaxis": "x6", "yaxis": "y6",
            "marker": marker, "hoverinfo": "skip", "showlegend": False}  # fmt: skip


def log_colours() -> list[tuple[float, str]]:
    """Viridis on a log scale from FLOOR to 1, given as stops of a linear one, so that cells keep their true values."""
    places = np.linspace(0, 1, 33)
    return stops(zip([0.0, *FLOOR ** (1 - places)], [0.0, *places], strict=True), "viridis")


def symlog_colours() -> list[tuple[float, str]]:
    """Blue to red over [-1, 1], linear within ± LINEAR and logarithmic beyond, given as stops of a linear scale."""
    span = 1 - np.log10(LINEAR)  # one decade's width for the linear part
    steps = np.linspace(-span, span, 49)
    size = np.abs(steps)
    values = np.sign(steps) * np.where(size <= 1, size * LINEAR, LINEAR * 10.0 ** (size - 1))
    return stops(zip((values + 1) / 2, (steps / span + 1) / 2, strict=True), "RdBu_r")


def stops(pairs: Iterable[tuple[float, float]], colours: str) -> list[tuple[float, str]]:
    """A Plotly colour scale from pairs: a place on the linear scale, and the place in a Matplotlib map."""
    return [(min(max(float(place), 0.0), 1.0), to_hex(colormaps[colours](float(at)))) for place, at in pairs]


# --- the widget ----------------------------------------------------------------------------------------------------


def by_rows(value: object) -> object:
    """A message in which each matrix is a list of its rows: of arrays, Plotly sends vectors alone as bytes."""
    if isinstance(value, dict):
        return {name: by_rows(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [by_rows(part) for part in value]
    return list(value) if isinstance(value, np.ndarray) and value.ndim == 2 else value


BYTES = {"sync": True, **custom_serializers}
BYTES["to_json"] = lambda value, widget: custom_serializers["to_json"](by_rows(value), widget)


class Figure(go.FigureWidget):
    """Plotly's widget, started and sized by explorer.js, which says why; matrices travel as bytes."""

    _widget_data = traitlets.List().tag(**BYTES)
    _py2js_update = traitlets.Dict(allow_none=True).tag(**BYTES)
    _py2js_restyle = traitlets.Dict(allow_none=True).tag(**BYTES)
    _esm = Path(__file__).parent / "explorer.js"
    _plotly = traitlets.Unicode(BUNDLE.read_text(encoding="utf-8")).tag(sync=True)


def new(scene: Scene) -> Figure:
    """A widget that shows a scene."""
    figure = Figure(skeleton())
    figure._config = {"responsive": True, "doubleClick": "autosize", "displaylogo": False,
                      "modeBarButtonsToRemove": NO_BUTTONS}  # fmt: skip
    fill(figure, scene)
    return figure


def fill(figure: Figure, scene: Scene) -> None:
    """Bring the widget up to date, in place; the zoom is undone where other classes are shown than before."""
    traces, layout = contents(scene)
    renamed = list(figure.data[0].x or ()) != traces[0]["x"]
    with figure.batch_update():
        for trace, values in zip(figure.data[MAPS] + figure.data[BARS], traces, strict=True):
            trace.update(values)
        figure.update_layout(layout)
        if renamed:  # axes that match each other would keep their old categories
            whole, last = {"autorange": False, "matches": None}, len(traces[0]["x"]) - 0.5
            figure.update_layout({axis: whole | {"range": (-0.5, last)} for axis in COLUMNS})
            figure.update_layout(yaxis=whole | {"range": (last, -0.5)})
    if renamed:
        figure.update_layout({"xaxis2_matches": "x", "xaxis3_matches": "x"})
    # What a page that is loaded again, or a saved notebook, shows; Plotly sets it when it displays a figure by itself.
    figure._widget_layout, figure._widget_data = deepcopy(figure._layout_obj._props), deepcopy(figure._data)
