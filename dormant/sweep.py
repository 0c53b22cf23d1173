"""Trains every combination of a grid, on this machine or a Ray cluster. The same command resumes.

What differs only in seed, method, tau, learning rate or weight decay is trained together in one
program; everything else is a run of its own, in base_dir/<game>/<setting>=<value>,... More:
docs/sweeps.md.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence

from dormant.command import Parser, a_path, add_gin_flags, finish, imports, say
from dormant.experiments import launch
from dormant.experiments.grid import Sweep, read_grid

EXAMPLES = """example (9 GB of replay memory at a time):
  python -m dormant.sweep --gin_files dqn.gin redo.gin \\
      --grid "ReDo.tau=[0,0.01,0.025,0.1]" --grid "replay_ratio=[0.25,0.5,1,2]" \\
      --games DemonAttack Asterix --methods none redo --seeds 5 \\
      --gin_bindings DQN.replay_capacity=50000 --base_dir runs/grid --dry_run
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant sweep", description=__doc__, epilog=EXAMPLES)
    add_gin_flags(made)
    made.add_argument(
        "--grid", action="append", default=[], metavar="NAME=[VALUES]", help="an axis; repeatable"
    )
    made.add_argument(
        "--games",
        nargs="+",
        action="extend",
        default=[],
        metavar="GAME",
        help="one run or more of each (default: Run.game)",
    )
    made.add_argument(
        "--seeds", type=int, help="members of each setting, with seeds 0, 1, ... (= Run.seeds)"
    )
    made.add_argument(
        "--methods",
        nargs="+",
        action="extend",
        default=[],
        metavar="METHOD",
        help="none, redo, reset, weight_decay, ... (= Run.methods)",
    )
    made.add_argument(
        "--base_dir",
        required=True,
        type=a_path,
        help="folder of the sweep; on a cluster one that all nodes share",
    )
    launch.add_arguments(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: sweep(arguments))


def sweep(arguments: argparse.Namespace) -> int:
    """Executes the sweep that the flags describe; returns the exit code."""
    swept = sweep_of(arguments)
    code = launch.launch([swept], arguments.base_dir, arguments, show_warnings=True)
    if not (arguments.dry_run or arguments.print_commands):
        report = f"python -m dormant.report --runs {shlex.quote(arguments.base_dir)}"
        say(f"what it says of the paper's claims: {report}")
    return code


def sweep_of(arguments: argparse.Namespace) -> Sweep:
    """The sweep that the flags describe."""
    return Sweep(
        files=arguments.gin_files,
        bindings=[*imports(arguments.modules), *arguments.gin_bindings],
        grid=read_grid(arguments.grid),
        games=arguments.games,
        seeds=arguments.seeds,
        methods=arguments.methods,
        members_per_run=arguments.members_per_run,
    )


if __name__ == "__main__":
    sys.exit(main())
