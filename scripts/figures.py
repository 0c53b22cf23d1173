"""Draws figures from runs: PNG, PDF, and the CSV behind them.

python scripts/figures.py --runs DIR --figure quickstart
python scripts/figures.py --runs DIR --figure 7 10a
python scripts/figures.py --runs DIR --figure all
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.analysis.figure import draw_figures  # noqa: E402
from dormant.analysis.quickstart import draw_quickstart  # noqa: E402
from dormant.paper import ENTRIES, chosen  # noqa: E402
from dormant.types import DormantError  # noqa: E402


def main() -> int:
    valid = ["all", "quickstart", *ENTRIES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", required=True, help="a run, or a folder of runs")
    parser.add_argument("--figure", nargs="+", default=["all"], help="of: " + ", ".join(valid))
    parser.add_argument("--out", default="", help="where to write them (default: DIR/figures)")
    args = parser.parse_args()
    out = args.out or os.path.join(args.runs, "figures")
    try:
        others = [name for name in args.figure if name != "quickstart"]
        if others:
            chosen(others)
        paths = draw_quickstart(args.runs, out) if "quickstart" in args.figure else []
        drawn, lines = draw_figures(args.runs, others, out) if others else ([], [])
    except DormantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*lines, *paths, *drawn]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
