"""Progress: what is said, where, and how seldom."""

import sys

import IPython
import IPython.display
import pytest

from galc.progress import bar, track


class Clock:
    """Time that passes by one step an item."""

    def __init__(self, step: float, monkeypatch):
        self.now, self.step = 1000.0, step
        monkeypatch.setattr(bar, "__init__", self.start(bar.__init__))

    def start(self, init):
        def timed(its, *args, **options):
            init(its, *args, **options)
            its._time, its.start_t, its.last_print_t = lambda: self.now, self.now, self.now

        return timed

    def pass_over(self, items):
        for item in items:
            self.now += self.step
            yield item


@pytest.mark.parametrize(("seconds", "lines"), [(0.01, 1), (1, 7), (60, 100)])
def test_a_log_gets_few_lines_and_a_last_one(seconds, lines, monkeypatch, capsys):
    clock = Clock(seconds, monkeypatch)
    assert list(track(clock.pass_over(range(100)), 100, "training", "runs")) == list(range(100))
    out, err = capsys.readouterr()
    said = err.splitlines()
    assert out == "" and lines <= len(said) <= lines + 1
    assert all(line.startswith("training: ") and line.endswith("left") for line in said)
    assert said[-1].startswith("training: 100/100 runs, ") and " 00:00 left" in said[-1]


def test_a_line_says_how_far_how_fast_and_how_long_still(monkeypatch, capsys):
    clock = Clock(20, monkeypatch)
    list(track(clock.pass_over(range(4)), 4, "training", "runs"))
    assert capsys.readouterr().err.splitlines()[1] == "training: 2/4 runs, 20.0 s a run, 00:40 gone, 00:40 left"


@pytest.mark.parametrize(
    ("seconds", "unit", "pace"),
    [(3.1, "runs", "3.1 s a run"), (20, "matrices", "20.0 s a matrix"), (0.01, "images", "100 images/s")],
)
def test_below_one_a_second_it_says_how_long_one_takes(seconds, unit, pace, monkeypatch, capsys):
    clock = Clock(seconds, monkeypatch)
    list(track(clock.pass_over(range(40)), 40, "working", unit))
    assert f", {pace}, " in capsys.readouterr().err.splitlines()[-1]


def test_no_items_no_line(capsys):
    assert list(track([], 0, "training")) == []
    assert capsys.readouterr() == ("", "")


def test_an_error_among_the_items_comes_through():
    def items():
        yield 1
        raise RuntimeError("stopped")

    seen = []
    with pytest.raises(RuntimeError, match="stopped"):
        for item in track(items(), 2, "training"):
            seen.append(item)
    assert seen == [1]


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track(range(3), 3, "training", "runs")) == [0, 1, 2]
    said = capsys.readouterr().err
    assert "training:   0%" in said and said.endswith("\r") and "\n" not in said


def test_a_notebook_gets_one_line_that_is_kept_up_to_date(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(("update", data["text/plain"]))

    def display(data, raw, display_id):
        shown.append(("display", data["text/plain"]))
        return Handle()

    monkeypatch.setattr(IPython, "get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.setattr(IPython.display, "display", display)
    clock = Clock(2, monkeypatch)
    list(track(clock.pass_over(range(3)), 3, "training", "runs"))
    kinds = [kind for kind, _ in shown]
    assert kinds[0] == "display" and set(kinds[1:]) == {"update"} and len(kinds) >= 3
    assert shown[-1][1].startswith("training: 3/3 runs, ")
    assert capsys.readouterr() == ("", "")


def test_a_bar_can_be_moved_by_hand(capsys):
    with bar(total=10, desc="download", unit="B", unit_scale=True) as its:
        its.update(4)
        its.update(6)
    assert capsys.readouterr().err.splitlines()[-1].startswith("download: 10.0/10.0 B")
