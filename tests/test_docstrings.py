"""The examples in docstrings are run as they stand."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import galc

ROOT = Path(galc.__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(ROOT.glob("galc/**/*.py"))
    if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_do_what_they_show(name):
    done = doctest.testmod(import_module(name))
    assert done.attempted and not done.failed
