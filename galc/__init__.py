"""galc: multi-label learning when the labels are wrong, as a library, a tool, and a study that one can run.

The public names are loaded when they are first used, so that ``import galc`` costs next to nothing; docs/api.md has an
example of each. Arrays may be NumPy's, torch's, pandas' or lists. C is row-stochastic everywhere:
C[i, j] = P(label i was turned into label j).
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "galc.losses.asl": ("AsymmetricLoss",),
    "galc.losses.forward": ("ForwardASL", "ForwardBCE"),
    "galc.metrics": ("evaluate",),
    "galc.noise": ("Noise", "pair_flip", "symmetric"),
    "galc.arrays": (
        "LabelCleaner",
        "algorithm_1",
        "calibrate",
        "estimate_noise",
        "find_label_issues",
        "glc",
        "inject",
        "posterior",
        "regulators",
        "uncalibrate",
    ),
    "galc.data.load": ("load_data",),
    "galc.methods.base": ("METHODS", "method"),
    "galc.study.params": ("Params",),
    "galc.study.run": ("run",),
}
_INSIDE = {"load_data": "load"}  # public name -> name in its module, where they differ
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    """A public name, from its module. Raises AttributeError for any other."""
    if name not in _HOME:
        raise AttributeError(f"module 'galc' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOME[name]), _INSIDE.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
