"""Trains one of Dopamine's agents with recycling of dormant neurons, as Dopamine's command would.

Dopamine's runner, checkpoints, logs and gin names; the files in base_dir are Dopamine's.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence

from dormant.command import DONE, Parser, a_path, finish, writing

AGENTS_100K = ("DER", "DrQ", "OTRainbow", "DrQ_eps")  # Dopamine's names; what they are is in gin
EXAMPLES = """examples:
  DQN on Pong in the paper's default setting, with ReDo:
    python -m dormant.dopamine.train --base_dir runs/pong --gin_files dqn.gin
  A gin file of Dopamine's (in its clone), with settings of ReDo:
    python -m dormant.dopamine.train --base_dir runs/demon \\
        --gin_files dopamine/jax/agents/rainbow/configs/c51.gin \\
        --gin_bindings atari_lib.create_atari_environment.game_name="'DemonAttack'" \\
        --gin_bindings Recycling.tau=0.1 --gin_bindings Recycling.period=1000
  The plain agent, with its dormant neurons counted:
    python -m dormant.dopamine.train --base_dir runs/plain --gin_files dqn.gin \\
        --gin_bindings Recycling.period=None

The same command resumes a run from its last finished iteration.
"""


def parser() -> Parser:
    """Dopamine's flags, and those of its Atari 100K command."""
    made = Parser(prog="python -m dormant.dopamine.train", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--base_dir", required=True, type=a_path, help="folder of the run")
    for name, what in (("gin_files", "FILE"), ("gin_bindings", "NAME=VALUE")):
        made.add_argument(
            f"--{name}",
            nargs="+",
            action="extend",
            default=[],
            metavar=what,
            help="repeatable; the last wins",
        )
    made.add_argument(
        "--agent", choices=AGENTS_100K, help="of Atari 100K; its gin file must be given too"
    )
    made.add_argument("--run_number", type=int, help="of Atari 100K: the agent's seed")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code (``command``)."""
    arguments = parser().parse_args(argv)
    return finish(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Trains until Dopamine's runner is done; returns the exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Imported late: --help and wrong flags need neither TensorFlow nor jax.
    from dormant.dopamine import runners

    logging.getLogger("absl").setLevel(logging.INFO)
    bindings = list(arguments.gin_bindings)
    if arguments.agent:
        bindings.append("create_agent.agent_name = 'atari_100k'")
    runners.load_gin(arguments.gin_files, bindings)
    with writing(arguments.base_dir):
        runner = runners.create_runner(arguments.base_dir, arguments.run_number)
        runner.run_experiment()
    print(f"finished; everything is in {os.path.abspath(arguments.base_dir)}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
