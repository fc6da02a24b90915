"""The public functions on arrays of any kind: NumPy, torch, pandas and lists go in, the caller's kind comes out.

``labels`` (N, K) hold 0 and 1: which of K classes each of N examples was given; some of them are wrong.
``pred_probs`` (N, K) are probabilities of these labels, each from a model that was fitted to other examples and their
labels as given (cross-validated: `sklearn.model_selection.cross_val_predict`; `LabelCleaner` makes them itself). From a
model that has seen an example's labels they only repeat these.

Probabilities of the given labels become those of the true ones in one of two ways. With 20 trusted examples or more,
whose true labels are known, by a calibration on these (`galc.training.crossfit.Platt`). Else by the noise itself: the
true ones q solve pred_probs = q C + (1 - q) added, in turn with an estimate of the noise that starts from anchor points
(`galc.clean.stages.anchors`). That finds flips, or missing labels; where labels are flipped, missing and added at once,
it takes trusted examples to tell.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.utils.validation import check_array, check_is_fitted, has_fit_parameter
from torch import Tensor

from galc.checks import as_tensor, check_labels, check_scores
from galc.clean import ENOUGH, intervals
from galc.clean.stages import anchors
from galc.estimators import algorithm_1 as paper
from galc.estimators.base import Estimate
from galc.estimators.label_sets import LabelSets
from galc.losses import asl
from galc.noise import Noise
from galc.training.crossfit import Platt

ROUNDS = 3  # of probabilities and noise in turn; rates change by less than a hundredth after these
EDGE = 1e-4  # distance of probabilities from 0 and 1


def _like(given: object, values: Tensor) -> object:
    """``values`` as the kind of ``given``: a tensor, a table with its names (of classes, if (K, K)), or an array."""
    if isinstance(given, Tensor):
        return values.to(given.device)
    array = values.numpy()
    if isinstance(given, pd.DataFrame):
        rows = given.index if len(array) == len(given) else given.columns
        return pd.DataFrame(array, rows, given.columns)
    return array if array.ndim else array.item()


def _of_any_kind(core: Callable) -> Callable:
    """A function that returns a tensor as one that returns the kind of its first argument."""

    @wraps(core)
    def function(*args, **options):
        return _like([*args, *options.values()][0], core(*args, **options))

    return function


calibrate, uncalibrate = _of_any_kind(asl.calibrate), _of_any_kind(asl.uncalibrate)
regulators, algorithm_1, glc = map(_of_any_kind, (paper.regulators, paper.algorithm_1, paper.glc))


def inject(labels, noise, seed: int = 0):
    """Noisy labels, the kind of ``labels`` (N, K), all of them clean; the same ``seed`` gives the same ones anywhere.

    ``noise``: a matrix C (K, K), C[i, j] = P(label i is turned into label j), rows sum to 1; or a `galc.Noise`, where
    labels also vanish and appear. The number of labels that flip is met exactly. A flip never lands on a class that an
    example has (paper, Sec. 4.1). Raises ValueError naming the example that leaves no room for that.

    >>> from galc import inject, pair_flip
    >>> noisy = inject([[1, 0, 0]] * 4, pair_flip(3, 0.5))
    >>> noisy.sum(0).tolist()
    [2, 2, 0]
    """
    return _like(labels, _noise(noise).inject(check_labels(labels), seed).noisy)


@dataclass(frozen=True, eq=False)
class NoiseEstimate(Estimate):
    """The estimate of `estimate_noise`: C (K, K) ``transition``, rows sum to 1, and rates ``removed``, ``added`` (K,).

    Of a label of class i the share removed[i] vanished; of the rest the share transition[i, j] was turned into j; an
    example without class k got it from nowhere with probability added[k]. ``classes``: names, or None.
    """

    classes: tuple | None = None

    def to_frame(self) -> pd.DataFrame:
        """(K, K + 2): a row for each true class; C, then removed and added."""
        names = list(self.classes or range(len(self.transition)))
        table = pd.DataFrame(self.noise.transition.numpy(), names, names)
        return table.assign(removed=self.noise.removed.numpy(), added=self.noise.added.numpy())


def estimate_noise(
    labels, pred_probs, trusted=None, true_labels=None, classes: Sequence | None = None
) -> NoiseEstimate:
    """How ``labels`` (N, K) were corrupted, from cross-validated ``pred_probs`` (N, K); see the top of `galc.arrays`.

    trusted     : (N,) mask, or the numbers, of examples whose true labels are known
    true_labels : (N, K), of which the trusted rows are read; None: their labels as given are true
    classes     : K names; by default the columns of a table of labels

    By attribution EM (`galc.estimators.attribution`): flips onto any class or a few, labels that vanish, labels from
    nowhere, whichever held-out likelihood favours. Raises ValueError naming the row and class that are at fault.

    >>> import numpy as np
    >>> from galc import estimate_noise
    >>> labels = np.eye(3, dtype=int)[np.arange(300) % 3]
    >>> labels[:30] = labels[:30, [1, 2, 0]]  # a tenth of the labels is turned into the next class
    >>> seen = np.clip(0.9 * np.eye(3)[np.arange(300) % 3] + 0.1 * np.eye(3)[(np.arange(300) + 2) % 3], 0.001, 0.999)
    >>> estimate_noise(labels, seen).transition.diagonal().numpy().round(1).tolist()
    [0.9, 0.9, 0.9]
    """
    names = labels.columns if classes is None and isinstance(labels, pd.DataFrame) else classes
    given = _Given(labels, pred_probs, trusted, true_labels)
    if names is not None and len(names) != given.labels.shape[1]:
        raise ValueError(f"{len(names)} classes are named, and labels have {given.labels.shape[1]} columns")
    noise = given.known()[1]
    return NoiseEstimate(noise.transition, noise.removed, noise.added, None if names is None else tuple(names))


def posterior(labels, pred_probs, noise=None, trusted=None, true_labels=None):
    """P(a label is true | the example, its labels as given): (N, K) of the kind of ``labels``, in [0, 1].

    ``noise``: a `galc.Noise`, what `estimate_noise` returned, or a matrix C (K, K), rows sum to 1; None: it is
    estimated. The others as in `estimate_noise`; trusted examples have their true labels. The labels of one example
    explain each other (`galc.estimators.label_sets`). Raises ValueError as `estimate_noise` does.

    >>> from galc import posterior, symmetric
    >>> chance = posterior([[1, 0], [0, 1]], [[0.8, 0.2], [0.8, 0.2]], symmetric(2, 0.2))
    >>> (chance > 0.5).tolist()  # the second example has the label of the other class
    [[True, False], [True, False]]
    """
    return _like(labels, _Given(labels, pred_probs, trusted, true_labels).posterior(noise))


def find_label_issues(
    labels, pred_probs, noise=None, trusted=None, true_labels=None, classes: Sequence | None = None, least: float = 0.5
) -> pd.DataFrame:
    """The labels that are probably at fault, the most suspicious first.

    Columns: example (row number, or the index of a table of labels), class (number or name), given (0 or 1), kind
    ("wrong": a label that should not be there; "missing": one that should), probability (that the given entry is at
    fault, at least ``least``). Trusted examples have none. The other arguments, and errors, as in `posterior`.

    >>> from galc import find_label_issues, symmetric
    >>> labels, probs = [[1, 0], [0, 1]], [[0.7, 0.2], [0.7, 0.3]]
    >>> find_label_issues(labels, probs, symmetric(2, 0.2), classes=["cat", "dog"]).round(2)
       example class  given     kind  probability
    0        1   cat      0  missing         0.88
    1        1   dog      1    wrong         0.88
    """
    given = _Given(labels, pred_probs, trusted, true_labels)
    return given.issues(given.posterior(noise), labels, classes, least)


class _Given:
    """Checked labels (N, K), probabilities (N, K) of them, and which examples are trusted (N,)."""

    def __init__(self, labels, pred_probs, trusted, true_labels):
        self.labels = check_labels(labels).cpu()
        self.probs = check_scores(pred_probs, self.labels, "pred_probs").detach().cpu().float()
        if ((self.probs < 0) | (self.probs > 1)).any():
            row, column = ((self.probs < 0) | (self.probs > 1)).nonzero()[0].tolist()
            value = self.probs[row, column].item()
            raise ValueError(f"pred_probs lie in [0, 1], got {value:g} in row {row}, class {column}; pass no logits")
        self.trusted = torch.zeros(len(self.labels), dtype=torch.bool)
        if trusted is not None:
            self.trusted[as_tensor(trusted).cpu()] = True
        self.true = self.labels if true_labels is None else check_labels(true_labels, "true_labels").cpu()
        if self.true.shape != self.labels.shape:
            raise ValueError(f"true_labels must be (N, K) as labels are, got shape {tuple(self.true.shape)}")

    def known(self, noise: Noise | None = None) -> tuple[Tensor, Noise]:
        """Probabilities (N, K) of the true labels, and the noise: the one given, or the one estimated."""
        if self.trusted.sum() >= ENOUGH:
            logits = torch.logit(self.probs, eps=EDGE)
            platt = Platt(self.labels.shape[1]).fit(logits[self.trusted], self.true[self.trusted])
            q = platt.probabilities(logits)
            return q, noise or intervals.first(q[~self.trusted], self.labels[~self.trusted])
        if noise is not None:
            return self._without(noise), noise
        noise = anchors(self.probs, self.labels)
        for _ in range(ROUNDS):
            noise = intervals.first(self._without(noise), self.labels, checked=False)
        return self._without(noise), noise

    def _without(self, noise: Noise) -> Tensor:
        """(N, K) q of pred_probs = q C + (1 - q) added."""
        mixing = noise.arrivals - noise.added  # row i: what class i adds to the probability of each label
        return ((self.probs.double() - noise.added) @ torch.linalg.pinv(mixing)).clamp(EDGE, 1 - EDGE).float()

    def posterior(self, noise=None) -> Tensor:
        noise = None if noise is None else _noise(noise)
        if noise is not None and len(noise.removed) != self.labels.shape[1]:
            raise ValueError(f"the noise is of {len(noise.removed)} classes, labels are of {self.labels.shape[1]}")
        q, noise = self.known(noise)
        result = LabelSets(q, self.labels).posterior(noise)
        return torch.where(self.trusted[:, None], self.true.float(), result)

    def issues(self, posterior: Tensor, labels, classes: Sequence | None, least: float) -> pd.DataFrame:
        fault = (self.labels.float() - posterior).abs().masked_fill(self.trusted[:, None], 0)
        row, column = (fault >= least).numpy().nonzero()
        order = np.argsort(-fault.numpy()[row, column], kind="stable")
        row, column = row[order], column[order]
        present = self.labels.numpy()[row, column].astype(int)
        examples, names = np.arange(len(fault)), np.arange(fault.shape[1])
        if isinstance(labels, pd.DataFrame):
            examples, names = labels.index.to_numpy(), labels.columns.to_numpy()
        return pd.DataFrame(
            {
                "example": examples[row],
                "class": (names if classes is None else np.asarray(classes))[column],
                "given": present,
                "kind": np.where(present, "wrong", "missing"),
                "probability": fault.numpy()[row, column],
            }
        )


def _noise(noise) -> Noise:
    """A `Noise` of itself, of an estimate, or of a matrix (K, K). Raises ValueError where its rows do not sum to 1."""
    if isinstance(noise, Estimate):
        return noise.noise
    return noise if isinstance(noise, Noise) else Noise(as_tensor(noise))


class LabelCleaner(BaseEstimator):
    """Scikit-learn's way to all of it: cross-fits a classifier, estimates the noise, and fits to the cleaned labels.

    estimator : any binary classifier with ``predict_proba``, fitted anew for each class (default: logistic regression)
    cv        : folds of the cross-fitting; ``random_state`` draws them
    least     : probability from which an entry is in ``issues_``

    After ``fit``: ``noise_`` (a `NoiseEstimate`), ``pred_probs_`` and ``posterior_`` (N, K), ``issues_`` (a table, see
    `find_label_issues`), ``estimators_`` (K classifiers, of the posteriors as soft labels if they take sample_weight).

    >>> import numpy as np
    >>> from galc import LabelCleaner, inject, symmetric
    >>> X = np.random.default_rng(0).normal(size=(300, 4))
    >>> true = np.eye(4, dtype=bool)[X.argmax(1)]
    >>> noisy = inject(true, symmetric(4, 0.2))
    >>> cleaner = LabelCleaner().fit(X, noisy)
    >>> [round(float((labels == true).mean()), 2) for labels in (noisy, cleaner.posterior_ > 0.5)]
    [0.9, 0.96]
    """

    def __init__(self, estimator=None, cv: int = 5, random_state: int = 0, least: float = 0.5):
        self.estimator, self.cv, self.random_state, self.least = estimator, cv, random_state, least

    def fit(self, X, y, trusted=None, true_labels=None) -> "LabelCleaner":
        """``X`` (N, d) features, ``y`` (N, K) labels as given; the trusted ones as in `estimate_noise`."""
        features, labels = check_array(X, accept_sparse="csr"), check_labels(y).numpy()
        if features.shape[0] != len(labels):
            raise ValueError(f"{features.shape[0]} examples in X, {len(labels)} in y")
        probs = np.empty(labels.shape)
        for rest, held in KFold(self.cv, shuffle=True, random_state=self.random_state).split(labels):
            probs[held] = _predicted([self._of(features[rest], column) for column in labels[rest].T], features[held])
        given = _Given(labels, probs, trusted, true_labels)
        noise = given.known()[1]
        posterior = given.posterior(noise)
        names = tuple(y.columns) if isinstance(y, pd.DataFrame) else None
        self.noise_ = NoiseEstimate(noise.transition, noise.removed, noise.added, names)
        self.pred_probs_, self.posterior_ = (_like(y, values) for values in (torch.from_numpy(probs), posterior))
        self.issues_ = given.issues(posterior, y, None, self.least)
        self.estimators_ = [self._of(features, column) for column in posterior.double().numpy().T]
        return self

    def predict_proba(self, X) -> np.ndarray:
        """(N, K) probabilities of the true labels of new examples, by the classifiers of the cleaned labels."""
        check_is_fitted(self, "estimators_")
        return _predicted(self.estimators_, check_array(X, accept_sparse="csr"))

    def predict(self, X) -> np.ndarray:
        """(N, K) bool: probabilities above one half."""
        return self.predict_proba(X) > 0.5

    def _of(self, features, target: np.ndarray):
        """A classifier of one class, ``target`` (n,) in [0, 1]; soft ones weigh an example as both."""
        model = LogisticRegression(max_iter=1000) if self.estimator is None else clone(self.estimator)
        hard = target > 0.5
        if hard.all() or not hard.any():
            return DummyClassifier(strategy="prior").fit(features, hard)
        if np.array_equal(hard, target) or not has_fit_parameter(model, "sample_weight"):
            return model.fit(features, hard)
        both = np.arange(len(target)).repeat(2)
        weight = np.stack([1 - target, target], 1).ravel()
        return model.fit(features[both], np.tile([False, True], len(target)), sample_weight=weight)


def _predicted(models: list, features) -> np.ndarray:
    """(n, K) probabilities of presence."""
    columns = [
        model.predict_proba(features)[:, list(model.classes_).index(True)]
        if True in model.classes_
        else np.zeros(features.shape[0])
        for model in models
    ]
    return np.stack(columns, 1)
