"""GALC-SLR's corrected loss with the C of other estimators."""

from galc.methods.base import method
from galc.methods.paper import galc_slr

method(
    "galc-slr-attribution",
    "GALC-SLR, attribution EM",
    data="all",
    estimator="attribution",
    look=("#4a90c2", "$A$"),
    about="GALC-SLR's corrected loss with the C of GALC-plus: attribution EM over all noisy labels.",
)(galc_slr)

method(
    "galc-slr-likelihood",
    "GALC-SLR, likelihood",
    data="all",
    estimator="likelihood",
    look=("#003f66", "$L$"),
    about="GALC-SLR's corrected loss with the C under which the noisy labels are most probable.",
)(galc_slr)

method(
    "glc",
    "GLC",
    data="all",
    estimator="glc",
    look=("#b07aa1", "$G$"),
    about="Gold loss correction: C from mean scores on gold images, where other labels and doubt pass for noise.",
)(galc_slr)

method(
    "dual-t",
    "Dual-T",
    data="all",
    estimator="dual-t",
    look=("#8c564b", "$D$"),
    about="C as the product of two counted matrices, by Yao et al. 2020.",
)(galc_slr)
