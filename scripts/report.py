"""Writes report.html and report.md: claim, published, ours, verdict.

python scripts/report.py --runs DIR
python scripts/report.py --runs DIR --figure 7 10a --out report
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.analysis.report import write_report  # noqa: E402
from dormant.types import DormantError  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", required=True, help="a run, or a folder of runs")
    parser.add_argument(
        "--figure", nargs="*", default=None, help="only these figures (default: all)"
    )
    parser.add_argument("--out", default="", help="where to write it (default: DIR/report)")
    args = parser.parse_args()
    try:
        paths, lines = write_report(
            args.runs, args.out or os.path.join(args.runs, "report"), args.figure
        )
    except DormantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join([*lines, *paths]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
