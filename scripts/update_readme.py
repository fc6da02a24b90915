"""Take the results of ``make study`` into outputs/reference/ and the README: ``python scripts/update_readme.py``.

The README's table is made from outputs/reference/table1.csv alone (a test holds the two together).
"""

import re

import matplotlib

matplotlib.use("Agg")

import pandas as pd

from galc import plots, published, store

REFERENCE = store.ROOT / "outputs" / "reference"
README = store.ROOT / "README.md"
BLOCK = re.compile(r"(<!-- table1 -->\n).*?(<!-- /table1 -->)", re.DOTALL)


def markdown(table: pd.DataFrame) -> str:
    """mAP of the last epoch by method and noise level, the paper's two rows below ours, as a Markdown table."""
    frame = plots.results_frame(table, published.table(), ["mAP"]).droplevel(0)
    lines = [["mAP of the last epoch, labels flipped:", *frame.columns], ["---", *["---:"] * len(frame.columns)]]
    lines += [[name, *row] for name, row in zip(frame.index, frame.to_numpy(), strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_table(readme: str, table: pd.DataFrame) -> str:
    """The README's text with the table put between its two marks."""
    return BLOCK.sub(lambda found: found[1] + markdown(table) + found[2], readme)


def main() -> None:
    table = pd.read_csv(store.outputs() / "table1.csv")
    store.write_text(REFERENCE / "table1.csv", table.round(4).to_csv(index=False))
    panels = plots.noise_panels(table, published.table())
    panels[0].figure.savefig(REFERENCE / "noise_sweep.png", dpi=150, bbox_inches="tight")
    store.write_text(README, with_table(README.read_text(encoding="utf-8"), table.round(4)))


if __name__ == "__main__":
    main()
