"""Predictions for images that a model was not trained on, and their calibration.

A model that has seen a label repeats it, wrong or not. Splitting the data into folds and predicting each with a
model trained on the others gives scores that know the image and not its label: what posteriors need.
"""

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from galc import store
from galc.training import parallel
from galc.training.batch import Loss, TrainingSet, Transform
from galc.training.checkpoint import identity
from galc.training.loop import Recipe, fit
from galc.training.models import predict

RIDGE = 2.0  # precision of the prior on the biases of a calibration


def folds(count: int, number: int, seed: int) -> torch.Tensor:
    """(count,) fold of each image, sizes equal within one; a permutation drawn from ``seed``."""
    if count < number:
        raise ValueError(f"{count} images cannot be split into {number} folds; use fewer folds or more images")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    assignment = torch.empty(count, dtype=torch.long)
    assignment[order] = torch.arange(count) % number
    return assignment


def crossfit(
    build: Callable[[], nn.Module],
    data: TrainingSet,
    loss: Loss,
    recipe: Recipe,
    number: int,
    seed: int,
    transform: Transform | None = None,
    prepare: Transform | None = None,
    log: Callable[[str], None] | None = None,
    relabel: Callable[[TrainingSet], TrainingSet] | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 30.0,
) -> torch.Tensor:
    """Logits (N, K) for every image of the data set, from models that were not trained on it.

    Images of the training set get the averaged weights of the model whose fold they are; all others the mean
    over the fold models. ``transform`` augments, ``prepare`` only prepares a batch for prediction. A loss with a state
    is left as it is, and each fold starts from that. ``relabel`` turns what the models of a fold are trained on into
    what they learn: targets that are worked out here know nothing of the images held out.
    ``checkpoint``: the beginning of the names of files to go on from, one a fold, which are gone at the end; a fold
    that took less than ``checkpoint_seconds`` leaves none. Their names tell the data, the loss, the recipe, the folds
    and the seed by content, so that no file of another cross-fitting is read; what ``build``, the transforms and
    ``relabel`` depend on is for ``checkpoint`` to tell.
    """
    assignment = folds(len(data.index), number, seed)
    if checkpoint is not None:
        own = identity(data, loss, vars(recipe), number, seed)
        checkpoint = checkpoint.with_name(f"{checkpoint.stem}-{own}.safetensors")

    def predicted(fold: int, **resume) -> torch.Tensor:
        own = copy.deepcopy(loss) if isinstance(loss, nn.Module) else loss
        part = data.take(assignment != fold)
        part = part if relabel is None else relabel(part)
        torch.manual_seed(seed + fold)
        model = fit(build(), part, own, recipe, seed + fold, transform=transform, **resume).ema
        return predict(model, data.inputs, transform=prepare, bf16=recipe.bf16)

    total = torch.zeros(len(data.inputs), data.targets.shape[1])
    held_out = torch.empty(len(data.index), data.targets.shape[1])
    for fold in range(number):
        held = assignment == fold
        file = checkpoint and checkpoint.with_suffix(f".fold{fold}")
        logits = _kept(partial(predicted, fold), file, checkpoint_seconds)
        held_out[held] = logits[data.index[held]]
        total += logits / number
        if log is not None:
            log(f"fold {fold + 1}/{number} predicted")
    total[data.index] = held_out
    parallel.any_of(False)  # all processes have read the files
    for file in checkpoint.parent.glob(f"{checkpoint.stem}.fold*") if checkpoint else ():
        file.unlink(missing_ok=True)
    return total


def _kept(compute: Callable[..., torch.Tensor], file: Path | None, seconds: float) -> torch.Tensor:
    """The logits of a fold: read from ``file``, or computed, and written there if that took ``seconds`` or more."""
    if file is None:
        return compute()
    if (entry := store.read(file)) is not None:
        return torch.from_numpy(entry.arrays["logits"])
    started, training = time.monotonic(), file.with_suffix(file.suffix + "-training")
    logits = compute(checkpoint=training, checkpoint_seconds=seconds)
    if parallel.rank() == 0 and time.monotonic() - started >= seconds:
        store.save(file, {"logits": logits.numpy()}, {})
    return logits


class Platt(nn.Module):
    """Calibrated log-odds: sum of slope_s · logit_s + bias_k, one slope a source of logits, one shrunken bias a class.

    Platt (1999), with several ``sources`` a stacking of them (Wolpert 1992). Fitted on gold images by maximum
    likelihood with a ridge on the deviations of the biases from their common value, since most classes have few of
    them. Logits are (N, K), of several sources (sources, N, K).
    """

    def __init__(self, num_classes: int, sources: int = 1):
        super().__init__()
        self.slope = nn.Parameter(torch.full((sources,), 1 / sources, dtype=torch.float64))
        self.shift = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(num_classes, dtype=torch.float64))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.double().reshape(len(self.slope), *logits.shape[-2:])
        return torch.tensordot(self.slope, logits, 1) + self.shift + self.bias

    def fit(self, logits: torch.Tensor, labels: torch.Tensor, ridge: float = RIDGE) -> "Platt":
        """Fit on logits and clean labels (N, K); ``ridge`` is the precision of the prior on the biases."""
        optimizer = torch.optim.LBFGS(self.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            nll = binary_cross_entropy_with_logits(self(logits), labels.double(), reduction="sum")
            value = nll + ridge / 2 * self.bias.square().sum()
            value.backward()
            return value

        optimizer.step(closure)
        return self

    @torch.no_grad()
    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, K) float32 probabilities."""
        return torch.sigmoid(self(logits)).float()
