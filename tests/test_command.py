"""How commands end: a status, and one line for what went wrong."""

import sys

import pytest

from galc.command import ended


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize("status", [0, 1])
def test_the_status_of_the_work_is_that_of_the_command(status, capsys):
    assert ended(lambda: status) == status
    assert ended(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error", [ValueError("no 'x'"), OSError("no 'x'"), KeyError("no 'x'")])
def test_bad_input_is_one_line_and_status_2(error, capsys):
    assert ended(raising(error), KeyError) == 2
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_an_interruption_is_status_130_and_says_that_nothing_is_lost(capsys):
    assert ended(raising(KeyboardInterrupt())) == 130
    assert "goes on from there" in capsys.readouterr().err


def test_other_errors_are_faults_of_the_program_and_come_out():
    with pytest.raises(RuntimeError):
        ended(raising(RuntimeError("broken")))


def test_what_is_said_goes_where_it_is_told(capsys):
    said = []
    assert ended(raising(ValueError("wrong")), say=lambda text, file: said.append((text, file is sys.stderr))) == 2
    assert said == [("error: wrong", True)] and capsys.readouterr() == ("", "")
