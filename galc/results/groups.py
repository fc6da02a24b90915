"""Runs in groups, over seeds and in pairs, what groups and methods are called, and what sentences are made of."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from galc.methods.base import METHODS, Method

# the columns that runs are compared by, as axes call them
TITLES = {
    "noise": "labels flipped",
    "noise_kind": "kind of noise",
    "gold_fraction": "images trusted",
    "single_label_limit": "single-label images",
    "setting": "noise",
}

# --- words -----------------------------------------------------------------------------------------------------------


class Finding(str):
    """A computed text in Markdown; a notebook shows it as prose."""

    def _repr_markdown_(self) -> str:
        return str(self)


def percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f} %"


def signed(points: float, digits: int = 1) -> str:
    return f"{points:+.{digits}f}".replace("-", "−")


def plus_minus(mean: float, std: float, seeds: int, digits: int = 1, sign: str = "") -> str:
    """ "51.3 ± 0.6", without the deviation for one seed; "−0.4 ± 0.2" where ``sign`` is "+"."""
    return f"{mean:{sign}.{digits}f}".replace("-", "−") + (f" ± {std:.{digits}f}" if seeds > 1 else "")


def join(parts: Iterable[object]) -> str:
    """ "a, b and c" """
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last


def shorten(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# --- names -----------------------------------------------------------------------------------------------------------


def method_row(name: object) -> Method | None:
    """The row of a method by its name or the paper's ("ASL"); None for what is none."""
    return METHODS.get(str(name)) or METHODS.get(str(name).lower())


def method_title(name: object) -> str:
    """What a method is called in figures, tables and sentences."""
    row = method_row(name)
    return row.title if row else str(name)


def is_bound(method: str) -> bool:
    """Whether a method knows what no method can, the true C: it is shown, but never the best."""
    return method in METHODS and METHODS[method].estimator == "true"


def without_bounds(table: pd.DataFrame, but: str = "") -> pd.DataFrame:
    """The runs of methods that can be chosen, and of the one method ``but``."""
    return table[~table["method"].map(is_bound) | (table["method"] == but)]


def group_title(by: str) -> str:
    """What the groups of a column are, for an axis: "images trusted"."""
    return TITLES.get(by, by.replace("_", " "))


def group_label(by: str, value: object) -> str:
    """One group of a column, for a tick or a heading: "5 %", "≤ 50 a class"."""
    if by in ("noise", "gold_fraction"):
        return f"{100 * value:g} %"
    if by == "single_label_limit" and value != "all":
        return f"≤ {value} a class" if str(value) != "0" else "none"
    return str(value)


def setting(table: pd.DataFrame) -> pd.Series:
    """The noise of each run as text, "pair, 40 %"; without its kind where that is the same for all."""
    level = table["noise"].map(lambda share: group_label("noise", share))
    return table["noise_kind"] + ", " + level if "noise_kind" in table else level


# --- runs ------------------------------------------------------------------------------------------------------------


def history_frame(histories: Mapping[str, Sequence[Mapping]]) -> pd.DataFrame:
    """{name: one dict an epoch} as the frame that `galc.plots.learning_curves` takes, names in column method."""
    return pd.DataFrame([{"method": name, "seed": 0} | epoch for name, epochs in histories.items() for epoch in epochs])


def ranked(table: pd.DataFrame, metric: str = "mAP", series: str = "method") -> pd.DataFrame:
    """The same runs, those of the series with the highest mean first: figures and tables follow this order."""
    means = table.groupby(series)[metric].mean().sort_values(ascending=False)
    return table.iloc[table[series].map(means.rank(ascending=False)).argsort(kind="stable")].reset_index(drop=True)


def over_seeds(table: pd.DataFrame, by: str, metric: str, series: str = "method") -> dict[str, pd.DataFrame]:
    """{method: frame indexed by ``by`` with columns mean, std, seeds}, methods in the table's order.

    Numbers in ``by`` are sorted, other groups keep the table's order; std is 0 for one seed. ``series``: another column
    in place of method. Raises ``ValueError`` naming the columns that ``table`` lacks, or as `check_seeds` does.
    """
    missing = {series, by, metric} - set(table.columns)
    if missing:
        raise ValueError(f"the table has no column {', '.join(sorted(missing))}; it has {', '.join(table.columns)}")
    check_seeds(table, [series, by])
    numbers = pd.api.types.is_numeric_dtype(table[by])
    curves = {}
    for name, group in table.groupby(series, sort=False):
        runs = group.groupby(by, sort=numbers)[metric]
        curves[str(name)] = runs.agg(mean="mean", std="std", seeds="count").fillna({"std": 0.0})
    return curves


def means(table: pd.DataFrame, by: str, metric: str = "mAP", series: str = "method") -> pd.DataFrame:
    """Means over seeds: methods as rows and groups of ``by`` as columns, in the order of `over_seeds`."""
    curves = over_seeds(table, by, metric, series)
    return pd.DataFrame({name: curve["mean"] for name, curve in curves.items()}).T


def check_seeds(table: pd.DataFrame, keys: Sequence[str]) -> None:
    """Raise ``ValueError`` if one seed has several runs of the same ``keys``: a mean over them would mix settings."""
    if "seed" not in table or not table.duplicated([*keys, "seed"]).any():
        return
    known = ("method", "estimator", "epoch", *TITLES)
    differ = [name for name in known if name in table and name not in keys and table[name].nunique() > 1]
    raise ValueError(
        f"several runs have the same {', '.join(keys)} and seed; they differ in {', '.join(differ) or 'nothing'}: "
        "choose some, or compare by it"
    )


def paired(table: pd.DataFrame, over: str, reference: object, by: str, metric: str = "mAP") -> pd.DataFrame:
    """The difference of each run to the one with the same ``by`` and seed whose column ``over`` holds ``reference``.

    Returns the rows of all others with a column ``difference``, in the table's order; a run without a counterpart is
    left out. Raises ``ValueError`` if a run has several.
    """
    is_other = table[over] == reference
    check_seeds(table[is_other], [by])
    other = table[is_other].set_index([by, "seed"])[metric]
    rows = table[~is_other]
    counterpart = other.reindex(pd.MultiIndex.from_frame(rows[[by, "seed"]])).to_numpy()
    return rows.assign(difference=rows[metric] - counterpart).dropna(subset="difference").reset_index(drop=True)
