"""Trains a population: ``python -m dormant.train --base_dir DIR --gin_files ... --gin_bindings
...``.
"""

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

EXAMPLES = """examples:
  DQN on Pong with replay ratio 1, three seeds in one program:
    python -m dormant.train --base_dir runs/pong --gin_files configs/dqn.gin configs/replay_ratio_1.gin \\
        --game Pong --seeds 3
  DQN beside DQN + ReDo:
    python -m dormant.train --base_dir runs/demon --gin_files configs/dqn.gin configs/redo.gin \\
        --game DemonAttack --methods none redo --gin_bindings "ReDo.tau=0.1" "ReDo.period=1000"

The same command goes on with a run that was stopped or killed. What was run is in DIR/config.gin:
    python -m dormant.train --base_dir runs/again --gin_files DIR/config.gin
"""


def parser() -> argparse.ArgumentParser:
    """The flags; --base_dir, --gin_files and --gin_bindings are Dopamine's, repeatable or in a
    row.
    """
    made = argparse.ArgumentParser(
        prog="python -m dormant.train",
        description="Trains a population of agents, with or without recycling of dormant neurons (ReDo).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--base_dir", required=True, help="folder of the run: metrics, TensorBoard, checkpoints"
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
        "--gin_bindings",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE",
        help="win over the files",
    )
    made.add_argument("--game", help="DemonAttack, Pong, HalfCheetah-v5, ... (= Run.game)")
    made.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help="none, redo, reset, weight_decay (= Run.methods)",
    )
    made.add_argument(
        "--seeds", type=int, help="members of each method, with seeds 0, 1, ... (= Run.seeds)"
    )
    made.add_argument(
        "--parent", type=int, default=0, help=argparse.SUPPRESS
    )  # of a sweep: stop when it ends
    made.add_argument(
        "--dry_run",
        action="store_true",
        help="check everything, print the configuration, write nothing",
    )
    return made


def stop_with_parent(parent: int) -> bool:
    """Asks Linux for a SIGTERM (save and stop) when the process that started this one ends; False
    if it has already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
    return os.getppid() == parent


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 wrong input, 128 + signal when asked to stop."""
    arguments = parser().parse_args(argv)
    if arguments.parent and not stop_with_parent(arguments.parent):
        return 128 + signal.SIGTERM
    bindings = list(arguments.gin_bindings)
    for name in ("game", "methods", "seeds"):
        if getattr(arguments, name) is not None:
            bindings.append(f"Run.{name}={getattr(arguments, name)!r}")
    # Imported late: --help and wrong flags need no jax.
    from dormant.experiments.run import execute, plan
    from dormant.training.loop import Interrupted
    from dormant.types import DormantError

    try:
        planned = plan(arguments.gin_files, bindings)
        if arguments.dry_run:
            print(planned.config)
            return 0
        execute(planned, arguments.base_dir)
    except DormantError as error:
        print(f"dormant: {error}", file=sys.stderr)
        return 2
    except Interrupted as stopped:
        print(f"dormant: {stopped}", file=sys.stderr)
        return 128 + stopped.signum
    except KeyboardInterrupt:
        print("dormant: stopped before the training went on; nothing is lost", file=sys.stderr)
        return 130
    print(f"finished; everything is in {os.path.abspath(arguments.base_dir)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
