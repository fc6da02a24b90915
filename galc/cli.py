"""``galc``: what is done from a shell, a subcommand each.

A command ends with status 0; 1 where a notebook of a sweep failed; 2 for bad input, with one line that says what is at
fault; 130 where it was interrupted. Modules are imported when their command runs: `galc --help` is there at once.
"""

import os
import sys

import click

FILE = click.argument("file")
WORDS = click.option(
    "-p", "words", type=(str, str), multiple=True, metavar="NAME VALUE", help="Set a parameter; any number of times."
)
WORKERS = click.option("--workers", type=int, help="Processes side by side (default: one a GPU, or one a core).")


def main(arguments: list[str] | None = None) -> int:
    """The command ``galc`` with these words (default: those of the shell); returns its status."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with commands.make_context("galc", words or ["--help"]) as context:
            return commands.invoke(context) or 0
    except click.exceptions.Exit as end:  # of --help
        return end.exit_code
    except click.ClickException as error:
        return _failed(error.format_message())
    except (ValueError, OSError, MemoryError) as error:
        return _failed(str(error))
    except ImportError as error:
        from galc.checks import MissingPackage, told

        if not isinstance(told(error), MissingPackage):
            raise
        return _failed(str(told(error)))
    except RuntimeError as error:
        workers = sys.modules.get("galc.study.workers")
        if workers is None or not isinstance(error, workers.WorkerError):
            raise
        return _failed(str(error))
    except KeyboardInterrupt:
        _say("interrupted; what has finished is kept, and the next call goes on from there")
        return 130


def _failed(message: str) -> int:
    _say(f"error: {message}")
    return 2


def _say(text: str) -> None:
    """To stderr; of several processes of one training the first one speaks."""
    if os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands():
    """Multi-label learning when the labels are wrong: clean your own labels, or run the study."""


@commands.command()
@click.option("--data", required=True, help="COCO JSON, CSV, a folder of these, of classes, or a saved data set.")
@click.option("--images", help="Folder that file names start at (default: beside the annotations).")
@click.option("--trusted", help="Trusted images: .txt or .csv list, or .csv/.json with their true labels.")
@click.option("--trusted-column", metavar="NAME", help="0/1 column of the CSV that marks trusted images.")
@click.option("--out", required=True, help="Folder for everything that is written.")
@click.option(
    "--least",
    type=float,
    help="Change entries more probably wrong than this (default: 0.5; 1, nothing, with too few trusted images).",
)
@click.option("--backbone", default="tf_efficientnet_lite0", show_default=True, help="Any timm model.")
@click.option("--weights", default="auto", show_default=True, help="auto, hub, package, none, or a local file.")
@click.option("--image-size", type=int, help="Pixels (default: as the images have them, 224 at most).")
@WORDS
@click.option("--no-classifier", "classifier", flag_value=False, default=True, help="Leave the classifier out.")
def clean(words: tuple, **options) -> None:
    """From noisy labels to cleaned ones and a classifier.

    Every stage is stored in the outputs folder when it is done: a call that was interrupted goes on from there, and
    one with more trusted images computes anew only what depends on them. Decisions in --out are kept and obeyed.
    """
    from galc.clean.pipeline import command
    from galc.study.params import from_words

    settings = {name: options.pop(name) for name in ("backbone", "weights", "image_size")} | from_words(words)
    command(**options, settings=settings)


@commands.command()
@FILE
@WORDS
@WORKERS
@click.option("--scheduler", metavar="ADDRESS", help="Use the workers of a running Dask cluster.")
def sweep(file: str, words: tuple, workers: int | None, scheduler: str | None) -> int:
    """Every run of a study FILE (params/*.yaml) as a notebook, their results, the report."""
    from galc.study.params import from_words
    from galc.sweep.plan import command

    return command(file, from_words(words), workers, scheduler)


@commands.command()
@FILE
@WORDS
@WORKERS
def select(file: str, words: tuple, workers: int | None) -> int | None:
    """Choose a recipe on held-out gold images: the candidates of FILE (params/selection/*.yaml), the best first."""
    from galc.study import runs
    from galc.study.params import from_words

    return runs.select(file, from_words(words), workers)


@commands.command()
@FILE
@WORDS
@click.option("--weights", metavar="FILE", help="Of the backbone, instead of those of the model hub.")
def train(file: str, words: tuple, weights: str | None) -> int | None:
    """The runs of a study FILE one after the other, each on all GPUs.

    On several: torchrun --nproc-per-node 8 -m galc.cli train FILE
    """
    from galc.study.params import from_words
    from galc.sweep.plan import train

    return train(file, from_words([*words, *([("weights", weights)] if weights else [])]))


@commands.command()
@click.argument("name", type=click.Choice(["coco2014", "voc2007"]))
@click.option("--root", help="Folder (default: $GALC_DATA/NAME, or outputs/data/NAME).")
def download(name: str, root: str | None) -> int | None:
    """Fetch a data set from its official site; resumes, and checks what came."""
    from galc.data.download import command

    return command(name, root)


if __name__ == "__main__":
    sys.exit(main())
