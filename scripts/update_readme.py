"""Take the results of ``make study`` into outputs/reference/ and the README: ``python scripts/update_readme.py``.

So are the times of the sweeps, where benchmarks/bench_sweeps.py has measured them. The README's tables are made from
outputs/reference/*.csv alone (a test holds them together).
"""

import re

import matplotlib

matplotlib.use("Agg")

import pandas as pd

from galc import plots, published, store

REFERENCE = store.ROOT / "outputs" / "reference"
README = store.ROOT / "README.md"
BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->)", re.DOTALL)


def results(table: pd.DataFrame) -> str:
    """mAP of the last epoch by method and noise level, the paper's two rows below ours, as a Markdown table."""
    frame = plots.results_frame(table, published.table(), ["mAP"]).droplevel(0)
    header = ["mAP of the last epoch, labels flipped:", *frame.columns]
    return markdown(header, [[name, *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)])


def times(table: pd.DataFrame) -> str:
    """What each sweep takes, as a Markdown table."""
    header = [f"{table['cores'][0]} cores, {table['machine'][0]}", "runs", "minutes", "peak memory, GB"]
    names = [f"`params/{name}.yaml`" for name in table["sweep"]]
    minutes = [f"{seconds / 60:.1f}" for seconds in table["seconds"]]
    columns = [names, table["runs"], minutes, table["peak_GB"]]
    return markdown(header, [list(map(str, row)) for row in zip(*columns, strict=True)])


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


TABLES = {"table1": results, "sweeps": times}


def with_tables(readme: str, tables: dict[str, pd.DataFrame]) -> str:
    """The README's text with each of TABLES put between its two marks."""
    return BLOCK.sub(lambda found: found[1] + TABLES[found[2]](tables[found[2]]) + found[3], readme)


def stored() -> dict[str, pd.DataFrame]:
    return {name: pd.read_csv(REFERENCE / f"{name}.csv") for name in TABLES}


def main() -> None:
    table = pd.read_csv(store.outputs() / "table1.csv")
    store.write_text(REFERENCE / "table1.csv", table.round(4).to_csv(index=False))
    if (measured := store.outputs() / "sweeps.csv").exists():
        store.write_text(REFERENCE / "sweeps.csv", measured.read_text(encoding="utf-8"))
    panels = plots.noise_panels(table, published.table())
    panels[0].figure.savefig(REFERENCE / "noise_sweep.png", dpi=150, bbox_inches="tight")
    store.write_text(README, with_tables(README.read_text(encoding="utf-8"), stored()))


if __name__ == "__main__":
    main()
