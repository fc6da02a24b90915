"""``python -m galc.sweep``: the same as ``galc sweep``."""

import sys

from galc.cli import main

if __name__ == "__main__":
    sys.exit(main(["sweep", *sys.argv[1:]]))
