"""How long each sweep of the paper takes: ``python benchmarks/bench_sweeps.py [params/a.yaml params/b.yaml ...]``.

Runs them one after the other as a user would, into the outputs folder, with a line for each in its ``sweeps.csv``:
runs, how many of their notebooks were executed, wall-clock seconds, peak memory of the largest process, the machine.
What a sweep finds in the folder it does not compute again: name an empty one in $GALC_OUTPUTS to see what a first time
takes. The first sweep also draws the data set and extracts its features.
"""

import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from galc import store

NAMES = "table1 memorization true_correction single_label methods gold_size single_budget beyond"
SWEEPS = [f"params/{name}.yaml" for name in NAMES.split()]


def main() -> int:
    rows, codes = [], []
    for file in sys.argv[1:] or SWEEPS:
        name, started = Path(file).stem, time.time()
        codes.append(subprocess.run([sys.executable, "-m", "galc.sweep", file], cwd=store.ROOT).returncode)
        points = list((store.outputs() / "sweeps" / name).glob("*.ipynb"))
        rows.append(
            {
                "sweep": name,
                "runs": len(points),
                "executed": sum(path.stat().st_mtime >= started for path in points),
                "seconds": round(time.time() - started),
                "peak_GB": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6, 2),
                "cores": os.cpu_count(),
                "machine": f"{platform.system()} {platform.machine()}",
            }
        )
        table = pd.DataFrame(rows)
        store.write_text(store.outputs() / "sweeps.csv", table.to_csv(index=False))
    print(table.to_string(index=False))
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
