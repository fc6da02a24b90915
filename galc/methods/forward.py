"""GALC-plus's data and C in a forward-corrected cross-entropy, in three forms (`galc.losses.forward`)."""

from galc.losses.forward import ForwardBCE
from galc.methods.base import BCE, by_matrix, corrected, method


def forward(form: str):
    """A method that trains by the corrected cross-entropy of a form."""
    return lambda stages, estimate, data: (data, corrected(BCE, by_matrix(ForwardBCE, estimate, form=form)))


method(
    "forward-linear",
    "Forward, linear",
    data="everything",
    loss=BCE,
    estimator="attribution",
    look=("#332288", "1"),
    about="GALC-plus's data and C; cross-entropy of Cᵀq, held below 1.",
)(forward("linear"))

method(
    "forward-exact",
    "Forward, exact",
    data="everything",
    loss=BCE,
    estimator="attribution",
    look=("#5b4bb5", "2"),
    about="GALC-plus's data and C; cross-entropy of q̃ where no label flips onto one that is there.",
)(forward("exact"))

method(
    "forward-noisy-or",
    "Forward, noisy-or",
    data="everything",
    loss=BCE,
    estimator="attribution",
    look=("#8f83d8", "3"),
    about="GALC-plus's data and C; cross-entropy of q̃ with arrivals joined by noisy-or.",
)(forward("noisy-or"))
