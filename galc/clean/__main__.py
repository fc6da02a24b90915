"""``python -m galc.clean``: the same as ``galc clean``."""

import sys

from galc.cli import main

if __name__ == "__main__":
    sys.exit(main(["clean", *sys.argv[1:]]))
