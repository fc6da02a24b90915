"""The numbers that the paper reports (arXiv 2108.02032), each with its table, figure or section."""

import json
from functools import cache
from importlib import resources

import pandas as pd


@cache
def facts() -> dict:
    """The whole of ``published.json beside this file``; ``where`` names the part of the paper that a group is from."""
    return json.loads(resources.files("galc.results").joinpath("published.json").read_text(encoding="utf-8"))


def table(group: str = "noise_sweep") -> pd.DataFrame:
    """One published table, a row per measurement.

    ``"noise_sweep"`` (Table 1, Figs. 2 and 5): method, noise in [0, 1], mAP, CF1, OF1 in percent.
    ``"true_correction"`` (Fig. 6b): method, gold_fraction in [0, 1], mAP in percent.
    Raises ``ValueError`` for another name.
    """
    tables = {name: entry for name, entry in facts().items() if "rows" in entry}
    if group not in tables:
        raise ValueError(f"no published table {group!r}; there are {', '.join(sorted(tables))}")
    return pd.DataFrame(tables[group]["rows"], columns=tables[group]["columns"])
