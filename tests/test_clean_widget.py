"""The review without a front end: what its keys send is handed to it, and what it shows and saves is checked."""

import os

import numpy as np
import pytest
from cleaned import CLASSES, example

from galc.clean import gallery
from galc.clean.result import DECISIONS, Cleaned
from galc.clean.review import read
from galc.clean.widget import PAGE, Reviewer


@pytest.fixture
def cleaned(tmp_path) -> Cleaned:
    return example(tmp_path, 40)


@pytest.fixture
def reviewer(cleaned, tmp_path) -> Reviewer:
    return Reviewer(cleaned, tmp_path, first=30, drawn=24)


def press(reviewer: Reviewer, **message) -> None:
    """The message that the grid sends."""
    reviewer._asked(reviewer.grid, message, [])


def ranks(reviewer: Reviewer) -> list[int]:
    return [card["rank"] for card in reviewer.grid.cards]


def test_it_begins_with_a_sample_of_the_first_labels_in_their_order(reviewer):
    reviewer.turn(1)
    last = ranks(reviewer)
    reviewer.turn(-1)
    shown = ranks(reviewer) + last
    assert len(shown) == 24 == len(set(shown)) and shown == sorted(shown) and max(shown) <= 30
    assert ranks(Reviewer(reviewer.cleaned, reviewer.review.path.parent, 30, 24)) == shown[:PAGE]


def test_all_labels_are_shown_page_by_page_and_no_page_is_beyond_the_last(reviewer, cleaned):
    reviewer.show.value = "all"
    found = []
    for _ in range(reviewer.pages):
        found += ranks(reviewer)
        press(reviewer, do="page", by=1)
    assert found == cleaned.suspicious["rank"].tolist() and len(found) > 3 * PAGE
    assert ranks(reviewer) == found[-len(ranks(reviewer)) :] and reviewer.buttons["next"].disabled
    press(reviewer, do="page", by=-99)
    assert ranks(reviewer) == found[:PAGE] and reviewer.buttons["previous"].disabled


def test_a_kind_and_a_class_can_be_chosen(reviewer, cleaned):
    reviewer.show.value, reviewer.kind.value, reviewer.label.value = "all", "missing", CLASSES[2]
    table = cleaned.suspicious
    wanted = table[(table["kind"] == "missing") & (table["class"] == CLASSES[2])]["rank"].tolist()
    assert ranks(reviewer) == wanted[:PAGE] and wanted
    assert {card["name"] for card in reviewer.grid.cards} == {CLASSES[2]}


def test_a_key_saves_the_decision_before_the_card_shows_it(reviewer, cleaned, tmp_path, monkeypatch):
    row = ranks(reviewer)[0] - 1
    action = reviewer.grid.cards[0]["actions"][1]
    seen = []
    reviewer.grid.observe(lambda change: seen.append(len(read(tmp_path / DECISIONS))), "chosen")
    press(reviewer, do="decide", row=row, action=action)
    assert seen == [1] and reviewer.grid.chosen[:2] == [action, ""]
    assert "saved" in reviewer.status.value and "Decided: 1 of " in reviewer.summary.value
    line = cleaned.suspicious.iloc[row]
    assert reviewer.cleaned.decisions == {(line["row"], line["column"]): action == "add"}
    assert bool(reviewer.cleaned.corrected(1)[line["row"], line["column"]]) == (action == "add")


def test_undo_goes_to_the_card_and_takes_its_decision_back(reviewer, monkeypatch):
    reviewer.show.value = "all"
    sent = []
    monkeypatch.setattr(reviewer.grid, "send", sent.append)
    press(reviewer, do="page", by=1)
    press(reviewer, do="decide", row=PAGE + 3, action="keep")
    press(reviewer, do="page", by=-1)
    press(reviewer, do="undo")
    assert reviewer.page == 1 and sent == [{"focus": 3}] and set(reviewer.grid.chosen) == {""}
    assert "undone" in reviewer.status.value and "undecided" in reviewer.status.value
    reviewer.buttons["undo"].click()
    assert "nothing to undo" in reviewer.status.value


def test_the_next_session_begins_where_the_last_one_ended(cleaned, tmp_path):
    first = Reviewer(cleaned, tmp_path, 100, 50)
    for row in first.rows[:25].tolist():
        first.decide(row, "keep")
    second = Reviewer(cleaned, tmp_path, 100, 50)
    assert second.page == 1 and second.grid.chosen[:6] == ["keep"] * 5 + [""]


def test_the_precision_is_that_of_the_sample_whatever_else_is_decided(reviewer):
    assert "unknown" in reviewer.text
    rows = reviewer.rows.tolist()
    for n, row in enumerate(rows[:20]):
        reviewer.decide(row, reviewer.review.actions(row)[n < 15])
    others = [row for row in range(len(reviewer.review.table)) if row not in rows]
    for row in others[:5]:
        reviewer.decide(row, reviewer.review.actions(row)[1])
    found = reviewer.precision
    assert (found.first, found.sampled, found.reviewed, found.at_fault) == (30, 24, 20, 15)
    assert "Precision at 30: 75 %" in reviewer.summary.value
    reviewer.show.value = "all"
    assert reviewer.precision == found


def test_every_card_says_in_words_what_it_is(reviewer, cleaned):
    for card in reviewer.grid.cards:
        line = cleaned.suspicious.iloc[card["rank"] - 1]
        labels = [CLASSES[k] for k in np.flatnonzero(cleaned.labels[line["row"]])]
        assert (card["name"], card["labels"]) == (line["class"], labels)
        assert card["claim"].startswith("given" if line["given"] else "not given")
        assert gallery.chance(line["probability"]) in card["claim"]
        assert card["src"].startswith("data:image/jpeg;base64,") and card["file"].endswith(" <i>&ü.png")
        assert card["actions"] == ("keep", "remove" if line["given"] else "add")


def test_names_are_text_where_python_writes_them(reviewer):
    reviewer.show.value, reviewer.label.value = "all", CLASSES[1]
    reviewer.decide(ranks(reviewer)[0] - 1, "keep")
    assert "&lt;script&gt;" in reviewer.status.value and "<script>" not in reviewer.status.value
    assert "<script>" not in reviewer._repr_mimebundle_()["text/html"]


def test_an_error_is_shown_and_raised_and_the_card_stays_undecided(reviewer, monkeypatch):
    def full(*_):
        raise OSError(28, "No <space> left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No <space> left"):
        press(reviewer, do="decide", row=ranks(reviewer)[0] - 1, action="keep")
    assert "No &lt;space&gt; left (OSError)" in reviewer.status.value and "galc-error" in reviewer.status.value
    assert "role='status'" in reviewer.status.value and set(reviewer.grid.chosen) == {""}
    monkeypatch.undo()
    press(reviewer, do="decide", row=ranks(reviewer)[0] - 1, action="keep")
    assert "Error" not in reviewer.status.value and reviewer.grid.chosen[0] == "keep"


def test_an_image_that_cannot_be_read_does_not_stop_the_review(cleaned, tmp_path):
    cleaned.files[cleaned.suspicious["row"][0]].write_bytes(b"no image")
    reviewer = Reviewer(cleaned, tmp_path, 1, 1)
    assert reviewer.grid.cards[0]["src"] == ""
    reviewer.decide(0, "keep")
    assert reviewer.grid.chosen == ["keep"]


def test_every_control_has_a_name_and_a_class(reviewer):
    controls = {"show": reviewer.show, "kind": reviewer.kind, "class": reviewer.label} | reviewer.buttons
    for name, control in controls.items():
        assert f"galc-{name}" in control._dom_classes and control.description


def test_where_no_widget_can_live_the_page_is_there_as_html(reviewer):
    bundle = reviewer._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == reviewer.widget.model_id
    assert bundle["text/html"].count("<figure") == PAGE and "Decided: 0 of" in bundle["text/plain"]


def test_where_nothing_is_suspicious_it_says_so(tmp_path):
    reviewer = Reviewer(example(tmp_path, 1), tmp_path)
    assert reviewer.grid.cards == [] and "no suspicious label" in reviewer.where.value
    press(reviewer, do="undo")
    assert reviewer.pages == 1 and "unknown" in reviewer.text


def test_a_message_of_another_kind_changes_nothing(reviewer, tmp_path):
    for message in ({}, {"do": "decide", "row": "0", "action": "keep"}, {"do": "page"}, {"do": "x"}):
        press(reviewer, **message)
    assert not (tmp_path / DECISIONS).exists() and reviewer.page == 0
