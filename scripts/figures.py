"""Draws figures from runs: PNG, PDF, and the CSV behind them.

python scripts/figures.py --runs DIR --figure quickstart
python scripts/figures.py --runs DIR --figure 7 10a
python scripts/figures.py --runs DIR --figure all
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.analysis.entries import ENTRIES  # noqa: E402
from dormant.analysis.figure import draw_figures  # noqa: E402
from dormant.analysis.quickstart import draw_quickstart  # noqa: E402
from dormant.types import DormantError, nearest  # noqa: E402


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
        for figure in set(args.figure) - set(valid):
            raise DormantError(f"unknown figure {figure!r}; {nearest(figure, valid)}")
        paths = draw_quickstart(args.runs, out) if "quickstart" in args.figure else []
        figures = (
            ["all"]
            if "all" in args.figure
            else [name for name in args.figure if name != "quickstart"]
        )
        drawn, lines = draw_figures(args.runs, figures, out) if figures else ([], [])
    except DormantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*lines, *paths, *drawn]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
