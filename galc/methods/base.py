"""The table of methods, how a row comes into it, and the losses that rows share.

A method is what trains the last model: a row in `METHODS` and, beside it, the function that makes its training set and
its loss. Everything else (model, dropout, batches, learning rate, epochs, seeds, noise) is the same for every row, so
a table of these rows compares methods and nothing else. A row that differs in one more thing says so.
docs/your_method.md shows how to add one, also from outside the package.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from galc.estimators.base import ESTIMATORS, Estimate
from galc.losses.asl import AsymmetricLoss
from galc.losses.forward import ForwardLoss
from galc.training.batch import Batch, Loss, TrainingSet

Elementwise = Callable[[Tensor, Tensor], Tensor]  # logits, targets (B, K) -> losses (B, K)
Noisy = Callable[[Tensor, Batch], Tensor]  # logits (B, K), their batch -> losses (B, K)
# (stages, estimate, data) -> what to train on, and the loss: see `method`
Make = Callable[[Any, Estimate | None, TrainingSet], tuple[TrainingSet, Loss]]

ASL: Elementwise = AsymmetricLoss(reduction="none")
BCE: Elementwise = nn.BCEWithLogitsLoss(reduction="none")

# the images that a method trains on: the parts of `galc.data.dataset.Split`
DATA = {
    "silver": ("silver",),
    "gold": ("gold",),
    "clean": ("gold", "single"),
    "all": ("silver", "gold"),
    "everything": ("silver", "gold", "single"),
}


@dataclass(frozen=True)
class Method:
    """One row; `method` says what the fields are. ``home`` is the module that it was declared in."""

    name: str
    title: str
    data: str
    about: str
    loss: Elementwise
    estimator: str | None
    look: tuple[str, str]
    dropout: bool
    mixup: float
    gold_stop: bool
    home: str
    make: Make | None = None

    @property
    def sees_noise(self) -> bool:
        """Whether the noisy labels have any part in it; if not, one run serves every noise level."""
        return "silver" in DATA[self.data]

    def training(self, stages: Any, estimate: Estimate | None, data: TrainingSet) -> tuple[TrainingSet, Loss]:
        """What the last model is trained on, and by which loss. ``data``: the row's images, labels as they are."""
        if self.make is None:
            return data, plain(self.loss)
        made = self.make(stages, estimate, data)
        return made if isinstance(made, tuple) else (data, made)


METHODS: dict[str, Method] = {}

# colours and markers of rows that name none: of no other row
LOOKS = [("#1b9e77", "$a$"), ("#d02090", "$b$"), ("#7570b3", "$c$"), ("#e6ab02", "$d$"), ("#a6761d", "$e$")]


def method(
    name: str,
    title: str,
    about: str | None = None,
    *,
    data: str,
    loss: Elementwise = ASL,
    estimator: str | None = None,
    look: tuple[str, str] | None = None,
    dropout: bool = True,
    mixup: float = 0.0,
    gold_stop: bool = False,
) -> Callable[[Make], Make]:
    """Put a row into `METHODS`. Decorates what makes the training; called alone, it is a row that only trains ``loss``.

    title     : as printed in tables and figures
    about     : a sentence for the reader; None: the first paragraph of the function's docstring
    data      : the images: "all" = S ∪ G, "silver" = S, "gold" = G, "clean" = G ∪ single-label images, "everything" =
                S ∪ G ∪ single-label
    loss      : (logits, targets) -> losses, all (B, K), of labels that are taken as they are; what the logits say of
                probabilities follows from it (`probabilities`)
    estimator : name in galc.estimators.base.ESTIMATORS of the C that is used, or None where none is
    look      : (colour, marker) in every figure; None: one that is free
    dropout   : False switches the dropout of the recipe off
    mixup     : a of the Beta(a, a) that images are mixed by, 0 for none
    gold_stop : True holds a fold of the gold images out and takes the epoch that is best on it

    The function gets (stages, estimate, data) and returns (training set, loss). ``stages`` is the
    `galc.study.stages.Stages` of the run, ``estimate`` what the estimator found (None without one), ``data`` the
    `TrainingSet` of the row's images with the labels that a user would get. A class gets the same three and is the loss
    itself. A loss is called with (logits (B, K), `Batch`) and gives the mean over the batch of the sum over the
    classes; one with buffers or parameters is an ``nn.Module``.

    Raises ValueError for a name or title that another file's row has, and for data, estimators, looks that are none.

    >>> from galc import METHODS, AsymmetricLoss, method
    >>> @method("twice", title="ASL, twice", data="all", about="ASL of losses that count twice.")
    ... def twice(stages, estimate, data):
    ...     loss = AsymmetricLoss()
    ...     return lambda logits, batch: 2 * loss(logits, batch.targets)
    >>> METHODS.pop("twice").title  # a row of every table, until it is taken out again
    'ASL, twice'
    """
    home = sys._getframe(1).f_globals["__name__"]
    others = {key: row for key, row in METHODS.items() if (key, row.home) != (name, home)}
    if name in others:
        raise ValueError(f"method {name!r} exists already, in {others[name].home}; choose another name")
    if title in {row.title for row in others.values()}:
        raise ValueError(f"method {name!r}: the title {title!r} is another method's")
    for what, value, known in (("data", data, DATA), ("estimator", estimator, (None, *ESTIMATORS))):
        if value not in known:
            raise ValueError(f"method {name!r}: no {what} {value!r}; choose one of {', '.join(map(str, known))}")
    taken = [row.look for row in others.values()]
    look = look or next((one for one in LOOKS if one not in taken), LOOKS[len(taken) % len(LOOKS)])
    if not isinstance(look, tuple) or [type(part) for part in look] != [str, str]:
        raise ValueError(f"method {name!r}: look must be a colour and a marker, such as {LOOKS[0]}, not {look!r}")
    row = Method(name, title, data, about or f"{title}.", loss, estimator, look, dropout, mixup, gold_stop, home)
    METHODS[name] = row

    def decorate(make: Make) -> Make:
        text = about or " ".join((make.__doc__ or row.about).partition("\n\n")[0].split())
        METHODS[name] = replace(row, make=make, about=text)
        return make

    return decorate


# --- losses that rows share ------------------------------------------------------------------------------------------


def plain(loss: Elementwise) -> Loss:
    """A loss on targets that are taken as they are."""
    return lambda logits, batch: loss(logits, batch.targets).sum(1).mean()


def by_matrix(loss: type[ForwardLoss], estimate: Estimate, **options: str) -> Noisy:
    """A forward correction, `galc.losses.forward.ForwardASL` or `ForwardBCE`, by an estimate; ``options`` are its."""
    return OfTargets(loss(estimate.arrivals, added=estimate.appearing, reduction="none", **options))


def probabilities(loss: Elementwise, logits: Tensor) -> Tensor:
    """What logits (N, K) of a model trained with ``loss`` say of the true probabilities: (N, K) float32 in [0, 1].

    Where a label is present with probability q, the expected slope q L+' + (1 - q) L-' of the loss vanishes at the
    optimum: q = L-' / (L-' - L+') at the logit. For BCE this is the sigmoid, for ASL `galc.losses.asl.calibrate`.
    """
    x = logits.detach().double().clamp(-30, 30).requires_grad_()
    absent, present = (torch.autograd.grad(loss(x, torch.full_like(x, label)).sum(), x)[0] for label in (0.0, 1.0))
    return (absent / (absent - present)).clamp(min=0).float()


class Corrected(nn.Module):
    """``loss`` for trusted images, which are never corrected (paper, Sec. 3.3), and ``noisy`` for the others."""

    def __init__(self, loss: Elementwise, noisy: Noisy):
        super().__init__()
        self.loss, self.noisy = loss, noisy

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        losses = torch.where(batch.trusted[:, None], self.loss(logits, batch.targets), self.noisy(logits, batch))
        return losses.sum(1).mean()


class Weighted(nn.Module):
    """Each label of each image times its weight: ``weights`` (images, K), all 1 for trusted images.

    Raises ValueError for weights that are negative or not finite.
    """

    def __init__(self, loss: Elementwise, weights: Tensor):
        super().__init__()
        if not torch.isfinite(weights).all() or (weights < 0).any():
            raise ValueError("weights must be finite and not negative")
        self.loss = loss
        self.register_buffer("weights", weights.float(), persistent=False)  # worked out again, not kept in checkpoints

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return (self.weights[batch.rows] * self.loss(logits, batch.targets)).sum(1).mean()


class OfTargets(nn.Module):
    """A loss of logits and targets (B, K) as one of logits and their batch."""

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return self.loss(logits, batch.targets)
