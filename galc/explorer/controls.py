"""What both widgets, the explorer and the review, are made of."""

import html
from collections.abc import Iterator
from contextlib import contextmanager

import ipywidgets

MARGIN = "2px 16px 2px 2px"


def dropdown(name: str, options: list) -> ipywidgets.Dropdown:
    """A dropdown with its name before it, on its first option."""
    return ipywidgets.Dropdown(options=options, description=name, style={"description_width": "initial"},
                               layout={"width": "auto", "min_width": "150px", "margin": MARGIN})  # fmt: skip


def line(text: str, kind: str = "galc-note") -> str:
    """A line of plain text that screen readers speak when it changes."""
    return f"<div role='status' aria-live='polite' class='{kind}'>{html.escape(text)}</div>"


class Status(ipywidgets.HTML):
    """The line that says what was done, or went wrong."""

    def say(self, text: str, error: bool = False) -> None:
        self.value = line(text, "galc-error" if error else "galc-note")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show an error in the line before it goes on to whoever listens."""
        try:
            yield
        except Exception as error:
            self.say(f"Error: {error} ({type(error).__name__})", error=True)
            raise
