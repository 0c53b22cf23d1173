"""Trains a population of agents, with or without recycling of dormant neurons (ReDo)."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dormant.command import (
    DONE,
    STOPPED,
    Parser,
    a_path,
    add_gin_flags,
    finish,
    imports,
    say,
    stop_with_parent,
)

if TYPE_CHECKING:
    from dormant.experiments.run import Plan

EXAMPLES = """examples (each fits a machine with 16 GB):
  DQN on Pong with replay ratio 1, three seeds in one program:
    python -m dormant.train --base_dir runs/pong --game Pong --seeds 3 \\
        --gin_files dqn.gin replay_ratio_1.gin \\
        --gin_bindings DQN.replay_capacity=400000
  DQN beside DQN + ReDo:
    python -m dormant.train --base_dir runs/demon --game DemonAttack --methods none redo \\
        --gin_files dqn.gin redo.gin \\
        --gin_bindings ReDo.tau=0.1 ReDo.period=1000 DQN.replay_capacity=400000

The same command resumes a run that was stopped or killed. What was run is in DIR/config.gin:
    python -m dormant.train --base_dir runs/again --gin_files DIR/config.gin
"""


def parser() -> Parser:
    """The flags; --base_dir, --gin_files and --gin_bindings are Dopamine's, given once or often."""
    made = Parser(prog="dormant train", description=__doc__, epilog=EXAMPLES)
    made.add_argument(
        "--base_dir",
        required=True,
        type=a_path,
        help="folder of the run: metrics, TensorBoard, checkpoints",
    )
    add_gin_flags(made)
    made.add_argument("--game", help="DemonAttack, Pong, HalfCheetah-v5, ... (= Run.game)")
    made.add_argument(
        "--methods",
        nargs="+",
        action="extend",
        metavar="METHOD",
        help="none, redo, reset, weight_decay, ... (= Run.methods)",
    )
    made.add_argument(
        "--seeds", type=int, help="members of each method, with seeds 0, 1, ... (= Run.seeds)"
    )
    # Of a sweep's runs, which stop when it ends.
    made.add_argument("--parent", type=int, default=0, help=argparse.SUPPRESS)
    made.add_argument(
        "--dry_run",
        action="store_true",
        help="check everything, print the configuration and the plan, write nothing",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code (``command``)."""
    arguments = parser().parse_args(argv)
    if arguments.parent and not stop_with_parent(arguments.parent):
        return STOPPED + signal.SIGTERM
    return finish(lambda: train(arguments))


def train(arguments: argparse.Namespace) -> int:
    """Trains what the flags describe, or prints the plan; returns the exit code."""
    # Imported late: --help and wrong flags need no jax.
    from dormant.experiments.run import check_base_dir, execute, plan
    from dormant.training.signals import Interrupted

    planned = plan(arguments.gin_files, bindings_of(arguments))
    for line in planned.facts["warnings"]:
        say(f"warning: {line}")
    if arguments.dry_run:
        check_base_dir(arguments.base_dir, planned.config)
        print(planned.config)
        print(describe(planned, arguments.base_dir))
        return DONE
    try:
        execute(planned, arguments.base_dir)
    except Interrupted as stopped:
        say(str(stopped))
        return STOPPED + stopped.signum
    print(f"finished; everything is in {os.path.abspath(arguments.base_dir)}")
    return DONE


def bindings_of(arguments: argparse.Namespace) -> list[str]:
    """All bindings: those given, then those that have a flag of their own."""
    named = {name: getattr(arguments, name) for name in ("game", "methods", "seeds")}
    own = [f"Run.{name}={value!r}" for name, value in named.items() if value is not None]
    return [*imports(arguments.modules), *arguments.gin_bindings, *own]


def describe(planned: "Plan", base_dir: str) -> str:
    """The plan as text: what would be trained, and what it takes."""
    from dormant.experiments import estimates
    from dormant.experiments.run import disk_bytes, state_of

    protocol, members = planned.protocol, planned.population.members
    steps = protocol.iterations * protocol.training_steps
    state, done = state_of(base_dir, planned.config), estimates.agent_steps_done(base_dir)
    rates = estimates.measured_rates(estimates.neighbours(base_dir))
    rate = rates.get(estimates.kind(planned.facts), estimates.Rates()).gradient_steps
    share = 0.0 if state == "finished" else 1 - done / steps
    left = planned.gradient_steps * len(members) * share / rate if rate else None
    there = os.path.abspath(base_dir)
    while not os.path.isdir(there):
        there = os.path.dirname(there)
    free = shutil.disk_usage(there).free
    status = {
        "new": "a new run",
        "begun": f"resumes near agent step {done:,}",
        "finished": "finished before; nothing is left to do",
    }
    lines = [
        f"base_dir        {base_dir} ({status[state]})",
        f"game            {planned.facts['game']}",
        f"members         {len(members)}, {planned.population.axis.name} axis",
        *(f"                {each.label}, seed {each.seed}" for each in members),
        f"agent steps     {steps:,} of each member, in {protocol.iterations} iterations",
        f"gradient steps  {planned.gradient_steps:,} of each member",
        f"replay memory   {planned.replay_bytes / 1e9:.2f} GB",
        f"disk            about {disk_bytes(planned) / 1e9:.2f} GB ({free / 1e9:.1f} GB free)",
        "training time   "
        + (
            f"{estimates.duration(left)} to go, at the rate of the runs in and beside base_dir"
            if rate
            else "unknown: no run like this has been timed in or beside base_dir"
        ),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
