"""Draws figures from runs: PNG, PDF, and the CSV behind them."""

import os
import sys
from collections.abc import Iterable, Sequence

from dormant.analysis.entries import ENTRIES
from dormant.analysis.figure import draw_figures
from dormant.analysis.quickstart import draw_quickstart
from dormant.command import DONE, Parser, finish, writing
from dormant.types import DormantError, nearest

EXAMPLES = """examples:
  python -m dormant.figures --runs runs/quickstart --figure quickstart
  python -m dormant.figures --runs runs/reproduce/smoke --figure 7 10a
  python -m dormant.figures --runs runs/reproduce/smoke --figure all --out figures
"""
UNSUPPORTED = ("3", "4", "5", "6", "8", "15", "19")  # figures of the paper without an entry yet


def check_figures(figures: Sequence[str], valid: Iterable[str]) -> None:
    """Raises a DormantError for a figure that is unknown, or not supported yet."""
    valid = list(valid)
    for figure in figures:
        if figure in valid:
            continue
        if figure in UNSUPPORTED:
            raise DormantError(f"figure {figure} of the paper is not supported yet")
        raise DormantError(f"unknown figure {figure!r}; {nearest(figure, valid)}")


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


def draw(runs: str, chosen: Sequence[str], out: str) -> int:
    """Draws the chosen figures of the runs; prints what there is to know and the paths."""
    check_figures(chosen, ["all", "quickstart", *ENTRIES])
    out = out or os.path.join(runs, "figures")
    figures = ["all"] if "all" in chosen else [name for name in chosen if name != "quickstart"]
    with writing(out):
        paths = draw_quickstart(runs, out) if "quickstart" in chosen else []
        drawn, lines = draw_figures(runs, figures, out) if figures else ([], [])
    print("\n".join([*lines, *paths, *drawn]))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
