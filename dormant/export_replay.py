"""Writes the replay memories of a finished run of DQN: a data set for offline learning.

One file, with the memory of every member of the method "none" and the run's configuration.
``dormant reproduce --figure 4 --datasets GAME=FILE`` learns from it.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from dormant.command import DONE, Parser, a_path, finish, writing

EXAMPLES = """example:
  python -m dormant.export_replay --base_dir runs/space --out space.npz
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant export_replay", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--base_dir", required=True, type=a_path, help="a finished run of DQN")
    where = "where to write it (.npz)"
    made.add_argument("--out", required=True, type=a_path, metavar="FILE", help=where)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: export(arguments))


def export(arguments: argparse.Namespace) -> int:
    """Reads the run, writes the file."""
    from dormant.experiments.finished import load_finished
    from dormant.studies.datasets import Exported, write_dataset

    with writing(os.path.dirname(arguments.out) or "."):
        run = load_finished(arguments.base_dir)
        memories = run.memories()
        seeds = [member.seed for member in run.members]
        os.makedirs(os.path.dirname(arguments.out) or ".", exist_ok=True)
        write_dataset(arguments.out, Exported(run.text, seeds, memories))
    size = os.path.getsize(arguments.out) / 1e6
    print(
        f"{arguments.out}: {len(memories)} memories of {len(memories[0].reward):,} agent steps of "
        f"{run.game} ({size:.0f} MB)"
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main())
