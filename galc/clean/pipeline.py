"""From a data set as it came to `Cleaned` and a classifier: every stage computed once, stored, and taken up again."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from string import Template

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from galc import store
from galc.checks import needs
from galc.clean import ENOUGH, Cleaned, intervals, packed, unpacked
from galc.clean.review import DECISIONS, Review, latest, read
from galc.clean.stages import OwnStages
from galc.data import images
from galc.data.dataset import Dataset
from galc.data.load import find, with_trusted
from galc.data.load import load as read_data
from galc.losses.asl import calibrate_logits
from galc.methods.base import ASL, plain
from galc.noise import Noise
from galc.study.inputs import Projection, features, principal_components
from galc.study.params import ParameterError, checked, unknown_message
from galc.study.run import environment
from galc.study.stages import EVERYTHING, ONCE, Log
from galc.training import models

FILE, CARD = "classifier.safetensors", "classifier.md"
# Chosen on `pictograms` with 20 % symmetric noise by the likelihood of the trusted images' labels (docs/method.md).
RECIPE = {"hidden": 1024, "input_dropout": 0.3, "folds": 5, "fold_epochs": 30, "epochs": 30}
# the parameters of a study that a cleaning obeys, too
SETTINGS = (
    *("backbone", "weights", "image_size", "components", "seed", *RECIPE, "dropout", "batch_size", "learning_rate"),
    *("weight_decay", "ema_decay", "bf16", "compile"),
)


def load(
    data: str | Path,
    trusted: str | Path | None = None,
    images: str | Path | None = None,
    trusted_column: str | None = None,
) -> Dataset:
    """A data set with its ``trusted`` part; see `galc.data.load.load` and `with_trusted` there.

    ``trusted_column`` names a 0/1 column of a CSV that marks trusted images. Raises ValueError or FileNotFoundError.
    """
    if trusted_column is not None and not str(data).lower().endswith(".csv"):
        raise ValueError(f"a trusted column is one of a CSV; {data} is none: pass the trusted images as a file")
    if trusted_column == "image":
        raise ValueError("--trusted-column image: that column names the images; pass one of 0 and 1")
    given = read_data(data, images=images, trusted_column=trusted_column)
    given = with_trusted(given, trusted, find(data, images=images).images)
    for file in given.files:
        if not file.is_file():
            raise FileNotFoundError(f"{given.name}: the image file {file} is missing; put it back or take it out")
        if not file.stat().st_size:
            raise ValueError(f"{given.name}: the image file {file} is empty (0 bytes); fetch it again or take it out")
    if given.trusted.all():
        raise ValueError(f"{given.name}: all {len(given)} images are trusted, so there is nothing to clean")
    return given


class Cleaning:
    """What the cleaning of a data set gives, stage by stage, each stored.

    ``settings``: values of `SETTINGS`, as in `galc.study.params.Params`, before those of `RECIPE`. Raises
    ParameterError for others, which would change nothing, and for values that do not fit.
    """

    def __init__(self, given: Dataset, log: Log = None, **settings):
        self.given, self.log, self.seconds = given, log or (lambda text: None), {}
        if unknown := [name for name in settings if name not in SETTINGS]:
            raise ParameterError(unknown_message(unknown, list(SETTINGS)))
        self.params = checked({"data": given.source} | RECIPE | settings)

    @cached_property
    def stages(self) -> tuple[Projection, OwnStages]:
        """What the images are for a model, and the stages on it."""
        p = self.params
        self.log(f"features of {len(self.given):,} images by {p.backbone}")
        vectors = self._timed("features", features, p, self.given, p.image_size)
        most = min(p.components, *vectors.shape)  # as many as asked for, or as there are
        arrays = principal_components(vectors, vectors[:0], most, ddof=1).arrays
        x = torch.from_numpy(arrays["train"])
        return Projection(arrays["mean"], arrays["matrix"]), OwnStages(self.given, x, p, self.log)

    def result(self) -> Cleaned:
        """The noise with its intervals, the posterior of all images, and what is to be said of them."""
        (_, stages), given = self.stages, self.given

        def compute():
            sources = stages.sources
            self.log("estimating the noise, and how sure that is")
            calibrating = given.trusted & stages.calibrates
            rates, prior = intervals.estimate(sources, given.labels, calibrating, self.params.seed)
            noise = Noise(*(rates[name].estimate for name in ("transition", "removed", "added")))
            posterior = stages.posterior(stages.known(sources), noise)
            return packed(rates) | {"posterior": posterior.numpy()}, {"prior": [str(part) for part in prior]}

        entry = self._timed("models and noise", store.cached, "cleaned", stages.key, compute)
        rates = unpacked(entry.arrays)
        record = {"params": self.params.model_dump(), "seconds": self.seconds, "environment": environment()}
        return Cleaned(
            **{field.name: getattr(given, field.name) for field in fields(given)},
            posterior=torch.from_numpy(entry.arrays["posterior"]),
            **rates,
            warnings=tuple(intervals.advice(given, rates["wrong"], rates["missing"])),
            record=record | entry.record,
        )

    def classifier(self, cleaned: Cleaned) -> "Classifier":
        """Trained with the asymmetric loss on the posterior of the true labels, and on trusted labels and decisions as
        they are; the moving average of the weights. The best of four ways on images held out (docs/method.md).
        """
        self.log("training the classifier")
        (projection, stages), targets, p = self.stages, cleaned.posterior.clone(), self.params
        for place, present in cleaned.decided.items():
            targets[place] = float(present)
        key = stages.general.key(EVERYTHING, ONCE) | {"targets": store.array_digest(targets.numpy())}
        components = projection.matrix.shape[1]
        head = models.probe(components, len(cleaned.classes), p.hidden)

        def compute():
            checkpoint = stages.general.checkpoint("own", key)
            learnt = stages.general.training_set(torch.arange(len(targets)), targets)
            done = stages.general.fit(learnt, plain(ASL), checkpoint)
            state = zip(head.state_dict(), done.ema.state_dict().values(), strict=True)  # dropout has no weights
            checkpoint.unlink(missing_ok=True)
            return {name: value.cpu().numpy() for name, value in state}, {"history": done.history}

        arrays = store.cached("own", key, compute).arrays
        head.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        about = {"backbone": p.backbone, "weights": p.weights, "hidden": p.hidden, "components": components}
        about |= {"size": p.image_size or images.native_size(self.given), "images": len(cleaned), "data": cleaned.name}
        return Classifier(cleaned.classes, projection, head.eval(), about)

    def _timed(self, what: str, call, *arguments):
        started = time.perf_counter()
        result = call(*arguments)
        self.seconds[what] = round(time.perf_counter() - started, 1)
        return result


@dataclass(frozen=True)
class _Images:
    """What `galc.data.images.features` asks of a data set."""

    files: tuple[Path, ...]
    name: str = "images"

    def __len__(self) -> int:
        return len(self.files)


@dataclass(frozen=True, eq=False)
class Classifier:
    """Image files -> probabilities of the classes. ``about``: backbone, weights, size, and what it was trained on."""

    classes: tuple[str, ...]
    projection: Projection
    head: nn.Module
    about: dict

    def __call__(self, files: Sequence[str | Path]) -> Tensor:
        """(n, K) float32 probabilities of the true labels, of n image files. Raises ValueError for unreadable ones."""
        torch.manual_seed(0)
        about, given = self.about, _Images(tuple(map(Path, files)))
        vectors = images.features(given, about["backbone"], about["weights"], about["size"])
        return calibrate_logits(models.predict(self.head, self.projection(vectors))).sigmoid()

    def write(self, folder: Path, cleaned: Cleaned) -> list[Path]:
        """Classifier and model card, below ``folder``; returns their paths."""
        arrays = {f"head/{name}": value.cpu().numpy() for name, value in self.head.state_dict().items()}
        arrays |= {"projection/mean": self.projection.mean, "projection/matrix": self.projection.matrix}
        store.save(folder / FILE, arrays, {"classes": self.classes, "about": self.about})
        return [folder / FILE, store.write_text(folder / CARD, self.card(cleaned))]

    @classmethod
    def load(cls, path: str | Path) -> "Classifier":
        """Raises ValueError for a file that is broken, FileNotFoundError without one. Runs no code from it."""
        try:
            entry = store.read(Path(path), strict=True)
            classes, about, arrays = tuple(entry.record["classes"]), entry.record["about"], entry.arrays
            head = models.probe(arrays["projection/matrix"].shape[1], len(classes), about["hidden"])
            head.load_state_dict({name: torch.from_numpy(arrays[f"head/{name}"]) for name in head.state_dict()})
            return cls(classes, Projection(arrays["projection/mean"], arrays["projection/matrix"]), head.eval(), about)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"{path} is no whole classifier ({error}); run galc clean again") from error

    def card(self, cleaned: Cleaned) -> str:
        """The model card, Markdown, with a loading example."""
        numbers = {"images": len(cleaned), "trusted": int(cleaned.trusted.sum()), "decided": len(cleaned.decided)}
        said = {name: f"{number:,}" for name, number in numbers.items()} | {"classes": len(self.classes)}
        template = Path(__file__).with_name("classifier_card.md").read_text(encoding="utf-8")
        return Template(template).substitute(self.about | said)


def command(out: str | Path, least: float | None, settings: Mapping, classifier: bool, **places) -> Cleaned:
    """Load a data set, clean it, and write all that comes of it to ``out``, obeying the decisions that lie there.

    ``places``: of the data, see `load`. ``least``: see `Cleaned.least`. ``settings``: see `Cleaning`. Raises ValueError
    or OSError that name what is at fault, nearly all before any long work.
    """
    for package in ("jinja2", "matplotlib", "nbconvert"):
        needs(package, "study")
    from galc.clean import report

    started, out = time.monotonic(), store.typed(out)
    if least is not None and not 0 <= least <= 1:
        raise ValueError(f"--least must lie in [0, 1], got {least}")
    with alone(out):
        given = load(**places)
        number = int(given.trusted.sum())
        lead = f"{given.name}: {len(given):,} images, {given.num_classes} classes, {number:,} trusted"
        if least is None and number < ENOUGH:
            lead += f", fewer than {ENOUGH}: nothing is changed but what people decide"
        print(lead, *given.notes, sep="\n")
        cleaning = Cleaning(given, log=print, **settings)
        read(out / DECISIONS)  # a broken file is an error before any long work
        cleaned = replace(cleaning.result(), decisions=latest(read(out / DECISIONS)))
        print(*report.summary(cleaned, least), sep="\n")
        written = report.everything(cleaned, out, least, places["images"])
        written.append(report.gallery(cleaned, out / report.GALLERY, Review(cleaned.suspicious, out / DECISIONS)))
        if classifier:
            written += cleaning.classifier(cleaned).write(out, cleaned)
        print(*(f"written: {path}" for path in written), sep="\n")
    print(f"done in {time.monotonic() - started:.0f} s")
    return cleaned


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """The only process that writes to a folder. Raises OSError where it cannot be written to, or another one does."""
    if blocked := next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None):
        raise OSError(f"{blocked} is a file, and results need a folder; pass another --out")
    out.mkdir(parents=True, exist_ok=True)
    if not os.access(out, os.W_OK):
        raise OSError(f"{out} cannot be written to; pass another --out")
    try:
        lock = FileLock(out / ".lock", timeout=0).acquire()
    except Timeout:
        raise OSError(f"another process is writing to {out}; wait for it, or pass another --out") from None
    with lock:
        yield
