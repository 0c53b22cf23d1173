"""Short runs on a MinAtar game, in this process or in one that can be killed."""

import os
import subprocess
import sys

from dormant.experiments.run import execute, plan
from tests.training.run_probe import ROOT

FILES = ["minatar.gin", "redo.gin"]
MEMBERS = [
    {"method": "none", "seed": 0},
    {"method": "none", "seed": 1},
    {"method": "redo", "seed": 0},
    {"method": "redo", "seed": 0, "period": 150},
]
BINDINGS = [
    "Run.game='MinAtar/Breakout'",
    f"Run.members={MEMBERS}",
    "DQN.width=0.25",
    "DQN.batch_size=4",
    "DQN.min_replay_history=100",
    "DQN.replay_capacity=1000",
    "DQN.target_update_period=70",
    "replay_ratio=0.5",
    "ReDo.period=100",
    "Protocol.iterations=3",
    "Protocol.training_steps=800",
    "Protocol.evaluation_steps=50",
    "Protocol.log_period=50",
]


def train(base_dir, *bindings):
    """A run to its end in this process."""
    planned = plan(FILES, [*BINDINGS, *bindings])
    execute(planned, str(base_dir))
    return planned


def start(base_dir, *bindings):
    """The same run as a process of its own."""
    command = [sys.executable, "-m", "dormant.train", "--base_dir", str(base_dir)]
    command += ["--gin_files", *FILES, "--gin_bindings", *BINDINGS, *bindings]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
