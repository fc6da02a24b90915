"""GALC-SLR (arXiv 2108.02032), step 3: ASL corrected by C on silver images, plain ASL on gold ones.

Three readings of it: to the letter, twice, and with a C that is a transition matrix. And its upper bound.
"""

from galc.losses.forward import ForwardASL, LiteralASL
from galc.methods.base import ASL, Corrected, OfTargets, by_matrix, method


@method("galc-slr-literal", "GALC-SLR, literal", data="all", estimator="algorithm-1", look=("#56b4e9", "<"))
def clamped(stages, estimate, data):
    """The paper's formulas to the letter: C = sigmoid(Ĉ), ASL of Cᵀp, the product clamped to 1."""
    return data, Corrected(ASL, OfTargets(LiteralASL(estimate.transition, clamp=True, reduction="none")))


@method(
    "galc-slr-literal-unclamped",
    "GALC-SLR, literal, unclamped",
    data="all",
    estimator="algorithm-1",
    look=("#7a9fbf", ">"),
)
def unclamped(stages, estimate, data):
    """The same in the authors' ASL arithmetic, the product left as it is."""
    return data, Corrected(ASL, OfTargets(LiteralASL(estimate.transition, clamp=False, reduction="none")))


@method(
    "galc-slr",
    "GALC-SLR",
    "The paper's three steps with a row-stochastic C from calibrated single-label regulators, "
    "ASL corrected on the probability scale.",
    data="all",
    estimator="calibrated-regulators",
    look=("#0072b2", "^"),
)
@method("true-correction", "True-Correction", data="all", estimator="true", look=("#000000", "d"))
def galc_slr(stages, estimate, data):
    """GALC-SLR's training with the true C, which nobody knows."""
    return data, Corrected(ASL, by_matrix(ForwardASL, estimate))
