"""``python -m galc.clean --data ... --trusted ... --out ...``: from noisy labels to cleaned ones and a classifier.

Every stage is stored in the outputs folder when it is done: a call that was interrupted goes on from there, and one
with more trusted images computes anew only what depends on them. Decisions in OUT are kept and obeyed.
"""

import argparse
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from galc import store
from galc.clean import classifier, export, gallery
from galc.clean.pipeline import Cleaning, load
from galc.clean.result import DECISIONS, load_decisions
from galc.clean.review import Review
from galc.command import ended


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, 2 for bad input or a place that cannot be written to, 130 where it was interrupted."""
    return ended(partial(_main, parser().parse_args(arguments)))


def _main(options: argparse.Namespace) -> None:
    started = time.monotonic()
    out = store.typed(options.out)
    with alone(out):
        run(options, out)
    print(f"done in {time.monotonic() - started:.0f} s")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m galc.clean", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="COCO JSON, CSV, a folder of these, of classes, or a saved data set"
    )
    parser.add_argument("--images", help="folder that file names start at (default: beside the annotations)")
    parser.add_argument("--trusted", help="trusted images: .txt or .csv list, or .csv/.json with their true labels")
    parser.add_argument("--trusted-column", metavar="NAME", help="0/1 column of the CSV that marks trusted images")
    parser.add_argument("--out", required=True, help="folder for everything that is written")
    parser.add_argument(
        "--least", type=float, default=export.LEAST, help="change entries more probably wrong than this"
    )
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="any timm model")
    parser.add_argument("--weights", default="auto", help="auto, hub, package, none, or a local file")
    parser.add_argument("--image-size", type=int, help="pixels (default: as the images have them, 224 at most)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    parser.add_argument("--no-classifier", action="store_true", help="leave the classifier out")
    return parser


def run(options: argparse.Namespace, out: Path) -> None:
    """Load, clean, write. Raises ValueError or OSError that names what is at fault."""
    if not 0 <= options.least <= 1:
        raise ValueError(f"--least must lie in [0, 1], got {options.least}")
    given = load(options.data, options.trusted, options.images, options.trusted_column)
    print(f"{given.name}: {len(given):,} images, {given.num_classes} classes, {int(given.trusted.sum()):,} trusted")
    load_decisions(out, given.files, given.classes)  # a broken file is an error before any long work
    names = ("backbone", "weights", "image_size")
    settings = {name: getattr(options, name) for name in names} | {name: number(text) for name, text in options.p}
    cleaning = Cleaning(given, log=print, **settings)
    cleaned = replace(cleaning.result(), decisions=load_decisions(out, given.files, given.classes))
    for text in export.summary(cleaned, options.least):
        print(text)
    written = export.everything(cleaned, out, options.least, options.images)
    written.append(gallery.write(cleaned, out / gallery.FILE, Review(cleaned.suspicious, out / DECISIONS)))
    if not options.no_classifier:
        print("training the classifier")
        trained = classifier.train(cleaning, cleaned)
        written.append(trained.save(out / classifier.FILE))
        written.append(store.write_text(out / classifier.CARD, classifier.card(trained, cleaned)))
    for path in written:
        print(f"written: {path}")


def number(text: str) -> int | float | str:
    """A parameter's value as it would be in a notebook."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


class alone:
    """The only process that writes to a folder. Raises OSError where it cannot be written to, or another one does."""

    def __init__(self, out: Path):
        self.out = out

    def __enter__(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        if not os.access(self.out, os.W_OK):
            raise OSError(f"{self.out} cannot be written to; pass another --out")
        self.lock = FileLock(self.out / ".lock")
        try:
            self.lock.acquire(timeout=0)
        except Timeout:
            raise OSError(f"another process is writing to {self.out}; wait for it, or pass another --out") from None

    def __exit__(self, *_) -> None:
        self.lock.release()


if __name__ == "__main__":
    sys.exit(main())
