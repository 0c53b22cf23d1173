"""One command a figure: trains what it needs, draws it, writes the report. The same command goes on
where it stopped.

  python scripts/reproduce.py --figure 7 --budget smoke --dry_run
  python scripts/reproduce.py --figure 7 --budget smoke
  python scripts/reproduce.py --figure all --budget small --executor ray --address auto
  --gpus_per_run 1

Budgets: paper (the published protocol), small (meant for hours on one GPU), smoke (minutes on two
cores). Runs, figures and report are in base_dir/<budget>; figures that need the same runs share
them.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.analysis.figure import draw_figures  # noqa: E402
from dormant.analysis.report import write_report  # noqa: E402
from dormant.experiments import command  # noqa: E402
from dormant.experiments.budgets import sweeps_of  # noqa: E402


def main() -> int:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--figure", nargs="+", required=True, help="1, 10a, table6, heatmap, ... or all"
    )
    made.add_argument("--budget", default="smoke", help="paper, small or smoke (default)")
    made.add_argument(
        "--base_dir", default="runs/reproduce", help="on a cluster a folder that all nodes share"
    )
    made.add_argument(
        "--members_per_run", type=int, default=0, help="at most (default: all that can be)"
    )
    command.add_arguments(made)
    arguments = made.parse_args()
    return command.guarded(lambda: reproduce(arguments))


def reproduce(arguments: argparse.Namespace) -> int:
    """Trains, draws, reports; what could be trained is drawn even if some runs failed."""
    sweeps = sweeps_of(arguments.figure, arguments.budget)
    base_dir = os.path.join(arguments.base_dir, arguments.budget)
    swept = [each._replace(members_per_run=arguments.members_per_run) for each in sweeps]
    code = command.carry_out(swept, base_dir, arguments)
    if arguments.dry_run:
        return code
    every = "all" in arguments.figure
    figures, known = draw_figures(
        base_dir, ["all"] if every else arguments.figure, os.path.join(base_dir, "figures")
    )
    pages, _ = write_report(
        base_dir, os.path.join(base_dir, "report"), None if every else arguments.figure
    )
    print("\n".join([*known, *figures, *pages]))
    return code


if __name__ == "__main__":
    sys.exit(main())
