"""What is said of methods and estimators over several settings, not only levels, of noise."""

import pandas as pd

from galc.plots.groups import group_label, over_seeds
from galc.plots.style import method_title
from galc.results.about_methods import ALONE, BEST, margins, no_run
from galc.results.words import Finding, join, signed


def lead(table: pd.DataFrame, method: str, by: str, metric: str = "mAP") -> Finding:
    """In how many groups of ``by`` a method is above the best of all others (bounds left out), and where it is not."""
    gap = margins(table, method, metric, by=by)
    if list(gap.index) == [BEST]:
        return Finding(ALONE)
    best, title = gap.loc[BEST], method_title(method)

    def place(group: object) -> str:
        rival = method_title(gap[group].drop(BEST).idxmin())
        return f"at *{group_label(by, group)}* by {signed(best[group])} points against {rival}"

    text = f"{title} is above the best of the other methods in {(best > 0).sum()} of {len(best)} settings"
    behind = best.index[best <= 0]
    text += (
        f"; it is not {join([place(group) for group in behind])}."
        if len(behind)
        else f", least {place(best.idxmin())}."
    )
    return Finding(text)


def against(table: pd.DataFrame, method: str, rival: str, by: str, metric: str = "mAP") -> Finding:
    """How far a method is from one other in each group of ``by``; also from one that is a bound.

    Groups that lack one of the two are left out.
    """
    if (nothing := no_run(table, method, rival)) is not None:
        return nothing
    gap = margins(table, method, metric, bounds=(), by=by).loc[rival]
    parts = [f"{signed(points)} at *{group_label(by, group)}*" for group, points in gap.dropna().items()]
    return Finding(f"{method_title(method)} against {method_title(rival)}: {join(parts)}.")


def nearest(errors: pd.DataFrame, by: str) -> Finding:
    """Which estimators are nearest to the true C in each group of ``by``, beside believing every label: a list.

    ``errors``: `galc.study.runs.estimator_errors`.
    """
    curves = over_seeds(errors, by, "row_l1", series="estimator")
    means, lines = pd.DataFrame({name: curve["mean"] for name, curve in curves.items()}).T, []
    for group, column in means.items():
        order = column.drop(["identity", "true"], errors="ignore").sort_values()
        text = f"- {group_label(by, group)}: *{order.index[0]}* ({order.iloc[0]:.2f})"
        text += f", then *{order.index[1]}* ({order.iloc[1]:.2f})" if len(order) > 1 else ""
        if "identity" in means.index:
            worse = [f"*{name}*" for name in order.index[order > column["identity"]]]
            text += f"; believing every label errs by {column['identity']:.2f}"
            text += f", and {join(worse)} by more" if worse else ""
        lines.append(text + ".")
    return Finding("\n".join(lines))
