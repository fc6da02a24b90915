"""Notebooks under test are the small study of params/smoke.yaml, and write to a folder that is removed afterwards.

Their kernels inherit this environment, and so do the processes that pytest shares its work among.
"""

import os
import shutil
import tempfile

import pytest

FOLDER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ.setdefault("GALC_PARAMS", "params/smoke.yaml")
        os.environ.setdefault("GALC_WORKERS", "1")  # to start workers takes longer than these runs
        if "GALC_OUTPUTS" not in os.environ:
            os.environ["GALC_OUTPUTS"] = config.stash[FOLDER] = tempfile.mkdtemp(prefix="galc-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash.get(FOLDER, ""), ignore_errors=True)
