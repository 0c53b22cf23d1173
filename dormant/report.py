"""Writes report.html and report.md: claim, published, ours, verdict."""

import os
import sys
from collections.abc import Sequence

from dormant.analysis.entries import ENTRIES
from dormant.analysis.report import write_report
from dormant.command import DONE, Parser, finish, writing
from dormant.figures import check_figures

EXAMPLES = """examples:
  python -m dormant.report --runs runs/reproduce/smoke
  python -m dormant.report --runs runs/reproduce/smoke --figure 7 10a --out report
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant report", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--runs", required=True, help="a run, or a folder of runs")
    made.add_argument("--figure", nargs="+", default=["all"], help="only these (default: all)")
    made.add_argument("--out", default="", help="where to write it (default: DIR/report)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: compare(arguments.runs, arguments.figure, arguments.out))


def compare(runs: str, chosen: Sequence[str], out: str) -> int:
    """Writes the report of the chosen figures; prints what there is to know and the paths."""
    check_figures(chosen, ["all", *ENTRIES])
    out = out or os.path.join(runs, "report")
    with writing(out):
        paths, lines = write_report(runs, out, None if "all" in chosen else list(chosen))
    print("\n".join([*lines, *paths]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
