"""Tests say what their textbooks say: known answers, slow oracles, and what pairs and settings are."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from galc.results import significance
from galc.results.significance import cube, dominance, holm, paired_t, ranks, setting_means, wilcoxon


def runs(means: dict[str, dict], noise: float = 0.5, seeds: int = 5, draw: int = 0) -> pd.DataFrame:
    """{method: {setting: mean}} as a row per run; a seed's own level is shared by all methods of a setting."""
    rng = np.random.default_rng(draw)
    level = {(setting, seed): 5 * rng.normal() for setting in next(iter(means.values())) for seed in range(seeds)}
    return pd.DataFrame(
        [
            {
                "method": name,
                "setting": setting,
                "seed": seed,
                "mAP": mean + level[setting, seed] + noise * rng.normal(),
            }
            for name, settings in means.items()
            for setting, mean in settings.items()
            for seed in range(seeds)
        ]
    )


def two(difference: float, noise: float = 0.5, seeds: int = 5, draw: int = 0) -> pd.DataFrame:
    means = {"galc-plus": 50 + difference, "asl": 50, "true-correction": 90}
    return runs({name: dict.fromkeys(["a", "b"], mean) for name, mean in means.items()}, noise, seeds, draw)


# --- p-values --------------------------------------------------------------------------------------------------------

lists = st.lists(st.floats(-10, 10), min_size=2, max_size=12)


@given(lists)
def test_the_paired_t_test_is_scipys(differences):
    expected = stats.ttest_1samp(differences, 0.0).pvalue if np.ptp(differences) > 1e-6 else None
    if expected is not None:
        assert paired_t(differences) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_equal_differences_are_certain_none_are_nothing_and_one_pair_says_nothing():
    assert paired_t([1.0, 1.0, 1.0]) == 0.0 and paired_t([0.0, 0.0]) == 1.0
    assert np.isnan(paired_t([1.0])) and np.isnan(paired_t([1.0, np.nan]))
    assert paired_t([1.0, np.nan, 2.0]) == paired_t([1.0, 2.0])


def test_wilcoxon_needs_six_pairs_and_counts_signs_exactly():
    assert np.isnan(wilcoxon([1, 2, 3, 4, 5])) and wilcoxon([0] * 6) == 1.0
    assert wilcoxon([1, 2, 3, 4, 5, 6]) == pytest.approx(2 / 2**6)  # all of one sign: 2 of 64 assignments
    sums = [sum(rank for rank, sign in enumerate(signs, 1) if sign) for signs in itertools.product([0, 1], repeat=6)]
    extreme = np.mean([total <= 1 or total >= 20 for total in sums])
    assert wilcoxon([-1, 2, 3, 4, 5, 6]) == pytest.approx(extreme)


def test_holms_example_and_missing_values():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, np.nan, 0.6]), [0.04, np.nan, 0.6])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.sampled_from([0.01, 0.05, 0.2]))
def test_holm_rejects_what_the_step_down_procedure_rejects(p, alpha):
    rejected, order = set(), np.argsort(p, kind="stable")
    for step, place in enumerate(order):
        if p[place] * (len(p) - step) >= alpha:
            break
        rejected.add(int(place))
    assert {n for n, value in enumerate(holm(p)) if value < alpha} == rejected


# --- pairs and settings ----------------------------------------------------------------------------------------------


def test_runs_are_laid_out_by_setting_and_seed_in_the_order_of_the_table():
    table = runs({"b": {"z": 1, "a": 2}, "a": {"z": 3, "a": 4}}, seeds=2)
    wide = cube(table, "setting")
    assert list(wide.index) == [("z", 0), ("z", 1), ("a", 0), ("a", 1)] and list(wide) == ["b", "a"]
    with pytest.raises(ValueError, match="several runs have the same method, setting and seed"):
        cube(pd.concat([table, table]), "setting")


def test_a_setting_that_lacks_a_method_is_in_no_comparison_of_all():
    table = two(1.0)
    part = table.drop(table.index[(table["method"] == "asl") & (table["setting"] == "b")])
    assert list(setting_means(part, "setting").index) == ["a"]
    assert dominance(part, "setting")[2] == ranks(setting_means(part, "setting")).settings == 1


def test_the_levels_that_seeds_share_drop_out_of_the_differences():
    tests = significance.against_runner_up(two(2.0), "galc-plus", "setting")
    assert tests["rival"].tolist() == ["asl", "asl"] and tests["seeds"].tolist() == [5, 5]  # the bound is none
    assert (tests["std"] < 1.5).all() and (tests["holm"] < 0.05).all() and tests["wilcoxon"].isna().all()
    np.testing.assert_allclose(tests["holm"], holm(tests["t"]))


def test_a_difference_within_the_spread_is_not_told_from_none():
    tests = significance.against_runner_up(two(0.0, noise=3.0, draw=1), "galc-plus", "setting")
    assert (tests["holm"] > 0.05).all()


def test_the_rival_is_the_best_of_each_setting():
    table = runs({"galc-plus": {"a": 9, "b": 9}, "asl": {"a": 5, "b": 1}, "bce": {"a": 1, "b": 5}}, noise=0.1)
    tests = significance.against_runner_up(table, "galc-plus", "setting")
    assert tests["rival"].to_dict() == {"a": "asl", "b": "bce"}
    one = significance.against_runner_up(table[table["seed"] == 0], "galc-plus", "setting")
    assert one["holm"].isna().all() and (one["std"] == 0).all()


def test_a_method_without_a_run_is_named():
    for compare in (significance.against_runner_up, significance.over_settings):
        with pytest.raises(ValueError, match="no run of elr to compare; the table has galc-plus, asl, true-correction"):
            compare(two(1.0), "elr", "setting")


def test_over_settings_each_rival_is_met_by_its_means():
    settings = {f"s{n}": 50 + n for n in range(8)}
    better = {s: value + 1.5 + 0.1 * n for n, (s, value) in enumerate(settings.items())}
    mixed = {s: value + (-1) ** n + 0.2 for n, (s, value) in enumerate(settings.items())}
    found = significance.over_settings(
        runs({"galc-plus": better, "asl": settings, "bce": mixed}, noise=1e-6), "galc-plus", "setting"
    )
    assert found.loc["asl", "wins"] == found.loc["asl", "settings"] == 8
    assert found.loc["asl", "wilcoxon"] == pytest.approx(2 / 2**8)
    assert found.index[0] == "bce" and found.loc["bce", "wins"] == 8  # the strongest rival first
    np.testing.assert_allclose(found["holm"], holm(found["wilcoxon"]))


# --- ranks and dominance ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_has_the_published_values(methods, q):
    """Demšar 2006, Table 5a."""
    means = pd.DataFrame(np.random.default_rng(0).random((14, methods)))
    expected = q * np.sqrt(methods * (methods + 1) / (6 * 14))
    assert ranks(means).critical == pytest.approx(expected, abs=2e-3 * methods)


def test_mean_ranks_share_ties_and_friedman_sees_a_constant_order():
    means = pd.DataFrame({"a": [3.0, 3, 3, 3], "b": [2.0, 3, 2, 2], "c": [1.0, 1, 1, 1]})
    found = ranks(means)
    assert found.mean.to_dict() == {"a": 1.125, "b": 1.875, "c": 3.0}
    assert found.p == pytest.approx(stats.friedmanchisquare(*means.to_numpy().T).pvalue) and found.p < 0.05
    assert np.isnan(ranks(means[["a", "b"]]).p)
    with pytest.raises(ValueError, match="two methods with a setting in common"):
        ranks(means[["a"]])


def test_dominance_counts_wins_and_those_beyond_the_seeds():
    table = runs({"galc-plus": {"a": 60, "b": 60}, "asl": {"a": 50, "b": 60.01}, "bce": {"a": 40, "b": 40}}, noise=0.5)
    won, sure, settings = dominance(table, "setting")
    assert settings == 2 and won.loc["galc-plus", "bce"] == sure.loc["galc-plus", "bce"] == 2
    assert sure.loc["galc-plus", "asl"] == 1 and won.loc["asl", "bce"] == 2
    assert ((won + won.T).to_numpy() + 2 * np.eye(3) == 2).all() and (sure <= won).all().all()
