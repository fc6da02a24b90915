"""The explorer without a front end: controls are moved as a user does, and what the figure holds is checked."""

import base64
import html
import io
import itertools
import re
import xml.etree.ElementTree as ElementTree

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from galc import plots, store
from galc.estimators.base import row_errors
from galc.explorer.figure import BARS, MAPS
from galc.explorer.sources import Example, Matrices, Runs, gallery
from galc.explorer.widget import Explorer
from galc.results import matrices as confusion
from galc.study.params import ParameterError
from galc.study.runs import expand
from galc.study.stages import Stages

CLASSES = ["cat", "dog", "<b>car</b>", "bus & co", "cup", "fork"]
GROUPS = ["animal", "animal", "vehicle", "vehicle", "kitchen", "kitchen"]
SIZES = [3, 50, 7, 1, 7, 9]


def random_rows(seed: int, size: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(size), size)


@pytest.fixture
def true() -> np.ndarray:
    return 0.6 * np.eye(6) + 0.4 * random_rows(0)


@pytest.fixture
def estimates() -> dict[str, np.ndarray]:
    return {"first": random_rows(1), "second": 3 * random_rows(2) - 1}


@pytest.fixture
def explorer(true, estimates) -> Explorer:
    return Explorer(Matrices(true, estimates, CLASSES, GROUPS, SIZES))


@pytest.fixture(scope="module")
def points(tiny) -> list:
    return expand(tiny, {"noise": [0.0, 0.4], "method": ["asl", "galc-plus"], "seed": [0, 1]})


@pytest.fixture
def study(points) -> Explorer:
    return Explorer(points)


def maps(explorer: Explorer) -> list:
    return list(explorer.figure.data[MAPS])


def bars(explorer: Explorer) -> list:
    return list(explorer.figure.data[BARS])


def names(index) -> list[str]:
    return [html.escape(CLASSES[k]) for k in index]


def assert_shows(explorer: Explorer, view: confusion.View) -> None:
    for trace, matrix in zip(maps(explorer), (view.estimate, view.true, view.difference), strict=True):
        np.testing.assert_array_equal(trace.z, matrix.astype(np.float32))
        assert list(trace.x) == list(trace.y) == names(view.index)
    layout = explorer.figure.layout
    for axis in (layout.xaxis, layout.xaxis2, layout.xaxis3, layout.yaxis):
        assert list(axis.categoryarray) == names(view.index)
    assert layout.yaxis.range == (len(view.index) - 0.5, -0.5)  # the first class on top


def click(explorer: Explorer, trace: int, row: int, column: int) -> None:
    """The message that Plotly's widget sends when a cell is clicked."""
    points = {"trace_indexes": [trace], "point_indexes": [[row, column]], "xs": ["?"], "ys": ["?"]}
    explorer.figure._js2py_pointsCallback = {"event_type": "plotly_click", "points": points}


# --- controls --------------------------------------------------------------------------------------------------------


def test_it_begins_with_the_first_estimate_as_it_is_and_its_worst_row(explorer, true, estimates):
    assert_shows(explorer, confusion.view(true, estimates["first"], np.arange(6)))
    assert explorer.label.value == np.abs(estimates["first"] - true).sum(1).argmax()


def test_the_figure_holds_what_the_pure_functions_say_whatever_is_chosen(explorer, true, estimates):
    explorer.estimator.value = "second"
    for scale, order, most in itertools.product(confusion.SCALES, confusion.ORDERS, (10, 0)):
        explorer.scale.value, explorer.order.value, explorer.strongest.value = scale, order, most
        estimate = confusion.scaled(estimates["second"], scale)
        index = confusion.ordered(order, estimate, SIZES, GROUPS)
        assert_shows(explorer, confusion.view(true, estimate, index, most or None))


def test_every_control_has_a_name_a_class_and_a_way_back(explorer):
    controls = {
        "run": explorer.run, "noise": explorer.noise, "estimator": explorer.estimator, "scale": explorer.scale,
        "order": explorer.order, "strongest": explorer.strongest, "class": explorer.label,
    }  # fmt: skip
    for name, control in (controls | explorer.buttons).items():
        assert f"galc-{name}" in control._dom_classes and control.description
    for control in list(controls.values())[2:]:
        before = [np.array(trace.z) for trace in maps(explorer)]
        first, value = control.value, control.options[-1]
        control.value = value[1] if isinstance(value, tuple) else value
        control.value = first
        for trace, matrix in zip(maps(explorer), before, strict=True):
            np.testing.assert_array_equal(trace.z, matrix)


def test_tab_meets_the_controls_in_the_order_in_which_they_are_read(explorer):
    def inputs(widget):
        if isinstance(widget, ipywidgets.Box):
            return [name for child in widget.children for name in inputs(child)]
        name = getattr(widget, "description", "")
        return [name] if name and widget.layout.display != "none" else []

    wanted = ["estimator", "scale", "order of classes", "strongest confusions", "class", "PNG", "SVG", "CSV"]
    assert inputs(explorer.widget) == wanted  # one's own matrices have no runs and no noise levels


def test_the_row_is_drawn_true_beside_estimated_with_the_diagonal_apart(explorer, true, estimates):
    explorer.label.value = 4
    j = confusion.targets(true[4], estimates["first"][4], 4)
    own, own_true, other, other_true = bars(explorer)
    assert list(own.x) == ["cup"] and list(other.x) == names(j)
    np.testing.assert_allclose(own.y, [estimates["first"][4, 4]], rtol=1e-6)
    np.testing.assert_allclose(own_true.y, [true[4, 4]], rtol=1e-6)
    np.testing.assert_allclose(other.y, estimates["first"][4, j], rtol=1e-6)
    np.testing.assert_allclose(other_true.y, true[4, j], rtol=1e-6)
    errors = confusion.matrix_text(true, estimates["first"])
    row = html.escape(confusion.row_text(true[4], estimates["first"][4], 4, CLASSES))
    assert explorer.summary.value == f"All rows: {errors}.<br>{row}"


@pytest.mark.parametrize("panel", [0, 1, 2])
def test_a_click_on_a_cell_of_any_heatmap_chooses_the_class_of_its_row(explorer, panel):
    explorer.order.value = "frequency"
    click(explorer, panel, row=2, column=5)
    chosen = confusion.ordered("frequency", np.eye(6), SIZES)[2]
    assert explorer.label.value == chosen
    frames = explorer.figure.layout.shapes[:3]
    assert [(frame.y0, frame.y1, frame.visible) for frame in frames] == [(1.5, 2.5, True)] * 3


def test_a_class_that_the_filter_hides_keeps_its_row_but_has_no_frame(explorer, true):
    matrix = true * np.eye(6)
    matrix[0, 1] = 0.4
    explorer = Explorer(Matrices(true, {"one": matrix}, CLASSES))
    explorer.label.value, explorer.strongest.value = 5, 10
    assert list(maps(explorer)[0].x) == ["cat", "dog"] and list(bars(explorer)[0].x) == ["fork"]
    assert not any(frame.visible for frame in explorer.figure.layout.shapes[:3])


def test_a_move_changes_the_figure_in_place_in_one_message_or_two_where_classes_move(explorer):
    traces, messages = [trace.uid for trace in explorer.figure.data], []
    explorer.figure.observe(lambda change: change.new and messages.append(change.new), "_py2js_update")
    explorer.estimator.value = "second"
    assert len(messages) == 1
    explorer.order.value = "frequency"
    assert len(messages) <= 3 and [trace.uid for trace in explorer.figure.data] == traces


def test_a_page_that_is_loaded_again_sees_what_was_shown_last(explorer):
    explorer.estimator.value = "second"
    np.testing.assert_array_equal(explorer.figure._widget_data[0]["z"], maps(explorer)[0].z)


def test_matrices_travel_as_bytes_row_by_row(explorer):
    sent = explorer.figure.get_state("_widget_data")["_widget_data"][MAPS]
    for trace, message in zip(maps(explorer), sent, strict=True):
        assert [row["dtype"] for row in message["z"]] == ["float32"] * 6
        np.testing.assert_array_equal([np.asarray(row["buffer"]) for row in message["z"]], trace.z)


def test_a_zoom_stays_while_the_classes_do_and_is_undone_when_they_change(explorer):
    explorer.figure.plotly_relayout({"yaxis.range[0]": 3, "yaxis.range[1]": 1})
    explorer.estimator.value = "second"
    assert explorer.figure.layout.yaxis.range == (3, 1)
    explorer.order.value = "frequency"
    assert explorer.figure.layout.yaxis.range == (5.5, -0.5)


def test_names_are_text_and_not_markup_wherever_they_are_shown(explorer):
    explorer.label.value = 2
    shown = [explorer.figure.to_json(), explorer.summary.value]
    assert not any("<b>car" in text or "\\u003cb\\u003ecar" in text for text in shown)
    assert "&lt;b&gt;car" in shown[0] and "&lt;b&gt;car" in shown[1]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_error_while_a_control_moves_is_shown_and_reaches_whoever_moved_it(explorer, monkeypatch):
    def broken(*_):
        raise OSError("the disk is <gone>")

    monkeypatch.setattr(explorer.source, "estimate", broken)
    with pytest.raises(OSError, match="the disk is <gone>"):
        explorer.estimator.value = "second"
    assert (
        "Error: the disk is &lt;gone&gt; (OSError)" in explorer.status.value
        and "role='status'" in explorer.status.value
    )
    monkeypatch.undo()
    explorer.estimator.value = "first"
    assert "Error" not in explorer.status.value


def test_an_error_while_exporting_is_shown_and_raised(explorer, monkeypatch, caplog):
    monkeypatch.setattr(store, "atomic", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        explorer.export("csv")
    explorer.buttons["csv"].click()  # ipywidgets itself keeps what a button's callback raises, and logs it
    assert "ZeroDivisionError" in explorer.status.value and "division by zero" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"true": np.eye(3)}, r"true matrix: shape \(3, 3\) does not fit 6 classes"),
        ({"estimates": {"mine": np.ones((6, 5))}}, r"estimate 'mine': shape \(6, 5\) does not fit 6 classes"),
        ({"estimates": {"mine": np.full((6, 6), np.inf)}}, r"estimate 'mine': entry \[0, 0\] is inf"),
        ({"estimates": {}}, "estimates: none given"),
        ({"classes": ["a"] * 6}, "classes: each must have a name of its own"),
        ({"groups": ["a"]}, "groups: 1 for 6 classes"),
        ({"sizes": [1] * 7}, "sizes: 7 for 6 classes"),
    ],
)
def test_matrices_that_do_not_fit_are_refused_by_name(true, estimates, arguments, message):
    whole = {"true": true, "estimates": estimates, "classes": CLASSES, "groups": GROUPS, "sizes": SIZES} | arguments
    with pytest.raises(ValueError, match=message):
        Explorer(Matrices(**whole))


def test_without_groups_or_sizes_their_orders_are_not_offered(true, estimates):
    assert Explorer(Matrices(true, estimates, CLASSES)).order.options == ("data set", "clustering")


# --- the figure ------------------------------------------------------------------------------------------------------


def test_500_classes_work_without_text_in_their_cells():
    size = 500
    true, estimate, classes = np.eye(size), random_rows(0, size), [f"class {k}" for k in range(size)]
    explorer = Explorer(Matrices(true, {"one": estimate}, classes, [f"{k // 50}" for k in range(size)]))
    explorer.order.value = "clustering"
    view = confusion.view(true, estimate, confusion.ordered("clustering", estimate))
    for trace, matrix in zip(maps(explorer), (view.estimate, view.true, view.difference), strict=True):
        np.testing.assert_array_equal(trace.z, matrix.astype(np.float32))
        assert trace.z.dtype == np.float32 and trace.text is None and trace.customdata is None


def test_hover_shows_both_classes_and_the_value_as_it_is(explorer):
    assert [trace.hovertemplate for trace in maps(explorer)] == [
        "%{y} → %{x}: %{z:.4f}<extra></extra>",
        "%{y} → %{x}: %{z:.4f}<extra></extra>",
        "%{y} → %{x}: %{z:+.4f}<extra></extra>",
    ]


def test_both_matrices_share_one_scale_and_differences_have_their_middle_at_0(explorer):
    estimate, true, difference = maps(explorer)
    assert (estimate.zmin, estimate.zmax, estimate.colorscale) == (
        true.zmin,
        true.zmax,
        true.colorscale,
    ) and true.zmax == 1
    assert (difference.zmin, difference.zmax) == (-1, 1)
    stops = dict(difference.colorscale)
    grey = [int(stops[0.5][n : n + 2], 16) for n in (1, 3, 5)]
    assert max(grey) - min(grey) < 5  # neither blue nor red
    for trace in (estimate, difference):
        places = [place for place, _ in trace.colorscale]
        assert places == sorted(places) and (places[0], places[-1]) == (0, 1)


def test_groups_are_named_and_parted_where_there_are_too_many_classes_to_name(true):
    size = 40
    classes, groups = [f"class {k}" for k in range(size)], [f"group {k // 10}" for k in range(size)]
    explorer = Explorer(Matrices(np.eye(size), {"one": random_rows(0, size)}, classes, groups, np.arange(size)))
    layout = explorer.figure.layout
    assert layout.xaxis.ticktext == ("group 0", "group 1", "group 2", "group 3")
    assert layout.xaxis.tickvals == ("class 4", "class 14", "class 24", "class 34")
    assert [shape.visible for shape in layout.shapes[3:]] == [True] * 3
    assert layout.shapes[3].path.startswith("M-0.5,9.5L39.5,9.5M9.5,-0.5L9.5,39.5M-0.5,19.5")
    explorer.order.value = "clustering"
    assert layout.xaxis.tickmode == "auto" and not any(shape.visible for shape in layout.shapes[3:])


# --- what is written -------------------------------------------------------------------------------------------------


def test_the_csv_is_the_shown_matrices(explorer, true, estimates, private_outputs):
    explorer.order.value = "frequency"
    explorer.buttons["csv"].click()
    path = private_outputs / "exports" / "matrices_first_raw_frequency.csv"
    assert html.escape(str(path)) in explorer.status.value
    frame = pd.read_csv(path)
    assert len(frame) == 36 and frame["true_label"][0] == "dog"
    for column, matrix in {
        "true": true,
        "estimated": estimates["first"],
        "difference": estimates["first"] - true,
    }.items():
        back = frame.pivot(index="true_label", columns="noisy_label", values=column).loc[CLASSES, CLASSES]
        np.testing.assert_allclose(back, matrix)


def test_a_filtered_csv_has_the_confusions_and_the_diagonal_of_their_classes(explorer, estimates):
    explorer.strongest.value = 10
    frame = pd.read_csv(explorer.export("csv"))
    off = frame[frame["true_label"] != frame["noisy_label"]]
    kept = confusion.strongest(estimates["first"], 10)
    assert {tuple(row) for row in off[["true_label", "noisy_label"]].to_numpy()} == {
        (CLASSES[i], CLASSES[j]) for i, j in np.argwhere(kept)
    }


def test_pictures_are_png_and_svg_of_the_chosen_row_and_no_figure_stays_open(explorer):
    explorer.label.value = 3
    png, svg = explorer.export("png"), explorer.export("svg")
    assert png.name == "matrices_first_raw_data-set_bus-co.png" and svg.suffix == ".svg"
    with Image.open(png) as image:
        assert image.format == "PNG" and image.width > 1000
    assert ElementTree.parse(svg).getroot().tag.endswith("svg")
    assert plt.get_fignums() == []


def test_an_export_of_another_kind_is_refused(explorer):
    with pytest.raises(ValueError, match="an export is one of png, svg, csv, got 'pdf'"):
        explorer.export("pdf")


def test_where_no_widget_can_live_there_is_a_picture_and_a_sentence(explorer):
    bundle = explorer._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.widget.model_id
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG") and plt.get_fignums() == []
    assert "row L1 error" in bundle["text/plain"]


# --- runs of a study -------------------------------------------------------------------------------------------------


def test_points_that_differ_in_method_or_noise_are_one_run_and_runs_say_in_what_they_differ(study, points):
    assert study.run.options == ("seed 0", "seed 1")
    assert [value for _, value in study.noise.options] == [0.0, 0.4] and study.noise.value == 0.4
    other = [point.replace(gold_fraction=0.2, seed=0) for point in points]
    assert list(Runs([*points, *other]).runs) == [
        "seed 0, 10 % gold",
        "seed 1, 10 % gold",
        "seed 0, 20 % gold",
    ]
    limited = points[0].replace(single_label_limit=2)
    assert list(Runs([points[0], limited]).runs) == [
        "all single-label images a class", "2 single-label images a class",
    ]  # fmt: skip


def test_points_of_two_data_sets_or_none_are_refused(points):
    with pytest.raises(ParameterError, match=r"an explorer shows one data set, not .*, pictograms"):
        Explorer([points[0], points[0].replace(data="pictograms")])
    with pytest.raises(ParameterError, match="no points to explore"):
        Explorer([])


def test_moving_noise_run_and_estimator_shows_the_studys_own_matrices(study, points):
    study.noise.value, study.run.value, study.estimator.value = 0.0, "seed 1", "calibrated-regulators"
    stages = Stages.of(points[1])
    assert (points[1].noise, points[1].seed) == (0.0, 1)
    np.testing.assert_array_equal(maps(study)[0].z, stages.estimate("calibrated-regulators").transition)
    np.testing.assert_array_equal(maps(study)[1].z, np.eye(7))
    study.noise.value = 0.4
    np.testing.assert_allclose(maps(study)[1].z.diagonal(), 0.6, rtol=1e-6)


def test_the_papers_print_is_algorithm_1_on_the_scale_sigmoid(study, points):
    study.estimator.value, study.scale.value = "algorithm-1-raw", "sigmoid"
    wanted = Stages.of(points[0].replace(noise=0.4)).estimate("algorithm-1").transition
    np.testing.assert_allclose(maps(study)[0].z, wanted, atol=1e-6)
    assert not {"algorithm-1", "algorithm-1-rows", "true"} & set(study.estimator.options)


def test_the_images_behind_a_row_are_counted(study, points):
    stages = Stages.of(points[0].replace(noise=0.4))
    labels, split = stages.train.labels, stages.split
    study.label.value = 2
    gold, single = int(labels[split.gold, 2].sum()), int(labels[split.single, 2].sum())
    silver = int(stages.observed[split.silver, 2].sum())
    assert study.images == f"{gold} gold, {single} single-label, {silver} noisy silver images"
    assert study.images in study.figure.layout.annotations[3].text
    frame = study.rows()
    assert frame.loc["blue", ["gold", "single-label", "noisy silver"]].tolist() == [gold, single, silver]
    assert frame["row L1 error"].is_monotonic_decreasing


def test_example_images_lost_the_label_of_the_row(study):
    study.label.value = 1
    examples = study.source.examples("seed 0", 0.4, 1)
    stages = study.source.study("seed 0", 0.4)
    lost = (stages.train.labels[:, 1] & ~stages.observed[:, 1]).nonzero()[:, 0].tolist()
    assert 0 < len(examples) <= 6 and len(lost) >= len(examples)
    for example in examples:
        assert example.file in [stages.train.files[i] for i in lost] and "green" in example.lost
        assert len(example.lost) == len(example.gained)
    assert [len(e.kept) + len(e.lost) for e in examples] == sorted(len(e.kept) + len(e.lost) for e in examples)
    assert study.examples.value == gallery(examples, "green")
    files, clean, noisy = study.montage(most=3)
    assert files == [example.file for example in examples[:3]] and (clean & ~noisy)[:, 1].all()


def test_without_flips_the_gallery_says_so_and_the_montage_still_has_images_of_the_class(study):
    study.noise.value, study.label.value = 0.0, 1
    assert study.examples.value == "<p>No image lost its label <b>green</b>.</p>"
    files, clean, noisy = study.montage()
    assert len(files) == 6 and clean[:, 1].all() and (clean == noisy).all()


def test_prepared_moves_compute_nothing_and_the_slider_then_follows_the_hand(study, monkeypatch):
    assert study.noise.continuous_update is False
    study.prepare()
    monkeypatch.setattr(Stages, "estimate", lambda *_: pytest.fail("computed"))
    for name in study.estimator.options:
        study.estimator.value = name
        for _, level in study.noise.options:
            study.noise.value = level
            assert study.noise.continuous_update is True


def test_what_takes_a_while_is_announced(study):
    said = []
    study.status.observe(lambda change: said.append(re.sub("<[^>]*>", "", change.new)), "value")
    study.estimator.value = "pooled-rate"
    assert said == ["computing pooled-rate at 40 % noise …", ""]


def test_an_estimator_that_cannot_work_is_reported_and_an_error_when_it_is_chosen(tiny, capsys, monkeypatch):
    def refuse(*_):
        raise ValueError("no single-label image")

    monkeypatch.setattr("galc.estimators.algorithm_1.calibrated_regulators", refuse)
    study = Explorer(expand(tiny | {"single_label_limit": 0}, {"noise": [0.4]})).prepare(
        ["glc", "calibrated-regulators"]
    )
    assert "calibrated-regulators at 40 % noise: no single-label image" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no single-label image"):
        study.estimator.value = "calibrated-regulators"
    assert "no single-label image" in study.status.value


def test_it_begins_with_the_level_nearest_to_the_one_asked_for(points):
    assert Explorer(points, noise=0.1).noise.value == 0.0


def test_matrices_by_level_are_for_the_figure_of_several_levels(study):
    pairs = study.by_level("glc")
    assert list(pairs) == ["0 % flipped", "40 % flipped"]
    axes = plots.transition_levels(pairs, study.source.classes)
    assert [ax.get_title(loc="left") for ax in axes[0]] == list(pairs)
    true, estimate = pairs["40 % flipped"]
    error = row_errors(estimate, true)
    assert axes[1, 1].get_title(loc="left") == f"error: row L1 {error[0]:.2f},\ndiagonal {error[1]:.3f}"
    rows = study.by_level("algorithm-1-raw", scale="rows")
    assert all(np.allclose(estimate.sum(1), 1) for _, estimate in rows.values())


# --- example images as HTML ------------------------------------------------------------------------------------------


def test_pictures_say_in_words_what_happened_to_their_labels(colours):
    file = next((colours / "images" / "train").glob("*.png"))
    page = gallery([Example(file, ["sky"], ["<cat>"], ['"dog"'])], "<cat>")
    assert 'alt="labels before: sky, &lt;cat&gt;; after: sky, &quot;dog&quot;"' in page
    assert "− <del>&lt;cat&gt;</del><br>+ <ins>&quot;dog&quot;</ins><br>sky" in page and "<cat>" not in page
    picture = re.search("base64,([^']+)'", page)[1]
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.format == "JPEG" and image.size == (32, 32)


# --- static figures --------------------------------------------------------------------------------------------------


def test_the_static_panels_draw_the_two_matrices_and_their_difference(true, estimates):
    axes = plots.transition_panels(true, estimates["first"], CLASSES, GROUPS, "mine")
    assert [ax.get_title(loc="left") for ax in axes] == ["mine", "true", "difference"]
    drawn = [ax.collections[0].get_array().reshape(6, 6) for ax in axes]
    for array, matrix in zip(drawn, (estimates["first"], true, estimates["first"] - true), strict=True):
        np.testing.assert_allclose(array, matrix)
    assert axes[2].collections[0].norm.vmin == -axes[2].collections[0].norm.vmax


def test_hidden_entries_are_left_out_of_the_static_panels(true, estimates):
    view = confusion.view(true, estimates["first"], np.arange(6), 4)
    axes = plots.transition_panels(view.true, view.estimate, [CLASSES[k] for k in view.index])
    drawn = axes[0].collections[0].get_array().reshape(view.estimate.shape)
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), np.isnan(view.estimate))


def test_the_static_row_has_bars_of_both_matrices_and_says_what_is_behind_it(true, estimates):
    left, right = plots.transition_row(true, estimates["first"], "cup", CLASSES, "3 gold images", most=4)
    j = confusion.targets(true[4], estimates["first"][4], 4, 4)
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], [estimates["first"][4, 4], true[4, 4]])
    heights = [bar.get_height() for bar in right.patches]
    np.testing.assert_allclose(heights, [*estimates["first"][4, j], *true[4, j]])
    assert [label.get_text() for label in right.get_xticklabels()] == [CLASSES[k] for k in j]
    assert right.get_title(loc="left") == "cup turned into (3 gold images)"
    with pytest.raises(ValueError, match="no class 'cups'; there are cat, dog"):
        plots.transition_row(true, estimates["first"], "cups", CLASSES)
