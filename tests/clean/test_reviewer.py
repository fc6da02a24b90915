"""The review without a front end: what its keys send is handed to it, and what it shows and saves is checked."""

import json
import os

import numpy as np
import pytest
from cleaned import CLASSES, example

from galc.clean import Cleaned, report
from galc.clean.review import DECISIONS, Decision, read
from galc.clean.reviewer import PAGE, Reviewer


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
    assert reviewer.cleaned.decided == {(line["row"], line["column"]): action == "add"}
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


def unlisted(cleaned: Cleaned) -> tuple[int, int, str, bool]:
    """A row of the table, and a label of its image that the table does not list: row, image, class, whether given."""
    table = cleaned.suspicious
    listed = set(zip(table["row"], table["column"], strict=True))
    for row, image in enumerate(table["row"]):
        for k, name in enumerate(CLASSES):
            if (image, k) not in listed:
                return row, image, name, bool(cleaned.labels[image, k])
    raise AssertionError("the table lists every label")


def test_any_class_of_an_image_is_decided_like_a_suspicious_label(reviewer, cleaned, tmp_path):
    row, image, name, given = unlisted(cleaned)
    seen = []
    reviewer.grid.observe(lambda change: seen.append(len(read(tmp_path / DECISIONS))), "decided")
    reviewer.show.value = "all"
    reviewer.turn(row // PAGE)
    press(reviewer, do="class", row=row, name=name, present=not given)
    assert seen[-1] == 1 and read(tmp_path / DECISIONS) == [Decision(str(cleaned.files[image]), name, not given)]
    word = "removed" if given else "added"
    assert f"{word}, saved" in reviewer.status.value and cleaned.files[image].name[:3] in reviewer.status.value
    table = cleaned.suspicious["row"].to_numpy()[reviewer.rows][reviewer.page * PAGE :][:PAGE]
    assert reviewer.grid.decided == [[(name, not given)] if other == image else [] for other in table]
    assert set(reviewer.grid.chosen) == {""}
    column = CLASSES.index(name)
    assert reviewer.cleaned.decided == {(image, column): not given}
    assert bool(reviewer.cleaned.corrected(1)[image, column]) != given
    press(reviewer, do="undo")
    assert read(tmp_path / DECISIONS) == [] and not any(reviewer.grid.decided)
    assert "undone" in reviewer.status.value and "undecided" in reviewer.status.value


def test_a_decision_about_a_listed_label_shows_on_its_own_card_wherever_it_was_made(reviewer, cleaned):
    reviewer.show.value, table = "all", cleaned.suspicious
    other = next(n for n in range(1, PAGE) if (table["row"] == table["row"][n])[:n].any())
    row = int(np.flatnonzero(table["row"] == table["row"][other])[0])
    given = bool(table["given"][other])
    press(reviewer, do="class", row=row, name=table["class"][other], present=not given)
    assert reviewer.grid.chosen[other] == ("remove" if given else "add") and reviewer.grid.chosen[row] == ""
    assert "Decided: 1 of" in reviewer.text and "not among these" not in reviewer.text


def test_the_summary_counts_labels_that_are_not_listed_apart(reviewer, cleaned):
    row, _, name, given = unlisted(cleaned)
    reviewer.decide(0, "keep")
    reviewer.decide_class(row, name, not given)
    counts = "0 kept as it is, 1 removed, 0 added" if given else "0 kept as it is, 0 removed, 1 added"
    total = len(cleaned.suspicious)
    told = f"Decided: 1 of {total} labels (1 kept as it is, 0 removed, 0 added), and 1 not among these ({counts}). Pre"
    assert told in reviewer.text and told in reviewer.summary.value
    reviewer.decide_class(row, name, given)  # a change of mind is no second label
    assert "and 1 not among these (1 kept as it is, 0 removed, 0 added)" in reviewer.text


def test_decisions_about_images_and_classes_that_are_gone_are_neither_shown_nor_counted(cleaned, tmp_path):
    review = Reviewer(cleaned, tmp_path).review
    review.add(Decision("gone.jpg", CLASSES[0], True))
    review.add(Decision(str(cleaned.files[cleaned.suspicious["row"][0]]), "gone", True))
    reviewer = Reviewer(cleaned, tmp_path)
    assert "Decided: 0 of" in reviewer.text and "not among" not in reviewer.text and not any(reviewer.grid.decided)
    reviewer.undo()
    reviewer.undo()
    assert "\u2068gone.jpg\u2069): undecided" in reviewer.status.value


@pytest.mark.parametrize("name", ["unicorn", "CAT", "", "cat "])
def test_what_is_no_class_is_refused_and_saves_nothing(reviewer, tmp_path, name):
    with pytest.raises(ValueError, match="is none of the 4 classes; nothing is saved"):
        press(reviewer, do="class", row=0, name=name, present=True)
    assert "galc-error" in reviewer.status.value and not (tmp_path / DECISIONS).exists()


def test_other_classes_change_the_precision_only_where_their_labels_are_drawn(reviewer, cleaned):
    drawn, table = set(reviewer.rows.tolist()), cleaned.suspicious
    row, _, name, given = unlisted(cleaned)
    reviewer.decide_class(row, name, not given)
    beyond = next(n for n in range(len(table)) if n not in drawn)
    reviewer.decide_class(beyond, table["class"][beyond], not table["given"][beyond])
    assert reviewer.precision.reviewed == 0
    one = min(drawn)
    reviewer.decide_class(one, table["class"][one], not table["given"][one])
    assert (reviewer.precision.reviewed, reviewer.precision.at_fault) == (1, 1)


def test_undo_goes_back_to_the_card_whose_field_was_used(reviewer, cleaned, monkeypatch):
    reviewer.show.value, sent, table = "all", [], cleaned.suspicious
    monkeypatch.setattr(reviewer.grid, "send", sent.append)
    first, last = 2, int(np.flatnonzero(table["row"] == table["row"][2])[-1])
    assert last >= PAGE  # the label has a card of its own, on a later page
    press(reviewer, do="class", row=first, name=table["class"][last], present=True)
    press(reviewer, do="undo")
    assert (reviewer.page, sent) == (0, [{"focus": first}])
    _, image, name, given = unlisted(cleaned)
    reviewer.review.add(Decision(str(cleaned.files[image]), name, not given))  # as in an earlier session
    press(reviewer, do="undo")
    place = int(np.flatnonzero(table["row"] == image)[0])
    assert (reviewer.page, sent[1:]) == (place // PAGE, [{"focus": place % PAGE}])


def test_corrected_labels_are_written_with_them(reviewer, cleaned, tmp_path):
    row, image, name, given = unlisted(cleaned)
    reviewer.decide_class(row, name, not given)
    loaded = Cleaned.load(cleaned.save(tmp_path))
    assert loaded.decided == {(image, CLASSES.index(name)): not given}
    assert bool(loaded.corrected()[image, CLASSES.index(name)]) != given


def test_the_names_of_all_classes_are_sent_once(tmp_path):
    many = tuple(f"class {k}" for k in range(1000))
    cleaned = example(tmp_path, 3, many)
    reviewer = Reviewer(cleaned, tmp_path)
    assert reviewer.grid.classes == list(many)
    changed = set()
    reviewer.grid.observe(lambda change: changed.add(change["name"]))
    reviewer.show.value = "all"
    press(reviewer, do="page", by=1)
    press(reviewer, do="class", row=PAGE, name=many[7], present=True)
    assert changed == {"cards", "decided"}
    told = {"rank", "name", "kind", "claim", "labels", "file", "src", "actions", "action"}
    assert set(reviewer.grid.cards[0]) == told
    assert len(json.dumps(reviewer.grid.decided)) < 20 * PAGE  # of 1,000 classes the decided ones alone


def test_every_card_says_in_words_what_it_is(reviewer, cleaned):
    for card in reviewer.grid.cards:
        line = cleaned.suspicious.iloc[card["rank"] - 1]
        labels = [CLASSES[k] for k in np.flatnonzero(cleaned.labels[line["row"]])]
        assert (card["name"], card["labels"]) == (line["class"], labels)
        assert card["claim"].startswith("given" if line["given"] else "not given")
        assert report.chance(line["probability"]) in card["claim"]
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
    for message in (
        {},
        {"do": "decide", "row": "0", "action": "keep"},
        {"do": "page"},
        {"do": "x"},
        {"do": "class", "row": 0, "name": "cat"},
        {"do": "class", "row": 0, "name": "cat", "present": 1},
    ):
        press(reviewer, **message)
    assert not (tmp_path / DECISIONS).exists() and reviewer.page == 0
