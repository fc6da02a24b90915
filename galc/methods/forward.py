"""GALC-plus's data and C in a forward-corrected cross-entropy, in three forms (`galc.losses.forward`)."""

from galc.losses.forward import ForwardBCE
from galc.methods.base import BCE, Corrected, by_matrix, method

ROW = {"data": "everything", "loss": BCE, "estimator": "attribution"}


@method("forward-linear", "Forward, linear", **ROW, look=("#332288", "1"))
def linear(stages, estimate, data):
    """GALC-plus's data and C; cross-entropy of Cᵀq, held below 1."""
    return data, Corrected(BCE, by_matrix(ForwardBCE, estimate, form="linear"))


@method("forward-exact", "Forward, exact", **ROW, look=("#5b4bb5", "2"))
def exact(stages, estimate, data):
    """GALC-plus's data and C; cross-entropy of q̃ where no label flips onto one that is there."""
    return data, Corrected(BCE, by_matrix(ForwardBCE, estimate, form="exact"))


@method("forward-noisy-or", "Forward, noisy-or", **ROW, look=("#8f83d8", "3"))
def noisy_or(stages, estimate, data):
    """GALC-plus's data and C; cross-entropy of q̃ with arrivals joined by noisy-or."""
    return data, Corrected(BCE, by_matrix(ForwardBCE, estimate, form="noisy-or"))
