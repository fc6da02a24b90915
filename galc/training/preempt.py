"""SIGTERM: what a cluster sends before it takes a machine away. A training saves what it has, then ends."""

import os
import signal
import threading


class Preemption:
    """``with Preemption() as stop``: from a SIGTERM on, ``stop.asked`` is True, and nothing else happens.

    Off the main thread, where Python takes no signals, nothing is changed. Nested blocks share the innermost one.
    """

    def __init__(self):
        self.asked = False
        self._before = None

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None

    def _ask(self, *_) -> None:
        self.asked = True

    def leave(self) -> None:
        """Do what SIGTERM would have done without the block: the process ends, unless the caller handles the signal."""
        self.__exit__()
        os.kill(os.getpid(), signal.SIGTERM)
        raise SystemExit(128 + signal.SIGTERM)  # where a handler returned
