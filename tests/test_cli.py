"""The command: its subcommands, how it ends (a status, and one line for what went wrong), and how soon it answers."""

import subprocess
import sys

import pytest

from galc import cli
from galc.checks import MissingPackage
from galc.study import runs
from galc.study.params import from_words
from galc.study.workers import WorkerError


@pytest.fixture
def work(monkeypatch):
    """Sets what ``galc select FILE`` does, and returns what `galc.cli.main` returns for it."""

    def run(does) -> int:
        monkeypatch.setattr(runs, "select", lambda *_: does())
        return cli.main(["select", "some.yaml"])

    return run


def raising(error):
    def does():
        raise error

    return does


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no 'x'"),
        OSError("no 'x'"),
        MemoryError("take a batch of 8"),
        MissingPackage("timm is needed"),
        WorkerError("the Dask cluster was lost"),
    ],
)
def test_bad_input_is_one_line_and_status_2(error, work, capsys):
    assert work(raising(error)) == 2
    assert capsys.readouterr() == ("", f"error: {error}\n")


def test_the_status_of_the_work_is_that_of_the_command(work, capsys):
    assert work(lambda: 1) == 1 and work(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


def test_an_interruption_is_status_130_and_says_that_nothing_is_lost(work, capsys):
    assert work(raising(KeyboardInterrupt())) == 130
    assert "goes on from there" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("broken"), ImportError("broken"), EOFError(), KeyError("x")])
def test_other_errors_are_faults_of_the_program_and_come_out(error, work):
    with pytest.raises(type(error)):
        work(raising(error))


def test_of_several_processes_of_one_training_the_first_one_speaks(work, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert work(raising(ValueError("wrong"))) == 2 and capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweap"], "No such command 'sweap'."),
        (["sweep"], "Missing argument 'FILE'."),
        (["sweep", "a.yaml", "--worker"], "No such option"),
        (["sweep", "a.yaml", "-p", "noise"], "Option '-p' requires 2 arguments."),
        (["sweep", "a.yaml", "--workers", "two"], "'two' is not a valid integer"),
        (["clean", "--out", "x"], "Missing option '--data'."),
        (["download", "imagenet"], "'imagenet' is not one of 'coco2014', 'voc2007'"),
    ],
)
def test_what_is_mistyped_is_one_line_and_status_2(words, message, capsys):
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and message in said and said.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--help"], *([name, "-h"] for name in cli.commands.commands)])
def test_help_is_there_without_torch_or_any_other_large_package(words):
    code = f"import sys\nfrom galc.cli import main\nstatus = main({words})\nprint(*sys.modules)\nsys.exit(status)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    help_text, loaded = ran.stdout.rstrip("\n").rsplit("\n", 1)
    assert "Usage: galc" in help_text
    assert not {"torch", "numpy", "pandas", "pydantic", "yaml", "galc.store"} & set(loaded.split())


@pytest.mark.parametrize("room", ["clean", "sweep"])
def test_a_room_with_a_command_is_one_when_python_runs_it(room):
    ran = subprocess.run([sys.executable, "-m", f"galc.{room}", "--help"], capture_output=True, text=True, check=True)
    assert f"Usage: galc {room}" in ran.stdout


# --- -p NAME VALUE ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("epochs", "3", 3),
        ("noise", "0.5", 0.5),
        ("learning_rate", "1e-3", 1e-3),
        ("seed", "-2", -2),
        ("bf16", "true", True),
        ("bf16", "False", False),
        ("image_size", "null", None),
        ("single_label_limit", "None", None),
        ("weights", "none", "none"),
        ("noise", "a b", "a b"),
        ("noise", "12:30", "12:30"),  # a number of base 60 in YAML
        ("data", "2024", "2024"),  # the name of a folder
        ("mode", "true", "true"),
    ],
)
def test_a_value_means_the_same_in_every_command(name, text, value):
    (found,) = from_words([(name, "other"), (name, text)]).values()
    assert found == value and type(found) is type(value)
