"""What the figures draw, not how their pixels look: line data, labels, titles, artists, and the table's text."""

import subprocess
import sys
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import FillBetweenPolyCollection

from galc import plots
from galc.estimators.base import row_errors
from galc.methods.base import METHODS, method
from galc.noise import Changes
from galc.plots.noise import StruckOut
from galc.plots.style import method_styles, spread
from galc.results import about_the_paper, groups, significance, tables


@pytest.fixture
def table() -> pd.DataFrame:
    """Two methods, three noise levels, two seeds one point apart."""
    rows = [
        {
            "method": method,
            "noise": noise,
            "seed": seed,
            "mAP": best - 50 * noise + seed,
            "CF1": 40.0,
            "OF1": 45.0 + seed,
        }
        for method, best in (("asl", 50), ("galc-plus", 55))
        for noise in (0.0, 0.2, 0.4)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def lines(ax) -> dict:
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_every_method_of_the_study_has_a_look_of_its_own():
    colours, markers = zip(*(row.look for row in METHODS.values()), strict=True)
    assert len(set(colours)) == len(set(markers)) == len(METHODS)


def test_the_papers_name_and_ours_share_a_look_and_unknown_names_always_get_the_same_one():
    assert plots.method_style("ASL") == plots.method_style("asl") == ("ASL", *METHODS["asl"].look)
    assert plots.method_style("mine") == plots.method_style("mine")
    assert plots.method_style("mine").title == "mine"


def test_names_in_one_figure_look_different_and_methods_keep_their_own_look():
    looks = method_styles(["f, true labels", "asl", "f, 40 % flipped", "galc-plus"])
    assert len({look.colour for look in looks.values()}) == 4
    assert looks["asl"] == plots.method_style("asl") and looks["galc-plus"] == plots.method_style("galc-plus")
    assert len(method_styles([*METHODS, *[f"name {k}" for k in range(30)]])) == len(METHODS) + 30


def test_the_style_leaves_every_other_setting_alone():
    """A notebook's backend changes settings while it draws its first figure; they must outlive the style."""
    before = dict(mpl.rcParams)
    with plots.style():
        assert mpl.rcParams["axes.grid"] is True
        mpl.rcParams["interactive"] = not before["interactive"]
    assert mpl.rcParams["interactive"] is not before["interactive"]
    mpl.rcParams["interactive"] = before["interactive"]
    assert dict(mpl.rcParams) == before


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12).map(sorted), st.floats(0.1, 10))
def test_labels_are_moved_apart_and_no_farther_than_their_pile_needs(heights, gap):
    moved = spread(heights, gap)
    assert all(b - a >= gap * (1 - 1e-6) for a, b in pairwise(moved))
    assert np.mean(moved) == pytest.approx(np.mean(heights), abs=1e-6)
    assert max(abs(np.subtract(moved, heights))) <= gap * len(heights)


def test_noise_curves_draw_the_mean_and_a_band_of_one_standard_deviation(table):
    ax = plots.noise_curves(table, "mAP")
    line = lines(ax)["ASL"]
    np.testing.assert_allclose(line.get_xdata(), [0, 20, 40])
    np.testing.assert_allclose(line.get_ydata(), [50.5, 40.5, 30.5])
    assert line.get_color() == METHODS["asl"].look[0] and line.get_marker() == METHODS["asl"].look[1]
    bands = [c for c in ax.collections if isinstance(c, FillBetweenPolyCollection)]
    heights = bands[0].get_paths()[0].vertices[:, 1]
    assert len(bands) == 2
    assert heights.max() == pytest.approx(50.5 + np.sqrt(0.5)) and heights.min() == pytest.approx(30.5 - np.sqrt(0.5))
    assert texts(ax) == ["ASL", "GALC-plus"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("labels flipped (%)", "mAP (%)")


def test_the_papers_curves_are_thin_dashed_lines_in_the_same_colour(table):
    ax = plots.noise_curves(table, "CF1", about_the_paper.reported())
    paper = lines(ax)["ASL (paper)"]
    assert paper.get_linestyle() == "--" and paper.get_linewidth() < 1 and paper.get_color() == METHODS["asl"].look[0]
    np.testing.assert_allclose(paper.get_ydata(), [71.38, 68.01, 64.03, 58.52, 52.24, 45.42, 37.44])
    assert set(texts(ax)) == {"ASL", "GALC-plus", "ASL (paper)", "GALC-SLR (paper)"}


def test_one_seed_draws_a_band_of_no_width(table):
    ax = plots.noise_curves(table[table["seed"] == 0], "mAP")
    assert np.isfinite(ax.collections[0].get_paths()[0].vertices).all()


def test_a_missing_column_is_named(table):
    with pytest.raises(ValueError, match="no column mAp; it has method, noise"):
        plots.noise_curves(table, "mAp")


def test_figure_5_has_a_panel_a_metric_and_one_legend(table):
    axes = plots.noise_panels(table, about_the_paper.reported())
    assert [ax.get_title(loc="left") for ax in axes] == ["(a) mAP", "(b) CF1", "(c) OF1"]
    figure = axes[0].figure
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["ASL", "GALC-plus", "ASL (paper)", "GALC-SLR (paper)"]
    assert not any(texts(ax) for ax in axes)


def test_a_given_axes_is_drawn_on_and_returned(table):
    _, ax = plt.subplots()
    assert plots.noise_curves(table, ax=ax) is ax


def test_learning_curves_mark_the_peak_and_label_the_last_epoch():
    rows = [("asl", e, s, y + s) for s in (0, 2) for e, y in enumerate([20, 40, 30], 1)]
    rows += [("galc-plus", e, 0, y) for e, y in enumerate([10, 30, 50], 1)]
    ax = plots.learning_curves(pd.DataFrame(rows, columns=["method", "epoch", "seed", "mAP"]))
    assert texts(ax) == ["ASL  31.0  (peak 41.0)", "GALC-plus  50.0"]
    stars = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "*"]
    assert stars == [[[2, 41]], [[3, 50]]]


def test_the_table_holds_mean_and_deviation_and_the_papers_numbers(table):
    frame = tables.results_frame(table, about_the_paper.reported())
    assert frame.loc[("mAP", "ASL"), "20 %"] == "40.5 ± 0.7"
    assert frame.loc[("mAP", "ASL (paper)"), "60 %"] == "36.8" and frame.loc[("mAP", "ASL"), "60 %"] == ""
    assert list(frame.columns) == ["0 %", "10 %", "20 %", "30 %", "40 %", "50 %", "60 %"]
    assert frame.index.get_level_values(0).unique().tolist() == ["mAP", "CF1", "OF1"]
    one = tables.results_frame(table[table["seed"] == 1], metrics=["mAP"])
    assert one.loc[("mAP", "GALC-plus"), "0 %"] == "56.0"


def test_our_best_is_bold_and_neither_the_papers_nor_the_upper_bounds_numbers_are(table):
    bound = table[table["method"] == "asl"].assign(method="true-correction", mAP=70.0)
    page = tables.results_table(pd.concat([table, bound]), about_the_paper.reported(), ["mAP"]).set_uuid("t").to_html()
    bold = {rule for block in page.split("}") if "font-weight: bold" in block for rule in block.split("{")[0].split()}
    cells = {rule.strip("#,") for rule in bold if "_row" in rule}
    assert cells == {"T_t_row1_col0", "T_t_row1_col2", "T_t_row1_col4"}


CLASSES = ["person", "cat", "dog", "car"]
TRUE = np.full((4, 4), 0.4 / 3) + np.eye(4) * (0.6 - 0.4 / 3)


def test_a_heatmap_holds_the_matrix_and_names_what_is_under_the_pointer():
    ax = plots.transition_heatmap(torch.tensor(TRUE), CLASSES, title="C")
    np.testing.assert_allclose(ax.collections[0].get_array(), TRUE)
    assert [label.get_text() for label in ax.get_yticklabels()] == CLASSES
    assert ax.get_ylabel() == "true label" and ax.get_xlabel() == "noisy label"
    assert ax.format_coord(2.7, 0.9) == "person → dog: 0.1333"
    assert ax.format_coord(-0.1, 0) == ax.format_coord(0, 4.1) == ""


def test_rates_stand_with_their_intervals_worst_on_top_and_any_name_is_plain_text():
    rates = pd.DataFrame({"class": ["$a$", "b", "c" * 99], "given": [5, 9, 1]})
    for name, values in {"wrong": (0.5, 0.1, 0.3), "missing": (0.2, 0.4, 0.0)}.items():
        rates[name], rates[f"{name}_low"], rates[f"{name}_high"] = values, np.subtract(values, 0.1), np.add(values, 0.2)
    left, right = plots.rate_intervals(rates)
    assert [label.get_text() for label in left.get_yticklabels()] == ["b", "c" * 39 + "…", "$a$"]
    np.testing.assert_allclose(left.lines[0].get_xdata(), [10, 30, 50])
    np.testing.assert_allclose(right.lines[0].get_xdata(), [40, 0, 20])
    np.testing.assert_allclose([bar[:, 0] for bar in left.collections[0].get_segments()], [[0, 30], [20, 50], [40, 70]])
    left.figure.canvas.draw()
    left, _ = plots.rate_intervals(rates, most=2)
    assert [label.get_text() for label in left.get_yticklabels()] == ["b", "$a$"]
    assert "2 of 3 classes" in left.get_title(loc="left")


def test_small_probabilities_do_not_vanish_beside_the_diagonal():
    """80 classes, 10 % symmetric noise: an off-diagonal entry is 0.00127, and told apart from 0."""
    norm = plots.transition_heatmap(TRUE, CLASSES).collections[0].norm
    assert norm(0.1 / 79) > norm(0.0) == norm(1e-9) and norm(0.4 / 79) > 0.2


def test_80_names_are_written_on_a_large_axes_and_only_their_groups_on_a_small_one():
    names, groups = [f"class {k}" for k in range(80)], ["left"] * 30 + ["right"] * 50
    large = plots.transition_heatmap(np.eye(80), names, groups=groups)
    assert len(large.get_yticklabels()) == 80
    _, small = plt.subplots(figsize=(3, 3))
    plots.transition_heatmap(np.eye(80), names, small, groups=groups)
    assert [label.get_text() for label in small.get_yticklabels()] == ["left", "right"]
    np.testing.assert_allclose(small.get_yticks(), [15, 55])
    assert [line.get_ydata()[0] for line in small.lines if line.get_ydata()[0] == line.get_ydata()[1]] == [30]


def test_a_small_axes_without_groups_names_every_nth_class_so_that_names_do_not_overlap():
    _, small = plt.subplots(figsize=(3, 3))
    plots.transition_heatmap(np.eye(80), [f"class {k}" for k in range(80)], small)
    small.figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in small.get_yticklabels()]
    assert 5 < len(boxes) < 40
    assert all(above.y0 >= below.y1 for above, below in pairwise(boxes))
    assert small.get_yticklabels()[1].get_text() == f"class {round(small.get_yticks()[1] - 0.5)}"


def test_a_matrix_that_does_not_fit_the_classes_is_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 3\) does not fit 4 classes"):
        plots.transition_heatmap(np.eye(3), CLASSES)


def test_a_comparison_shows_differences_on_a_scale_centred_at_zero():
    estimate = TRUE + 0.1 * np.eye(4) - 0.025
    axes = plots.transition_comparison({"true C": TRUE, "ours": estimate}, CLASSES)
    assert axes.shape == (2, 2)
    difference = axes[1, 1].collections[0]
    np.testing.assert_allclose(difference.get_array(), estimate - TRUE)
    assert difference.norm(0.0) == pytest.approx(0.5) and difference.norm.vmax == -difference.norm.vmin
    assert axes[1, 1].get_title(loc="left") == "minus true C\nrow L1 0.15, diagonal 0.075"


def test_row_errors_of_a_known_case():
    assert row_errors(np.eye(4), TRUE) == pytest.approx((0.8, 0.4))
    assert row_errors(TRUE, TRUE) == (0, 0)


def test_the_diagonals_are_drawn_against_the_class_size():
    axes = plots.diagonal_scatter(TRUE, {"identity": np.eye(4), "exact": TRUE}, [10, 20, 30, 1000], CLASSES)
    drawn = lines(axes[0])
    np.testing.assert_allclose(drawn["estimate"].get_xydata(), [[10, 1], [20, 1], [30, 1], [1000, 1]])
    np.testing.assert_allclose(drawn["true C"].get_ydata(), [0.6] * 4)
    assert [ax.get_title(loc="left") for ax in axes] == ["identity\nerror 0.400", "exact\nerror 0.000"]


def test_a_scatter_takes_every_marker_that_a_method_has():
    for name in METHODS:
        (ax,) = plots.diagonal_scatter(TRUE, {name: TRUE}, [1, 2, 3, 4], CLASSES)
        assert lines(ax)["estimate"].get_marker() == METHODS[name].look[1]
        plt.close(ax.figure)


def changed(labels, lost, gained) -> Changes:
    return Changes(*(torch.tensor(part, dtype=torch.float64) for part in (labels, lost, gained)))


def test_requested_against_observed_noise_counts_kept_and_received_labels():
    asked, found = changed([100] * 4, [40] * 4, [40] * 4), changed([100] * 4, [50, 40, 40, 40], [40, 76, 30, 24])
    left, right = plots.requested_vs_observed(asked, found, CLASSES)
    np.testing.assert_allclose(lines(left)["one class"].get_ydata(), [-0.1, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(lines(right)["one class"].get_ydata(), [0, 90, -25, -40], atol=1e-9)
    assert texts(right) == ["cat"]  # 90 % are beyond the funnel of 32 %


def test_requested_against_observed_bears_no_noise_and_empty_classes():
    nothing = changed([0, 1, 2, 3], [0] * 4, [0] * 4)
    left, right = plots.requested_vs_observed(nothing, nothing, CLASSES)
    left.figure.draw_without_rendering()
    assert not right.texts and not lines(right)["one class"].get_ydata().any()


def test_removed_and_added_labels_of_a_class_stand_side_by_side():
    ax = plots.noise_by_class(changed([10, 40, 0, 20], [5, 10, 0, 0], [5, 0, 3, 0]), CLASSES)
    gone, wrong = ax.containers
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["cat", "car", "person", "dog"]
    np.testing.assert_allclose([bar.get_height() for bar in gone], [25, 0, 50, np.nan])
    np.testing.assert_allclose([bar.get_height() for bar in wrong], [0, 0, 50, 100])
    assert all(a.get_x() + a.get_width() <= b.get_x() + 1e-9 for a, b in zip(gone, wrong, strict=True))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "gone, 21.4 % of all" in names[0] and "wrong, 12.7 % of all" in names[1]
    with pytest.raises(ValueError, match="changes of 4 classes do not fit 3 names"):
        plots.noise_by_class(changed([1] * 4, [0] * 4, [0] * 4), CLASSES[:3])


def test_a_montage_marks_lost_and_wrong_labels():
    clean = torch.tensor([[True, True, False, False], [False, False, True, False]])
    noisy = torch.tensor([[True, False, False, True], [False, False, True, False]])
    axes = plots.label_montage(np.zeros((2, 8, 8, 3), dtype=np.uint8), clean, noisy, CLASSES)
    assert [texts(ax) for ax in axes] == [["person", "cat", "+ car"], ["dog"]]
    marks = axes[0].texts
    assert [isinstance(mark, StruckOut) for mark in marks] == [False, True, False]
    assert marks[2].get_weight() == "bold" and marks[1].get_color() == marks[2].get_color() != "#333333"
    axes[0].figure.draw_without_rendering()


def test_a_montage_reads_files_and_refuses_labels_of_another_shape(tmp_path):
    plt.imsave(tmp_path / "a.png", np.full((6, 6, 3), 128, dtype=np.uint8))
    axes = plots.label_montage([tmp_path / "a.png"], np.eye(4)[:1], np.eye(4)[:1], CLASSES)
    assert axes[0].images[0].get_array().shape[:2] == (6, 6)
    with pytest.raises(ValueError, match=r"1 images and 4 classes, but clean labels \(2, 4\)"):
        plots.label_montage([tmp_path / "a.png"], np.eye(4)[:2], np.eye(4)[:2], CLASSES)


def test_label_statistics_sort_classes_and_count_labels_of_images():
    labels = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1]], dtype=bool)
    left, right = plots.label_statistics({"clean": labels, "noisy": labels[:, ::-1]}, CLASSES)
    assert [label.get_text() for label in left.get_xticklabels()] == ["cat", "dog", "car", "person"]
    np.testing.assert_array_equal(lines(left)["clean"].get_ydata(), [3, 2, 1, 0])
    np.testing.assert_array_equal(lines(left)["noisy"].get_ydata(), [2, 3, 0, 1])
    assert left.get_yscale() == "log"
    values = right.patches[0].get_data().values
    np.testing.assert_allclose(values, [0, 100 / 3, 100 / 3, 100 / 3])
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["clean: mean 2.00", "noisy: mean 2.00"]


def test_the_calibration_curve_shows_how_often_a_score_comes_true():
    p = np.repeat([0.12, 0.52, 0.92], 100).reshape(-1, 1)
    labels = np.concatenate([np.arange(100) < n for n in (10, 50, 100)]).reshape(-1, 1)
    ax = plots.calibration_curve({"p": p}, labels, theory=([0, 1], [0, 1]), bins=10)
    points = ax.containers[0].lines[0]
    np.testing.assert_allclose(points.get_xydata(), [[0.12, 0.1], [0.52, 0.5], [0.92, 1.0]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["perfect", "theory", "p"]


def test_a_bin_with_few_scores_is_left_out_and_a_score_of_one_has_a_bin():
    scores = np.concatenate([np.full(19, 0.3), np.full(20, 1.0)])
    ax = plots.calibration_curve({"p": scores}, np.ones(39, dtype=bool), bins=10)
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata(), [[1.0, 1.0]])


def test_the_plots_import_no_trainer():
    names = "('galc.training.loop', 'galc.study.run')"
    code = f"import sys, galc.plots; print([m for m in {names} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_the_gains_of_classes_are_sorted_and_classes_without_test_images_left_out():
    left, right = plots.class_gains([1.0, np.nan, -3.0, 2.0], [10, 20, 30, 40], CLASSES)
    assert [label.get_text() for label in left.get_xticklabels()] == ["car", "person", "dog"]
    assert [bar.get_height() for bar in left.patches] == [2.0, 1.0, -3.0]
    assert left.patches[0].get_facecolor() == left.patches[1].get_facecolor() != left.patches[2].get_facecolor()
    np.testing.assert_allclose(right.collections[0].get_offsets(), [[40, 2], [10, 1], [30, -3]])
    with pytest.raises(ValueError, match="3 gains, 4 sizes and 4 classes"):
        plots.class_gains([1.0, 2.0, 3.0], [1, 2, 3, 4], CLASSES)


def test_errors_of_matrices_are_drawn_over_the_noise_beside_the_error_of_believing_every_label():
    rows = [("glc", noise, seed, 1.0 + seed) for noise in (0.0, 0.4) for seed in (0, 1)]
    rows += [("attribution", noise, 0, 0.1) for noise in (0.0, 0.4)]
    ax = plots.error_curves(pd.DataFrame(rows, columns=["estimator", "noise", "seed", "row_l1"]))
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["GLC", "attribution", "C = identity"]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0, 1.5], [40, 1.5]])
    np.testing.assert_allclose(lines(ax)["C = identity"].get_xydata(), [[0, 0], [40, 0.8]])


def test_histories_become_the_frame_that_learning_curves_draws():
    frame = groups.history_frame({"f": [{"epoch": 1, "mAP": 20.0}, {"epoch": 2, "mAP": 40.0}]})
    assert texts(plots.learning_curves(frame)) == ["f  40.0"]


def test_the_table_of_parts_counts_images_and_missing_classes():
    parts = {"gold": np.eye(4, dtype=bool)[:3], "test": np.ones((2, 4), dtype=bool)}
    table = tables.part_table(parts, CLASSES)
    assert table.data.loc["gold"].tolist() == [3, 3, 1.0, 1, "car (0)", "person (1)"]
    assert ">4.00<" in table.to_html()


def test_the_table_of_errors_has_the_best_estimator_first_and_no_number_for_what_is_not_defined():
    errors = pd.DataFrame(
        {"row_l1": [1.0, 0.1], "diagonal": [0.5, 0.05], "off_diagonal_correlation": [0.3, np.nan]},
        index=["glc", "ours"],
    )
    table = tables.error_table(errors)
    assert table.data.index.tolist() == ["ours", "glc"]
    assert "–" in table.to_html() and "nan" not in table.to_html()


def test_the_table_of_runs_gives_the_last_epoch_first_and_the_peak_with_its_epoch():
    row = {"method": "asl", "mAP": 40.0, "CF1": 30.0, "OF1": 20.0, "CF1_calibrated": 31.0, "OF1_calibrated": 21.0}
    table = tables.run_table(pd.DataFrame([row | {"best_mAP": 45.0, "best_epoch": 7, "ema_mAP": 41.0}]))
    assert table.data.loc["ASL"].tolist() == [40, 30, 20, 31, 21, 45, 7, 41]
    assert ">45.0<" in table.to_html() and ">7<" in table.to_html()


def test_the_table_of_costs_separates_shared_stages_from_the_training_of_g():
    runs = [
        {"method": "galc-plus", "seconds": {"silver": 4.0, "clean": before, "run": own}, "images": 100, "steps": 30}
        for before, own in ((1.0, 5.0), (2.0, 3.0), (9.0, 4.0))
    ]
    assert tables.cost_table(runs).data.loc["GALC-plus"].tolist() == [100, 30, 6.0, 4.0]


def test_the_table_of_a_record_is_flat_and_complete():
    details = {"params": {"noise": 0.4, "seed": 0}, "fallback": {"no gold image": ["cat", "dog"]}, "file": "a.b"}
    table = tables.record_table(details).data["value"].to_dict()
    assert table == {"params: noise": "0.4", "params: seed": "0", "fallback: no gold image": "cat, dog", "file": "a.b"}


def test_losses_are_red_in_the_table_of_margins():
    page = tables.margin_table(pd.DataFrame({0.0: {"asl": -1.0}, 0.1: {"asl": 2.0}})).set_uuid("t").to_html()
    assert "#T_t_row0_col0 {\n  color: #d55e00" in page and "row0_col1 {" not in page
    assert ">-1.0<" in page and ">+2.0<" in page and ">10 %<" in page


def test_a_method_from_outside_has_its_look_in_figures_and_its_place_in_tables_and_tests(table):
    before = dict(METHODS)
    method("Mine", title="My method", data="all", about="One of a plug-in.")
    method("cheat", title="Cheat", data="all", about="Knows the true C.", estimator="true")
    added = {name: row for name, row in METHODS.items() if name not in before}
    try:
        mine, cheat = (
            table[table["method"] == "asl"].assign(method=name, mAP=lambda runs, d=d: runs["mAP"] + d)
            for name, d in (("Mine", 20), ("cheat", 30))
        )
        every = pd.concat([table, mine, cheat])
        line = lines(plots.noise_curves(every))["My method"]
        assert (line.get_color(), line.get_marker()) == added["Mine"].look
        assert added["Mine"].look not in [row.look for row in before.values()]
        assert "My method" in tables.results_frame(every, metrics=["mAP"]).index.get_level_values(1)
        rivals = significance.against_runner_up(every, "galc-plus", "noise")["rival"]
        assert set(rivals) == {"Mine"}  # not one that knows the true C
    finally:
        for name in added:
            del METHODS[name]


def test_loss_curves_are_the_losses_of_the_first_class():
    losses = {"sum": lambda x, y: x + y, "label": lambda x, y: 2 * y}
    given, absent = plots.loss_curves(losses, 3)
    first, second = given.lines
    p = np.asarray(first.get_xdata())
    assert np.allclose(first.get_ydata(), np.log(p / (1 - p)) + 1, atol=1e-4) and set(second.get_ydata()) == {2}
    assert np.allclose(absent.lines[0].get_ydata(), np.log(p / (1 - p)), atol=1e-4)
    assert [text.get_text() for text in given.get_legend().get_texts()] == ["sum", "label"]
