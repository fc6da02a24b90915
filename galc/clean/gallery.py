"""Suspicious labels as a page of HTML: one file, or a folder with its thumbnails. It needs no script and runs none.

Every name is escaped (Jinja's autoescape), and the page's own policy forbids scripts and anything from elsewhere.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from galc import store
from galc.clean.result import Cleaned
from galc.clean.review import Review
from galc.explorer.thumbnails import UnreadableImage, data_url, thumbnail

ASSETS = Path(__file__).parent
CSS = (ASSETS / "gallery.css").read_text(encoding="utf-8")
FILE = "gallery.html"
PART = 50  # labels under one heading
CLAIMS = {"wrong": "given, {} likely wrong", "missing": "not given, {} likely missing"}
DONE = {"keep": "kept as it is", "remove": "removed", "add": "added"}


class Card(NamedTuple):
    """One suspicious label for people: what it is, its image and the labels given, and what was decided.

    rank: from 1. action: "keep", "remove", "add", or "" while it is undecided. src: the address of the image, "" where
    it cannot be read.
    """

    rank: int
    name: str
    kind: str
    claim: str
    labels: list[str]
    file: str
    src: str
    action: str

    @property
    def done(self) -> str:
        """What was decided, in words."""
        return DONE.get(self.action, "")


def cards(cleaned: Cleaned, rows: Sequence[int], decided: Mapping[int, str], address=data_url) -> list[Card]:
    """Cards of some rows of ``cleaned.suspicious``, by their places; ``address``: file -> address of its image."""
    table, top, found = cleaned.suspicious, common_folder(cleaned), []
    for place in rows:
        row = table.iloc[place]
        file, labels = cleaned.files[row["row"]], cleaned.labels[row["row"]].nonzero().flatten().tolist()
        try:
            src = address(file)
        except UnreadableImage:
            src = ""
        card = Card(
            rank=int(place) + 1,
            name=row["class"],
            kind=row["kind"],
            claim=CLAIMS[row["kind"]].format(chance(row["probability"])),
            labels=[cleaned.classes[k] for k in labels],
            file=os.path.relpath(file, top),
            src=src,
            action=decided.get(place, ""),
        )
        found.append(card)
    return found


def chance(probability: float) -> str:
    """In percent, and never 100: it is an estimate."""
    return "over 99 %" if probability > 0.99 else f"{100 * probability:.0f} %"


@lru_cache(maxsize=1)
def common_folder(cleaned: Cleaned) -> Path:
    """The deepest folder that all images are in; names on a page begin there, and tell nothing of the machine."""
    return Path(os.path.commonpath([file.parent for file in cleaned.files]))


@cache
def templates() -> Environment:
    return Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)


def figures(shown: Sequence[Card]) -> str:
    """Cards as a piece of HTML, with its style."""
    return f"<style>{CSS}</style>" + templates().get_template("gallery_figures.html").render(cards=shown)


def write(cleaned: Cleaned, path: Path, review: Review | None = None, most: int = 500) -> Path:
    """Write the ``most`` most suspicious labels, with the decisions of ``review``; returns the file to open.

    path : NAME.html for one file with the images inside it, else a folder of index.html and thumbnails/

    The page is written last, whole or not at all. An image that cannot be read is named in its place. Raises ValueError
    for a ``most`` below 1, and FileExistsError where ``path`` is a file that is no .html.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    path = Path(path)
    single = path.suffix.lower() in (".html", ".htm")
    if not single and path.is_file():
        raise FileExistsError(f"{path} is a file; name a folder, or a file that ends in .html")
    rows, decided = range(min(most, len(cleaned.suspicious))), review.decided() if review else {}
    shown = cards(cleaned, rows, decided, data_url if single else partial(beside, folder=path))
    return store.write_text(path if single else path / "index.html", page(cleaned, shown))


def beside(file: Path, folder: Path) -> str:
    """Write the thumbnail of an image to ``folder``/thumbnails; returns its address from there."""
    content = thumbnail(file)
    name = f"thumbnails/{store.digest(str(file))}.jpg"
    with store.atomic(folder / name) as temporary:
        temporary.write_bytes(content)
    return name


def page(cleaned: Cleaned, shown: Sequence[Card]) -> str:
    """The whole page."""
    table = cleaned.suspicious
    counts = {kind: int((table["kind"] == kind).sum()) for kind in CLAIMS}
    lead = (
        f"{len(cleaned):,} images, {len(cleaned.classes):,} classes. {counts['wrong']:,} given labels may be wrong, "
        f"{counts['missing']:,} may be missing. The {len(shown):,} most suspicious are below, each with the estimated "
        "probability that it is at fault."
    )
    by_class: dict[str, list[int]] = {}
    for card in shown:
        by_class.setdefault(card.name, []).append(card.rank)
    parts = [shown[start : start + PART] for start in range(0, len(shown), PART)]
    template = templates().get_template("gallery.html")
    return template.render(
        title=cleaned.name, lead=lead, css=Markup(CSS), parts=parts, classes=sorted(by_class.items())
    )
