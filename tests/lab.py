"""JupyterLab in a headless browser: a server over copies of notebooks, and a page with the few verbs a test needs.

The server keeps its settings, its files and its results in a folder of its own, so the project is never touched.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
import psutil
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SECOND = 1000.0  # Playwright counts milliseconds
IDLE = "Python 3 (ipykernel) | Idle"  # in the status bar; the notebook's own indicator is idle without a kernel, too

# What JupyterLab asks or does by itself, and a test must not depend on: news, updates, saving at some moment.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}


def browser_command() -> str | None:
    """The path of this machine's Chromium or Chrome; None if there is none."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


class Lab:
    """A JupyterLab server, from ``with`` to the end of its block: ``lab.url``, ``lab.folder`` (what it shows).

    folder : where it keeps everything. notebooks : the files that are copied into what it shows.
    environment : variables of its kernels, on top of this process's.
    Raises RuntimeError with its log if it does not start within ``seconds``.
    """

    def __init__(self, folder: Path, notebooks: Iterable[Path], environment: dict[str, str], seconds: float = 60.0):
        self.folder, self.log, self.seconds = folder / "files", folder / "server.log", seconds
        self.folder.mkdir(parents=True)
        for notebook in notebooks:
            shutil.copy(notebook, self.folder)
        for name, values in SETTINGS.items():
            path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
        places |= {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
        places |= {"IPYTHONDIR": "ipython"}
        self.environment = os.environ | {name: str(folder / place) for name, place in places.items()} | environment

    def __enter__(self) -> "Lab":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {"ip": "127.0.0.1", "port": port, "port_retries": 50, "root_dir": self.folder}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += ["--LabApp.extension_manager=readonly"]  # asks no package index
        command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
        with open(self.log, "wb") as log:
            self.server = psutil.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment, cwd=self.folder
            )
        try:
            self.url, self.token = self._address()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _address(self) -> tuple[str, str]:
        """The address and the token that the server wrote down once it listened."""
        file = Path(self.environment["JUPYTER_RUNTIME_DIR"]) / f"jpserver-{self.server.pid}.json"
        deadline = time.monotonic() + self.seconds
        while time.monotonic() < deadline and self.server.poll() is None:
            if file.is_file() and (text := file.read_text()):
                return json.loads(text)["url"], json.loads(text)["token"]
            time.sleep(0.1)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def __exit__(self, *_) -> None:
        """Ask the server to end, which ends its kernels; then end what is left of either."""
        family = [self.server, *self.server.children(recursive=True)] if self.server.is_running() else [self.server]
        self.server.terminate()
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            process.kill()
        self.server.wait()


class Notebook:
    """A notebook opened in JupyterLab. Whatever the browser's console reports as an error is in ``errors``."""

    def __init__(self, browser: Browser, lab: Lab, name: str, seconds: float = 60.0, **context):
        self.lab, self.name, self.seconds, self.errors = lab, name, seconds, []
        self.page: Page = browser.new_context(**{"viewport": {"width": 1500, "height": 1000}} | context).new_page()
        self.page.set_default_timeout(seconds * SECOND)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        self.page.goto(f"{lab.url}lab/tree/{name}?reset&token={lab.token}", wait_until="domcontentloaded")
        self.rest()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location['url']})")

    def menu(self, *names: str) -> None:
        """Click through a menu."""
        for name in names:
            self.page.get_by_role("menuitem", name=name).first.click()

    def run_all(self, seconds: float = 600.0) -> None:
        """Run > Run All Cells, as a user clicks it, and wait for the last cell."""
        self.menu("Run", "Run All Cells")
        running = self.page.locator(".jp-InputPrompt", has_text="*")  # or waiting to
        running.first.wait_for()
        expect(running).to_have_count(0, timeout=seconds * SECOND)
        self.rest()

    def rest(self) -> None:
        """Wait until the kernel has nothing to do."""
        self.page.get_by_text(IDLE).wait_for()

    def cell(self, number: int) -> Locator:
        """The cell at this place (from 0; text cells count), scrolled into view."""
        found = self.page.locator(".jp-Notebook .jp-Cell").nth(number)
        found.scroll_into_view_if_needed()
        return found

    def saved(self) -> nbformat.NotebookNode:
        """What is on the disk after File > Save."""
        with self.page.expect_response(lambda answer: answer.request.method == "PUT" and self.name in answer.url):
            self.menu("File", "Save Notebook")
        return nbformat.read(self.lab.folder / self.name, as_version=4)

    def tabbed(self, times: int) -> list[str]:
        """What the focus is in before each of so many presses of Tab: the names after galc-, each once."""
        found = []
        for _ in range(times):
            part = self.page.evaluate("() => document.activeElement.closest('[class*=galc-]')?.className ?? ''")
            found += re.findall(r"galc-(\w+)", part)
            self.page.keyboard.press("Tab")
        return list(dict.fromkeys(found))

    def tab_to(self, selector: str) -> None:
        """Press Tab until something inside ``selector`` has the focus."""
        inside = "selector => !!document.activeElement.closest(selector)"
        for _ in range(60):
            if self.page.evaluate(inside, selector):
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab never comes to {selector}")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that the browser cannot wait for by itself. Raises AssertionError if it never holds."""
        deadline = time.monotonic() + self.seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {self.seconds:g} s"
            self.page.wait_for_timeout(50)

    def close(self) -> None:
        self.page.context.close()
