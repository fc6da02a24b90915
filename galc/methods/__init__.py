"""The methods of the study: `galc.methods.base.METHODS`. Whatever module lies in this folder adds its rows."""

import pkgutil
from importlib import import_module

from galc.methods.base import METHODS

# the table has the rows of these modules in this order, and those of any other behind them
ORDER = ["baselines", "paper", "galc_plus", "other_matrices", "t_revision", "reweighting", "cleanlab_filter"]
ORDER += ["variations", "forward", "without_c", "small_loss"]

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)
_homes = {name: row.home.rpartition(".")[2] for name, row in METHODS.items()}
for _name in sorted(METHODS, key=lambda name: [*ORDER, _homes[name]].index(_homes[name])):
    METHODS[_name] = METHODS.pop(_name)
