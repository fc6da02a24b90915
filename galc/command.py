"""How a command ends: its exit status, and one line for what went wrong."""

import sys
from collections.abc import Callable

from galc.checks import MissingPackage

Say = Callable[..., None]  # print, or what prints in one process alone


def ended(work: Callable[[], int | None], *errors: type[Exception], say: Say = print) -> int:
    """Do ``work`` and return its status (None: 0); 2 after an error of bad input, 130 where it was interrupted.

    Bad input is a ValueError, an OSError, a missing optional package, or one of ``errors``: its message is printed to
    stderr. Others are raised.
    """
    try:
        return work() or 0
    except (ValueError, OSError, MissingPackage, *errors) as error:
        say(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        say("interrupted; what has finished is kept, and the next call goes on from there", file=sys.stderr)
        return 130
