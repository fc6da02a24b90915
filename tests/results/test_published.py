"""The paper's numbers: known answers, and the sums and differences that the paper's text states about them."""

import pytest

from galc.results import about_the_paper


def column(method: str, metric: str) -> list[float]:
    rows = about_the_paper.reported()
    return rows[rows["method"] == method].sort_values("noise")[metric].tolist()


def test_every_fact_says_where_it_stands_in_the_paper():
    groups = {name: entry for name, entry in about_the_paper.facts().items() if name != "source"}
    assert all(entry["where"] for entry in groups.values())
    assert about_the_paper.facts()["source"]["arxiv"] == "2108.02032"


def test_table_1_covers_both_methods_at_seven_noise_levels():
    rows = about_the_paper.reported()
    assert list(rows.columns) == ["method", "noise", "mAP", "CF1", "OF1"]
    for _, group in rows.groupby("method"):
        assert sorted(group["noise"]) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]


def test_the_drops_and_gaps_that_the_text_states_follow_from_the_table():
    """Sec. 1 and 4.2: drops of 38.1 and 9.6 points, gaps of 28.67 (mAP), 24.3 (CF1), 26.1 (OF1), mean gap 13.81."""
    asl, ours = column("ASL", "mAP"), column("GALC-SLR", "mAP")
    assert asl[0] - asl[-1] == pytest.approx(38.1, abs=0.01)
    assert ours[0] - ours[-1] == pytest.approx(9.6, abs=0.01)
    assert ours[-1] - asl[-1] == pytest.approx(28.67, abs=0.01)
    assert column("GALC-SLR", "CF1")[-1] - column("ASL", "CF1")[-1] == pytest.approx(24.3, abs=0.02)
    assert column("GALC-SLR", "OF1")[-1] - column("ASL", "OF1")[-1] == pytest.approx(26.1, abs=0.05)
    assert sum(o - a for o, a in zip(ours, asl, strict=True)) / len(asl) == pytest.approx(13.81, abs=0.01)


def test_the_counts_add_up():
    counts = about_the_paper.facts()["counts"]
    assert counts["gold"] + counts["silver"] == counts["train_multi_label"]
    assert sum(counts["with_5_percent_gold"].values()) == counts["train_multi_label"]
    assert counts["with_5_percent_gold"]["gold"] == int(0.05 * counts["train_multi_label"])
    assert counts["train"] - counts["train_multi_label"] == counts["single_label"]["all"]


def test_the_true_correction_is_the_upper_bound_by_less_than_half_a_point():
    rows = about_the_paper.reported("true_correction").pivot(index="gold_fraction", columns="method", values="mAP")
    gap = rows["True-Correction"] - rows["GALC-SLR"]
    assert ((gap > 0) & (gap < about_the_paper.facts()["true_correction"]["gap_below"])).all()


def test_an_unknown_table_is_refused_by_name():
    with pytest.raises(ValueError, match="no published table 'tabel'"):
        about_the_paper.reported("tabel")
