"""``python -m galc.clean --data ... --trusted ... --out ...``: from noisy labels to cleaned ones and a classifier.

Every stage is stored in the outputs folder when it is done: a call that was interrupted goes on from there, and one
with more trusted images computes anew only what depends on them. Decisions in OUT are kept and obeyed.
"""

import argparse
import sys

from galc.clean.pipeline import command
from galc.command import ended


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, 2 for bad input or a place that cannot be written to, 130 where it was interrupted."""
    given = vars(parser().parse_args(arguments))
    names = ("backbone", "weights", "image_size")
    settings = {name: given.pop(name) for name in names} | {name: number(text) for name, text in given.pop("p")}
    return ended(lambda: command(**given, settings=settings) and 0)


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
        "--least",
        type=float,
        help="change entries more probably wrong than this (default: 0.5; 1, nothing, with too few trusted images)",
    )
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="any timm model")
    parser.add_argument("--weights", default="auto", help="auto, hub, package, none, or a local file")
    parser.add_argument("--image-size", type=int, help="pixels (default: as the images have them, 224 at most)")
    parser.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter")
    parser.add_argument("--no-classifier", dest="classifier", action="store_false", help="leave the classifier out")
    return parser


def number(text: str) -> int | float | str:
    """A parameter's value as it would be in a notebook."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    sys.exit(main())
