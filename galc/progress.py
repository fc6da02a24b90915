"""Progress with the time left: a bar on a terminal, a line that updates in a notebook, plain lines in a log.

A bar made of terminal codes or widgets stays frozen in a saved notebook; a displayed line shows how it ended.
"""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm


def track(items: Iterable, total: int, what: str, unit: str = "image") -> Iterator:
    """Yield ``items`` while showing how far it is; ``what`` says what is done, ``unit`` what is counted."""
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=what, unit=unit, leave=False)
        return
    started, shown, show = time.monotonic(), time.monotonic(), _display()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if done == total or now - shown >= (1 if show.live else 15):
            show(f"{what}: {describe(done, total, unit, now - started)}")
            shown = now


def describe(done: int, total: int, unit: str, seconds: float) -> str:
    """ "120/240 images, 12 a second, 10 s left" """
    count = f"{done:,}/{total:,} {unit}s"
    if done == total:
        return f"{count} in {seconds:.0f} s"
    return f"{count}, {done / max(seconds, 1e-9):.3g} a second, {(total - done) * seconds / done:.0f} s left"


class _display:
    """Shows one line: in place of its last state in a notebook, below it elsewhere."""

    def __init__(self):
        try:
            from IPython import get_ipython

            self.live = getattr(get_ipython(), "kernel", None) is not None
        except ImportError:
            self.live = False
        self.handle = None

    def __call__(self, text: str) -> None:
        if not self.live:
            print(text, file=sys.stderr, flush=True)
            return

        from IPython.display import display

        data = {"text/plain": text}
        if self.handle is None:
            self.handle = display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)
