"""Progress with the time left: a bar on a terminal, a line that updates in a notebook, plain lines in a log.

A bar made of terminal codes or widgets stays frozen in a saved notebook; a displayed line shows how it ended.
"""

import io
import sys
from collections.abc import Iterable

import tqdm

LINE = "{desc}: {n_fmt}/{total_fmt} {unit}{postfix}, {pace}, {elapsed} gone, {remaining} left"
BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} {unit}{postfix}, {pace}, {elapsed} gone, {remaining} left"
SINGULAR = {"matrices": "matrix"}  # where it is more than the last letter that goes


class bar(tqdm.tqdm):  # lower case as in tqdm, whose arguments and methods it has
    """A tqdm bar that knows where it is shown. Off a terminal: one line a second in a notebook, every 15 s in a log."""

    def __init__(self, *args, **options):
        shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None  # a kernel has imported it
        self.notebook = getattr(shell, "kernel", None) is not None
        self.plain = self.notebook or not sys.stderr.isatty()
        self.handle, self.said = None, 0
        options |= {"bar_format": BAR}
        if self.plain:
            options |= {"bar_format": LINE, "mininterval": 1 if self.notebook else 15, "miniters": 1}
            options |= {"file": io.StringIO()}  # for what tqdm writes beside `display`
        super().__init__(*args, **{"leave": self.plain} | options)

    @property
    def format_dict(self) -> dict:
        """What tqdm knows, and ``pace``: "252 images/s", below one a second "3.1 s a run"."""
        known = super().format_dict
        rate = known["rate"] or (known["n"] - known["initial"]) / (known["elapsed"] or 1)
        if known["unit_scale"] or not rate:
            pace = f"{self.format_sizeof(rate, divisor=known['unit_divisor'])}{self.unit}/s" if rate else "no pace yet"
        elif rate < 1:
            pace = f"{1 / rate:.1f} s a {SINGULAR.get(self.unit, self.unit.removesuffix('s'))}"
        else:
            pace = f"{rate:.0f} {self.unit}/s"
        return known | {"pace": pace}

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the present state where this bar lives."""
        if not self.plain:
            return super().display(msg, pos)
        if self.n == self.said:  # nothing new to tell
            return True
        self.said = self.n
        text = msg or str(self)
        if not self.notebook:
            print(text, file=sys.stderr, flush=True)
        elif self.handle is None:
            from IPython.display import display

            self.handle = display({"text/plain": text}, raw=True, display_id=True)
        else:
            self.handle.update({"text/plain": text}, raw=True)
        return True


def track(items: Iterable, total: int, what: str, unit: str = "images") -> bar:
    """Iterate over ``items`` while showing how far it is; ``what`` says what is done, ``unit`` what is counted."""
    return bar(items, total=total, desc=what, unit=unit)
