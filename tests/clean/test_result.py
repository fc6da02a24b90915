"""The result of cleaning: what goes in comes out, decisions outrank it, and no broken file passes for a whole one."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from galc.clean import ENOUGH, FILE, Cleaned, Rates
from galc.clean.review import DECISIONS, Decision, Latest, latest, read, write

CLASSES = ("cat", "dog", "a|ü <b>")


def rates(*shape: int) -> Rates:
    return Rates(*(torch.full(shape, value, dtype=torch.float64) for value in (0.1, 0.05, float("nan"))))


@pytest.fixture
def cleaned(tmp_path: Path) -> Cleaned:
    """Four images, of which the last is trusted; the dog of the first is wrong, its cat is missing."""
    labels = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]]).bool()
    posterior = torch.tensor([[0.7, 0.2, 0.0], [0.9, 0.4, 0.1], [0.5, 0.01, 0.6], [1, 1, 0]])
    eye = Rates(torch.eye(3).double(), torch.eye(3).double(), torch.eye(3).double())
    files = tuple(tmp_path / "images" / f"{n} ä.png" for n in range(4))
    trusted = torch.tensor([False, False, False, True])
    parts = {"name": "mine", "source": "mine.csv", "classes": CLASSES, "files": files, "labels": labels}
    parts |= {name: rates(3) for name in ("removed", "added", "wrong", "missing")}
    return Cleaned(**parts, trusted=trusted, posterior=posterior, transition=eye)


def by_name(cleaned: Cleaned, decisions: dict[tuple[int, int], bool]) -> Latest:
    """Decisions about rows and columns, as they are kept."""
    return {(str(cleaned.files[n]), CLASSES[k]): present for (n, k), present in decisions.items()}


def save(folder: Path, decisions: Latest) -> None:
    write(folder / DECISIONS, lambda log: [*log, *(Decision(*pair, present) for pair, present in decisions.items())])


def test_what_is_saved_is_loaded(cleaned, tmp_path):
    cleaned = replace(
        cleaned, decisions=by_name(cleaned, {(2, 0): True, (0, 1): False}), warnings=("too little",), record={"a": [1]}
    )
    back = Cleaned.load(cleaned.save(tmp_path / "out"))
    for name in ("name", "source", "classes", "files", "warnings", "record", "decisions"):
        assert getattr(back, name) == getattr(cleaned, name)
    for name in ("labels", "trusted", "posterior"):
        assert torch.equal(getattr(back, name), getattr(cleaned, name))
    for name in ("transition", "removed", "added", "wrong", "missing"):
        for part, other in zip(getattr(back, name), getattr(cleaned, name), strict=True):
            assert torch.equal(part.nan_to_num(9), other.nan_to_num(9)) and part.dtype == torch.float64
    assert torch.equal(back.noise.arrivals, 0.9 * torch.eye(3).double())


def test_suspicious_entries_come_in_order_without_trusted_images_and_without_what_is_hardly_so(cleaned):
    table = cleaned.suspicious
    found = [(row.row, row.column, row.kind, row.given) for row in table.itertuples()]
    assert found[:3] == [(0, 1, "wrong", 1), (0, 0, "missing", 0), (2, 2, "missing", 0)]
    assert found[3:] == [(2, 0, "missing", 0), (1, 1, "missing", 0), (1, 0, "wrong", 1), (1, 2, "missing", 0)]
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6, 7] and table["class"].iloc[2] == CLASSES[2]
    assert table["probability"].tolist() == pytest.approx([0.8, 0.7, 0.6, 0.5, 0.4, 0.1, 0.1])
    assert table["file"].iloc[0] == str(cleaned.files[0])


def test_labels_are_corrected_where_probably_wrong_and_decisions_outrank_that(cleaned):
    assert cleaned.corrected(0.5).tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0]]
    assert torch.equal(cleaned.corrected(1), cleaned.labels)
    assert cleaned.corrected(0.75).tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]]
    decided = replace(cleaned, decisions=by_name(cleaned, {(0, 1): True, (3, 2): True, (2, 0): True}))
    assert decided.corrected(0.5).tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 1], [1, 1, 1]]
    assert decided.corrected(1).tolist() == [[0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("least", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_of_0_and_1_is_refused(cleaned, least):
    with pytest.raises(ValueError, match="least must lie in"):
        cleaned.corrected(least)


def test_with_too_few_trusted_images_nothing_is_changed_unless_it_is_asked_for(cleaned):
    """ENOUGH of them make the difference; decisions count all the same."""
    assert torch.equal(cleaned.corrected(), cleaned.labels)
    decided = replace(cleaned, decisions=by_name(cleaned, {(0, 1): False}))
    assert (decided.corrected() ^ cleaned.labels).nonzero().tolist() == [[0, 1]]
    many = tuple(Path(f"{n}.png") for n in range(ENOUGH + 1))
    labels = torch.tensor([[1, 0, 0]]).bool().expand(len(many), 3)
    posterior, trusted = torch.zeros(len(many), 3), torch.arange(len(many)) > 0
    whole = replace(cleaned, files=many, labels=labels, posterior=posterior, trusted=trusted)
    assert (whole.corrected() ^ labels).nonzero().tolist() == [[0, 0]]
    trusted = torch.arange(len(many)) > 1
    assert torch.equal(replace(whole, trusted=trusted).corrected(), labels)


def test_trusted_images_change_by_decision_alone(cleaned):
    doubtful = cleaned.posterior.clone()
    doubtful[3] = 0.0
    assert torch.equal(replace(cleaned, posterior=doubtful).corrected(0.5)[3], cleaned.labels[3])


def test_decisions_made_while_a_result_was_computed_are_kept(cleaned, tmp_path):
    old = replace(cleaned, decisions=by_name(cleaned, {(2, 0): True}))
    save(tmp_path, by_name(cleaned, {(2, 0): False, (0, 1): False}))
    old.save(tmp_path)
    assert Cleaned.load(tmp_path).decided == {(2, 0): False, (0, 1): False}


def test_decisions_are_saved_under_the_lock_of_the_review(cleaned, tmp_path):
    """While another process writes, saving waits; and what that process wrote counts."""
    lock = FileLock(tmp_path / f".{DECISIONS}.lock")
    own = replace(cleaned, decisions=by_name(cleaned, {(2, 0): True}))
    other = {"file": str(cleaned.files[0]), "class": "cat", "present": True}
    lock.acquire()
    saving = threading.Thread(target=own.save, args=(tmp_path,))
    saving.start()
    saving.join(0.5)
    assert saving.is_alive() and not (tmp_path / DECISIONS).exists()
    (tmp_path / DECISIONS).write_text(json.dumps({"version": 1, "decisions": [other]}))
    lock.release()
    saving.join()
    assert Cleaned.load(tmp_path).decided == {(0, 0): True}


def test_saving_a_result_anew_keeps_decisions_on_images_that_it_does_not_know(cleaned, tmp_path):
    save(tmp_path, {("/elsewhere/x.png", "cat"): False} | by_name(cleaned, {(1, 1): True}))
    before = (tmp_path / DECISIONS).read_bytes()
    known = replace(cleaned, decisions=latest(read(tmp_path / DECISIONS)))
    assert known.decided == {(1, 1): True}
    known.save(tmp_path)
    assert (tmp_path / DECISIONS).read_bytes() == before


@pytest.mark.parametrize("cut", [0, 10, 300, -1])
def test_half_a_result_is_refused(cleaned, tmp_path, cut):
    cleaned.save(tmp_path)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:cut])
    with pytest.raises(ValueError, match=rf"{FILE} is broken"):
        Cleaned.load(tmp_path)


def test_a_missing_result_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run galc clean with --out"):
        Cleaned.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"decisions": 3}', '{"decisions": [{"file": "a"}]}', '{"decisions": [1]}', "\xff",
             '{"decisions": [{"file": "a", "class": "b", "present": 1}]}',
             '{"decisions": [{"file": ["a"], "class": "b", "present": true}]}']
)  # fmt: skip
def test_decisions_of_another_form_are_refused_and_left_alone(cleaned, tmp_path, text):
    cleaned.save(tmp_path)
    (tmp_path / DECISIONS).write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="holds no decisions"):
        Cleaned.load(tmp_path)
    assert (tmp_path / DECISIONS).read_bytes() == text.encode("latin-1")


def test_decisions_are_readable_text(cleaned, tmp_path):
    save(tmp_path, by_name(cleaned, {(0, 2): True}))
    saved = json.loads((tmp_path / DECISIONS).read_text())
    assert saved["decisions"] == [{"file": str(cleaned.files[0]), "class": CLASSES[2], "present": True}]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"trusted": torch.ones(3).bool()}, "trusted must be bool .4,."),
        ({"removed": rates(4)}, "removed must have the shape"),
        ({"transition": rates(3)}, "transition must have the shape"),
        ({"posterior": torch.full((4, 3), 1.1)}, "posterior must lie"),
        ({"posterior": torch.full((4, 3), float("nan"))}, "posterior must lie"),
    ],
)
def test_parts_that_do_not_fit_are_refused(cleaned, change, message):
    with pytest.raises(ValueError, match=message):
        replace(cleaned, **change)
