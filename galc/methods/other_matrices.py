"""GALC-SLR's corrected loss with the C of other estimators."""

from galc.methods.base import method
from galc.methods.paper import galc_slr

method(
    "galc-slr-attribution",
    "GALC-SLR, attribution EM",
    "GALC-SLR's corrected loss with the C of GALC-plus: attribution EM over all noisy labels.",
    data="all",
    estimator="attribution",
    look=("#4a90c2", "$A$"),
)(galc_slr)

method(
    "galc-slr-likelihood",
    "GALC-SLR, likelihood",
    "GALC-SLR's corrected loss with the C under which the noisy labels are most probable.",
    data="all",
    estimator="likelihood",
    look=("#003f66", "$L$"),
)(galc_slr)

method(
    "glc",
    "GLC",
    "Gold loss correction: C from mean scores on gold images, where other labels and doubt pass for noise.",
    data="all",
    estimator="glc",
    look=("#b07aa1", "$G$"),
)(galc_slr)

method(
    "dual-t",
    "Dual-T",
    "C as the product of two counted matrices, by Yao et al. 2020.",
    data="all",
    estimator="dual-t",
    look=("#8c564b", "$D$"),
)(galc_slr)
