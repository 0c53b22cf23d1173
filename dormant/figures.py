"""Draws figures from runs: PNG, PDF, and the CSV behind them."""

import os
import sys
from collections.abc import Sequence

from dormant.analysis.figure import draw_figures
from dormant.analysis.quickstart import draw_quickstart
from dormant.command import DONE, Parser, finish, writing
from dormant.paper import ENTRIES, chosen

EXAMPLES = """examples:
  python -m dormant.figures --runs runs/quickstart --figure quickstart
  python -m dormant.figures --runs runs/reproduce/smoke --figure 7 10a
  python -m dormant.figures --runs runs/reproduce/smoke --figure all --out figures
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant figures", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--runs", required=True, help="a run, or a folder of runs")
    made.add_argument(
        "--figure",
        nargs="+",
        default=["all"],
        help="of: " + ", ".join(["all", "quickstart", *ENTRIES]),
    )
    made.add_argument("--out", default="", help="where to write them (default: DIR/figures)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: draw(arguments.runs, arguments.figure, arguments.out))


def draw(runs: str, named: Sequence[str], out: str) -> int:
    """Draws the named figures of the runs; prints what there is to know and the paths."""
    figures = [name for name in named if name != "quickstart"]
    if figures:
        chosen(figures)
    out = out or os.path.join(runs, "figures")
    with writing(out):
        paths = draw_quickstart(runs, out) if "quickstart" in named else []
        drawn, lines = draw_figures(runs, figures, out) if figures else ([], [])
    print("\n".join([*lines, *paths, *drawn]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
