"""Take the pictures of the documentation into docs/images/: ``python scripts/screenshots.py [NOTEBOOK ...]``.

    python scripts/screenshots.py 08_explore_matrices --study params/table1.yaml
    python scripts/screenshots.py 10_your_data

Each notebook is run in JupyterLab, in a headless Chromium, and brought to a state worth showing. What it needs is
computed first where ``make study`` has not done so.
"""

import argparse
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


def picture(notebook: Notebook, part: Locator, name: str, margin: int = 8, height: float = float("inf")) -> None:
    """Write a part of the screen as a PNG, its upper ``height`` pixels, with a margin to the left and right."""
    part.scroll_into_view_if_needed()
    box = part.bounding_box()
    clip = box | {"x": box["x"] - margin, "width": box["width"] + 2 * margin, "height": min(box["height"], height)}
    buffer = BytesIO()
    with Image.open(BytesIO(notebook.page.screenshot(clip=clip))) as image:
        image.convert("RGB").point(3 * LEVELS).save(buffer, "PNG", optimize=True)
        size = f"{image.width} x {image.height}"
    with store.atomic(IMAGES / name) as temporary:
        temporary.write_bytes(buffer.getvalue())
    print(f"{IMAGES / name}: {len(buffer.getvalue()) // 1000} kB, {size} pixels")


def explorer(notebook: Notebook) -> None:
    """The matrix explorer with all classes, and with the strongest confusions alone."""
    whole = notebook.page.locator(".galc-explorer")
    choose(notebook, estimator="attribution", order="supercategory", **{"class": "dog"})
    whole.scroll_into_view_if_needed()
    hover(notebook, "xy", 0.4, 0.72)
    picture(notebook, whole, "explorer.png")
    choose(notebook, estimator="glc-calibrated", order="clustering", strongest="50")
    picture(notebook, whole.locator(".galc-figure"), "explorer_confusions.png")


def review(notebook: Notebook) -> None:
    """The review with a few decisions, and the gallery of the same labels."""
    notebook.page.locator(".galc-card").first.focus()
    for _ in range(3):
        key = notebook.page.locator(".galc-card:focus button").nth(1).inner_text()[0]
        notebook.page.keyboard.press(key)
        settle(notebook)
    whole = notebook.page.locator(".galc-review")
    whole.evaluate("part => part.scrollIntoView()")
    picture(notebook, whole, "review.png", height=830)
    page = (store.outputs() / "your_data" / "gallery.html").resolve()
    notebook.page.goto(page.as_uri())
    notebook.page.wait_for_timeout(500)
    picture(notebook, notebook.page.locator("body"), "gallery.png", height=700)


PICTURES = {"08_explore_matrices": explorer, "10_your_data": review}


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the pictures of the documentation into docs/images/.")
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help=f"some of {', '.join(PICTURES)}; all")
    parser.add_argument("--study", help="a study file in place of the notebooks' own parameters")
    arguments = parser.parse_args()
    if unknown := set(arguments.notebooks) - set(PICTURES):
        parser.error(f"no pictures are taken of {', '.join(sorted(unknown))}")
    study = {"GALC_PARAMS": arguments.study} if arguments.study else {}
    environment = {"GALC_OUTPUTS": str(store.outputs())} | study
    names = arguments.notebooks or list(PICTURES)
    paths = [store.ROOT / "notebooks" / f"{name}.ipynb" for name in names]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_command(), args=["--no-sandbox"])
        with Lab(Path(folder) / "lab", paths, environment) as lab:
            for name in names:
                notebook = Notebook(browser, lab, f"{name}.ipynb", **SCREEN)
                notebook.run_all(seconds=3600)
                notebook.page.keyboard.press("Control+b")  # the file browser takes room
                PICTURES[name](notebook)
                notebook.close()
        browser.close()


if __name__ == "__main__":
    os.environ.pop("GALC_PARAMS", None)
    main()
