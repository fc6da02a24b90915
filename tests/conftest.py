"""What every test shares: outputs in a folder of its own, the shared real data, no window, closed figures."""

import sys
from pathlib import Path

import matplotlib
import pytest
from hypothesis import settings

from galc import store

matplotlib.use("Agg")
settings.register_profile("galc", deadline=None, max_examples=25)
settings.load_profile("galc")


@pytest.fixture(autouse=True)
def private_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every test reads and writes its own outputs folder, never the project's."""
    folder = tmp_path / "outputs"
    monkeypatch.setenv("GALC_OUTPUTS", str(folder))
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
