"""From a data set as it came to `galc.clean.result.Cleaned`: every stage computed once, stored, and taken up again."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from galc import store
from galc.checks import needs
from galc.clean import intervals
from galc.clean.classifier import Classifier, train
from galc.clean.result import ENOUGH, Cleaned, packed, unpacked
from galc.clean.review import DECISIONS, Review, latest, read
from galc.clean.stages import OwnStages, own_code
from galc.data import load as data
from galc.data import trusted
from galc.data.dataset import Dataset
from galc.study.inputs import Projection, features, principal_components
from galc.study.params import ParameterError, checked, unknown_message
from galc.study.run import environment
from galc.study.stage_cache import code_digest
from galc.study.stages import Log

# Chosen on `pictograms` with 20 % symmetric noise by the likelihood of the trusted images' labels (docs/method.md).
RECIPE = {"hidden": 1024, "input_dropout": 0.3, "folds": 5, "fold_epochs": 30, "epochs": 30}
# the parameters of a study that a cleaning obeys, too
SETTINGS = (
    *("backbone", "weights", "image_size", "components", "seed", *RECIPE, "dropout", "batch_size", "learning_rate"),
    *("weight_decay", "ema_decay", "bf16", "compile"),
)


def load(
    source: str | Path,
    trusted_file: str | Path | None = None,
    images: str | Path | None = None,
    trusted_column: str | None = None,
) -> Dataset:
    """A data set with its trusted part; see `galc.data.load.load` and `galc.data.trusted`.

    ``trusted_column`` names a 0/1 column of a CSV that marks trusted images. Raises ValueError or FileNotFoundError.
    """
    if trusted_column is not None:
        if not str(source).lower().endswith(".csv"):
            raise ValueError(f"a trusted column is one of a CSV; {source} is none: pass the trusted images as a file")
        if trusted_column == "image":
            raise ValueError("--trusted-column image: that column names the images; pass one of 0 and 1")
    given = data.load(source, images=images, trusted_column=trusted_column)
    given = trusted.with_trusted(given, trusted_file, data.image_folder(source, images))
    for file in given.files:
        if not file.is_file():
            raise FileNotFoundError(f"{given.name}: the image file {file} is missing; put it back or take it out")
        if not file.stat().st_size:
            raise ValueError(f"{given.name}: the image file {file} is empty (0 bytes); fetch it again or take it out")
    if given.trusted.all():
        raise ValueError(f"{given.name}: all {len(given)} images are trusted, so there is nothing to clean")
    return given


class Cleaning:
    """The cleaning of a data set: what it gives, stage by stage, each stored.

    ``settings``: values of `SETTINGS`, as in `galc.study.params.Params`, before those of `RECIPE`. Raises
    ParameterError for others, which would change nothing, and for values that do not fit.
    """

    def __init__(self, given: Dataset, log: Log = None, **settings):
        self.given, self.log, self.seconds = given, log or (lambda text: None), {}
        if unknown := [name for name in settings if name not in SETTINGS]:
            raise ParameterError(unknown_message(unknown, list(SETTINGS)))
        self.params = checked({"data": given.source} | RECIPE | settings)

    def stages(self) -> tuple[Projection, OwnStages]:
        """What the images are for a model, and the stages on it."""
        p = self.params
        if not hasattr(self, "_stages"):
            self.log(f"features of {len(self.given):,} images by {p.backbone}")
            vectors = self._timed("features", features, p, self.given, p.image_size)
            most = min(p.components, *vectors.shape)  # as many as asked for, or as there are
            arrays = principal_components(vectors, vectors[:0], most, ddof=1).arrays
            stages = OwnStages(self.given, torch.from_numpy(arrays["train"]), p, self.log)
            self._stages = Projection(arrays["mean"], arrays["matrix"]), stages
        return self._stages

    def result(self) -> Cleaned:
        """The noise with its intervals, the posterior of all images, and what is to be said of them."""
        (_, stages), given, labels = self.stages(), self.given, self.given.labels

        def compute():
            sources, silver = stages.sources, stages.split.silver
            self.log("estimating the noise, and how sure that is")
            found = intervals.estimate(sources, labels, given.trusted & stages.calibrates, self.params.seed)
            posterior = labels.float()  # of trusted images their labels
            posterior[silver] = intervals.posterior(stages.noisy_posterior[silver], labels[silver], found.noise)
            return packed(found) | {"posterior": posterior.numpy()}, {"prior": [str(part) for part in found.prior]}

        entry = self._timed("models and noise", store.cached, "cleaned", stages.key, compute)
        rates = unpacked(entry.arrays)
        said = intervals.advice(labels, given.trusted, given.classes, ENOUGH, rates["wrong"], rates["missing"])
        record = {"params": self.params.model_dump(), "seconds": self.seconds, "prior": entry.record["prior"]}
        return Cleaned(
            **{field.name: getattr(given, field.name) for field in fields(given)},
            posterior=torch.from_numpy(entry.arrays["posterior"]),
            **rates,
            warnings=tuple(said),
            record=record | {"environment": environment(), "code": [code_digest(), own_code()]},
        )

    def classifier(self, cleaned: Cleaned) -> Classifier:
        """A classifier trained on the result, and on the decisions that it holds."""
        self.log("training the classifier")
        return self._timed("classifier", train, *self.stages(), cleaned)

    def _timed(self, what: str, call, *arguments):
        started = time.perf_counter()
        result = call(*arguments)
        self.seconds[what] = round(time.perf_counter() - started, 1)
        return result


def command(
    data: str | Path,
    trusted: str | Path | None = None,
    images: str | Path | None = None,
    trusted_column: str | None = None,
    out: str | Path = "cleaned",
    least: float | None = None,
    settings: Mapping | None = None,
    classifier: bool = True,
    say: Callable[[str], None] = print,
) -> Cleaned:
    """Load a data set, clean it, and write all that comes of it to ``out``, obeying the decisions that lie there.

    data, trusted, images, trusted_column : see `load`. least : see `Cleaned.least`. settings : see `Cleaning`.
    Raises ValueError or OSError that name what is at fault, nearly all before any long work.
    """
    for package in ("jinja2", "matplotlib", "nbconvert"):
        needs(package, "study")
    from galc.clean import report

    started, out = time.monotonic(), store.typed(out)
    if least is not None and not 0 <= least <= 1:
        raise ValueError(f"--least must lie in [0, 1], got {least}")
    with alone(out):
        given = load(data, trusted, images, trusted_column)
        number = int(given.trusted.sum())
        lead = f"{given.name}: {len(given):,} images, {given.num_classes} classes, {number:,} trusted"
        few = f", fewer than {ENOUGH}: nothing is changed but what people decide"
        say(lead + few * (least is None and number < ENOUGH))
        for note in given.notes:
            say(note)
        cleaning = Cleaning(given, log=say, **(settings or {}))
        read(out / DECISIONS)  # a broken file is an error before any long work
        cleaned = replace(cleaning.result(), decisions=latest(read(out / DECISIONS)))
        for text in report.summary(cleaned, least):
            say(text)
        written = report.everything(cleaned, out, least, images)
        written.append(report.gallery(cleaned, out / report.GALLERY, Review(cleaned.suspicious, out / DECISIONS)))
        if classifier:
            written += cleaning.classifier(cleaned).write(out, cleaned)
        for path in written:
            say(f"written: {path}")
    say(f"done in {time.monotonic() - started:.0f} s")
    return cleaned


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """The only process that writes to a folder. Raises OSError where it cannot be written to, or another one does."""
    if blocked := next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None):
        raise OSError(f"{blocked} is a file, and results need a folder; pass another --out")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise OSError(f"{out} cannot be written to; pass another --out")
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OSError(f"another process is writing to {out}; wait for it, or pass another --out") from None
    try:
        yield
    finally:
        lock.release()
