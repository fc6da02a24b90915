"""A name of the code in a text is one that there is: in the docs, the README, the docstrings and the comments."""

import re
from importlib import import_module
from pathlib import Path

import pytest

import galc

ROOT = Path(galc.__file__).parents[1]
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("galc/**/*.py")]
NAME = re.compile(r"`(galc(?:\.\w+)+)`")
NAMED = {path.relative_to(ROOT): sorted(set(NAME.findall(path.read_text(encoding="utf-8")))) for path in sorted(TEXTS)}


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if part in getattr(found, "__dataclass_fields__", ()) or part in getattr(found, "__annotations__", ()):
                return True
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("text", [text for text, names in NAMED.items() if names], ids=str)
def test_every_name_of_the_code_in_a_text_is_one_that_there_is(text):
    assert [name for name in NAMED[text] if not exists(name)] == []


def test_a_name_that_there_is_not_is_found():
    assert exists("galc.losses.asl.calibrate") and not exists("galc.losses.asl.calibrated")
    assert not exists("galc.lost") and exists("galc.noise.Noise.arrivals")
