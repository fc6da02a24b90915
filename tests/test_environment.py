"""pyproject.toml says what is needed; environment.yml, requirements.lock and the Makefile must agree with it."""

import os
import re
import shutil
import subprocess
import time
import tomllib
from importlib import metadata

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from galc.store import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PARTS = "images", "study"
EXTRAS = PROJECT["project"]["optional-dependencies"]
CONDA_NAMES = {"pytorch": "torch"}


def bounds(lines: list[str]) -> dict[str, str]:
    """{canonical name: version specifier} of requirement lines."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


def needed() -> dict[str, str]:
    """What pyproject.toml asks for with every extra, tests included."""
    extras = (line for name in (*PARTS, "test") for line in EXTRAS[name])
    return bounds([*PROJECT["project"]["dependencies"], *extras])


def locked() -> list[Requirement]:
    """The pins of requirements.lock."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_no_package_is_named_twice_and_all_means_every_extra_of_the_program():
    core, images, study = (bounds(lines) for lines in (PROJECT["project"]["dependencies"], *map(EXTRAS.get, PARTS)))
    assert not (core.keys() & images.keys() or core.keys() & study.keys() or images.keys() & study.keys())
    assert EXTRAS["all"] == [f"galc[{','.join(PARTS)}]"]


def test_a_light_installation_brings_no_notebooks_no_plots_and_no_image_networks():
    heavy = {"jupyterlab", "papermill", "distributed", "matplotlib", "plotly", "timm", "torchvision", "pillow"}
    assert not heavy & bounds(PROJECT["project"]["dependencies"]).keys()


def test_environment_yml_asks_for_exactly_what_pyproject_asks_for():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    entries = [line for line in conda["dependencies"] if isinstance(line, str)]
    from_pip = next(entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict))
    found = bounds(entries + [line for line in from_pip if not line.startswith("--")])
    found = {CONDA_NAMES.get(name, name): specifier for name, specifier in found.items()}
    assert found.pop("python") == PROJECT["project"]["requires-python"]
    assert found.pop("pip") == ""
    assert found == needed()
    assert "--editable ." in from_pip and conda["name"] == PROJECT["project"]["name"]


def test_every_dependency_is_pinned_and_within_its_bounds():
    pins = locked()
    assert all(re.fullmatch(r"==[^*]+", str(pin.specifier)) for pin in pins)
    for name, specifier in (needed() | bounds(PROJECT["build-system"]["requires"])).items():
        versions = [str(pin.specifier).removeprefix("==") for pin in pins if canonicalize_name(pin.name) == name]
        assert versions, f"{name} is not in requirements.lock: run make lock"
        assert all(version in Requirement(f"{name}{specifier}").specifier for version in versions), name


def test_the_lock_names_no_index_and_no_folder():
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith(" ")]
    assert not [line for line in lines if "/" in line or line.startswith("-")]


def test_what_is_installed_here_is_what_the_lock_says():
    if os.environ.get("CONDA_PREFIX"):
        pytest.skip("a conda environment chooses its own versions")
    for pin in locked():
        if pin.marker is None or pin.marker.evaluate():
            assert Version(metadata.version(pin.name)) in pin.specifier, f"{pin.name}: make installs the pins"


def test_every_dependency_has_a_lower_bound():
    assert all(specifier.startswith(">=") for specifier in needed().values())


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Run ``make *words`` on a copy of the Makefile in an empty folder, untouched by an outer make's variables."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for variable in ("MAKEFLAGS", "MAKEOVERRIDES", "PYTHON", "PARAMS"):
        monkeypatch.delenv(variable, raising=False)
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def run(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", *words], cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60
        )

    return run


def test_make_names_the_python_it_misses(make):
    run = make("PYTHON=no-such-python", "study")
    assert run.returncode != 0
    assert "Python 3.11 or newer is needed; tried: no-such-python" in run.stderr


def test_make_takes_up_what_was_interrupted_and_does_nothing_twice(make, tmp_path):
    """A fake python whose last step of the installation fails: the next make installs again, a third one does nothing.

    A changed parameter file runs the study again, and a study that fails is not taken for a finished one.
    """
    (tmp_path / "broken").touch()
    fake = tmp_path / ".venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\necho "$@" >>calls\ncase "$*" in *--editable*|*sweep*) test ! -e broken ;; esac\n')
    fake.chmod(0o755)

    def study() -> tuple[int, list[str]]:
        (tmp_path / "calls").write_text("")
        code = make("study").returncode
        return code, (tmp_path / "calls").read_text().splitlines()

    code, calls = study()
    assert code != 0 and not any("galc.sweep" in call for call in calls)
    (tmp_path / "broken").unlink()
    code, calls = study()
    assert code == 0 and any("--requirement requirements.lock" in call for call in calls)
    assert calls[-1] == "-m galc.sweep params/table1.yaml"
    assert study() == (0, [])
    (tmp_path / "params").mkdir()
    time.sleep(0.1)  # file times come in ticks of some milliseconds: in the same one nothing is newer
    (tmp_path / "params" / "table1.yaml").touch()
    (tmp_path / "broken").touch()
    code, calls = study()
    assert code != 0 and calls == ["-m galc.sweep params/table1.yaml"]
    (tmp_path / "broken").unlink()
    assert study() == (0, ["-m galc.sweep params/table1.yaml"])
    assert study() == (0, [])


def test_make_paper_runs_every_study_once_and_fails_if_one_does(make, tmp_path):
    fake = tmp_path / ".venv" / "bin" / "python"
    fake.parent.mkdir(parents=True)
    fake.write_text('#!/bin/sh\necho "$@" >>calls\ncase "$*" in *single_label*) test ! -e broken ;; esac\n')
    fake.chmod(0o755)
    assert make(".venv/.installed").returncode == 0
    names = re.search(r"^PAPER := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert {"table1", "memorization", "true_correction", "single_label", "beyond"} <= set(names)
    every = [f"-m galc.sweep params/{name}.yaml" for name in names]
    assert all((ROOT / "params" / f"{name}.yaml").is_file() for name in names)

    def paper() -> tuple[bool, list[str]]:
        (tmp_path / "calls").write_text("")
        good = make("paper").returncode == 0
        return good, (tmp_path / "calls").read_text().splitlines()

    (tmp_path / "broken").touch()
    assert paper() == (False, every)
    (tmp_path / "broken").unlink()
    assert paper() == (True, ["-m galc.sweep params/single_label.yaml"])
    assert paper() == (True, [])
