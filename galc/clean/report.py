"""What people take away: corrected labels, a table of suspicious ones, a report, a gallery, and what other tools read.

Report and gallery are pages of HTML that need no script and run none. Every name in them is escaped, and the gallery's
own policy forbids scripts and anything from elsewhere.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from galc.checks import needs

needs("jinja2", "study")
needs("matplotlib", "study")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from galc import plots, store
from galc.clean import ENOUGH, FILE, LIKELY, Cleaned
from galc.clean.review import ACTIONS, Review
from galc.data.load import write_like
from galc.explorer.sources import UnreadableImage, data_url, inlined, thumbnail
from galc.results.groups import percent
from galc.sweep import write_page

LABELS, SUSPICIOUS, REPORT, GALLERY = "labels", "suspicious.csv", "report.html", "gallery.html"
ASSETS = Path(__file__).parent
CSS = (ASSETS / "gallery.css").read_text(encoding="utf-8")
PART = 50  # labels under one heading of the gallery
CLAIMS = {"wrong": "given, {} likely wrong", "missing": "not given, {} likely missing"}
DONE = {"keep": "kept as it is", "remove": "removed", "add": "added"}


def everything(
    cleaned: Cleaned, folder: Path, least: float | None = None, images: str | Path | None = None
) -> list[Path]:
    """Result, corrected labels in the format that came in, table and report, all below ``folder``; returns their paths.

    ``least``: see `Cleaned.corrected`. ``images``: the folder that was passed to the reader.
    """
    cleaned.save(folder)
    wanted = replace(cleaned, labels=cleaned.corrected(least)).names()
    labels = write_like(cleaned.source, wanted, cleaned.classes, folder / LABELS, images)
    return [folder / FILE, labels, suspicious(cleaned, folder, least), page(cleaned, folder, least)]


def suspicious(cleaned: Cleaned, folder: Path, least: float | None = None) -> Path:
    """The table of suspicious labels as CSV, with a column done: "decided" by people, "corrected" in the labels that
    were written, "suggested" (more probably wrong than right, and left for want of trusted images), or "".
    """
    table = cleaned.suspicious
    doubt = table["probability"].to_numpy()
    decided = [place in cleaned.decided for place in zip(table["row"], table["column"], strict=True)]
    suggested = (doubt > LIKELY) & (least is None)
    done = np.select([decided, doubt > cleaned.least(least), suggested], ["decided", "corrected", "suggested"], "")
    table = table.drop(columns=["row", "column"]).assign(done=done)
    return store.write_text(folder / SUSPICIOUS, table.to_csv(index=False, float_format="%.4f"))


def for_cleanlab(cleaned: Cleaned) -> tuple[list[list[int]], np.ndarray]:
    """``labels`` (lists of class numbers) and ``pred_probs`` (N, K) as `cleanlab.multilabel_classification` takes them.

    The probabilities know the given labels: cleanlab's thresholds are stricter with them than with a model's.
    """
    return [row.nonzero()[:, 0].tolist() for row in cleaned.labels], cleaned.posterior.double().numpy()


# --- the report ----------------------------------------------------------------------------------------------------


def summary(cleaned: Cleaned, least: float | None = None) -> list[str]:
    """What was found, as sentences; the first says so where corrections are suggestions alone."""
    silver, threshold = ~cleaned.trusted, cleaned.least(least)
    given, doubt = cleaned.labels[silver], cleaned.suspicion[silver]
    wrong, missing, number = float(doubt[given].sum()), float(doubt[~given].sum()), int(given.sum())
    changed, trusted = cleaned.corrected(least) ^ cleaned.labels, int(cleaned.trusted.sum())
    removed, added = int((changed & cleaned.labels).sum()), int((changed & ~cleaned.labels).sum())
    others = f"the others where the given entry is wrong with a probability above {threshold:g}"
    said = []
    if least is None and threshold == 1:
        others = "no others"
        said.append(
            f"Nothing is changed but what people decided: {trusted} images are trusted, and {ENOUGH} are the least "
            f"that can vouch for corrections. {int((doubt > LIKELY).sum()):,} suggestions are in {SUSPICIOUS}; "
            f"--least {LIKELY:g} makes them all the same."
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
    """The strongest confusions: true class, given class, rate with its interval; of the most given labels first.

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
        ends = 100 * table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        shown[f"{name}, % (90 % interval)"] = [f"{e:.1f} ({a:.1f}-{b:.1f})" for e, a, b in ends]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name that the font cannot write is in the table
        figure = plots.rate_intervals(table)[0].figure
        picture = inlined(plots.rendered(figure), "png")
    plt.close(figure)
    parts = {"said": summary(cleaned, least), "picture": picture, "share": partial(percent, digits=1)}
    parts |= {"rates": shown, "confusions": confusions(cleaned), "top": top}
    footer = json.dumps({name: cleaned.record.get(name) for name in ("seconds", "environment")}, default=str)
    title = f"{cleaned.name}, cleaned"
    with pd.option_context("display.max_colwidth", None):  # no name is cut short
        return write_page(folder / REPORT, title, rendered("report.html", title=title, **parts), footer)


# --- the gallery ---------------------------------------------------------------------------------------------------


def cards(cleaned: Cleaned, rows: Sequence[int], decided: Mapping[int, str], address=data_url) -> list[dict]:
    """What people are told of some rows of ``cleaned.suspicious``, by their places.

    rank (from 1), name, kind, claim, labels (those given), file, src (its ``address``, "" where it cannot be read),
    actions (what can be done), action (what was ``decided``, "" for nothing).
    """
    found = []
    for place in rows:
        row = cleaned.suspicious.iloc[place]
        file, given, kind = cleaned.files[row["row"]], cleaned.labels[row["row"]], row["kind"]
        card = {"rank": place + 1, "name": row["class"], "kind": kind, "file": os.path.relpath(file, cleaned.folder)}
        card |= {"claim": CLAIMS[kind].format(chance(row["probability"])), "action": decided.get(place, "")}
        card |= {"labels": [cleaned.classes[k] for k in given.nonzero()[:, 0]], "actions": ACTIONS[kind], "src": ""}
        with suppress(UnreadableImage):
            card["src"] = address(file)
        found.append(card)
    return found


def chance(probability: float) -> str:
    """In percent, and never 100: it is an estimate."""
    return "over 99 %" if probability > 0.99 else percent(probability)


def figures(shown: Sequence[dict]) -> str:
    """Cards as a piece of HTML, with its style."""
    return f"<style>{CSS}</style>" + rendered("gallery_figures.html", cards=shown)


def rendered(template: str, **parts) -> str:
    """A template of this folder with its parts."""
    files = Environment(loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined)
    return files.get_template(template).render(parts, done=DONE)


def gallery(cleaned: Cleaned, path: Path, review: Review | None = None, most: int = 500) -> Path:
    """Write the ``most`` most suspicious labels, with the decisions of ``review``; returns the file to open.

    ``path``: NAME.html for one file with the images inside it, else a folder of index.html and thumbnails/; the page is
    written last, whole or not at all. An image that cannot be read is named in its place. Raises ValueError for a
    ``most`` below 1, and FileExistsError where ``path`` is a file that is no .html.
    """
    if most < 1:
        raise ValueError(f"most must be at least 1, got {most}")
    path = Path(path)
    single = path.suffix.lower() in (".html", ".htm")
    if not single and path.is_file():
        raise FileExistsError(f"{path} is a file; name a folder, or a file that ends in .html")
    table, decided = cleaned.suspicious, review.decided() if review else {}
    shown = cards(cleaned, range(min(most, len(table))), decided, data_url if single else partial(beside, folder=path))
    parts = {"cleaned": cleaned, "kinds": table["kind"].value_counts(), "shown": shown, "css": CSS, "part": PART}
    return store.write_text(path if single else path / "index.html", rendered("gallery.html", **parts))


def beside(file: Path, folder: Path) -> str:
    """Write the thumbnail of an image to ``folder``/thumbnails; returns its address from there."""
    content, name = thumbnail(file), f"thumbnails/{store.digest(str(file))}.jpg"
    with store.atomic(folder / name) as temporary:
        temporary.write_bytes(content)
    return name
