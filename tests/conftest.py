"""What every test shares: outputs in a folder of its own, tiny and real data, one core, no window, closed figures."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch starts, and for the processes that tests start

import matplotlib
import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from galc import store

matplotlib.use("Agg")
settings.register_profile("galc", deadline=None, max_examples=25)
settings.load_profile("galc")


@pytest.fixture(autouse=True)
def private_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test reads and writes its own outputs folder, never the project's."""
    folder = tmp_path / "outputs"
    monkeypatch.setenv("GALC_OUTPUTS", str(folder))
    monkeypatch.delenv("GALC_PARAMS", raising=False)
    return folder


@pytest.fixture(autouse=True)
def closed_figures():
    """Close what a test drew; pyplot is not imported for tests that draw nothing."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout; tests that ask for it are skipped where it is absent."""
    folder = store.ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data are not beside this checkout (../shared/data)")
    return folder


COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 200, 40),
    "blue": (60, 60, 230),
    "yellow": (230, 220, 40),
    "pink": (220, 60, 220),
    "cyan": (40, 210, 210),
    "rare": (240, 240, 240),  # in two training images, never alone
}


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in COCO layout that trains in a blink: 120 + 60 images of 32 pixels, one coloured block a label."""
    return write_colours(tmp_path_factory.mktemp("colours") / "data")


def write_colours(root: Path, train: int = 120, test: int = 60) -> Path:
    rng = np.random.default_rng(0)
    names, first = list(COLOURS), 1
    for split, count in (("train", train), ("val", test)):
        rows = [rng.choice(6, size=rng.choice([1, 2, 3], p=[0.25, 0.5, 0.25]), replace=False) for _ in range(count)]
        for row in [n for n, labels in enumerate(rows) if len(labels) == 2][:2]:
            rows[row] = np.append(rows[row], 6)
        (root / "images" / split).mkdir(parents=True)
        for n, labels in enumerate(rows):
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            for k in labels:
                top, left = divmod(int(k), 4)
                pixels[top * 16 : top * 16 + 14, left * 8 : left * 8 + 7] = COLOURS[names[k]]
            Image.fromarray(pixels).save(root / "images" / split / f"{n:03d}.png")
        pairs = [(first + n, int(k) + 1) for n, labels in enumerate(rows) for k in labels]
        content = {
            "images": [{"id": first + n, "file_name": f"{n:03d}.png", "width": 32, "height": 32} for n in range(count)],
            "annotations": [
                {"id": id, "image_id": image, "category_id": k, "bbox": [0, 0, 8, 8], "area": 64, "iscrowd": 0}
                for id, (image, k) in enumerate(pairs, 1)
            ],
            "categories": [{"id": k, "name": name, "supercategory": "colour"} for k, name in enumerate(names, 1)],
        }
        store.write_text(root / "annotations" / f"instances_{split}.json", json.dumps(content))
        first += count
    return root


@pytest.fixture(scope="session")
def tiny(colours: Path) -> dict:
    """Parameters of a study of the coloured blocks: every stage of it in well under a second."""
    recipe = {"epochs": 2, "fold_epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "folds": 2}
    model = {"backbone": "test_efficientnet", "weights": "none", "image_size": 32, "components": 8, "hidden": 16}
    return {"data": str(colours)} | model | recipe


@pytest.fixture(scope="module")  # no longer: while it is open, an event loop runs in this thread
def browser():
    """A headless Chromium; without one the tests are skipped, or fail where $GALC_REQUIRE_BROWSER is set."""
    from lab import browser_command  # most tests need no browser, and not the seconds that its modules take to import
    from playwright.sync_api import sync_playwright

    command = browser_command()
    if command is None:
        stop = pytest.fail if os.environ.get("GALC_REQUIRE_BROWSER") else pytest.skip
        stop("no Chromium or Chrome on this machine: install one (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, args=["--no-sandbox"])
        yield browser
        browser.close()
