"""The explorer's figure as a widget: made of `galc.explorer.figure`, and brought up to date in place."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import plotly
import plotly.graph_objects as go
import traitlets
from plotly.serializers import custom_serializers

from galc.explorer.figure import BARS, COLUMNS, MAPS, Scene, contents, skeleton

BUNDLE = Path(plotly.__file__).parent / "package_data" / "widgetbundle.js"
NO_BUTTONS = ["sendChartToCloud", "select2d", "lasso2d", "zoomIn2d", "zoomOut2d"]  # the first uploads the data


def by_rows(value: object) -> object:
    """A message in which each matrix is a list of its rows: of arrays, Plotly sends vectors alone as bytes."""
    if isinstance(value, dict):
        return {name: by_rows(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [by_rows(part) for part in value]
    return list(value) if isinstance(value, np.ndarray) and value.ndim == 2 else value


def to_json(value: object, widget: object) -> object:
    """Plotly's own serialization of a message `by_rows`."""
    return custom_serializers["to_json"](by_rows(value), widget)


BYTES = {"sync": True} | custom_serializers | {"to_json": to_json}


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
