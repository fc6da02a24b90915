"""The last stage: train the final model of one method (step 3), measure it, keep the record."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor, nn

from galc import metrics, store
from galc.estimators import base as estimators
from galc.estimators.base import Estimate
from galc.estimators.errors import matrix_error, rate_error
from galc.methods import filtering, objectives, reweighting
from galc.methods.base import METHODS, Method
from galc.methods.refinement import Refined
from galc.study.inputs import Inputs
from galc.study.params import Params
from galc.study.record import RunRecord, environment
from galc.study.stage_cache import by_stage
from galc.study.stages import EVERYTHING, FOLDED, ONCE, TRUSTED, Log, Stages
from galc.training.batch import Loss, TrainingSet


class Study(Stages):
    """All stages of one method at one noise level."""

    def __init__(self, params: Params, log: Log = None):
        super().__init__(Inputs(params), params, log)

    @cached_property
    def run_key(self) -> dict:
        """What identifies the run; without the noise for a method that never sees it."""
        method = METHODS[self.params.method]
        images = (*(EVERYTHING if method.sees_noise else TRUSTED), "held")
        return self.key(images, ONCE + FOLDED) | {"method": method.key, "split_seed": self.inputs.split_seed}

    @property
    def is_cached(self) -> bool:
        return store.path_of("run", self.run_key).exists()

    def run(self) -> RunRecord:
        """All stages of ``params.method``: from the cache, or computed and stored."""
        p = self.params
        for text in self.limits:
            self.say(f"note: {text}")
        entry = self.costs.cached("run", self.run_key, self._run)
        seconds = by_stage(entry)
        # the run may be shared with other noise levels: these are the parameters that were asked for
        own = {"params": p.model_dump(), "file": entry.path.name, "seconds": seconds, "warnings": self.limits}
        summary = {"method": p.method, "noise": p.noise, "seed": p.seed} | entry.record["summary"]
        if not METHODS[p.method].sees_noise:  # the noise that a shared run was spared is not shared
            summary |= self.inputs.noise_rates
        estimate = entry.arrays.get("estimate")
        return RunRecord(
            summary | {"seconds": sum(seconds.values())},
            entry.record["history"],
            entry.record["details"] | own,
            self.inputs.true,
            None if estimate is None else torch.from_numpy(estimate),
            torch.from_numpy(entry.arrays["scores"]),
        )

    @property
    def limits(self) -> list[str]:
        """What the method's estimator cannot say of this noise."""
        name = METHODS[self.params.method].estimator
        text = estimators.limits(name, self.inputs.kind) if name else ""
        return [text] if text else []

    def _run(self) -> tuple[dict, dict]:
        method, checkpoint = METHODS[self.params.method], self._checkpoint("run", self.run_key)
        estimate = self.estimate(method.estimator) if method.estimator else None
        data, loss = self._corrected(method, estimate)
        self.say(f"step 3: training g, {method.title}")
        choose = self.gold_mAP if method.gold_stop else None
        done = self.fit(data, loss, checkpoint, method.dropout, choose, mixup=method.mixup)
        logits = self.test_logits(done.model)
        scores = torch.sigmoid(logits)
        result = metrics.evaluate(scores, self.test.labels)
        probabilities = objectives.probabilities(method.loss, logits)
        at_half = metrics.evaluate(probabilities, self.test.labels)
        best = max(done.history, key=lambda record: record["mAP"])
        summary = (
            result
            | (self.inputs.noise_rates if method.sees_noise else {})
            | {
                "epoch": done.epoch,  # whose weights these are: the last one, or the one chosen on held-out gold images
                "CF1_calibrated": at_half["CF1"],
                "OF1_calibrated": at_half["OF1"],
                **self._at_gold_threshold(done.model, scores),
                **metrics.calibration(probabilities, self.test.labels),
                "best_mAP": best["mAP"],
                "best_epoch": best["epoch"],
                "ema_mAP": self.monitor(done.ema)["mAP"],
            }
        )
        if estimate is not None:
            matrix = estimate.transition.float()
            errors = matrix_error(matrix, self.inputs.true)
            if estimate.has_rates:
                errors |= rate_error(estimate.noise, self.inputs.noise_model)
            summary |= {f"C_{k}": v for k, v in errors.items()}
        details = {
            "params": self.params.model_dump(),
            "steps": done.steps,
            "images": len(data.targets),
            "held_out": len(self.gold_fold) if method.gold_stop else 0,
            "fallback": self._fallback(),
            "split": self.inputs.split_digest,
            **environment(),
        }
        arrays = {"scores": scores.numpy()} | ({} if estimate is None else {"estimate": matrix.numpy()})
        checkpoint.unlink(missing_ok=True)
        return arrays, {"summary": summary, "history": done.history, "details": details}

    def _at_gold_threshold(self, model: nn.Module, scores: Tensor) -> dict[str, float]:
        """CF1 and OF1 of test ``scores`` at the threshold that is best on held-out gold images; mAP of these images."""
        held = self.split.held
        if not len(held):
            return {}
        logits = self.predict(model, self.inputs.data.x, held)
        held_scores, labels = torch.sigmoid(logits), self.train.labels[held]
        threshold = metrics.best_threshold(held_scores, labels)
        at_gold = metrics.evaluate(scores, self.test.labels, threshold)
        own = {"mAP_gold": metrics.evaluate(held_scores, labels)["mAP"]}
        return own | {"CF1_gold": at_gold["CF1"], "OF1_gold": at_gold["OF1"], "threshold_gold": threshold}

    def _corrected(self, method: Method, estimate: Estimate | None) -> tuple[TrainingSet, Loss]:
        """The training set and the loss of a method."""
        relabel = RELABELLED.get(method.correction)
        data = self.training_set(self._images(method), relabel and relabel(self, estimate))
        if method.correction in WEIGHTED:
            weights = WEIGHTED[method.correction](self, estimate)
            return data, objectives.weighted(method.loss, weights[data.index])
        if method.refined:
            return data, self._refined(method, data, estimate)
        if relabel or method.correction is None:
            return data, objectives.plain(method.loss)
        transition, added = (estimate.arrivals, estimate.appearing) if estimate else (None, None)
        task = objectives.Task(transition, *data.targets.shape, self.params.epochs, method.loss, added)
        return data, objectives.corrected(method.correction, task)

    def _refined(self, method: Method, data: TrainingSet, estimate: Estimate) -> Refined:
        """The loss of posterior labels that are revised in training."""
        q, given = self.noisy_posterior[data.index], self.observed[data.index]
        return Refined(objectives.PLAIN[method.loss], estimate.noise, q, given, data.targets, data.trusted)

    def _images(self, method: Method) -> Tensor:
        """Index of the images that a method trains on."""
        gold = self.split.gold
        if method.gold_stop:
            gold = gold[~torch.isin(gold, self.gold_fold)]
        parts = {
            "silver": [self.split.silver],
            "gold": [gold],
            "clean": [gold, self.split.single],
            "all": [self.split.silver, gold],
            "everything": [self.split.silver, gold, self.split.single],
        }
        return torch.cat(parts[method.data])

    def soft_labels(self, estimate: Estimate, rounds: int = 1) -> Tensor:
        """(N, K) clean labels of trusted images, posteriors of the clean labels for silver images."""
        silver = self.split.silver
        soft = self.train.labels.float()
        known = (self.noisy_posterior if rounds == 1 else self.second_posterior(estimate))[silver]
        soft[silver] = self.posterior_labels(known, self.silver_labels, estimate)
        return soft

    def importance(self, estimate: Estimate) -> Tensor:
        """(N, K) weights of the labels: 1 for trusted images, importance weights for silver images."""
        silver = self.split.silver
        weights = torch.ones(self.train.labels.shape)
        known = self.shifted(self.noisy_posterior[silver], self.silver_labels, estimate)
        weights[silver] = reweighting.importance(known, self.silver_labels, estimate.arrivals, estimate.appearing)
        return weights

    def plausible(self, _: None = None) -> Tensor:
        """(N, K) weights of the labels: 0 for those of silver images that cleanlab holds for wrong, 1 for the rest."""
        filtering.require()
        silver = self.split.silver
        weights = torch.ones(self.train.labels.shape)
        weights[silver] = 1 - filtering.suspicious(self.given_probability[silver], self.silver_labels).float()
        return weights

    def _fallback(self) -> dict:
        """Classes for which estimators fall back to a documented row, by name."""
        counts = {
            "no gold image": self.train.labels[self.split.gold].sum(0),
            "no single-label image": self.train.labels[self.split.single].sum(0),
        }
        return {why: [self.train.classes[k] for k in (n == 0).nonzero()[:, 0]] for why, n in counts.items()}


# corrections that replace the labels of noisy images: name -> (study, C or None) -> (N, K) labels in [0, 1]
RELABELLED: dict[str, Callable[[Study, Estimate | None], Tensor]] = {
    "posterior": Study.soft_labels,
    "posterior-iterated": lambda study, estimate: study.soft_labels(estimate, rounds=2),
}
# corrections that weigh the labels of noisy images: name -> (study, C or None) -> (N, K) weights
WEIGHTED: dict[str, Callable[[Study, Estimate | None], Tensor]] = {
    "reweighting": Study.importance,
    "cleanlab": Study.plausible,
}


def run(params: Params, log: Log = None) -> RunRecord:
    """All stages of one method at one noise level, computed or read from the cache."""
    return Study(params, log).run()
