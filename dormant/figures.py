"""Draws figures from runs: PNG, PDF, and the CSV behind them."""

import argparse
import os
import sys
from collections.abc import Sequence

from dormant.analysis.figure import WIDTHS, Look, draw_figures
from dormant.analysis.quickstart import draw_quickstart
from dormant.command import DONE, Parser, a_folder, a_path, finish, writing
from dormant.paper import ENTRIES, chosen
from dormant.types import check_name

EXAMPLES = """examples:
  python -m dormant.figures --runs runs/quickstart --figure quickstart
  python -m dormant.figures --runs runs/reproduce/smoke --figure 7 10a
  python -m dormant.figures --runs runs/reproduce/smoke --figure all --out figures
  python -m dormant.figures --runs runs/reproduce/laptop --figure 9 --width column --no_text
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant figures", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--runs", required=True, type=a_folder, help="a run, or a folder of runs")
    made.add_argument(
        "--figure",
        nargs="+",
        action="extend",
        help="of: " + ", ".join(["all", "quickstart", *ENTRIES]),
    )
    made.add_argument("--out", type=a_path, help="where to write them (default: DIR/figures)")
    made.add_argument(
        "--width",
        default="screen",
        help="screen (default), or for print: column (3.25 inches), page (6.75 inches)",
    )
    made.add_argument(
        "--no_text", action="store_true", help="no title and no caption in the images"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: draw(arguments))


def draw(arguments: argparse.Namespace) -> int:
    """Draws the named figures of the runs; prints what there is to know and the paths."""
    check_name("width", arguments.width, WIDTHS)
    look = Look(arguments.width, text=not arguments.no_text)
    runs, named = arguments.runs, arguments.figure or ["all"]
    figures = [name for name in named if name != "quickstart"]
    if figures:
        chosen(figures)
    out = arguments.out or os.path.join(runs, "figures")
    with writing(out):
        paths = draw_quickstart(runs, out, look) if "quickstart" in named else []
        drawn, lines = draw_figures(runs, figures, out, look) if figures else ([], [])
    print("\n".join([*lines, *paths, *drawn]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
