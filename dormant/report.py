"""Writes report.html and report.md (of some figures: report_7_10a.html): claim, published, ours,
verdict.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from dormant.analysis.report import write_evidence, write_report
from dormant.command import DONE, Parser, a_folder, a_path, finish, writing
from dormant.paper import chosen
from dormant.types import DormantError

EXAMPLES = """examples:
  python -m dormant.report --runs runs/reproduce/smoke
  python -m dormant.report --runs runs/reproduce/smoke --figure 7 10a --out report
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant report", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--runs", required=True, type=a_folder, help="a run, or a folder of runs")
    made.add_argument("--figure", nargs="+", action="extend", help="only these (default: all)")
    made.add_argument("--out", type=a_path, help="where to write it (default: DIR/report)")
    made.add_argument(
        "--evidence",
        type=a_path,
        metavar="FILE",
        help="instead of the report a Markdown table of claims, and its figures beside it in "
        "figures/",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: compare(arguments))


def compare(arguments: argparse.Namespace) -> int:
    """Writes the report of the named figures; prints what there is to know and the paths."""
    runs, named = arguments.runs, arguments.figure or ["all"]
    chosen(named)
    figures = None if "all" in named else list(named)
    if arguments.evidence:
        if arguments.out:
            raise DormantError("--out is for the report; with --evidence none is written")
        with writing(os.path.dirname(arguments.evidence) or "."):
            print("\n".join([*write_evidence(runs, arguments.evidence, figures)]))
        return DONE
    out = arguments.out or os.path.join(runs, "report")
    with writing(out):
        paths, lines = write_report(runs, out, figures)
    print("\n".join([*lines, *paths]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
