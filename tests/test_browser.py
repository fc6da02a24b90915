"""What a user sees who opens a notebook in JupyterLab: everything runs, pictures appear, the console stays quiet."""

import os
from collections.abc import Iterator

import pytest
from lab import Lab, Notebook, browser_command
from playwright.sync_api import Browser, sync_playwright

from galc.store import ROOT

NOTEBOOKS = ["02_estimate_corruption.ipynb"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one the tests are skipped, or fail where $GALC_REQUIRE_BROWSER is set."""
    command = browser_command()
    if command is None:
        stop = pytest.fail if os.environ.get("GALC_REQUIRE_BROWSER") else pytest.skip
        stop("no Chromium or Chrome on this machine: install one (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab over copies of the notebooks; their study is the small one of params/smoke.yaml."""
    folder = tmp_path_factory.mktemp("lab")
    environment = {"GALC_PARAMS": "params/smoke.yaml", "GALC_OUTPUTS": str(folder / "outputs")}
    with Lab(folder, [ROOT / "notebooks" / name for name in NOTEBOOKS], environment) as lab:
        yield lab


def test_a_notebook_runs_to_its_end_with_every_picture_and_a_quiet_console(browser, lab):
    notebook = Notebook(browser, lab, "02_estimate_corruption.ipynb")
    notebook.run_all()
    cells = [cell for cell in notebook.saved().cells if cell.cell_type == "code"]
    assert [output.traceback for cell in cells for output in cell.outputs if output.output_type == "error"] == []
    assert [cell.id for cell in cells if not cell.execution_count] == []
    pictures = notebook.page.locator(".jp-OutputArea-output img")
    assert pictures.count() == 2, pictures.count()
    assert all(picture.evaluate("image => image.naturalWidth > 500") for picture in pictures.all())
    assert notebook.errors == []
    notebook.close()
