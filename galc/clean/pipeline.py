"""From a data set as it came to `galc.clean.result.Cleaned`: every stage computed once, stored, and taken up again."""

import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from galc import store
from galc.clean import intervals as estimate
from galc.clean.inputs import Given, Projection, features, project
from galc.clean.result import RATES, Cleaned, Rates
from galc.clean.stages import ENOUGH, OwnStages, own_code
from galc.data import dataset as data
from galc.data import formats, trusted
from galc.study.params import Params
from galc.study.record import environment
from galc.study.stages import Log, code_digest

# Chosen on `pictograms` with 20 % symmetric noise by the likelihood of the trusted images' labels (docs/method.md).
RECIPE = {"hidden": 1024, "input_dropout": 0.3, "folds": 5, "fold_epochs": 30, "epochs": 30}


def load(
    source: str | Path,
    trusted_file: str | Path | None = None,
    images: str | Path | None = None,
    trusted_column: str | None = None,
) -> Given:
    """A data set with its trusted part; see `galc.data.dataset.load` and `galc.data.trusted`.

    ``trusted_column`` names a 0/1 column of a CSV that marks trusted images. Raises ValueError or FileNotFoundError.
    """
    options: dict = {} if images is None else {"images": images}
    if trusted_column is not None:
        if not str(source).lower().endswith(".csv"):
            raise ValueError(f"a trusted column is one of a CSV; {source} is none: pass the trusted images as a file")
        if trusted_column == "image":
            raise ValueError(
                "--trusted-column image: that column names the images; pass one of 0 and 1 that marks them"
            )
        options["ignore"] = (trusted_column,)
    source = source if source in data.NAMES else store.typed(source)
    given = Given.of(data.load(source, **options), str(source))
    if trusted_column is not None:
        marked = trusted.column(store.typed(source), trusted_column, given.files)
        given = replace(given, trusted=marked)
    given = trusted.with_trusted(given, trusted_file, formats.image_folder(source, images))
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

    ``settings``: values of `galc.study.params.Params`, before those of `RECIPE`: backbone, weights, image_size,
    components, seed, epochs ...
    """

    def __init__(self, given: Given, log: Log = None, **settings):
        self.given, self.log, self.seconds = given, log, {}
        self.params = Params(**({"data": given.source} | RECIPE | settings))

    def stages(self) -> tuple[Projection, OwnStages]:
        """What the images are for a model, and the stages on it."""
        p = self.params
        if not hasattr(self, "_stages"):
            self._say(f"features of {len(self.given):,} images by {p.backbone}")
            vectors = self.timed("features", features, self.given, p.backbone, p.weights, p.image_size)
            projection, inputs = project(vectors, p.components)
            self._stages = projection, OwnStages(self.given, inputs, p, self.log)
        return self._stages

    def estimated(self, stages: OwnStages) -> store.Entry:
        """The noise with its intervals, and the posterior of all images."""

        def compute():
            sources = stages.sources
            gold = self.given.trusted if stages.calibrates else torch.zeros_like(self.given.trusted)
            self._say("estimating the noise, and how sure that is")
            found = self._estimate(sources, gold)
            arrays = {
                f"{name}/{end}": part.numpy() for name in RATES for end, part in getattr(found, name)._asdict().items()
            }
            posterior = self._posterior(stages, found)
            return arrays | {"posterior": posterior.numpy()}, {"prior": [str(part) for part in found.prior]}

        return self.timed("models and noise", store.cached, "cleaned", stages.key, compute)

    def _estimate(self, sources: Tensor, gold: Tensor) -> estimate.Estimated:
        return estimate.estimate(sources, self.given.labels, gold, self.params.seed)

    def _posterior(self, stages: OwnStages, found: estimate.Estimated) -> Tensor:
        """(N, K) P(true label | image, given labels); of trusted images their labels."""
        posterior = self.given.labels.float()
        silver = stages.split.silver
        posterior[silver] = estimate.posterior(stages.noisy_posterior[silver], self.given.labels[silver], found.noise)
        return posterior

    def result(self) -> Cleaned:
        """All of it."""
        given = self.given
        _, stages = self.stages()
        entry = self.estimated(stages)
        tensors = {name: torch.from_numpy(array) for name, array in entry.arrays.items()}
        rates = {name: Rates(*(tensors[f"{name}/{end}"] for end in Rates._fields)) for name in RATES}
        said = estimate.advice(given.labels, given.trusted, given.classes, ENOUGH, rates["wrong"], rates["missing"])
        record = {"params": self.params.model_dump(), "seconds": self.seconds, "prior": entry.record["prior"]}
        return Cleaned(
            given.name,
            given.source,
            given.classes,
            given.files,
            given.labels,
            given.trusted,
            tensors["posterior"],
            **rates,
            warnings=tuple(said),
            record=record | {"environment": environment(), "code": [code_digest(), own_code()]},
        )

    def _say(self, text: str) -> None:
        if self.log is not None:
            self.log(text)

    def timed(self, what: str, call, *arguments):
        started = time.perf_counter()
        result = call(*arguments)
        self.seconds[what] = round(time.perf_counter() - started, 1)
        return result


def clean(
    source: str | Path,
    trusted_file: str | Path | None = None,
    images: str | Path | None = None,
    trusted_column: str | None = None,
    log: Log = None,
    **settings,
) -> Cleaned:
    """Load and clean a data set; see `load` and `Cleaning`."""
    return Cleaning(load(source, trusted_file, images, trusted_column), log, **settings).result()
