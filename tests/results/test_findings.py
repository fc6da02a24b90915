"""The sentences say what the data say, also where that is not what one hopes for."""

import numpy as np
import pandas as pd
import pytest
import torch

from galc.noise import Noise, changes, symmetric
from galc.results import about_methods, about_noise, groups

CLASSES = ["person", "cat", "dog", "car"]


def runs(**results: list[float]) -> pd.DataFrame:
    """{method: mAP at 0, 10, 20, ... % noise} as a row per run, - in names written _; two seeds around the mean."""
    return pd.DataFrame(
        [
            {"method": name.replace("_", "-"), "noise": level / 10, "seed": seed, "mAP": value + 2 * seed - 1}
            for name, values in results.items()
            for level, value in enumerate(values)
            for seed in (0, 1)
        ]
    )


def test_a_notebook_shows_a_finding_as_prose():
    assert groups.Finding("*a*")._repr_markdown_() == "*a*"


def test_noise_counts_both_rates_and_names_the_class_that_could_not_get_its_share():
    clean = torch.tensor([[1, 1, 0, 0]] * 10).bool()
    noisy = clean.clone()
    noisy[:4] = torch.tensor([1, 0, 1, 0]).bool()
    asked = Noise(symmetric(4, 0.3)).expected(clean)
    text = about_noise.noise(asked, changes(clean, noisy), 10, CLASSES)
    assert text.startswith("4 of 20 clean labels are gone: 20.0 %, where 30.0 % was asked for.")
    assert "4 of 20 noisy labels are wrong: 20.0 %, where 30.0 % was asked for." in text
    assert "*person*, received 100 % fewer wrong labels" in text and "in 100 % of the images" in text


def test_without_noise_nothing_is_said_about_wrong_labels():
    clean = torch.eye(4).bool()
    text = about_noise.noise(Noise(torch.eye(4)).expected(clean), changes(clean, clean), 4, CLASSES)
    assert text.endswith("0 of 4 noisy labels are wrong: 0.0 %, where 0.0 % was asked for.")


def test_the_limits_of_estimators_are_listed_or_that_there_are_none():
    text = about_noise.limits({"glc": "", "pooled-rate": "pooled-rate cannot."})
    assert text == "Of this noise not everything can be represented:\n\n- pooled-rate cannot."
    assert about_noise.limits({"glc": ""}) == "Every estimator can represent this noise."


def test_calibration_adds_scores_up_over_the_classes():
    text = about_noise.calibration({"p": np.full((2, 4), 0.5), "q": np.full((2, 4), 0.25)}, np.eye(4)[:2])
    assert text == "An image has 1.00 labels. Added up over the classes: p 2.00 and q 1.00."


def test_memorization_gives_peak_and_last_epoch_and_what_lies_between():
    rows = [("asl", epoch, 0, value) for epoch, value in enumerate([20, 40, 30.5], 1)]
    rows += [("f", epoch, 0, value) for epoch, value in enumerate([10, 20, 30], 1)]
    text = about_methods.memorization(pd.DataFrame(rows, columns=["method", "epoch", "seed", "mAP"]))
    assert text.splitlines() == [
        "- ASL: highest mAP 40.0 in epoch 2, the last epoch has 30.5: 9.5 points lost.",
        "- f: highest mAP 30.0 in epoch 3, the last epoch has 30.0: nothing lost.",
    ]


def test_a_transition_matrix_is_told_from_one_that_is_none():
    assert about_noise.no_transition(symmetric(4, 0.3)) == "Its rows sum to 1: a transition matrix."
    text = about_noise.no_transition(np.full((4, 4), 0.5))
    assert "sum to 2.0 or more" in text and "entries are 0.50 or more" in text
    assert "sum" in about_noise.no_transition([[1.5, -0.5], [0, 1]]) and "Half" in about_noise.no_transition(
        [[1.5, -0.5], [0, 1]]
    )


def test_classes_without_images_are_named_and_long_lists_are_cut():
    text = about_noise.fallbacks({"gold image": np.eye(4)[:2], "single-label image": np.eye(4)}, CLASSES)
    assert "- no gold image: 2 of 4 (dog, car)\n- no single-label image: none" in text
    many = about_noise.fallbacks({"gold image": np.zeros((0, 20))}, [f"c{k}" for k in range(20)])
    assert "c11 and 8 more" in many


def test_estimators_are_ordered_and_those_worse_than_believing_every_label_are_named():
    errors = pd.DataFrame({"row_l1": {"true": 0.0, "glc": 1.1, "ours": 0.1, "identity": 0.8}})
    text = about_noise.estimators(errors)
    assert text.startswith("Nearest to the true C: *ours* (0.10), *identity* (0.80) and *glc* (1.10).")
    assert text.endswith("errs by 0.80; 1 of the estimators err more: *glc*.")


def test_a_method_is_compared_with_all_others_and_losses_are_no_gains():
    assert about_methods.comparison(runs(asl=[50], bce=[56], galc_plus=[55]), "galc-plus") == (
        "GALC-plus ends at 55.0 mAP: +5.0 against ASL and −1.0 against BCE."
    )
    assert about_methods.comparison(runs(asl=[50]), "asl") == "ASL ends at 50.0 mAP."


def test_gains_leave_out_classes_without_test_images():
    text = about_methods.gains([1.0, -2.0, np.nan, 4.0], CLASSES)
    assert text.startswith("2 of 3 classes gain; the median is +1.0 points. The most: car (+4.0), person (+1.0)")
    assert "dog" not in text and text.endswith("the least: cat (−2.0), person (+1.0) and car (+4.0).")


def test_margins_compare_with_the_best_rival_of_each_level_and_leave_out_upper_bounds():
    table = runs(asl=[50, 40], clean_only=[45, 45], true_correction=[70, 70], galc_plus=[52, 51])
    gap = about_methods.margins(table, "galc-plus")
    assert gap.index.tolist() == ["asl", "clean-only", "the best of them"]
    np.testing.assert_allclose(gap.loc["the best of them"], [2, 6])


def test_the_hardest_noise_level_and_rival_are_named():
    table = runs(asl=[60, 40, 30], clean_only=[45, 45, 45], true_correction=[70, 70, 70], galc_plus=[52, 51, 48])
    assert about_methods.hardest(table, "galc-plus", lowest=0.1) == (
        "From 10 % noise on, the best of the other methods comes nearest at 20 %: there GALC-plus is 3.0 points above "
        "Clean: gold + single-label."
    )
    assert "at 0 %: there GALC-plus is 8.0 points below ASL." in about_methods.hardest(table, "galc-plus", lowest=0.0)


def test_a_sweep_counts_the_levels_and_names_those_that_were_lost():
    table = runs(asl=[50, 40, 30], galc_plus=[49, 45, 50])
    assert about_methods.sweep(table, "galc-plus", "asl") == (
        "GALC-plus is above ASL at 2 of 3 noise levels (not at 0 %): −1.0 at 0 % and +20.0 at 20 %."
    )
    assert about_methods.is_above(table, "galc-plus", "asl", lowest=0.1)
    assert not about_methods.is_above(table, "galc-plus", "asl", lowest=0.0)


@pytest.mark.parametrize("metric", ["mAP", "CF1"])
def test_retention_is_the_share_of_the_result_without_noise(metric):
    table = runs(asl=[50, 25], galc_plus=[50, 40]).rename(columns={"mAP": metric})
    text = about_methods.retention(table, ["galc-plus", "asl", "not run"], metric=metric)
    start = f"With 10 % of the labels flipped, {metric} is this share of that with 0 %, here: "
    assert text == start + "GALC-plus 80 % and ASL 50 %."


def test_the_methods_are_explained_in_their_own_words():
    assert about_methods.methods(["bce"]) == "- *BCE*: Binary cross-entropy on S ∪ G."


def test_what_a_study_is_about_is_our_method_the_papers_or_the_last_that_it_has():
    assert about_methods.ours(runs(galc_slr=[1], galc_plus=[2], asl=[3])) == "galc-plus"
    assert about_methods.ours(runs(galc_slr=[1], asl=[3])) == "galc-slr"
    assert about_methods.ours(runs(asl=[1], bce=[3])) == "bce"


def test_what_was_not_run_is_said_in_place_of_a_comparison():
    alone = runs(galc_slr=[50])
    assert "no run of ASL" in about_methods.sweep(alone, "galc-slr", "asl")
    assert "no run of another method" in about_methods.sweep(alone, "galc-slr", "galc-slr")
    assert "no run of another method" in about_methods.hardest(alone, "galc-slr", lowest=0.0)
    assert "no run of another method" in about_methods.lead(alone, "galc-slr", by="noise")
    assert about_methods.is_above(alone, "galc-slr", "asl", lowest=0.0)
    assert list(about_methods.margins(alone, "galc-slr").index) == [about_methods.BEST]
