"""Take the README's pictures of the explorer into docs/images/: ``python scripts/screenshots.py [params/table1.yaml]``.

The notebook 08_explore_matrices is run in JupyterLab, in a headless Chromium, and brought to a state worth showing.
What it needs of the study is computed first where ``make study`` has not done so.
"""

import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, sync_playwright

from galc import store

sys.path.insert(0, str(store.ROOT / "tests"))
from lab import Lab, Notebook, browser_command

IMAGES = store.ROOT / "docs" / "images"
NOTEBOOK = store.ROOT / "notebooks" / "08_explore_matrices.ipynb"
SCREEN = {"viewport": {"width": 1400, "height": 1500}, "device_scale_factor": 1.4}


def choose(notebook: Notebook, **values: str) -> None:
    """Set dropdowns of the explorer to the options of these names, and wait until it has followed."""
    for control, name in values.items():
        notebook.page.locator(f".galc-{control} select").select_option(label=name)
        settle(notebook)


def settle(notebook: Notebook) -> None:
    notebook.page.wait_for_timeout(500)
    notebook.rest()
    notebook.page.wait_for_timeout(1500)


def picture(part: Locator, name: str, width: int = 1400) -> None:
    """Write what is on the screen as a PNG of 256 colours, at most ``width`` pixels wide."""
    with Image.open(BytesIO(part.screenshot())) as image:
        small = image.convert("RGB")
        small.thumbnail((width, 10 * width), Image.Resampling.LANCZOS)
        buffer = BytesIO()
        small.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    with store.atomic(IMAGES / name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    print(f"{IMAGES / name}: {len(buffer.getvalue()) // 1000} kB, {small.width} x {small.height}")


def main() -> None:
    study = {"GALC_PARAMS": sys.argv[1]} if sys.argv[1:] else {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_command(), args=["--no-sandbox"])
        with Lab(Path(folder) / "lab", [NOTEBOOK], {"GALC_OUTPUTS": str(store.outputs())} | study) as lab:
            notebook = Notebook(browser, lab, NOTEBOOK.name, **SCREEN)
            notebook.run_all(seconds=3600)
            notebook.page.keyboard.press("Control+b")  # the file browser takes room
            explorer = notebook.page.locator(".galc-explorer")
            choose(notebook, estimator="attribution", order="supercategory", **{"class": "dog"})
            explorer.scroll_into_view_if_needed()
            picture(explorer, "explorer.png")
            choose(notebook, estimator="glc-calibrated", order="clustering", strongest="50")
            picture(explorer.locator(".galc-figure"), "explorer_confusions.png")
        browser.close()


if __name__ == "__main__":
    os.environ.pop("GALC_PARAMS", None)
    main()
