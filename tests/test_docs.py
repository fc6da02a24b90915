"""Docs, README and docstrings name what there is, and every formula has its function."""

import importlib
import re

import pytest

from galc import store

PAGES = [store.ROOT / "README.md", *sorted((store.ROOT / "docs").glob("*.md"))]
TEXTS = [*PAGES, *sorted((store.ROOT / "galc").rglob("*.py"))]
METHOD = (store.ROOT / "docs" / "method.md").read_text()


def exists(name: str) -> bool:
    """Whether galc.a.b.c is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if part in getattr(thing, "__dataclass_fields__", ()) or part in getattr(thing, "__annotations__", ()):
                return True
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(store.ROOT)))
def test_every_name_of_galc_in_a_text_exists(text):
    names = set(re.findall(r"`(galc(?:\.\w+)+)", text.read_text())) - {"galc.plugins"}  # a group of entry points
    assert not [name for name in sorted(names) if not exists(name)]


def test_a_name_that_there_is_not_is_found():
    assert exists("galc.losses.asl.calibrate") and not exists("galc.losses.asl.calibrated")
    assert not exists("galc.lost") and exists("galc.noise.Noise.arrivals")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_every_page_that_is_linked_exists(page):
    links = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text())
    files = re.findall(r"`((?:galc|params|scripts|benchmarks|notebooks|tests)/[\w/.-]+\.\w+)`", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]
    assert not [file for file in files if not (store.ROOT / file).exists()]


def test_every_formula_of_the_method_names_its_function():
    """Each row of the table names functions, and so does each section with a formula."""
    table = METHOD.split("## Which function is which formula")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 20 and all(re.search(r"`galc(\.\w+)+`", row) for row in rows)
    sections = METHOD.split("\n## ")
    formulas = [section for section in sections if re.search(r"\n    \S.*=", section)]
    assert len(formulas) >= 2
    assert not [section.splitlines()[0] for section in formulas if not re.search(r"`galc\.\w+\.\w+", section)]


@pytest.mark.parametrize("room", ["losses.asl", "losses.forward", "losses.robust", "estimators.algorithm_1"])
def test_no_public_formula_is_left_out_of_the_table(room):
    """What these files hold is formulas; helpers are private, or said to be none."""
    none = {
        "Reduced",
        "ForwardLoss",
        "Constants",
        "fallback_rows",
        "intermediate",
        "scaled",
        "focal_margin",
        "calibrate_logits",
    }
    module = importlib.import_module(f"galc.{room}")
    own = {name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__}
    missing = [name for name in own - none if not name.startswith("_") and f"galc.{room}.{name}`" not in METHOD]
    assert not missing
