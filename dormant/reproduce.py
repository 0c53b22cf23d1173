"""Trains what figures of the paper need, draws them, writes the report. The same command resumes.

Budgets: paper (the published protocol), small (meant for hours on one GPU), laptop (the same
questions on MinAtar, nights on two cores), smoke (minutes on two cores; no verdicts). Runs,
figures and report are in base_dir/<budget>; figures that need the same runs share them.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from dormant.analysis.figure import draw_figures
from dormant.analysis.report import write_report
from dormant.command import Parser, finish, writing
from dormant.experiments import launch
from dormant.experiments.budgets import sweeps_of
from dormant.paper.games import MUJOCO_VERSION

EXAMPLES = """examples:
  python -m dormant.reproduce --figure 7 --budget smoke --dry_run
  python -m dormant.reproduce --figure 7 --budget smoke
  python -m dormant.reproduce --figure all --budget small --executor ray --address auto \\
      --gpus_per_run 1
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant reproduce", description=__doc__, epilog=EXAMPLES)
    made.add_argument(
        "--figure", nargs="+", required=True, help="1, 10a, table6, heatmap, ... or all"
    )
    made.add_argument("--budget", default="smoke", help="paper, small, laptop or smoke (default)")
    made.add_argument(
        "--base_dir", default="runs/reproduce", help="on a cluster a folder that all nodes share"
    )
    made.add_argument(
        "--mujoco", default=MUJOCO_VERSION, help="v4 (the nearest to the paper's v2, default) or v5"
    )
    launch.add_arguments(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: reproduce(arguments))


def reproduce(arguments: argparse.Namespace) -> int:
    """Trains, draws, reports; what could be trained is drawn even if some runs failed."""
    sweeps = sweeps_of(arguments.figure, arguments.budget, arguments.mujoco)
    base_dir = os.path.join(arguments.base_dir, arguments.budget)
    code = launch.launch(sweeps, base_dir, arguments)
    if arguments.dry_run or arguments.print_commands:
        return code
    chosen = ["all"] if "all" in arguments.figure else arguments.figure
    with writing(base_dir):
        figures, known = draw_figures(base_dir, chosen, os.path.join(base_dir, "figures"))
        pages, _ = write_report(
            base_dir, os.path.join(base_dir, "report"), None if chosen == ["all"] else chosen
        )
    print("\n".join([*known, *figures, *pages]))
    return code


if __name__ == "__main__":
    sys.exit(main())
