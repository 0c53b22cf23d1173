"""Short runs on a probe environment, in this process or in one that can be killed."""

import os
import pathlib
import subprocess
import sys

from dormant.experiments.run import execute, plan

ROOT = pathlib.Path(__file__).parent.parent.parent
FILES = ["dqn.gin", "redo.gin"]
BINDINGS = [
    "Run.game='probe/see'",
    "Run.methods=('none', 'redo')",
    "DQN.network='mlp'",
    "DQN.min_replay_history=100",
    "DQN.replay_capacity=600",
    "replay_ratio=0.5",
    "ReDo.period=100",
    "Protocol.iterations=3",
    "Protocol.training_steps=400",
    "Protocol.evaluation_steps=50",
    "Protocol.log_period=50",
]


def train(base_dir, *bindings):
    """A run to its end in this process."""
    planned = plan(FILES, [*BINDINGS, *bindings])
    execute(planned, str(base_dir))
    return planned


def start(base_dir, *bindings, game=None):
    """The same run as a process of its own."""
    command = [sys.executable, "-m", "dormant.train", "--base_dir", str(base_dir)]
    command += ["--gin_files", *FILES, "--gin_bindings", *BINDINGS, *bindings]
    environment = {**os.environ, "XLA_FLAGS": ""}
    return subprocess.Popen(
        command + (["--game", game] if game else []),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
