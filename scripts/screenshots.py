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
LEVELS = [round(round(value * 31 / 255) * 255 / 31) for value in range(256)]  # 32 a channel: smaller, looks the same
SCREEN = {"viewport": {"width": 1160, "height": 1700}, "device_scale_factor": 1.25}


def choose(notebook: Notebook, **values: str) -> None:
    """Set dropdowns of the explorer to the options of these names, and wait until it has followed."""
    for control, name in values.items():
        notebook.page.locator(f".galc-{control} select").select_option(label=name)
        settle(notebook)


def settle(notebook: Notebook) -> None:
    """Wait until the kernel has answered and the picture is drawn."""
    notebook.page.wait_for_timeout(500)
    notebook.rest()
    notebook.page.wait_for_timeout(1500)


def hover(notebook: Notebook, subplot: str, across: float, down: float) -> None:
    """Bring the mouse to a place of a heatmap, given as fractions of its width and height."""
    place = notebook.page.locator(f".galc-figure .nsewdrag[data-subplot={subplot}]")
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    for step in (1, 0):
        notebook.page.mouse.move(box["x"] + across * box["width"] + step, box["y"] + down * box["height"])
    notebook.page.wait_for_timeout(500)


def picture(notebook: Notebook, part: Locator, name: str, margin: int = 8) -> None:
    """Write a part of the screen as a PNG, with a margin of so many pixels to the left and right."""
    part.scroll_into_view_if_needed()
    box = part.bounding_box()
    clip = box | {"x": box["x"] - margin, "width": box["width"] + 2 * margin}
    buffer = BytesIO()
    with Image.open(BytesIO(notebook.page.screenshot(clip=clip))) as image:
        image.convert("RGB").point(3 * LEVELS).save(buffer, "PNG", optimize=True)
        size = f"{image.width} x {image.height}"
    with store.atomic(IMAGES / name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    print(f"{IMAGES / name}: {len(buffer.getvalue()) // 1000} kB, {size} pixels")


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
            hover(notebook, "xy", 0.4, 0.72)
            picture(notebook, explorer, "explorer.png")
            choose(notebook, estimator="glc-calibrated", order="clustering", strongest="50")
            picture(notebook, explorer.locator(".galc-figure"), "explorer_confusions.png")
        browser.close()


if __name__ == "__main__":
    os.environ.pop("GALC_PARAMS", None)
    main()
