"""The stages that lead to a final model, each computed once and stored.

    data -> features -> split and noise -> silver model f (step 1) -> C (step 2)

A stage's key is made of the parameters it depends on, the content of its inputs and the code that computes it: shared
stages are computed once, whoever asks first, and a result is never older than its code.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import cached_property, partial
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor, nn

from galc import metrics, store
from galc.estimators import attribution
from galc.estimators import base as estimators
from galc.estimators.base import Estimate, Evidence
from galc.estimators.label_sets import LabelSets
from galc.losses.asl import calibrate_logits
from galc.losses.forward import ForwardBCE
from galc.methods import plugins
from galc.methods.base import ASL, BCE, Corrected, by_matrix, plain
from galc.study.inputs import Inputs
from galc.study.params import Params
from galc.study.stage_cache import Costs, code_digest
from galc.training.batch import Loss, TrainingSet
from galc.training.crossfit import Platt, crossfit, folds
from galc.training.loop import Fit, Recipe, fit
from galc.training.models import predict

Log = Callable[[str], None] | None
Relabel = Callable[[TrainingSet], TrainingSet]
# Of the key of a stage. What else decides what models are given (data set, image size, weights, ...) is in the digest
# of the inputs, by content.
TRAINING = (
    *("mode", "backbone", "hidden", "dropout", "input_dropout"),
    *("batch_size", "learning_rate", "weight_decay", "ema_decay", "bf16", "compile"),
)
ONCE, FOLDED = ("epochs",), ("folds", "fold_epochs")  # how long: a model of all images, or one a fold
TRUSTED, EVERYTHING = ("gold", "single"), ("gold", "single", "silver")
# What a part of the evidence depends on, by the end of its name: beside its own images those of the models behind it.
BEHIND = {
    "labels": ((), ()),
    "logits": (("silver",), ONCE),
    "clean": (TRUSTED, FOLDED),
    "posterior": (EVERYTHING, FOLDED),
    "noise": (("silver",), ()),
}


class Stages:
    """The stages of one data set, split, noise level and seed, shared by all methods.

    ``inputs``: `galc.study.inputs.Inputs`, or whatever has its ``data``, ``split``, ``observed``, ``clean`` and
    ``noise_key``; ``params``: model, recipe, folds and seed.
    """

    def __init__(self, inputs: Inputs, params: Params, log: Log = None):
        self.inputs, self.params, self.log, self.costs = inputs, params, log, Costs()

    @classmethod
    def of(cls, params: Params, log: Log = None) -> "Stages":
        """The stages of a study: of the data, split and noise that its parameters name."""
        return cls(Inputs(params), params, log)

    train = property(attrgetter("inputs.data.train"))
    test = property(attrgetter("inputs.data.test"))
    split = property(attrgetter("inputs.split"))
    observed = property(attrgetter("inputs.observed"))  # (N, K) bool labels, as a user would get them

    @property
    def silver_labels(self) -> Tensor:
        """(n, K) bool, the noisy labels of the silver images."""
        return self.observed[self.split.silver]

    def key(self, parts: Sequence[str], lengths: Sequence[str]) -> dict:
        """What models depend on that are trained on these ``parts`` of the split, for these ``lengths``.

        Data and images by content, model and recipe, seed and code; the noise where silver images are among them.
        """
        p, split = self.params, self.split
        key = p.model_dump(include={*TRAINING, *lengths})
        key |= {part: store.array_digest(getattr(split, part).numpy()) for part in parts}
        key |= self.inputs.noise_key if "silver" in parts else {}
        return key | {"seed": p.seed, "data": self.inputs.data.digest, "code": code_digest()}

    # --- training ------------------------------------------------------------------------------------------------

    def build(self, dropout: bool = True) -> nn.Module:
        """A fresh model, its weights drawn from the seed."""
        torch.manual_seed(self.params.seed)
        p = self.params
        return self.inputs.data.build(p.hidden, *((p.dropout, p.input_dropout) if dropout else (0.0, 0.0)))

    def recipe(self, **changes) -> Recipe:
        shared = self.params.model_dump(include={field.name for field in fields(Recipe)})
        return Recipe(**(shared | changes))

    def training_set(self, index: Tensor, targets: Tensor | None = None) -> TrainingSet:
        """Images ``index`` with the labels a user would get, or with ``targets`` (N, K)."""
        targets = self.observed if targets is None else targets
        trusted = torch.ones(len(self.train), dtype=torch.bool)
        trusted[self.split.silver] = False
        return TrainingSet(self.inputs.data.x, index, targets[index].float(), trusted[index])

    def monitor(self, model: nn.Module) -> dict:
        """Metrics of a model on the clean test images; recorded, never selected by, and no part of a method's cost."""
        with self.costs.apart():
            return metrics.evaluate(torch.sigmoid(self.test_logits(model)), self.test.labels)

    def test_logits(self, model: nn.Module) -> Tensor:
        return self.predict(model, self.inputs.data.test_x)

    def predict(self, model: nn.Module, inputs: Tensor, index: Tensor | None = None) -> Tensor:
        """(n, K) logits for ``inputs[index]`` (all without index), in the precision of the training."""
        return predict(model, inputs, index, self.inputs.data.prepare, bf16=self.params.bf16)

    @cached_property
    def gold_fold(self) -> Tensor:
        """(m,) index of the images that methods choose their epoch on: those held out, or a fifth of the gold ones."""
        gold, held = self.split.gold, self.split.held
        return held if len(held) else gold[folds(len(gold), 5, self.inputs.split_seed) == 0]

    def gold_mAP(self, model: nn.Module) -> float:
        """mAP on the held-out gold images, over the classes that they have."""
        logits = self.predict(model, self.inputs.data.x, self.gold_fold)
        return metrics.evaluate(torch.sigmoid(logits), self.train.labels[self.gold_fold])["mAP"]

    def fit(self, data: TrainingSet, loss: Loss, checkpoint: Path, dropout=True, choose=None, **recipe) -> Fit:
        """A fresh model, trained by `galc.training.loop.fit`; ``recipe`` are changes to the study's."""
        return fit(
            self.build(dropout),
            data,
            loss,
            self.recipe(**recipe),
            self.params.seed,
            transform=self.inputs.data.augment,
            monitor=None if self.test is None else self.monitor,
            choose=choose,
            checkpoint=checkpoint,
            log=self.log,
        )

    def crossfit(self, what: str, key: dict, data: TrainingSet, loss: Loss, relabel: Relabel | None = None) -> Tensor:
        """(N, K) logits for all images, each from models that have not seen it; ``key`` is of the stage that asks."""
        return crossfit(
            self.build,
            data,
            loss,
            self.recipe(epochs=self.params.fold_epochs),
            self.params.folds,
            self.params.seed,
            transform=self.inputs.data.augment,
            prepare=self.inputs.data.prepare,
            log=self.log,
            relabel=relabel,
            checkpoint=self.checkpoint("crossfit", key | {"what": what}),
        )

    # --- stages --------------------------------------------------------------------------------------------------

    @property
    def silver(self) -> store.Entry:
        """Step 1: f, trained with ASL on the noisy silver images. Logits for all training and test images."""
        key = self.key(("silver",), ONCE)

        def compute():
            self.say("step 1: training f on the silver images")
            checkpoint = self.checkpoint("silver", key)
            done = self.fit(self.training_set(self.split.silver), plain(ASL), checkpoint)
            logits, test_logits = self.predict(done.model, self.inputs.data.x), self.test_logits(done.model)
            checkpoint.unlink(missing_ok=True)
            return {"logits": logits.numpy(), "test_logits": test_logits.numpy()}, {"history": done.history}

        return self.costs.cached("silver", key, compute)

    @property
    def clean_posterior(self) -> Tensor:
        """(N, K) calibrated probabilities h of the clean labels, cross-fitted on gold and single-label images alone."""
        key, says = self.key(TRUSTED, FOLDED), "cross-fitting a model of the clean labels on trusted images"

        def compute() -> Tensor:
            data = self.training_set(self.inputs.clean, self.train.labels)
            return self.calibrated(calibrate_logits(self.crossfit("clean", key, data, plain(ASL))))

        return self._probabilities("clean", key, says, compute)

    @property
    def noisy_posterior(self) -> Tensor:
        """(N, K) calibrated probabilities q of the clean labels, cross-fitted on all images.

        By BCE, forward-corrected with the noise that h finds, and stacked with h by weights that the gold images give.
        """
        key = self.key(EVERYTHING, FOLDED)

        def compute() -> Tensor:
            h = self.clean_posterior[self.split.silver]
            start = Estimate.of(attribution.estimate(h, self.silver_labels))
            rate = 1 - float(start.noise.arrivals.diagonal().mean())
            self.say(f"cross-fitting on all images, corrected by a first C (of a label, {rate:.3f} do not stay)")
            logits = self.crossfit("noisy", key, self._everything(), _forward(start))
            return self.calibrated(torch.stack([logits, torch.logit(self.clean_posterior, eps=1e-6)]))

        return self._probabilities("posterior", key, "", compute)

    def second_posterior(self, estimate: Estimate) -> Tensor:
        """(N, K) calibrated probabilities of the clean labels, cross-fitted on posterior labels instead of noisy ones.

        Nested, so that no label vouches for itself: the posterior labels that the models of a fold learn come from
        within the other folds alone. Only the ``estimate`` of the noise is one for all folds.
        """
        its = [part.numpy() for part in (estimate.arrivals, estimate.appearing) if part is not None]
        key = self.key(EVERYTHING, FOLDED) | {"estimate": store.array_digest(*its)}

        def first_round(part: TrainingSet) -> TrainingSet:
            logits = self.crossfit("first", key, part, _forward(estimate))
            its_gold, noisy = part.index[torch.isin(part.index, self.split.gold)], ~part.trusted
            platt = Platt(self.train.num_classes).fit(logits[its_gold], self.train.labels[its_gold])
            targets = part.targets.clone()
            known = platt.probabilities(logits[part.index[noisy]])
            targets[noisy] = LabelSets(known, targets[noisy].bool()).posterior(estimate.noise)
            return replace(part, targets=targets)

        def compute() -> Tensor:
            return self.calibrated(self.crossfit("second", key, self._everything(), plain(BCE), first_round))

        says = "second round: cross-fitting on the posterior labels of the first, nested"
        return self._probabilities("second", key, says, compute)

    @property
    def given_probability(self) -> Tensor:
        """(N, K) probabilities of the labels as given, noisy or not, by plain BCE cross-fitted on all images."""
        key, says = self.key(EVERYTHING, FOLDED), "cross-fitting a model of the labels as given"

        def compute() -> Tensor:
            return self.crossfit("given", key, self._everything(), plain(BCE)).sigmoid()

        return self._probabilities("given", key, says, compute)

    def evidence(self) -> Evidence:
        """What estimators may ask for; nothing is computed before it is asked."""
        made = {
            "labels": lambda index: self.observed[index],
            "logits": lambda index: torch.from_numpy(self.silver.arrays["logits"])[index],
            "clean": lambda index: self.clean_posterior[index],
            "posterior": lambda index: self.noisy_posterior[index],
        }
        names = [(name, *name.split("_")) for name in Evidence.__annotations__ if "_" in name]  # as silver_labels
        parts = {name: partial(made[what], getattr(self.split, images)) for name, images, what in names}
        return Evidence(noise=lambda: self.inputs.noise_model, **parts)

    def estimate(self, name: str) -> Estimate:
        """Step 2: what the named estimator says of the noise."""
        return Estimate(**{part: torch.from_numpy(array) for part, array in self.estimate_entry(name).arrays.items()})

    def estimate_entry(self, name: str) -> store.Entry:
        """The same as it is stored."""
        key = self._evidence_key(estimators.named(name).needs) | {"estimator": name}
        key |= plugins.codes(estimator=estimators.named(name))

        def compute():
            found = estimators.estimate(name, self.evidence())
            arrays = {part.name: getattr(found, part.name) for part in fields(found)}
            return {name: part.numpy() for name, part in arrays.items() if part is not None}, {}

        return self.costs.cached("estimate", key, compute)

    def _evidence_key(self, needs: Sequence[str]) -> dict:
        """What these parts of the evidence depend on."""
        behind = [BEHIND[need.split("_")[-1]] for need in needs]
        images = {need.split("_")[0] for need in needs} | {part for its, _ in behind for part in its}
        lengths = {name for _, its in behind for name in its}
        return self.key(sorted(images & {*EVERYTHING}), sorted(lengths))

    def calibrated(self, logits: Tensor) -> Tensor:
        """(N, K) probabilities of logits (N, K), or of several sources (sources, N, K), by the gold images."""
        gold, sources = self.split.gold, len(logits) if logits.ndim == 3 else 1
        platt = Platt(self.train.num_classes, sources).fit(logits[..., gold, :], self.train.labels[gold])
        return platt.probabilities(logits)

    def _everything(self) -> TrainingSet:
        """All images, with the labels a user would get."""
        return self.training_set(torch.cat([self.split.silver, self.inputs.clean]))

    def _probabilities(self, stage: str, key: dict, says: str, compute: Callable[[], Tensor]) -> Tensor:
        """(N, K) probabilities that are a stage of their own; ``says`` what is done where they are not stored yet."""

        def stored():
            self.say(says)
            return {"probabilities": compute().numpy()}, {}

        return torch.from_numpy(self.costs.cached(stage, key, stored).arrays["probabilities"])

    def checkpoint(self, stage: str, key: dict) -> Path:
        return store.outputs() / "checkpoints" / f"{stage}-{store.digest(key)}.safetensors"

    def say(self, text: str) -> None:
        if self.log is not None and text:
            self.log(text)


def _forward(estimate: Estimate) -> Loss:
    """BCE, forward-corrected by an estimate for all but trusted images."""
    return Corrected(BCE, by_matrix(ForwardBCE, estimate))
