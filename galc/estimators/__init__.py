"""Estimators of the noise: the paper's Algorithm 1, GLC's, and what goes beyond them.

All modules of this folder are imported here: each puts its estimators into `galc.estimators.base.ESTIMATORS`.
"""

from importlib import import_module
from pkgutil import iter_modules

for module in iter_modules(__path__):
    import_module(f"{__name__}.{module.name}")
