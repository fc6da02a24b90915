"""The ablations: tables that know what differs, figures that draw it, sentences that follow the numbers either way."""

import numpy as np
import pandas as pd
import pytest

from galc import plots
from galc.results import about_methods, about_noise, about_the_paper, groups, tables
from galc.results.about_the_paper import Claim, verdict
from galc.results.groups import group_label, over_seeds, paired
from galc.study import run as study
from galc.study import runs as grid
from galc.study.runs import estimator_errors, expand, frame, histories


def runs(by: str, results: dict[str, dict], spread: float = 1.0, metric: str = "mAP") -> pd.DataFrame:
    """{method: {group: mean}} as a row per run, two seeds around each mean."""
    series = "estimator" if metric == "row_l1" else "method"
    return pd.DataFrame(
        [
            {series: name, by: group, "seed": seed, metric: mean + spread * (seed - 0.5)}
            for name, means in results.items()
            for group, mean in means.items()
            for seed in (0, 1)
        ]
    )


def curves(**series: list[float]) -> pd.DataFrame:
    """{method: mAP at epochs 1, 2, ...} as a row per epoch, - in names written _; two seeds around it."""
    return pd.DataFrame(
        [
            {"method": name.replace("_", "-"), "epoch": epoch, "seed": seed, "mAP": value + seed - 0.5}
            for name, values in series.items()
            for epoch, value in enumerate(values, 1)
            for seed in (0, 1)
        ]
    )


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


# --- tables of runs ------------------------------------------------------------------------------------------------


def test_tables_have_a_column_for_what_differs_between_the_runs_and_for_nothing_else(tiny):
    points = expand(tiny | {"method": "gold-only"}, {"single_label_limit": [None, 2], "gold_fraction": [0.2, 0.3]})
    records = [study.run(point) for point in points]
    table = frame(records)
    assert list(table.columns[:5]) == ["method", "noise", "seed", "gold_fraction", "single_label_limit"]
    assert list(zip(table["single_label_limit"], table["gold_fraction"], strict=True)) == [
        ("all", 0.2), ("all", 0.3), ("2", 0.2), ("2", 0.3)
    ]  # fmt: skip
    assert list(histories(records).columns[:6]) == [*table.columns[:5], "epoch"]
    assert list(frame(records[:1]).columns[:4]) == ["method", "noise", "seed", "mAP"]

    errors = estimator_errors([*points, points[0].replace(method="asl")], ["identity"])
    assert list(errors.columns[:5]) == ["estimator", "noise", "seed", "gold_fraction", "single_label_limit"]
    assert len(errors) == 4  # a point that differs in its method alone counts once


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged_as_if_they_did_not():
    table = runs("gold_fraction", {"asl": {0.05: 40, 0.1: 50}}).assign(noise=0.4)
    with pytest.raises(ValueError, match="same method, noise and seed; they differ in gold_fraction"):
        over_seeds(table, "noise", "mAP")
    assert over_seeds(table, "gold_fraction", "mAP")["asl"]["mean"].tolist() == [40, 50]


def test_numbers_are_sorted_and_texts_keep_the_order_of_the_table():
    numbers = runs("noise", {"asl": {0.4: 1, 0.1: 2}})
    assert over_seeds(numbers, "noise", "mAP")["asl"].index.tolist() == [0.1, 0.4]
    texts = runs("single_label_limit", {"asl": {"all": 1, "50": 2, "10": 3}})
    assert over_seeds(texts, "single_label_limit", "mAP")["asl"].index.tolist() == ["all", "50", "10"]
    assert tables.results_frame(texts, metrics=["mAP"], by="single_label_limit").columns.tolist() == [
        "all", "≤ 50 a class", "≤ 10 a class"
    ]  # fmt: skip


def test_differences_are_paired_by_seed():
    table = runs("gold_fraction", {"asl": {0.05: 40, 0.1: 50}, "true-correction": {0.05: 41, 0.1: 48}}, spread=6)
    gap = paired(table, "method", "true-correction", "gold_fraction")
    assert gap["difference"].tolist() == [-1, -1, 2, 2]
    gain = paired(table, "gold_fraction", 0.05, "method")
    assert list(zip(gain["method"], gain["difference"], strict=True)) == [
        ("asl", 10), ("asl", 10), ("true-correction", 7), ("true-correction", 7)
    ]  # fmt: skip
    alone = table.drop(index=table.index[(table["method"] == "true-correction") & (table["seed"] == 1)])
    assert paired(alone, "method", "true-correction", "gold_fraction")["seed"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="several runs have the same method and seed"):
        paired(pd.concat([table, table]), "gold_fraction", 0.05, "method")


def test_the_noise_of_a_run_in_words():
    table = pd.DataFrame({"noise": [0.2, 0.4], "noise_kind": ["symmetric", "pair"]})
    assert groups.setting(table).tolist() == ["symmetric, 20 %", "pair, 40 %"]
    assert groups.setting(table[["noise"]]).tolist() == ["20 %", "40 %"]
    assert (group_label("gold_fraction", 0.05), group_label("single_label_limit", "all")) == ("5 %", "all")


# --- figures -------------------------------------------------------------------------------------------------------


GOLD = {"asl": {0.05: 42, 0.1: 44}, "galc-slr": {0.05: 46, 0.1: 49}, "true-correction": {0.05: 47, 0.1: 48}}


def test_dots_have_a_panel_a_group_a_row_a_method_and_the_paper_hollow_in_it():
    axes = plots.dot_panels(
        runs("gold_fraction", GOLD), "gold_fraction", published=about_the_paper.reported("true_correction")
    )
    assert [ax.get_title(loc="left") for ax in axes] == ["images trusted: 5 %", "images trusted: 10 %"]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["ASL", "GALC-SLR", "True-Correction"]
    assert labels(axes[1]) == ["44.0 ± 0.7", "49.0 ± 0.7", "69.9", "48.0 ± 0.7", "70.3"]
    hollow = [line.get_xydata().tolist() for line in axes[1].lines if line.get_fillstyle() == "none"]
    assert hollow == [[[69.94, 1]], [[70.3, 2]]]
    means = [container.lines[0].get_xydata().tolist() for container in axes[0].containers]
    assert means == [[[42, 0]], [[46, 1]], [[47, 2]]]
    assert [len(bar.get_segments()) for bar in axes[0].containers[0].lines[2]] == [1]


def test_dots_of_one_seed_have_no_deviation_and_differences_have_a_sign_and_a_line_at_zero():
    table = runs("gold_fraction", GOLD)
    gap = paired(table[table["seed"] == 0], "method", "true-correction", "gold_fraction")
    (few, many) = plots.dot_panels(gap, "gold_fraction", "difference")
    assert labels(few) == ["−5.0", "−1.0"] and labels(many) == ["−4.0", "+1.0"]
    assert [line.get_xdata() for line in few.lines if len(line.get_xdata()) == 2] == [[0, 0]]
    assert not few.containers[0].has_xerr


def test_dots_take_estimators_for_rows_and_bear_a_group_that_one_of_them_lacks():
    errors = runs(
        "setting", {"pooled-rate": {"pair": 1.1}, "attribution": {"pair": 0.4, "symmetric": 0.1}}, metric="row_l1"
    )
    axes = plots.dot_panels(errors, "setting", "row_l1", series="estimator", digits=2)
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["pooled-rate", "attribution"]
    assert [len(labels(ax)) for ax in axes] == [2, 1] and axes[0].get_xlabel() == "mean row L1 error of C"


def test_curves_have_a_panel_a_method_and_a_line_a_group_and_the_reference_in_each():
    history = pd.concat(
        [curves(galc_slr=[10, 30 + n], galc_plus=[20, 40 + n]).assign(single_label_limit=limit)
         for n, limit in enumerate(["all", "10"])]
    )  # fmt: skip
    axes = plots.learning_panels(history, "single_label_limit", reference=curves(asl=[5, 25]))
    assert [ax.get_title(loc="left").split(",")[0] for ax in axes] == ["GALC-SLR", "GALC-plus"]
    assert labels(axes[0]) == ["ASL  25.0", "all  30.0", "≤ 10 a class  31.0"]
    assert [line.get_ydata().tolist() for line in axes[1].lines] == [[20, 40], [20, 41], [5, 25]]
    looks = {(line.get_color(), str(line._dash_pattern)) for line in axes[0].lines}
    assert len({colour for colour, _ in looks}) == len({dashes for _, dashes in looks}) == 3


def test_learning_curves_mark_the_papers_peaks_at_the_lower_edge():
    ax = plots.learning_curves(curves(asl=[20, 40, 30]), published={"ASL": 2})
    hollow = [line for line in ax.lines if line.get_fillstyle() == "none"]
    assert [line.get_xdata().tolist() for line in hollow] == [[2]] and "☆ the paper's" in ax.get_xlabel()
    assert "paper" not in plots.learning_curves(curves(asl=[20, 40])).get_xlabel()


# --- memorization --------------------------------------------------------------------------------------------------


def peaks_by_hand(history: pd.DataFrame, within: float) -> dict:
    """A slow oracle for one method."""
    mean = [history.loc[history["epoch"] == epoch, "mAP"].mean() for epoch in sorted(history["epoch"].unique())]
    stable = next(e for e in range(len(mean)) if all(abs(value - mean[-1]) <= within for value in mean[e:]))
    return {"peak_epoch": mean.index(max(mean)) + 1, "peak": max(mean), "last": mean[-1],
            "lost": max(mean) - mean[-1], "stable_from": stable + 1}  # fmt: skip


@pytest.mark.parametrize("values", [[20, 40, 30.5, 30], [10, 20, 30], [30], [5, 9.5, 9, 9.9, 8.2, 9.1]])
def test_peaks_agree_with_a_slow_oracle(values):
    history = curves(asl=values)
    row = about_the_paper.peaks(history).loc["asl"]
    for name, value in peaks_by_hand(history, 1.0).items():
        assert row[name] == pytest.approx(value), name
    assert row["seeds"] == 2 and row["lost_std"] == pytest.approx(0) and row["peak_std"] == pytest.approx(0.5**0.5)


def test_one_seed_has_no_deviation():
    row = about_the_paper.peaks(curves(asl=[20, 40, 30]).query("seed == 0")).loc["asl"]
    assert (row["peak_std"], row["last_std"], row["lost_std"], row["seeds"]) == (0, 0, 0, 1)


def test_the_table_of_peaks_has_the_papers_epochs_beside_ours():
    facts = {"peak_epoch": {"ASL": 6}, "stable_after_epoch": 60}
    table = tables.peak_table(about_the_paper.peaks(curves(asl=[20, 40, 30], bce=[1, 2, 3])), facts).data
    assert table.loc["ASL"].tolist() == ["2 (paper: 6)", "40.0 ± 0.7", "30.0 ± 0.7", "10.0 ± 0.0", "3 (paper: 60)"]
    assert table.loc["BCE"].tolist() == ["3", "3.0 ± 0.7", "3.0 ± 0.7", "0.0 ± 0.0", "2"]


def test_who_loses_most_and_who_fewest():
    peaks = about_the_paper.peaks(curves(asl=[20, 40, 30], bce=[20, 30, 28], galc_plus=[20, 30, 31]))
    text = "From the highest to the last epoch, ASL (10.0) loses most points and GALC-plus (0.0) fewest."
    assert about_the_paper.lost(peaks) == text


FACTS = about_the_paper.facts()["memorization"]


def test_memorization_as_in_the_paper_is_said_to_be_so():
    text = about_the_paper.memorization_claims(
        about_the_paper.peaks(curves(asl=[40, 50, 30, 30], galc_slr=[30, 40, 50, 45])), FACTS
    )
    assert "Not as in the paper" not in text and text.startswith("**As in the paper:** from its peak to the last epoch")
    assert "ASL goes −20.0 ± 0.0 points" in text and "in epoch 3, that of ASL in epoch 2 (paper: 10 and 6" in text
    assert "GALC-SLR is +15.0 points from ASL (paper: well above)" in text


def test_what_the_curves_do_not_show_is_said_as_well():
    rising = curves(asl=[10, 20, 30, 40], galc_slr=[10, 30, 45, 39])
    agree, differ = about_the_paper.memorization_claims(
        about_the_paper.peaks(rising), FACTS | {"stable_after_epoch": 3}
    ).split("**Not")
    assert "ASL goes" in differ and "(paper: down)" in differ  # it rises to the end
    assert "the peak of GALC-SLR is in epoch 3, that of ASL in epoch 4" in differ
    assert "from epoch 4 on" in differ and "+5.0 points from the peak of ASL" in differ
    assert "GALC-SLR is −1.0 points from ASL (paper: well above)" in differ
    assert "GALC-SLR goes −6.0" in agree


def test_without_the_papers_methods_there_is_nothing_to_compare():
    text = about_the_paper.memorization_claims(about_the_paper.peaks(curves(bce=[1, 2])), FACTS)
    assert text == about_the_paper.bound_claims(
        runs("gold_fraction", {"asl": {0.1: 1}}), None, about_the_paper.reported("true_correction")
    )
    assert text == "None of these runs can be compared with the paper."


def test_a_verdict_parts_what_holds_from_what_does_not():
    assert verdict([Claim("a", True), Claim("b", True)]) == "**As in the paper:** a; b."
    assert verdict([Claim("a", False)]) == "**As in the paper:** nothing. **Not as in the paper:** a."


# --- the true C ----------------------------------------------------------------------------------------------------


def bound(estimated: dict, true: dict, error: dict) -> list[str]:
    table = runs("gold_fraction", {"galc-slr": estimated, "true-correction": true})
    errors = runs("gold_fraction", {"calibrated-regulators": error}, 0.0, "row_l1")
    return about_the_paper.bound_claims(table, errors, about_the_paper.reported("true_correction")).split(
        "**Not as in the paper:**"
    )


def test_a_small_distance_to_the_true_c_agrees_with_the_paper():
    (agree,) = bound({0.05: 46.8, 0.1: 48.9}, {0.05: 47, 0.1: 49}, {0.05: 0.30, 0.1: 0.28})
    assert "with 5 % of the images trusted, GALC-SLR is −0.20 ± 0.00 points from the true C (paper: −0.38)" in agree
    assert (
        "the true C is an upper bound; 10 % instead of 5 % bring GALC-SLR +2.10 ± 0.00 points (paper: +1.21)" in agree
    )
    assert "is 0.28 with 10 % and 0.30 with 5 % (paper: few are enough)" in agree


def test_a_bound_that_is_none_and_an_estimate_that_suffers_are_named():
    agree, differ = bound({0.05: 45, 0.1: 44}, {0.05: 47, 0.1: 43.8}, {0.05: 0.9, 0.1: 0.3})
    assert "GALC-SLR is +0.20 ± 0.00 points from the true C (paper: −0.36)" in agree
    assert "is −2.00 ± 0.00 points" in differ and "with 10 %, the true C is no upper bound" in differ
    assert "bring GALC-SLR −1.00 ± 0.00 points" in differ and "0.30 with 10 % and 0.90 with 5 %" in differ


def test_other_shares_of_trusted_images_have_no_number_of_the_papers_beside_them():
    (agree,) = bound({0.2: 48.9}, {0.2: 49}, {0.2: 0.3})
    assert "(paper: less than 0.5)" in agree and "instead of" not in agree


# --- single-label images -------------------------------------------------------------------------------------------


SINGLE = np.repeat(np.eye(4, dtype=bool), [0, 3, 10, 60], axis=0)


def test_budgets_count_what_a_limit_leaves_and_whom_it_does_not_touch():
    table = about_the_paper.budgets(SINGLE, ["all", "50", 3])
    assert table.loc["all"].tolist() == [73, 0, 1] and table.loc["50"].tolist() == [63, 3, 1]
    assert table.loc[3].tolist() == [9, 1, 1]
    assert about_the_paper.budgets(SINGLE[:0], ["all", 5]).loc[5].tolist() == [0, 4, 4]
    styler = tables.budget_table(table, {"50": 2824})
    assert styler.data.loc["≤ 50 a class"].tolist() == [63, 2824, 3, 1]
    assert ">2,824<" in styler.to_html() and ">–<" in styler.to_html()


def test_the_budgets_of_coco_are_the_papers(shared_data):
    with np.load(next((shared_data / "coco2014_labels").glob("*train*.npz"))) as stored:
        every = np.unpackbits(stored["Y"], axis=1)[:, :80].astype(bool)
    table = about_the_paper.budgets(every[every.sum(1) == 1], ["all", "50", "10"])
    assert table["images"].to_dict() == about_the_paper.facts()["counts"]["single_label"]


def test_the_pool_says_whom_a_limit_does_not_touch():
    assert about_the_paper.pool(about_the_paper.budgets(SINGLE, ["all", "10"]), 4) == (
        "There are 73 single-label images, and 1 of 4 classes have none. A limit of 10 a class leaves 23 of them, "
        "32 %: 2 classes have fewer than that anyway."
    )


def budget(small: float, error: float) -> list[str]:
    table = runs("single_label_limit", {"galc-slr": {"all": 49, "50": 49.2, "10": small}})
    errors = runs("single_label_limit", {"calibrated-regulators": {"all": 0.3, "50": 0.3, "10": error}}, 0, "row_l1")
    return about_the_paper.budget_claims(table, errors).split("**Not as in the paper:**")


def test_a_minor_impact_is_one_and_a_major_one_is_not():
    (agree,) = budget(48.5, 0.35)
    assert "change GALC-SLR by +0.2 ± 0.0 points with ≤ 50 a class and −0.5 ± 0.0 points with ≤ 10 a class" in agree
    agree, differ = budget(46, 0.35)
    assert "−3.0 ± 0.0 points with ≤ 10 a class (paper: a minor impact)" in differ and "0.35 with ≤ 10 a class" in agree
    assert "0.30 with all and 0.50 with ≤ 10 a class (paper: few are enough)" in budget(48.5, 0.5)[1]


# --- beyond the paper ----------------------------------------------------------------------------------------------


def test_a_lead_counts_the_settings_and_names_those_that_were_lost():
    results = {"asl": {"a": 50, "b": 40}, "clean-only": {"a": 45, "b": 45}, "true-correction": {"a": 90, "b": 90}}
    ahead = runs("setting", results | {"galc-plus": {"a": 53, "b": 46}})
    assert about_methods.lead(ahead, "galc-plus", "setting") == (
        "GALC-plus is above the best of the other methods in 2 of 2 settings, least at *b* by +1.0 points against "
        "Clean: gold + single-label."
    )
    behind = runs("setting", results | {"galc-plus": {"a": 48, "b": 46}})
    assert about_methods.lead(behind, "galc-plus", "setting") == (
        "GALC-plus is above the best of the other methods in 1 of 2 settings; it is not at *a* by −2.0 points against "
        "ASL."
    )
    assert about_methods.against(behind, "galc-plus", "true-correction", "setting") == (
        "GALC-plus against True-Correction: −42.0 at *a* and −44.0 at *b*."
    )
    margins = about_methods.margins(ahead, "galc-plus", by="setting")
    assert tables.margin_table(margins, by="setting").data.columns.tolist() == ["a", "b"]


def test_the_nearest_estimators_of_each_setting_and_those_worse_than_believing_every_label():
    rows = {"identity": {"a": 0.4, "b": 0.8}, "glc": {"a": 1.1, "b": 0.7}, "ours": {"a": 0.1, "b": 0.5}}
    errors = runs("setting", rows, 0, "row_l1")
    assert about_noise.nearest(errors, "setting").splitlines() == [
        "- a: *ours* (0.10), then *glc* (1.10); believing every label errs by 0.40, and *glc* by more.",
        "- b: *ours* (0.50), then *glc* (0.70); believing every label errs by 0.80.",
    ]


def test_the_study_files_are_those_of_the_paper():
    gold = {point.gold_fraction for point in grid.from_file("params/true_correction.yaml")}
    assert gold == set(about_the_paper.reported("true_correction")["gold_fraction"])
    limits = [point.single_label_limit for point in grid.from_file("params/single_label.yaml")]
    published_limits = about_the_paper.facts()["counts"]["single_label"]
    assert {"all" if limit is None else str(limit) for limit in limits} == set(published_limits)
    setting = about_the_paper.facts()["setting"]
    assert {point.epochs for point in grid.from_file("params/memorization.yaml")} == {setting["epochs"]}
