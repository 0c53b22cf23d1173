"""``python -m dormant.benchmarks NAME``."""

import sys

from dormant.benchmarks.command import main

if __name__ == "__main__":
    sys.exit(main())
