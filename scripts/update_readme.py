"""Take results into outputs/reference/ and into the tables of the documents: ``python scripts/update_readme.py``.

    python scripts/update_readme.py                      # make paper's, of the embedded data set
    GALC_OUTPUTS=DIR python scripts/update_readme.py coco2014_mini     # sweeps of another data set, under that name

The tables of README.md and docs/findings.md are made from outputs/reference/*.csv alone (a test holds them together).
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import pandas as pd

from galc import plots, store
from galc.results import about_methods, about_the_paper, groups, significance, tables

REFERENCE = store.ROOT / "outputs" / "reference"
DOCUMENTS = [store.ROOT / "README.md", store.ROOT / "docs" / "findings.md"]
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
OTHERS = ("coco2014_mini",)  # data sets beside the embedded one
STUDIES = ("beyond", "methods", "gold_size", "single_budget", "reach")  # of each data set
RUN = ["method", "noise_kind", "noise", "gold_fraction", "single_label_limit", "seed"]  # what a run is told by
KEPT = [*RUN, "mAP", "CF1_gold", "OF1_gold", "ECE"]
KEPT += ["C_row_l1", "C_diagonal", "C_off_diagonal_correlation", "labels_removed", "labels_added", "seconds"]


def results(table: pd.DataFrame) -> str:
    """mAP of the last epoch by method and noise level, the paper's two rows below ours, as a Markdown table."""
    frame = tables.results_frame(table, about_the_paper.reported(), ["mAP"]).droplevel(0)
    header = ["mAP of the last epoch, labels flipped:", *frame.columns]
    return markdown(header, [[name, *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)])


def speed(table: pd.DataFrame) -> str:
    """The benchmark at the size of COCO, as it printed it."""
    return markdown(list(table.columns), table.astype(str).to_numpy().tolist())


def by_column(table: pd.DataFrame, by: str, metric: str = "mAP") -> str:
    """mAP of every method (rows) in every group of ``by``."""
    frame = tables.results_frame(table, None, [metric], by=by).droplevel(0)
    header = [f"{metric}, {frame.columns.name}:", *frame.columns]
    return markdown(header, [[name, *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)])


def by_setting(table: pd.DataFrame) -> str:
    """mAP in every setting (rows), the best in bold, and how sure the lead of the recommended method is."""
    table = table.assign(setting=groups.setting)
    tests = significance.against_runner_up(table, "galc-plus", by="setting")
    frame = tables.results_frame(table, None, ["mAP"], by="setting").droplevel(0).T
    rivals = [column for column in frame.columns if column != "True-Correction"]
    rows = []
    for setting, row in frame.iterrows():
        best = max(rivals, key=lambda name: float(row[name].split()[0] or 0))
        cells = [f"**{row[name]}**" if name == best else row[name] for name in frame.columns]
        test = tests.loc[setting]
        rows.append([str(setting), *cells, f"{test['difference']:+.1f}", f"{test['holm']:.1g}"])
    return markdown(["mAP", *frame.columns, "lead", "p (Holm)"], rows)


def matrices(table: pd.DataFrame) -> str:
    """Errors of the C of the recommended method and of the paper's, in every setting."""
    table = table.assign(setting=groups.setting)
    columns = {"C_row_l1": "row L1", "C_diagonal": "diagonal", "C_off_diagonal_correlation": "correlation"}
    names = [name for name in ("galc-slr", "galc-plus") if name in set(table["method"])]
    rows = []
    for setting, group in table.groupby("setting", sort=False):
        one = group[group["method"] == names[-1]]
        row = [str(setting), *(f"{100 * one[rate].mean():.1f} %" for rate in ("labels_removed", "labels_added"))]
        for name in names:
            own = group[group["method"] == name]
            row += ["" if own[c].isna().any() else f"{own[c].mean():.2f} ± {own[c].std():.2f}" for c in columns]
        rows.append(row)
    heads = [f"{groups.method_title(name)}: {text}" for name in names for text in columns.values()]
    return markdown(["noise", "labels removed", "wrong among the labels", *heads], rows)


def side_by_side(table: pd.DataFrame) -> str:
    """Every method under the two settings of params/methods.yaml: accuracy, calibration and cost."""
    table = groups.ranked(table.assign(setting=groups.setting))
    settings = list(dict.fromkeys(table["setting"]))
    rows = []
    for name, own in table.groupby("method", sort=False):
        cells = []
        for metric in ("mAP", "OF1_gold", "ECE"):
            means = own.groupby("setting")[metric].agg(["mean", "std"])
            cells += [f"{means.loc[s, 'mean']:.1f} ± {means.loc[s, 'std']:.1f}" if s in means.index else ""
                      for s in settings]  # fmt: skip
        rows.append([groups.method_title(name), *cells, f"{own['seconds'].median():.1f}"])
    return markdown(
        ["", *(f"{metric} {s}" for metric in ("mAP", "OF1", "ECE") for s in settings), "seconds a run"], rows
    )


def ladder(table: pd.DataFrame) -> str:
    """What each ingredient brings: paired differences of two rows that differ in one thing."""
    steps = about_methods.ladder(table.assign(setting=groups.setting), by="setting")
    wide = steps.assign(
        cell=[f"{d:+.1f} ± {s:.1f}" for d, s in zip(steps["difference"], steps["std"], strict=True)],
        pair=[
            f"{groups.method_title(b)} → {groups.method_title(m)}"
            for b, m in zip(steps["base"], steps["method"], strict=True)
        ],
    ).pivot_table(index=["text", "pair"], columns="setting", values="cell", aggfunc="first", sort=False)
    rows = [[*index, *row.fillna("")] for index, row in zip(wide.index, (r for _, r in wide.iterrows()), strict=True)]
    return markdown(["ingredient", "from → to", *wide.columns], rows)


def decisions(table: pd.DataFrame) -> str:
    """The best method of every setting, and the cheapest that is within a point of it."""
    choice = about_methods.decisions(table.assign(setting=groups.setting), "setting")
    rows = [
        [str(group), groups.method_title(row["best"]), f"{row['value']:.1f}",
         f"{row['seconds']:.0f} s", groups.method_title(row["cheapest"]), f"{row['its']:.1f}",
         f"{row['its_seconds']:.0f} s"]
        for group, row in choice.iterrows()
    ]  # fmt: skip
    return markdown(["noise", "best", "mAP", "cost", "cheapest within a point", "mAP", "cost"], rows)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


# block -> (file of outputs/reference/ without .csv, how its table is made)
TABLES: dict[str, tuple[str, Callable[[pd.DataFrame], str]]] = {
    "table1": ("table1", results),
    "scale": ("scale", speed),
}
for where in ("", *(f"_{name}" for name in OTHERS)):
    TABLES |= {
        f"beyond{where}": (f"beyond{where}", by_setting),
        f"matrices{where}": (f"beyond{where}", matrices),
        f"decisions{where}": (f"beyond{where}", decisions),
        f"methods{where}": (f"methods{where}", side_by_side),
        f"ladder{where}": (f"methods{where}", ladder),
        f"gold{where}": (f"gold_size{where}", partial(by_column, by="gold_fraction")),
        f"single{where}": (f"single_budget{where}", partial(by_column, by="single_label_limit")),
        f"reach{where}": (f"reach{where}", partial(by_column, by="noise")),
        f"reach_C{where}": (f"reach{where}", matrices),
    }


def complete(file: str, table: pd.DataFrame | None) -> pd.DataFrame:
    """The results of a study, one run for every method, setting and seed; ``file``: its name in outputs/reference/.

    Raises ValueError naming the first run that is not there, and the command that makes it.
    """
    other = next((name for name in OTHERS if file.endswith(f"_{name}")), "")
    command = f"python -m galc.sweep params/{file.removesuffix(f'_{other}')}.yaml" + (
        " -p data FOLDER" if other else ""
    )
    if table is None:
        raise ValueError(f"there are no results of {file}; make them by {command}, then run this again")
    if names := [name for name in RUN if name in table]:
        values = {name: table[name].unique() for name in names}
        values["method"] = dict.fromkeys([*values["method"], "galc-slr", "galc-plus"])  # which the tables are about
        runs = set(table[names].itertuples(index=False, name=None))
        for run in product(*values.values()):
            if run not in runs:
                words = ", ".join(f"{name} {value}" for name, value in zip(names, run, strict=True))
                raise ValueError(f"{file} has no run of {words}; make it by {command}, then run this again")
    return table


def with_tables(text: str, tables: dict[str, pd.DataFrame]) -> str:
    """A document's text with each of TABLES that it has marks for put between them. Raises as `complete` does."""

    def filled(found: re.Match) -> str:
        file, make = TABLES[found[2]]
        return found[1] + make(complete(file, tables.get(file))) + found[3]

    return BLOCK.sub(filled, text)


def stored() -> dict[str, pd.DataFrame]:
    """The stored results by file name."""
    return {path.stem: pd.read_csv(path) for path in sorted(REFERENCE.glob("*.csv"))}


def take(name: str, into: str, columns: list[str] | None = None) -> bool:
    """One table of the outputs folder into outputs/reference/, if it is there, and whole (else as `complete`)."""
    source = store.outputs() / f"{name}.csv"
    if not source.exists():
        return False
    table = complete(into, pd.read_csv(source).round(4))
    table = table[[column for column in columns or table.columns if column in table]]
    store.write_text(REFERENCE / f"{into}.csv", table.to_csv(index=False))
    return True


def main(data_set: str = "") -> None:
    suffix = f"_{data_set}" if data_set else ""
    for name in STUDIES:
        take(name, name + suffix, KEPT)
    if not data_set:
        take("scale", "scale")
        if take("table1", "table1"):
            panels = plots.noise_panels(pd.read_csv(REFERENCE / "table1.csv"), about_the_paper.reported())
            panels[0].figure.savefig(REFERENCE / "noise_sweep.png", dpi=150, bbox_inches="tight")
    tables = stored()
    for document in filter(Path.exists, DOCUMENTS):
        store.write_text(document, with_tables(document.read_text(encoding="utf-8"), tables))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(f"error: {error}")
