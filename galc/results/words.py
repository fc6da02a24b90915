"""What sentences are made of."""

from collections.abc import Sequence


class Finding(str):
    """A computed text in Markdown; a notebook shows it as prose."""

    def _repr_markdown_(self) -> str:
        return str(self)


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def signed(points: float, digits: int = 1) -> str:
    return f"{points:+.{digits}f}".replace("-", "−")


def join(parts: Sequence[str]) -> str:
    """ "a, b and c" """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def shorten(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def plus_minus(mean: float, std: float, seeds: int, digits: int = 1) -> str:
    """ "−0.4 ± 0.2", without the deviation for one seed."""
    return signed(mean, digits) + (f" ± {std:.{digits}f}" if seeds > 1 else "")
