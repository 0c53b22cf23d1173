"""Trains every combination of a grid, on this machine or on a Ray cluster; the same command goes on
with a sweep.

  python scripts/sweep.py --gin_files configs/dqn.gin configs/redo.gin --grid
      "ReDo.tau=[0,0.01,0.025,0.1]" \\ --grid "replay_ratio=[0.25,0.5,1,2]" --games DemonAttack
      Asterix --methods none redo --seeds 5 \\ --base_dir runs/grid --dry_run

What only differs in seed, method, tau, learning rate or weight decay is trained together in one
program; everything else is a run of its own, in base_dir/<game>/<setting>=<value>,... More:
docs/sweeps.md.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.experiments import command  # noqa: E402


def main() -> int:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--gin_files",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="later files win",
    )
    made.add_argument(
        "--gin_bindings", nargs="+", action="extend", default=[], metavar="NAME=VALUE"
    )
    made.add_argument(
        "--grid", action="append", default=[], metavar="NAME=[VALUES]", help="an axis; repeatable"
    )
    made.add_argument("--games", nargs="+", default=[], metavar="GAME")
    made.add_argument(
        "--seeds", type=int, default=1, help="members of each setting, with seeds 0, 1, ..."
    )
    made.add_argument(
        "--methods", nargs="+", default=[], metavar="METHOD", help="none, redo, reset, weight_decay"
    )
    made.add_argument(
        "--members_per_run", type=int, default=0, help="at most (default: all that can be)"
    )
    made.add_argument(
        "--base_dir",
        required=True,
        help="folder of the sweep; on a cluster one that all nodes share",
    )
    command.add_arguments(made)
    return command.sweep(made.parse_args())


if __name__ == "__main__":
    sys.exit(main())
