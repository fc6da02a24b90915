"""GALC-SLR (arXiv 2108.02032), step 3: ASL corrected by C on silver images, plain ASL on gold ones.

Three readings of it: to the letter, twice, and with a C that is a transition matrix. And its upper bound.
"""

from galc.losses.forward import ForwardASL, LiteralASL
from galc.methods.base import ASL, OfTargets, by_matrix, corrected, method


@method(
    "galc-slr-literal",
    title="GALC-SLR, literal",
    data="all",
    estimator="algorithm-1",
    look=("#56b4e9", "<"),
    about="The paper's formulas to the letter: C = sigmoid(Ĉ), ASL of Cᵀp, the product clamped to 1.",
)
def clamped(stages, estimate, data):
    return data, corrected(ASL, OfTargets(LiteralASL(estimate.transition, clamp=True, reduction="none")))


@method(
    "galc-slr-literal-unclamped",
    title="GALC-SLR, literal, unclamped",
    data="all",
    estimator="algorithm-1",
    look=("#7a9fbf", ">"),
    about="The same in the authors' ASL arithmetic, the product left as it is.",
)
def unclamped(stages, estimate, data):
    return data, corrected(ASL, OfTargets(LiteralASL(estimate.transition, clamp=False, reduction="none")))


@method(
    "galc-slr",
    title="GALC-SLR",
    data="all",
    estimator="calibrated-regulators",
    look=("#0072b2", "^"),
    about="The paper's three steps with a row-stochastic C from calibrated single-label regulators, "
    "ASL corrected on the probability scale.",
)
@method(
    "true-correction",
    title="True-Correction",
    data="all",
    estimator="true",
    look=("#000000", "d"),
    about="GALC-SLR's training with the true C, which nobody knows.",
)
def galc_slr(stages, estimate, data):
    return data, corrected(ASL, by_matrix(ForwardASL, estimate))
