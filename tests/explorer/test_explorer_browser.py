"""The explorer as a user has it: its notebook opened in JupyterLab and run, in a real browser, with its keyboard.

One JupyterLab and one run serve all tests; each leaves the controls where it likes and reads them anew.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from lab import Lab, Notebook

from galc.store import ROOT

NOTEBOOK = ROOT / "notebooks" / "08_explore_matrices.ipynb"
DROPDOWNS = ["run", "estimator", "scale", "order", "strongest", "class"]
CONTROLS = ["run", "noise", *DROPDOWNS[1:], "png", "svg", "csv"]  # in the order of Tab
ESTIMATED, TRUE, DIFFERENCE = "xy", "x2y", "x3y"  # Plotly's names of the heatmaps
BARS = "x5y5"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def notebook(browser, outputs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """The notebook, run once; its study is the small one of params/smoke.yaml."""
    environment = {"GALC_PARAMS": "params/smoke.yaml", "GALC_OUTPUTS": str(outputs)}
    with Lab(tmp_path_factory.mktemp("lab"), [NOTEBOOK], environment) as lab:
        notebook = Notebook(browser, lab, NOTEBOOK.name)
        notebook.run_all()
        notebook.page.locator(f".galc-figure .{ESTIMATED} image").wait_for()
        yield notebook
        notebook.close()


@pytest.fixture
def explorer(notebook) -> Iterator[Notebook]:
    """The notebook with its explorer; a test that left an error, in its status line or the console, fails."""
    yield notebook
    assert notebook.errors == [] and notebook.page.locator(".galc-error").all_inner_texts() == []


def panel(explorer, subplot: str):
    """One of the figure's panels."""
    return explorer.page.locator(f".galc-figure .nsewdrag[data-subplot={subplot}]")


def chosen(explorer, control: str) -> str:
    """What a control is set to, as it is read on the screen."""
    part = explorer.page.locator(f".galc-{control}")
    if control == "noise":
        return part.locator(".widget-readout").inner_text()
    return part.locator("select").evaluate("select => select.selectedOptions[0].text")


def at_cell(explorer, subplot: str, row: int, column: int, classes: int = 80) -> tuple[float, float]:
    """Where a cell of a heatmap is on the screen; row and column in the order shown."""
    panel(explorer, subplot).scroll_into_view_if_needed()
    box = panel(explorer, subplot).bounding_box()
    return box["x"] + (column + 0.5) / classes * box["width"], box["y"] + (row + 0.5) / classes * box["height"]


def test_every_cell_runs_and_every_picture_appears(explorer):
    cells = [cell for cell in explorer.saved().cells if cell.cell_type == "code"]
    assert [output.traceback for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    assert [cell.id for cell in cells if not cell.execution_count] == []
    pictures = explorer.page.locator(".jp-RenderedImage img").all()
    assert pictures and all(picture.evaluate("image => image.naturalWidth > 500") for picture in pictures)


def test_an_error_in_the_console_would_be_heard(explorer):
    explorer.page.evaluate("() => { console.error('spoken'); setTimeout(() => { throw Error('thrown') }) }")
    explorer.until(lambda: len(explorer.errors) == 2)
    assert "spoken" in explorer.errors[0] and "thrown" in explorer.errors[1]
    explorer.errors.clear()


def test_the_figure_is_as_wide_as_the_notebook(explorer):
    width = "element => element.getBoundingClientRect().width"
    figure, place = (explorer.page.locator(f".galc-{name}").first.evaluate(width) for name in ("figure", "explorer"))
    drawn = explorer.page.locator(".galc-figure .main-svg").first.evaluate(width)
    assert min(drawn, figure) > 0.95 * place


def test_tab_goes_through_the_controls_in_the_order_of_the_screen(explorer):
    explorer.page.locator(".galc-run select").focus()
    assert [name for name in explorer.tabbed(30) if name in CONTROLS] == CONTROLS


@pytest.mark.parametrize("control", ["noise", "estimator", "scale", "order", "strongest"])
def test_an_arrow_key_moves_a_control_and_the_picture_follows(explorer, control):
    reset(explorer)
    cells = explorer.page.locator(".jp-Cell").count()
    before, picture = chosen(explorer, control), panel(explorer, ESTIMATED).screenshot()
    explorer.tab_to(f".galc-{control}")
    explorer.page.keyboard.press("ArrowLeft" if control == "noise" else "ArrowDown")
    explorer.until(lambda: panel(explorer, ESTIMATED).screenshot() != picture)
    assert chosen(explorer, control) != before
    assert explorer.page.evaluate("name => !!document.activeElement.closest(name)", f".galc-{control}")
    assert explorer.page.locator(".jp-Cell").count() == cells


@pytest.mark.parametrize(
    ("subplot", "number"), [(ESTIMATED, r"\d\.\d{4}"), (TRUE, r"\d\.\d{4}"), (DIFFERENCE, r"[+-]\d\.\d{4}")]
)
def test_hovering_over_a_cell_names_its_classes_and_its_value(explorer, subplot, number):
    reset(explorer)
    explorer.until(lambda: re.fullmatch(rf"person → bicycle: {number}", hovered(explorer, subplot, 0, 1)))
    explorer.until(lambda: re.fullmatch(rf"toothbrush → hair drier: {number}", hovered(explorer, subplot, 79, 78)))


def test_a_click_on_a_cell_chooses_the_class_of_its_row(explorer):
    reset(explorer)
    row, name = (15, "cat") if chosen(explorer, "class") == "dog" else (16, "dog")
    bars = panel(explorer, BARS).screenshot()
    explorer.until(lambda: hovered(explorer, ESTIMATED, row, 3).startswith(f"{name} → "))
    explorer.page.mouse.down()
    explorer.page.mouse.up()
    explorer.until(lambda: chosen(explorer, "class") == name)
    explorer.until(lambda: panel(explorer, BARS).screenshot() != bars)
    explorer.page.locator(".galc-summary", has_text=name).wait_for()


def test_a_letter_finds_a_class_and_its_flipped_images_are_shown_with_their_labels(explorer):
    reset(explorer)
    cells = explorer.page.locator(".jp-Cell").count()
    explorer.tab_to(".galc-class")
    explorer.page.keyboard.type("person", delay=20)
    explorer.until(lambda: chosen(explorer, "class") == "person")
    assert explorer.page.locator(".jp-Cell").count() == cells
    images = explorer.page.locator(".galc-examples figure", has=explorer.page.locator("del", has_text="person"))
    images.first.wait_for()
    for image in images.locator("img").all():
        assert image.evaluate("image => image.naturalWidth > 20")
        assert re.search(r"before: .*\bperson\b.*; after: ", image.get_attribute("alt"))


def test_enter_on_the_csv_button_writes_the_matrix_that_is_shown(explorer, outputs):
    reset(explorer)
    explorer.tab_to(".galc-csv")
    explorer.page.keyboard.press("Enter")
    explorer.page.locator(".galc-status", has_text="written: ").wait_for()
    (file,) = (outputs / "exports").glob("*.csv")
    assert file.name in explorer.page.locator(".galc-status").inner_text()
    table = pd.read_csv(file)
    assert len(table) == 80 * 80 and list(table)[:2] == ["true_label", "noisy_label"]
    text = hovered(explorer, TRUE, 0, 1)
    explorer.until(lambda: hovered(explorer, TRUE, 0, 1) == f"person → bicycle: {table['true'][1]:.4f}"), text


def test_a_page_that_is_loaded_again_shows_the_same_matrix(explorer):
    reset(explorer)
    explorer.saved()
    text = hovered(explorer, ESTIMATED, 3, 2)
    explorer.page.reload()
    panel(explorer, ESTIMATED).wait_for()
    explorer.until(lambda: hovered(explorer, ESTIMATED, 3, 2) == text)


def reset(explorer) -> None:
    """An estimate that has a pattern on little data, too, at the highest noise, classes as in the data set; drawn."""
    explorer.page.locator(".galc-estimator select").select_option(label="glc")
    for control in ("scale", "order", "strongest"):
        explorer.page.locator(f".galc-{control} select").select_option(index=0)
    explorer.page.locator(".galc-noise .noUi-handle").press("End")
    picture = [b""]
    explorer.until(lambda: unchanged(explorer, picture))
    assert chosen(explorer, "noise") == "40 %"


def unchanged(explorer, picture: list[bytes]) -> bool:
    """Whether the kernel rests and the heatmap is the last one in ``picture``, to which it is added."""
    explorer.page.wait_for_timeout(200)
    explorer.rest()
    picture.append(panel(explorer, ESTIMATED).screenshot())
    return picture[-1] == picture[-2]


def hovered(explorer, subplot: str, row: int, column: int) -> str:
    """The text that appears where the mouse comes to a cell of a heatmap."""
    x, y = at_cell(explorer, subplot, row, column)
    explorer.page.mouse.move(x + 1, y)
    explorer.page.mouse.move(x, y)
    explorer.page.wait_for_timeout(50)
    return " ".join(explorer.page.locator(".galc-figure .hovertext").all_text_contents())
