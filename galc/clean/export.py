"""What people take away: corrected labels, a table of suspicious ones, a report, and what other tools read."""

import html
import json
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from galc import plots, store
from galc.clean import intervals as estimate
from galc.clean.result import FILE, Cleaned
from galc.data import formats
from galc.explorer.thumbnails import inlined
from galc.sweep import page as report

LABELS, SUSPICIOUS, REPORT = "labels", "suspicious.csv", "report.html"
COVERAGE = (
    "How far to trust the intervals: where the truth is known (pictograms and photographs, five kinds of noise at 10, "
    "20 and 40 %) they hold the true shares of nearly all classes if wrong labels have no pattern, and of 78 to 100 % "
    "of the classes if each turns into a few similar ones; there the rates tend to be said a little too high."
)  # python benchmarks/bench_clean.py [FOLDER] --coverage
LEAST = 0.5  # probability of being wrong above which an entry is changed


def labels(cleaned: Cleaned, folder: Path, least: float = LEAST, images: str | Path | None = None) -> Path:
    """Corrected labels (see `Cleaned.corrected`) in the format that came in, below ``folder``; returns the path."""
    return formats.write_like(cleaned.source, wanted(cleaned, least), cleaned.classes, folder / LABELS, images)


def wanted(cleaned: Cleaned, least: float = LEAST) -> formats.Wanted:
    """Image file -> names of its corrected classes."""
    corrected = cleaned.corrected(least)
    return {
        file: [cleaned.classes[k] for k in row.nonzero()[:, 0].tolist()]
        for file, row in zip(cleaned.files, corrected, strict=True)
    }


def suspicious(cleaned: Cleaned, folder: Path) -> Path:
    """The table of suspicious labels as CSV: rank, file, class, given, kind, probability."""
    table = cleaned.suspicious.drop(columns=["row", "column"])
    return store.write_text(folder / SUSPICIOUS, table.to_csv(index=False, float_format="%.4f"))


def for_cleanlab(cleaned: Cleaned) -> tuple[list[list[int]], np.ndarray]:
    """``labels`` and ``pred_probs`` as `cleanlab.multilabel_classification` takes them.

    Lists of class numbers, and probabilities (N, K) of the true labels. These know the given labels, so cleanlab's own
    thresholds are stricter with them than with a model's predictions.
    """
    given = [row.nonzero()[:, 0].tolist() for row in cleaned.labels]
    return given, cleaned.posterior.double().numpy()


def rates(cleaned: Cleaned) -> pd.DataFrame:
    """One row a class: labels as given, share wrong, share missing, each with its 90 % interval; worst first."""
    table = pd.DataFrame({"class": cleaned.classes, "given": cleaned.labels[~cleaned.trusted].sum(0).tolist()})
    for name in ("wrong", "missing"):
        for end, part in getattr(cleaned, name)._asdict().items():
            table[name if end == "estimate" else f"{name}_{end}"] = part.tolist()
    return table.sort_values(["wrong", "given"], ascending=False, ignore_index=True)


def confusions(cleaned: Cleaned, most: int = 20) -> pd.DataFrame:
    """The strongest confusions; see `galc.clean.intervals.confusions`."""
    found = estimate.confusions(cleaned.transition, cleaned.labels, cleaned.classes, most)
    return pd.DataFrame(found, columns=["true", "given", "rate", "low", "high"])


def summary(cleaned: Cleaned, least: float = LEAST) -> list[str]:
    """What was found, as sentences."""
    silver = ~cleaned.trusted
    given, doubt = cleaned.labels[silver], cleaned.suspicion[silver]
    wrong, missing = float(doubt[given].sum()), float(doubt[~given].sum())
    changed = cleaned.corrected(least) ^ cleaned.labels
    removed, added = int((changed & cleaned.labels).sum()), int((changed & ~cleaned.labels).sum())
    said = [
        f"{len(cleaned):,} images, {len(cleaned.classes)} classes, {int(cleaned.trusted.sum()):,} images trusted.",
        f"Of {int(given.sum()):,} labels that are not trusted, about {wrong:,.0f} are wrong "
        f"({share(wrong, given.sum())}); about {missing:,.0f} true ones are missing.",
        f"Corrected: {removed:,} labels removed, {added:,} added; {len(cleaned.decisions):,} decided by people, the "
        f"others where the given entry is wrong with a probability above {least:g}.",
    ]
    return said + list(cleaned.warnings)


def share(part: float, whole: torch.Tensor) -> str:
    return f"{100 * part / max(float(whole), 1):.1f} %"


def page(cleaned: Cleaned, folder: Path, least: float = LEAST) -> Path:
    """The report: what was found, rates, confusions, the most suspicious labels. Every name is escaped."""
    parts = [f"<h1>{html.escape(cleaned.name)}, cleaned</h1>"]
    parts += [f"<p>{html.escape(text)}</p>" for text in summary(cleaned, least)]
    table = rates(cleaned)
    parts += ["<h2>Wrong and missing labels, class by class</h2>", _figure(table), _table(_in_words(table, cleaned))]
    parts += [f"<p>{COVERAGE}</p>"]
    parts += ["<h2>Strongest confusions</h2>", _table(_percent(confusions(cleaned), ("rate", "low", "high")))]
    top = cleaned.suspicious.head(100).drop(columns=["row", "column"])
    parts += [f"<h2>The {len(top)} most suspicious labels</h2>", _table(_percent(top, ("probability",)))]
    footer = json.dumps({name: cleaned.record.get(name) for name in ("seconds", "environment")}, default=str)
    return report.write_page(folder / REPORT, f"{cleaned.name}, cleaned", "\n".join(parts), footer)


def _in_words(table: pd.DataFrame, cleaned: Cleaned) -> pd.DataFrame:
    out = table[["class", "given"]].copy()
    for name in ("wrong", "missing"):
        ends = zip(*(table[column] for column in (name, f"{name}_low", f"{name}_high")), strict=True)
        out[f"{name}, % (90 % interval)"] = [f"{100 * e:.1f} ({100 * a:.1f}-{100 * b:.1f})" for e, a, b in ends]
    return out


def _percent(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    return table.assign(**{name: [f"{100 * value:.1f} %" for value in table[name]] for name in columns})


def _figure(table: pd.DataFrame) -> str:
    """The rates as a picture inside the page."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name that the font cannot write is in the table
        figure = plots.rate_intervals(table)[0].figure
        picture = plots.rendered(figure)
    plt.close(figure)
    words = "The shares of wrong and of missing labels that the table below has"
    return f'<p><img src="{inlined(picture, "png")}" alt="{words}"></p>'


def _table(table: pd.DataFrame) -> str:
    return table.to_html(index=False, escape=True, border=0) if len(table) else "<p>None.</p>"


def everything(cleaned: Cleaned, folder: Path, least: float = LEAST, images: str | Path | None = None) -> list[Path]:
    """Result, corrected labels, table and report, all below ``folder``; returns their paths."""
    cleaned.save(folder)
    written = [labels(cleaned, folder, least, images), suspicious(cleaned, folder), page(cleaned, folder, least)]
    return [folder / FILE, *written]
