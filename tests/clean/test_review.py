"""Decisions about suspicious labels: whatever happens, the file holds each one that was made, and no other."""

import json
import multiprocessing
import os
import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galc import store
from galc.clean.review import Decision, Review, read

NAMES = ["cat", "dog", 'a "<b>" | ,\n\u202eé', "bus"]


@pytest.fixture
def table() -> pd.DataFrame:
    rows = [("a.jpg", "cat", 1, "wrong"), ("a.jpg", "dog", 0, "missing"), ("ü/<b>.jpg", NAMES[2], 1, "wrong")]
    rows += [(f"{n}.jpg", "bus", n % 2, ("missing", "wrong")[n % 2]) for n in range(4)]
    frame = pd.DataFrame(rows, columns=["file", "class", "given", "kind"], index=range(7, 14))
    return frame.astype({"class": pd.CategoricalDtype(NAMES), "kind": pd.CategoricalDtype(["wrong", "missing"])})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "decisions.json"


def on_disk(path) -> list[tuple]:
    return [tuple(row.values()) for row in json.loads(path.read_text(encoding="utf-8"))["decisions"]]


def test_each_decision_is_on_the_disk_when_it_is_made_and_says_whether_the_class_is_there(table, path):
    review = Review(table, path)
    assert not path.exists()
    assert review.decide(0, "remove") == Decision("a.jpg", "cat", False)
    assert on_disk(path) == [("a.jpg", "cat", False)]
    review.decide(1, "add")
    review.decide(2, "keep")
    review.decide(3, "keep")
    assert on_disk(path)[1:] == [("a.jpg", "dog", True), ("ü/<b>.jpg", NAMES[2], True), ("0.jpg", "bus", False)]
    assert review.decided() == {0: "remove", 1: "add", 2: "keep", 3: "keep"} == Review(table, path).decided()


def test_a_change_of_mind_counts_and_undo_brings_the_first_answer_back(table, path):
    review = Review(table, path)
    review.decide(0, "remove")
    review.decide(0, "keep")
    assert review.decided() == {0: "keep"} and len(on_disk(path)) == 2
    assert review.undo() == Decision("a.jpg", "cat", True) and review.decided() == {0: "remove"}
    assert Review(table, path).undo() == Decision("a.jpg", "cat", False)  # of an earlier session, too
    assert on_disk(path) == [] and review.undo() is None and review.decided() == {}


@given(steps=st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 6), st.integers(0, 1))), max_size=12))
@settings(max_examples=25)
def test_any_series_of_decisions_and_undos_is_that_of_a_plain_list(tmp_path_factory, steps):
    rows = [(f"{n}.jpg", "bus", n % 2, ("missing", "wrong")[n % 2]) for n in range(7)]
    table = pd.DataFrame(rows, columns=["file", "class", "given", "kind"])
    review, done = Review(table, tmp_path_factory.mktemp("out") / "decisions.json"), []
    for step in steps:
        if step is None:
            assert (review.undo() is None) == (not done)
            done = done[:-1]
        else:
            action = review.actions(step[0])[step[1]]
            review.decide(step[0], action)
            done.append((step[0], action))
    assert review.decided() == dict(done) == Review(table, review.path).decided()


def test_an_action_that_does_not_fit_is_refused_and_saves_nothing(table, path):
    review = Review(table, path)
    with pytest.raises(ValueError, match=r"'cat' is given for a\.jpg: keep or remove it, not 'add'"):
        review.decide(0, "add")
    with pytest.raises(ValueError, match=r"'dog' is not given for a\.jpg: keep or add it, not 'remove'"):
        review.decide(1, "remove")
    with pytest.raises(KeyError):
        review.decide(99, "keep")
    assert not path.exists()


@pytest.mark.parametrize("at", ["fsync", "replace"])
def test_a_full_disk_loses_no_decision_and_makes_none(table, path, monkeypatch, at):
    review = Review(table, path)
    review.decide(0, "remove")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, at, full)
    with pytest.raises(OSError, match="No space left"):
        review.decide(1, "add")
    with pytest.raises(OSError, match="No space left"):
        review.undo()
    monkeypatch.undo()
    assert review.decided() == {0: "remove"} == Review(table, path).decided()
    assert [file.name for file in path.parent.iterdir() if file.name.endswith(".tmp")] == []
    review.decide(1, "add")
    assert Review(table, path).decided() == {0: "remove", 1: "add"}


def test_what_a_killed_write_left_behind_is_removed_by_the_next_one(table, path):
    path.parent.mkdir()
    (left := path.with_name(f".{path.name}.abc.tmp")).write_text('{"decisions": [')
    Review(table, path).decide(0, "keep")
    assert not left.exists() and on_disk(path) == [("a.jpg", "cat", True)]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"decisions": 3}', b'{"decisions": [[]]}', b'{"decisions": [{"file": "a"}]}',
     b'{"decisions": [{"file": "a", "class": "b", "present": 1}]}', b"\xff\xfe", b"[" * 100_000],
)  # fmt: skip
def test_a_file_that_holds_no_decisions_is_named_and_left_alone(table, path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"decisions\.json holds no decisions \(.*\); mend it, or move it away"):
        Review(table, path)
    path.unlink()
    review = Review(table, path)
    path.write_bytes(content)  # broken while it is open
    with pytest.raises(ValueError, match="holds no decisions"):
        review.decide(0, "keep")
    assert path.read_bytes() == content


def test_decisions_about_what_the_table_does_not_list_are_kept(table, path):
    Review(table, path).decide(0, "remove")
    shorter = Review(table[1:], path)
    assert shorter.decided() == {}
    shorter.decide(0, "add")
    assert Review(table, path).decided() == {0: "remove", 1: "add"}


def test_any_class_of_any_image_can_be_decided_and_undone(table, path):
    review = Review(table, path)
    assert review.add(Decision("a.jpg", "bus", True)) == Decision("a.jpg", "bus", True)
    assert on_disk(path) == [("a.jpg", "bus", True)] and review.decided() == {} and review.decided() == {}
    review.add(Decision("a.jpg", "dog", True))  # the table lists it
    review.add(Decision("a.jpg", "bus", False))
    assert review.decided() == {1: "add"} == Review(table, path).decided()
    assert review.latest() == {("a.jpg", "bus"): False, ("a.jpg", "dog"): True} == Review(table, path).latest()
    assert review.undo() == Decision("a.jpg", "bus", False) and review.latest()["a.jpg", "bus"]


def test_after_the_labels_were_changed_a_decision_says_the_same_of_the_image(table, path):
    Review(table, path).decide(0, "remove")
    table = table.astype({"kind": str})
    table.loc[7, ["given", "kind"]] = 0, "missing"
    assert Review(table, path).decided() == {0: "keep"}


def test_two_people_with_the_same_file_lose_nothing(table, path):
    first, second = Review(table, path), Review(table, path)
    first.decide(0, "remove")
    second.decide(1, "add")
    assert second.decided() == {0: "remove", 1: "add"}


def decide_all(table, path, rows):
    review = Review(table, path)
    for row in rows:
        review.decide(row, "keep")


def test_processes_that_write_at_the_same_time_lose_nothing(path):
    rows = [(f"{n}.jpg", "bus", 1, "wrong") for n in range(40)]
    table = pd.DataFrame(rows, columns=["file", "class", "given", "kind"])
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=decide_all, args=(table, path, range(n, 40, 2))) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert sorted(read(path)) == sorted(Decision(file, "bus", True) for file in table["file"])


FOREVER = """
import sys
import pandas as pd
from galc.clean.review import Review

table = pd.DataFrame({"file": map(str, range(1000)), "class": "cat", "given": 1, "kind": "wrong"})
review = Review(table, sys.argv[1])
for row in range(1000):
    review.decide(row, "remove")
    print(row, flush=True)
"""


def test_a_kill_at_any_moment_loses_no_decision_that_was_made(path):
    process = subprocess.Popen([sys.executable, "-c", FOREVER, str(path)], stdout=subprocess.PIPE, text=True)
    made = [int(process.stdout.readline()) for _ in range(25)]
    process.kill()
    made += [int(line) for line in process.communicate()[0].splitlines()]
    found = [int(decision.file) for decision in read(path)]
    assert found in (made, [*made, len(made)]) and len(made) < 1000
    table = pd.DataFrame({"file": ["0"], "class": "cat", "given": 1, "kind": "wrong"})
    assert Review(table, path).undo().file == str(found[-1])  # no lock is left behind


def test_a_table_without_a_column_or_with_a_pair_twice_is_refused(table, path):
    with pytest.raises(ValueError, match="has no column class, kind"):
        Review(table.drop(columns=["class", "kind"]), path)
    with pytest.raises(ValueError, match="an image and class twice"):
        Review(pd.concat([table, table[:1]]), path)


def test_it_is_written_as_galc_writes_everything(table, path, monkeypatch):
    written = []
    atomic = store.atomic
    monkeypatch.setattr(store, "atomic", lambda path: written.append(path) or atomic(path))
    Review(table, path).decide(0, "keep")
    assert written == [path]
