"""What people take away: corrected labels, a table of suspicious ones, a report, a gallery, and what other tools read.

Report and gallery are pages of HTML that need no script and run none. Every name in them is escaped (Jinja's
autoescape), and the gallery's own policy forbids scripts and anything from elsewhere.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from galc import plots, store
from galc.clean import ENOUGH, FILE, LIKELY, Cleaned
from galc.clean.review import Review
from galc.data.load import write_like
from galc.explorer.thumbnails import UnreadableImage, data_url, inlined, thumbnail
from galc.results.groups import percent
from galc.sweep.report import write_page

LABELS, SUSPICIOUS, REPORT, GALLERY = "labels", "suspicious.csv", "report.html", "gallery.html"
ASSETS = Path(__file__).parent
CSS = (ASSETS / "gallery.css").read_text(encoding="utf-8")
PART = 50  # labels under one heading of the gallery
CLAIMS = {"wrong": "given, {} likely wrong", "missing": "not given, {} likely missing"}
DONE = {"keep": "kept as it is", "remove": "removed", "add": "added"}


def everything(
    cleaned: Cleaned, folder: Path, least: float | None = None, images: str | Path | None = None
) -> list[Path]:
    """Result, corrected labels, table and report, all below ``folder``; returns their paths.

    ``least``: see `Cleaned.least`. ``images``: the folder that was passed to the reader.
    """
    cleaned.save(folder)
    written = [labels(cleaned, folder, least, images), suspicious(cleaned, folder, least), page(cleaned, folder, least)]
    return [folder / FILE, *written]


def labels(cleaned: Cleaned, folder: Path, least: float | None = None, images: str | Path | None = None) -> Path:
    """Corrected labels (see `Cleaned.corrected`) in the format that came in, below ``folder``; returns the path."""
    wanted = replace(cleaned, labels=cleaned.corrected(least)).names()
    return write_like(cleaned.source, wanted, cleaned.classes, folder / LABELS, images)


def suspicious(cleaned: Cleaned, folder: Path, least: float | None = None) -> Path:
    """The table of suspicious labels as CSV: rank, file, class, given, kind, probability, done.

    done: "decided" by people, "corrected" in the labels that were written, "suggested" (more probably wrong than right,
    and left as it is for want of trusted images), or "" for what was left.
    """
    table = cleaned.suspicious
    doubt = table["probability"].to_numpy()
    decided = [place in cleaned.decided for place in zip(table["row"], table["column"], strict=True)]
    suggested = (doubt > LIKELY) & (least is None)
    done = np.select([decided, doubt > cleaned.least(least), suggested], ["decided", "corrected", "suggested"], "")
    table = table.drop(columns=["row", "column"]).assign(done=done)
    return store.write_text(folder / SUSPICIOUS, table.to_csv(index=False, float_format="%.4f"))


def for_cleanlab(cleaned: Cleaned) -> tuple[list[list[int]], np.ndarray]:
    """``labels`` and ``pred_probs`` as `cleanlab.multilabel_classification` takes them.

    Lists of class numbers, and probabilities (N, K) of the true labels. These know the given labels, so cleanlab's own
    thresholds are stricter with them than with a model's predictions.
    """
    given = [row.nonzero()[:, 0].tolist() for row in cleaned.labels]
    return given, cleaned.posterior.double().numpy()


# --- the report ----------------------------------------------------------------------------------------------------


def summary(cleaned: Cleaned, least: float | None = None) -> list[str]:
    """What was found, as sentences; the first says so where corrections are suggestions alone."""
    silver = ~cleaned.trusted
    given, doubt = cleaned.labels[silver], cleaned.suspicion[silver]
    wrong, missing, number = float(doubt[given].sum()), float(doubt[~given].sum()), int(given.sum())
    changed = cleaned.corrected(least) ^ cleaned.labels
    removed, added = int((changed & cleaned.labels).sum()), int((changed & ~cleaned.labels).sum())
    trusted, suggested = int(cleaned.trusted.sum()), int((doubt > LIKELY).sum())
    others = f"the others where the given entry is wrong with a probability above {cleaned.least(least):g}"
    said = []
    if least is None and not cleaned.vouched:
        others = "no others"
        said.append(
            f"Nothing is changed but what people decided: {trusted} images are trusted, and {ENOUGH} are the least "
            f"that can vouch for corrections. {suggested:,} suggestions are in {SUSPICIOUS}; --least {LIKELY:g} makes "
            "them all the same."
        )
    return [
        *said,
        f"{len(cleaned):,} images, {len(cleaned.classes)} classes, {trusted:,} images trusted.",
        f"Of {number:,} labels that are not trusted, about {wrong:,.0f} are wrong "
        f"({percent(wrong / max(number, 1), 1)}); about {missing:,.0f} true ones are missing.",
        f"Corrected: {removed:,} labels removed, {added:,} added; "
        f"{len(cleaned.decided):,} decided by people, {others}.",
        *cleaned.warnings,
    ]


def rates(cleaned: Cleaned) -> pd.DataFrame:
    """One row a class: labels as given, share wrong, share missing, each with its 90 % interval; worst first."""
    table = pd.DataFrame({"class": cleaned.classes, "given": cleaned.labels[~cleaned.trusted].sum(0).tolist()})
    for name in ("wrong", "missing"):
        for end, part in getattr(cleaned, name)._asdict().items():
            table[name if end == "estimate" else f"{name}_{end}"] = part.tolist()
    return table.sort_values(["wrong", "given"], ascending=False, ignore_index=True)


def confusions(cleaned: Cleaned, most: int = 20) -> pd.DataFrame:
    """The strongest confusions: true class, given class, rate with its interval; largest number of labels first.

    Numbers are of the given labels, so that a rare class with a high rate does not stand before what happens daily.
    Only those whose interval stays above 0.1 % of the labels of the class.
    """
    rate, low, high = (end.clone().fill_diagonal_(0) for end in cleaned.transition)
    often = (rate * cleaned.labels.sum(0).double()[:, None]).masked_fill(low < 1e-3, 0).flatten()
    order = often.argsort(descending=True, stable=True)[:most]
    i, j = np.divmod(order[often[order] > 0].numpy(), len(cleaned.classes))
    names = np.array(cleaned.classes, dtype=object)
    ends = {"rate": rate, "low": low, "high": high}
    return pd.DataFrame({"true": names[i], "given": names[j]} | {name: end[i, j].numpy() for name, end in ends.items()})


def page(cleaned: Cleaned, folder: Path, least: float | None = None) -> Path:
    """The report: what was found, rates, confusions, the most suspicious labels."""
    table, top = rates(cleaned), cleaned.suspicious.head(100).drop(columns=["row", "column"])
    top["file"] = [os.path.relpath(file, cleaned.folder) for file in top["file"]]
    shown = table[["class", "given"]].copy()
    for name in ("wrong", "missing"):
        ends = (100 * table[column] for column in (name, f"{name}_low", f"{name}_high"))
        words = [f"{e:.1f} ({a:.1f}-{b:.1f})" for e, a, b in zip(*ends, strict=True)]
        shown[f"{name}, % (90 % interval)"] = words
    title, share = f"{cleaned.name}, cleaned", partial(percent, digits=1)
    parts = {"title": title, "said": summary(cleaned, least), "picture": _picture(table), "share": share}
    parts |= {"rates": shown, "confusions": confusions(cleaned), "top": top}
    footer = json.dumps({name: cleaned.record.get(name) for name in ("seconds", "environment")}, default=str)
    with pd.option_context("display.max_colwidth", None):  # no name is cut short
        body = rendered("report.html", **parts)
    return write_page(folder / REPORT, title, body, footer)


def _picture(table: pd.DataFrame) -> str:
    """The rates as a picture inside the page."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name that the font cannot write is in the table
        figure = plots.rate_intervals(table)[0].figure
        content = plots.rendered(figure)
    plt.close(figure)
    return inlined(content, "png")


# --- the gallery ---------------------------------------------------------------------------------------------------


class Card(NamedTuple):
    """One suspicious label for people: what it is, its image and the labels given, and what was decided.

    rank: from 1. action: one of `DONE`, or "" while it is undecided. src: the address of the image, "" where it cannot
    be read.
    """

    rank: int
    name: str
    kind: str
    claim: str
    labels: list[str]
    file: str
    src: str
    action: str


def cards(cleaned: Cleaned, rows: Sequence[int], decided: Mapping[int, str], address=data_url) -> list[Card]:
    """Cards of some rows of ``cleaned.suspicious``, by their places; ``address``: file -> address of its image."""
    table, found = cleaned.suspicious, []
    for place in rows:
        row = table.iloc[place]
        file, names = cleaned.files[row["row"]], cleaned.labels[row["row"]].nonzero().flatten().tolist()
        try:
            src = address(file)
        except UnreadableImage:
            src = ""
        claim = CLAIMS[row["kind"]].format(chance(row["probability"]))
        names = [cleaned.classes[k] for k in names]
        shown, action = os.path.relpath(file, cleaned.folder), decided.get(place, "")
        found.append(Card(int(place) + 1, row["class"], row["kind"], claim, names, shown, src, action))
    return found


def chance(probability: float) -> str:
    """In percent, and never 100: it is an estimate."""
    return "over 99 %" if probability > 0.99 else percent(probability)


def figures(shown: Sequence[Card]) -> str:
    """Cards as a piece of HTML, with its style."""
    return f"<style>{CSS}</style>" + rendered("gallery_figures.html", cards=shown)


def rendered(template: str, **parts) -> str:
    """A template of this folder with its parts."""
    files = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    return files.get_template(template).render(parts, done=DONE)


def gallery(cleaned: Cleaned, path: Path, review: Review | None = None, most: int = 500) -> Path:
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
    table, decided = cleaned.suspicious, review.decided() if review else {}
    shown = cards(cleaned, range(min(most, len(table))), decided, data_url if single else partial(beside, folder=path))
    kinds = table["kind"].value_counts()
    text = rendered("gallery.html", cleaned=cleaned, kinds=kinds, shown=shown, css=CSS, part=PART)
    return store.write_text(path if single else path / "index.html", text)


def beside(file: Path, folder: Path) -> str:
    """Write the thumbnail of an image to ``folder``/thumbnails; returns its address from there."""
    content = thumbnail(file)
    name = f"thumbnails/{store.digest(str(file))}.jpg"
    with store.atomic(folder / name) as temporary:
        temporary.write_bytes(content)
    return name
