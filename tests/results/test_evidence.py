"""Evidence over settings: what figures and tables draw, and sentences that follow the numbers either way."""

import numpy as np
import pandas as pd
import pytest
from test_significance import runs, two

from galc import plots
from galc.results import about_methods, about_noise, groups, significance, tables
from galc.results.tables import overview_frame
from galc.study.run import RunRecord


def labels(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


def ticks(ax) -> list[str]:
    return [tick.get_text() for tick in ax.get_yticklabels()]


def cells(styler) -> list[list]:
    return styler.data.to_numpy().tolist()


def budget(**results: list[float]) -> pd.DataFrame:
    """{method: mAP at budgets 0, 5, all} as a row per run; GALC methods have an error of C."""
    errors = dict(zip(["0", "5", "all"], [0.79, 0.5, 0.1], strict=True))
    means = {name.replace("_", "-"): dict(zip(errors, values, strict=True)) for name, values in results.items()}
    table = runs(means, noise=0.1).rename(columns={"setting": "single_label_limit"})
    error = table["single_label_limit"].map(errors).where(table["method"].str.startswith("galc"))
    return table.assign(C_row_l1=error, seconds=table["method"].map({"asl": 2.0, "galc-plus": 9.0, "bce": 3.0}))


# --- words -----------------------------------------------------------------------------------------------------------


def test_a_lead_beyond_the_seeds_and_one_within_them_are_told_apart():
    clear = about_methods.verdict_of_tests(
        significance.against_runner_up(two(5.0), "galc-plus", "setting"), "galc-plus", "setting"
    )
    assert clear.startswith("GALC-plus is above the best other method in 2 of 2 settings, below it in 0")
    assert "over 5 seeds" in clear and "needs 6 seeds" in clear
    tests = significance.against_runner_up(two(-5.0), "galc-plus", "setting")
    text = about_methods.verdict_of_tests(tests, "galc-plus", "setting")
    assert "below it in 2" in text and f"It is below at *a* (−{-tests.loc['a', 'difference']:.1f} against ASL)" in text
    one = about_methods.verdict_of_tests(
        significance.against_runner_up(two(5.0, seeds=1), "galc-plus", "setting"), "galc-plus", "setting"
    )
    assert one == "A single seed tells nothing of the spread, so no difference can be tested."


def test_rivals_are_listed_with_the_strongest_first():
    found = significance.over_settings(two(1.0, noise=0.01), "galc-plus", "setting")
    text = about_methods.verdict_of_rivals(found, "galc-plus")
    assert (
        "- ASL: +1.0 points on average, GALC-plus is above in 2 of 2 settings (fewer than 6 settings, no test)" in text
    )


def test_ranks_name_the_best_and_who_is_near_it():
    means = {"asl": 1, "bce": 2, "galc-plus": 3}
    ranks = significance.ranks(pd.DataFrame({name: [value] * 12 for name, value in means.items()}))
    text = about_methods.verdict_of_ranks(ranks)
    assert text.startswith("GALC-plus has the best mean rank, 1.0 of 3, over 12 settings (Friedman: p = ")
    assert text.endswith("ranks: none.") if ranks.critical < 1 else text.endswith("ranks: BCE.")


def test_the_ladder_pairs_methods_that_differ_in_one_thing_and_leaves_out_what_was_not_run():
    table = runs({"bce": {"a": 40, "b": 40}, "bce-everything": {"a": 45, "b": 43}, "asl": {"a": 1, "b": 1}}, noise=0.01)
    ladder = about_methods.ladder(table, "setting")
    assert ladder["text"].tolist() == ["single-label images as training data"] * 2
    np.testing.assert_allclose(ladder["difference"], [5, 3], atol=0.05)
    assert about_methods.verdict_of_ladder(ladder, "setting") == (
        "Points that each ingredient brings, on average over a and b: single-label images as training data (+4.0)."
    )
    assert "None of the pairs" in about_methods.verdict_of_ladder(
        about_methods.ladder(table[table["method"] == "asl"], "setting"), "setting"
    )


def test_the_budget_at_which_an_estimate_is_as_good_as_none_is_named():
    table = budget(galc_plus=[40, 50, 55], asl=[45, 45, 45])
    lines = about_methods.budget_limits(table, "single_label_limit", "galc-plus", believing=0.8).splitlines()
    assert lines[0] == "GALC-plus by single-label images:" and lines[2].startswith("- none: ")
    assert "no better than 0.80 of believing every label" in lines[2] and "against ASL" in lines[2]
    assert "error of C 0.10 against 0.80" in lines[4]
    gaps = [float(line.split("mAP, ")[1].split(" ")[0].replace("−", "-")) for line in lines[2:]]
    np.testing.assert_allclose(gaps, [-5, 5, 10], atol=0.2)


def test_what_was_not_run_is_said_and_stops_nothing():
    table = budget(galc_plus=[40, 50, 55], asl=[45, 45, 45])
    text = about_methods.against(table, "galc-plus", "true-correction", by="single_label_limit")
    assert text == "There is no run of True-Correction."
    assert "no run of GALC-SLR" in about_methods.budget_limits(table, "single_label_limit", "galc-slr", believing=0.8)
    part = table[(table["method"] == "asl") | (table["single_label_limit"] == "all")]
    text = about_methods.against(part, "galc-plus", "asl", by="single_label_limit")
    assert text.startswith("GALC-plus against ASL: +") and text.endswith("at *all*.")


def test_believing_every_label_errs_by_twice_what_is_flipped():
    from galc.noise import pair_flip, symmetric

    records = [RunRecord({}, [], {}, true, None, None) for true in (symmetric(5, 0.4), pair_flip(5, 0.2))]
    assert about_noise.believing(records) == pytest.approx((0.8 + 0.4) / 2)


def test_the_cheapest_method_near_the_best_is_found_and_bounds_are_none():
    table = budget(galc_plus=[50, 50, 55], asl=[49.5, 45, 45], bce=[40, 49.6, 40])
    bound = table[table["method"] == "asl"].assign(method="true-correction", mAP=99.0)
    found = about_methods.decisions(pd.concat([table, bound]), "single_label_limit")
    assert found["best"].tolist() == ["galc-plus"] * 3 and found["cheapest"].tolist() == ["asl", "bce", "galc-plus"]
    assert found["next"].tolist() == ["asl", "bce", "asl"] and found.loc["0", "its_seconds"] == 2.0
    assert about_methods.advice(found, "single_label_limit") == (
        "Best: GALC-plus in 3 of 3 settings. Cheaper, and within 1 point of the best: ASL at *none* and BCE at "
        "*≤ 5 a class*."
    )
    alone = about_methods.advice(found.loc[["all"]], "single_label_limit")
    assert alone.endswith("Nothing cheaper comes within 1 point of the best anywhere.")


def test_what_estimators_cannot_represent_is_in_a_table_and_explained_once():
    text = about_noise.scopes(["pooled-rate", "glc"], ["symmetric", "pair", "missing"])
    assert "| *pooled-rate* | yes | – | – |" in text and "| *glc* | yes | yes | – |" in text
    assert text.count("keep its number of labels") == 1 and "spreads wrong labels evenly" in text
    assert "Why not" not in about_noise.scopes(["true"], ["symmetric"])


# --- figures ---------------------------------------------------------------------------------------------------------


def test_settings_are_rows_and_methods_marks_in_them():
    ax = plots.setting_dots(two(1.0))
    assert ticks(ax) == ["a", "b"] and ax.get_ylim() == (1.5, -0.5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["GALC-plus", "ASL", "True-Correction"]
    marks = [container.lines[0].get_ydata() for container in ax.containers]
    assert all(abs(y - row) < 0.5 for mark in marks for row, y in enumerate(mark))


def test_rank_bars_are_as_long_as_the_critical_difference():
    ranks = significance.ranks(pd.DataFrame({"asl": [1.0] * 9, "bce": [2.0] * 9, "galc-plus": [3.0] * 9}))
    ax = plots.rank_intervals(ranks)
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    np.testing.assert_allclose([bar[1] - bar[0] for bar in bars], ranks.critical)
    assert ticks(ax) == ["GALC-plus", "BCE", "ASL"] and labels(ax) == ["1.0", "2.0", "3.0"]


def test_the_matrix_of_wins_is_coloured_by_their_share_and_numbered_by_the_sure_ones():
    won, sure, settings = significance.dominance(two(5.0), "setting")
    ax = plots.dominance_matrix(won, sure, settings)
    assert ticks(ax) == ["True-Correction", "GALC-plus", "ASL"]
    share = ax.collections[0].get_array().reshape(3, 3)
    assert share[1, 2] == 1 and share[2, 1] == 0 and np.ma.getmaskarray(share)[0, 0]
    assert sorted(labels(ax)) == ["0", "0", "0", "2", "2", "2"] or labels(ax).count("2") == 3


def test_a_lead_is_filled_where_it_is_sure_and_names_its_rival():
    table = pd.concat([two(5.0), two(0.0, noise=3.0, draw=1).replace({"setting": {"a": "c", "b": "d"}})])
    tests = significance.against_runner_up(table, "galc-plus", "setting")
    ax = plots.lead_intervals(tests, "galc-plus")
    filled = [container.lines[0].get_markerfacecolor() != "white" for container in ax.containers]
    assert filled == [True, True, False, False] and all("ASL" in text for text in labels(ax))


def test_methods_without_c_are_left_out_of_its_panel_and_believing_is_a_line():
    table = budget(galc_plus=[40, 50, 55], asl=[45, 45, 45])
    accuracy, error = plots.budget_curves(table, "single_label_limit", believing=0.8)
    drawn = [line.get_label() for line in accuracy.lines]
    assert drawn == ["GALC-plus", "ASL"] and error.lines[0].get_label() == "GALC-plus"
    assert error.lines[1].get_ydata()[0] == 0.8
    assert [tick.get_text() for tick in accuracy.get_xticklabels()] == ["none", "≤ 5 a class", "all"]


def test_the_front_of_the_cost_figure_holds_methods_that_no_cheaper_one_reaches():
    table = budget(galc_plus=[55] * 3, asl=[50] * 3, bce=[40] * 3)
    ax = plots.cost_scatter(table, "single_label_limit")
    (front,) = [line for line in ax.lines if line.get_drawstyle() == "steps-post"]
    assert list(front.get_xdata()) == [2.0, 9.0]  # bce costs more than asl and is worse
    assert ax.get_xscale() == "log" and any(text.startswith("GALC-plus  5") for text in labels(ax))


def test_a_step_that_costs_points_is_red():
    table = runs(
        {"bce": {"a": 45}, "bce-everything": {"a": 40}, "asl-no-dropout": {"a": 1}, "asl": {"a": 9}}, noise=0.01
    )
    (ax,) = plots.ladder_bars(about_methods.ladder(table, "setting"))
    assert ["d55e" in __import__("matplotlib").colors.to_hex(bar.get_facecolor()) for bar in ax.patches] == [
        True,
        False,
    ]
    assert labels(ax) == ["−5.0", "+8.0"] and ticks(ax)[0].startswith("single-label images as training data")


def test_figures_of_little_are_drawn_all_the_same():
    table = runs({"asl": {"a": 45}, "gce": {"a": 40}}, noise=0.01)
    (ax,) = plots.ladder_bars(about_methods.ladder(table, "setting"))
    assert not ax.patches
    (only,) = plots.budget_curves(budget(asl=[45, 45, 45]), "single_label_limit", believing=0.8)
    assert [line.get_label() for line in only.lines] == ["ASL"]


# --- tables ----------------------------------------------------------------------------------------------------------


def test_the_overview_is_the_seeds_mean_over_settings_best_first_and_gaps_are_dashes():
    table = two(5.0).assign(ECE=1.0, seconds=2.0)
    table["C_row_l1"] = np.where(table["method"] == "asl", np.nan, 0.5)
    frame = overview_frame(table, "setting")
    assert list(frame.index) == ["true-correction", "galc-plus", "asl"]
    assert list(frame) == ["mAP", "ECE", "C: row L1", "seconds"] and frame.loc["asl", "C: row L1"] == "–"
    seeds = table[table["method"] == "asl"].groupby("seed")["mAP"].mean()
    assert frame.loc["asl", "mAP"] == f"{seeds.mean():.1f} ± {seeds.std():.1f}"
    assert tables.overview_table(table).data.index[1] == "GALC-plus"
    assert overview_frame(table[table["seed"] == 0], "setting").loc["asl", "ECE"] == "1.00"


def test_the_best_of_a_row_is_bold_bounds_aside_and_starred_where_it_is_sure():
    tests = significance.against_runner_up(two(5.0), "galc-plus", "setting")
    styler = tables.setting_table(two(5.0), tests=tests)
    assert [text.endswith(" *") for text in styler.data.loc["a"]] == [True, False, False]
    page = styler.set_uuid("t").to_html()
    (rule,) = [block for block in page.split("}") if "font-weight: bold;" in block and "#T_t_row" in block]
    assert "row0_col0" in rule and "row1_col0" in rule and "col2" not in rule


def test_a_missing_run_is_an_empty_cell():
    table = two(5.0)
    part = table.drop(table.index[(table["method"] == "asl") & (table["setting"] == "b")])
    assert tables.setting_table(part).data.loc["b", "ASL"] == ""


def test_tests_and_decisions_are_written_out():
    tests = significance.against_runner_up(two(5.0), "galc-plus", "setting")
    page = tables.significance_table(tests).to_html()
    assert "best other method" in page and ">–<" in page and f"{tests.loc['a', 't']:.2g}" in page
    found = about_methods.decisions(budget(galc_plus=[50, 50, 55], asl=[49.5, 45, 45]), "single_label_limit")
    styler = tables.decision_table(found)
    (first, *_) = cells(styler)
    assert first[0] == "GALC-plus" and first[5] == "ASL" and first[7] == 2 and ">2.0<" in styler.to_html()


def test_what_was_removed_and_what_was_added_stand_apart():
    table = two(1.0).assign(labels_removed=0.4, labels_added=0.0)
    page = tables.noise_table(table)
    assert cells(page) == [[40.0, 0.0]] * 2 and "wrong" in page.data.columns[1]


def test_the_best_come_first_in_a_ranked_table():
    table = groups.ranked(two(5.0))
    assert list(table["method"].unique()) == ["true-correction", "galc-plus", "asl"] and len(table) == 30
    assert table[table["method"] == "asl"]["seed"].tolist() == two(5.0)[two(5.0)["method"] == "asl"]["seed"].tolist()
