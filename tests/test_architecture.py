"""The house: imports go one way, rooms are small, and the picture of it is drawn from the code."""

import importlib.util
import re

import pytest

from galc import store

_spec = importlib.util.spec_from_file_location("draw_architecture", store.ROOT / "scripts" / "draw_architecture.py")
house = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(house)

KNOWN = house.modules()
FLOOR = {name: number for number, layer in enumerate(house.LAYERS) for name in layer}
# Lines and modules may become fewer; more needs a reason as good as what is brought.
MOST_LINES, MOST_MODULES, MOST_LINES_OF_ONE = 14_985, 98, 320
DRAWING = {"matplotlib", "seaborn", "plotly", "ipywidgets", "anywidget", "PIL"}
NOTEBOOKS = {"papermill", "nbformat", "nbconvert", "nbclient", "jupyter_client", "distributed", "dask"}
GROUND = ("checks", "store", "progress", "metrics", "losses", "noise", "data", "estimators", "training", "methods")


def outside(name: str) -> set[str]:
    """The packages that the modules of a room import, anywhere in them."""
    own = [module for module in KNOWN if house.room(module) == name]
    return {target.split(".")[0] for module in own for target in house.imports(module, KNOWN[module], KNOWN)}


def test_every_room_has_its_floor():
    assert {house.room(module) for module in KNOWN} - {"galc"} == set(FLOOR)


def test_imports_lead_down_and_never_sideways_but_on_the_ground():
    wrong = [
        why
        for (importing, imported), whys in house.arrows(KNOWN).items()
        for why in whys
        if not (FLOOR[imported] < FLOOR[importing] or FLOOR[imported] == FLOOR[importing] == 0)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_door_imports_no_room_before_a_name_is_asked_for():
    assert not [name for name in house.imports("galc", KNOWN["galc"], KNOWN) if name.startswith("galc")]


def test_there_is_no_circle():
    edges = {edge for edge in house.arrows(KNOWN) if "galc" not in edge}
    while edges:
        ends = {a for a, _ in edges} - {b for _, b in edges}  # imported by none of those left
        assert ends, f"a circle of {sorted(edges)}"
        edges = {edge for edge in edges if edge[0] not in ends}


@pytest.mark.parametrize("name", ["results", *GROUND])
def test_what_is_said_and_computed_needs_no_drawing(name):
    allowed = {"PIL"} if name == "data" else set()
    assert not outside(name) & DRAWING - allowed


@pytest.mark.parametrize("name", GROUND)
def test_nothing_below_the_study_knows_of_notebooks(name):
    assert not outside(name) & NOTEBOOKS


def test_the_house_is_no_larger_than_it_was():
    lines = {module: len(file.read_text().splitlines()) for module, file in KNOWN.items()}
    assert {module: number for module, number in lines.items() if number > MOST_LINES_OF_ONE} == {}
    assert sum(lines.values()) <= MOST_LINES and len(lines) <= MOST_MODULES


def test_the_picture_shows_every_file_and_every_arrow_that_there_is():
    def content(text: str) -> tuple[set, set]:
        words = re.sub(r"[\d,]+", "", " ".join(re.findall(r"<text[^>]*>([^<]*)", text)))
        return set(words.split()), set(re.findall(r"<title>([^<]*)", text))

    assert content(house.PICTURE.read_text()) == content(house.svg()), "run scripts/draw_architecture.py"
