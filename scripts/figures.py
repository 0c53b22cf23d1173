"""Draws figures from runs:  python scripts/figures.py --runs DIR --figure quickstart"""
import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.analysis.quickstart import draw_quickstart  # noqa: E402
from dormant.types import DormantError, nearest  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", required=True, help="a run, or a folder of runs")
    parser.add_argument("--figure", default="quickstart", help="which figure")
    parser.add_argument("--out", default="", help="where to write it (default: DIR/figures)")
    args = parser.parse_args()
    try:
        if args.figure != "quickstart":
            raise DormantError(f"unknown figure {args.figure!r}: {nearest(args.figure, ['quickstart'])}")
        print("\n".join(draw_quickstart(args.runs, args.out)))
    except DormantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
