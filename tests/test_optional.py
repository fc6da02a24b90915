"""Optional packages: asked for where they are used, and named with what installs them."""

import json
import sys

import pytest

from galc import cli
from galc.checks import MissingPackage, needs
from galc.study import runs


def test_a_package_that_is_there_is_imported():
    assert needs("json", "study") is json


def test_a_missing_one_is_named_with_the_command_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingPackage, match=r'timm is needed here .*: pip install "galc\[images\]"') as caught:
        needs("timm", "images")
    assert caught.value.name == "timm" and isinstance(caught.value, ImportError)
    with pytest.raises(MissingPackage, match=r'pip install "galc\[study\]"'):
        needs("no_such_package.part", "study")


def test_a_command_ends_with_one_line_that_names_it(monkeypatch, capsys):
    monkeypatch.setattr(runs, "select", lambda *_: needs("no_such_package", "study"))
    assert cli.main(["select", "some.yaml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: no_such_package is needed here") and said.endswith('pip install "galc[study]"\n')
