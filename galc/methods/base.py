"""The methods of the study, one row each: what they train on, how C is estimated, how it enters the loss.

Everything else (model, dropout, batches, learning rate, epochs, seeds, noise) is the same for every row, so a table
of these rows compares methods and nothing else. A row that differs in one more thing says so.
"""

from dataclasses import asdict, dataclass
from typing import Literal

MIXUP = 4.0  # chosen on held-out gold images: docs/method.md, "Other methods"


@dataclass(frozen=True)
class Method:
    """One row.

    title      : as printed in tables and figures
    data       : "all" = S ∪ G, "silver" = S, "gold" = G, "clean" = G ∪ single-label images, "everything" = S ∪ G ∪
                 single-label
    loss       : name in galc.methods.objectives.PLAIN, for labels that are taken as they are: all of them where there
                 is no correction, those of trusted images where there is one
    estimator  : name in galc.estimators.base.ESTIMATORS, or None where no C is used
    correction : what becomes of noisy labels: None (taken as they are), a name in galc.methods.objectives.CORRECTIONS
                 (another loss), in galc.study.run.RELABELLED (other labels) or in galc.study.run.WEIGHTED (weights of
                 the labels)
    about      : one sentence for the reader
    dropout    : False switches the dropout of the recipe off
    mixup      : a of the Beta(a, a) that images are mixed by, 0 for none
    gold_stop  : True holds a fold of the gold images out and takes the epoch that is best on it
    refined    : True revises posterior labels by what the model learns (galc.methods.refinement); its loss is ASL
    """

    title: str
    data: Literal["all", "silver", "gold", "clean", "everything"]
    loss: str
    estimator: str | None
    correction: str | None
    about: str
    dropout: bool = True
    mixup: float = 0.0
    gold_stop: bool = False
    refined: bool = False

    @property
    def sees_noise(self) -> bool:
        """Whether the noisy labels have any part in it; if not, one run serves every noise level."""
        return self.data not in ("gold", "clean")

    @property
    def key(self) -> dict:
        """All that decides a result: everything but the texts."""
        return {name: value for name, value in asdict(self).items() if name not in ("title", "about")}


METHODS: dict[str, Method] = {
    "asl": Method("ASL", "all", "asl", None, None, "Asymmetric loss on S ∪ G, labels taken as they are."),
    "asl-no-dropout": Method(
        "ASL without dropout", "all", "asl", None, None, "The same, without the dropout all others have.", dropout=False
    ),
    "bce": Method("BCE", "all", "bce", None, None, "Binary cross-entropy on S ∪ G."),
    "bce-everything": Method(
        "BCE + single-label",
        "everything",
        "bce",
        None,
        None,
        "Binary cross-entropy on S ∪ G and the single-label images.",
    ),
    "gold-only": Method("Clean: gold", "gold", "asl", None, None, "ASL on the trusted images alone."),
    "clean-only": Method(
        "Clean: gold + single-label", "clean", "asl", None, None, "ASL on all clean images: gold and single-label."
    ),
    "galc-slr-literal": Method(
        "GALC-SLR, literal",
        "all",
        "asl",
        "algorithm-1",
        "literal-clamped",
        "The paper's formulas to the letter: C = sigmoid(Ĉ), ASL of Cᵀp, the product clamped to 1.",
    ),
    "galc-slr-literal-unclamped": Method(
        "GALC-SLR, literal, unclamped",
        "all",
        "asl",
        "algorithm-1",
        "literal-unclamped",
        "The same in the authors' ASL arithmetic, the product left as it is.",
    ),
    "galc-slr": Method(
        "GALC-SLR",
        "all",
        "asl",
        "calibrated-regulators",
        "forward-asl",
        "The paper's three steps with a row-stochastic C from calibrated single-label regulators, "
        "ASL corrected on the probability scale.",
    ),
    "true-correction": Method(
        "True-Correction",
        "all",
        "asl",
        "true",
        "forward-asl",
        "GALC-SLR's training with the true C, which nobody knows.",
    ),
    "galc-plus": Method(
        "GALC-plus",
        "everything",
        "asl",
        "attribution",
        "posterior",
        "C by attribution EM, then training on cross-fitted posteriors of the clean labels, which the model goes on "
        "revising. What we recommend.",
        refined=True,
    ),
    "galc-plus-fixed": Method(
        "GALC-plus, labels fixed",
        "everything",
        "asl",
        "attribution",
        "posterior",
        "GALC-plus without the revision: the posterior labels stay as they are throughout the last training.",
    ),
    "galc-plus-bce": Method(
        "GALC-plus, fixed, BCE",
        "everything",
        "bce",
        "attribution",
        "posterior",
        "Fixed posterior labels with binary cross-entropy in place of ASL in the last training.",
    ),
    "galc-plus-iterated": Method(
        "GALC-plus, fixed, iterated",
        "everything",
        "asl",
        "attribution",
        "posterior-iterated",
        "Fixed posterior labels of a second round, by models trained on the posterior labels of the first.",
    ),
    "galc-slr-attribution": Method(
        "GALC-SLR, attribution EM",
        "all",
        "asl",
        "attribution",
        "forward-asl",
        "GALC-SLR's corrected loss with the C of GALC-plus: attribution EM over all noisy labels.",
    ),
    "galc-slr-likelihood": Method(
        "GALC-SLR, likelihood",
        "all",
        "asl",
        "likelihood",
        "forward-asl",
        "GALC-SLR's corrected loss with the C under which the noisy labels are most probable.",
    ),
    "glc": Method(
        "GLC",
        "all",
        "asl",
        "glc",
        "forward-asl",
        "Gold loss correction: C from mean scores on gold images, where other labels and doubt pass for noise.",
    ),
    "dual-t": Method(
        "Dual-T", "all", "asl", "dual-t", "forward-asl", "C as the product of two counted matrices, by Yao et al. 2020."
    ),
    "t-revision": Method(
        "T-revision",
        "everything",
        "bce",
        "attribution",
        "t-revision",
        "Forward-corrected BCE; C gets a slack that is learned with the classifier, after Xia et al. 2019.",
    ),
    "reweighting": Method(
        "Importance reweighting",
        "everything",
        "asl",
        "attribution",
        "reweighting",
        "Each noisy label weighs P(clean) / P(noisy), from cross-fitted posteriors and C, after Liu and Tao 2016.",
    ),
    "cleanlab": Method(
        "cleanlab",
        "everything",
        "asl",
        None,
        "cleanlab",
        "Labels that cleanlab's confident learning holds for wrong are masked, the others taken as they are.",
    ),
    "silver-only": Method("Silver only", "silver", "asl", None, None, "ASL on the noisy images alone: step 1's f."),
    "asl-gold-stop": Method(
        "ASL, early stopping",
        "all",
        "asl",
        None,
        None,
        "ASL on S ∪ G but for a fifth of G, on which the best epoch is chosen.",
        gold_stop=True,
    ),
    "asl-mixup": Method(
        "ASL + mixup",
        "all",
        "asl",
        None,
        None,
        "ASL on S ∪ G, images and labels mixed in pairs, with dropout as everywhere.",
        mixup=MIXUP,
    ),
    "forward-linear": Method(
        "Forward, linear",
        "everything",
        "bce",
        "attribution",
        "forward-bce-linear",
        "GALC-plus's data and C; cross-entropy of Cᵀq, held below 1.",
    ),
    "forward-exact": Method(
        "Forward, exact",
        "everything",
        "bce",
        "attribution",
        "forward-bce-exact",
        "GALC-plus's data and C; cross-entropy of q̃ where no label flips onto one that is there.",
    ),
    "forward-noisy-or": Method(
        "Forward, noisy-or",
        "everything",
        "bce",
        "attribution",
        "forward-bce",
        "GALC-plus's data and C; cross-entropy of q̃ with arrivals joined by noisy-or.",
    ),
    "gce": Method(
        "GCE",
        "everything",
        "bce",
        None,
        "gce",
        "Generalised cross-entropy of noisy labels, on GALC-plus's data; q chosen on gold images.",
    ),
    "elr": Method(
        "ELR",
        "everything",
        "bce",
        None,
        "elr",
        "Early-learning regularisation of noisy images, label by label, on GALC-plus's data.",
    ),
    "hill": Method("Hill", "everything", "hill", None, None, "Hill loss for missing labels, on GALC-plus's data."),
    "splc": Method(
        "SPLC",
        "everything",
        "focal-margin",
        None,
        "splc",
        "Focal-margin loss; labels the model finds on noisy images become present. GALC-plus's data.",
    ),
    "small-loss": Method(
        "Small loss",
        "everything",
        "asl",
        "attribution",
        "small-loss",
        "ASL without the labels of largest loss, as many of each class as GALC-plus's C holds wrong.",
    ),
}
