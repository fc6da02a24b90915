"""The last stage: train the final model of one method (step 3), measure it, keep the record."""

from functools import cached_property

import torch
from torch import Tensor, nn

from galc import metrics, store
from galc.estimators import base as estimators
from galc.estimators.errors import matrix_error, rate_error
from galc.methods.base import DATA, METHODS, Method, probabilities
from galc.study.inputs import Inputs
from galc.study.params import Params
from galc.study.record import RunRecord, environment
from galc.study.stage_cache import by_stage
from galc.study.stages import EVERYTHING, FOLDED, ONCE, TRUSTED, Log, Stages


class Study(Stages):
    """All stages of one method at one noise level."""

    def __init__(self, params: Params, log: Log = None):
        super().__init__(Inputs(params), params, log)

    @cached_property
    def run_key(self) -> dict:
        """What identifies the run; without the noise, the folds or the images that its method makes no use of."""
        method = METHODS[self.params.method]
        if method.make is None and method.estimator is None:  # it only trains on labels as they are
            images, lengths = DATA[method.data], ONCE
        else:
            images, lengths = EVERYTHING if method.sees_noise else TRUSTED, ONCE + FOLDED
        own = {"method": method.name, "split_seed": self.inputs.split_seed}
        return self.key((*images, "held"), lengths) | own

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
        # the run may be shared, as by several noise levels: these are the parameters that were asked for
        own = {"params": p.model_dump(), "file": entry.path.name, "seconds": seconds, "warnings": self.limits}
        own |= {"fallback": self._fallback(), "split": self.inputs.split_digest}
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
        data, loss = method.training(self, estimate, self.training_set(self.images(method)))
        self.say(f"step 3: training g, {method.title}")
        choose = self.gold_mAP if method.gold_stop else None
        done = self.fit(data, loss, checkpoint, method.dropout, choose, mixup=method.mixup)
        logits = self.test_logits(done.model)
        scores = torch.sigmoid(logits)
        result = metrics.evaluate(scores, self.test.labels)
        likely = probabilities(method.loss, logits)
        at_half = metrics.evaluate(likely, self.test.labels)
        best = max(done.history, key=lambda record: record["mAP"])
        summary = (
            result
            | (self.inputs.noise_rates if method.sees_noise else {})
            | {
                "epoch": done.epoch,  # whose weights these are: the last one, or the one chosen on held-out gold images
                "CF1_calibrated": at_half["CF1"],
                "OF1_calibrated": at_half["OF1"],
                **self._at_gold_threshold(done.model, scores),
                **metrics.calibration(likely, self.test.labels),
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
            "steps": done.steps,
            "images": len(data.targets),
            "held_out": len(self.gold_fold) if method.gold_stop else 0,
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

    def images(self, method: Method) -> Tensor:
        """Index of the images that a method trains on."""
        gold = self.split.gold
        if method.gold_stop:
            gold = gold[~torch.isin(gold, self.gold_fold)]
        parts = {"silver": self.split.silver, "gold": gold, "single": self.split.single}
        return torch.cat([parts[name] for name in DATA[method.data]])

    def _fallback(self) -> dict:
        """Classes for which estimators fall back to a documented row, by name."""
        counts = {
            "no gold image": self.train.labels[self.split.gold].sum(0),
            "no single-label image": self.train.labels[self.split.single].sum(0),
        }
        return {why: [self.train.classes[k] for k in (n == 0).nonzero()[:, 0]] for why, n in counts.items()}


def run(params: Params, log: Log = None) -> RunRecord:
    """All stages of one method at one noise level, computed or read from the cache."""
    return Study(params, log).run()
