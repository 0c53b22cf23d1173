"""The time to read a thousand runs and to draw Figure 10 from them.

The runs are as large as the paper's (one member, 40 evaluations, a measurement every 20,000
gradient steps, an episode every 1,000 agent steps). Their numbers are drawn by chance: they stand
for nothing but their size.
"""

import functools
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dormant import results
from dormant.experiments import ROOT
from dormant.paper.games import GAMES_17
from dormant.results import Measurement

RUNS = 1000
ITERATIONS, STEPS, LOG_PERIOD, EPISODE = 40, 250_000, 20_000, 1_000
LAYERS = ("all", *(f"online/{name}" for name in ("Conv_0", "Conv_1", "Conv_2", "Dense_0")))
METHODS: dict[str, dict] = {
    "none": {},
    "redo": {"tau": 0.1, "period": 1000},
    "reset": {"period": 100_000},
    "weight_decay": {},
}


def reading(game: str, python: str, rounds: int) -> Any:
    """Seconds that scripts/figures.py takes, from its start to its end."""
    del game, python, rounds
    with tempfile.TemporaryDirectory() as folder:
        size = sum(_write(folder, number, *what) for number, what in zip(range(RUNS), _settings()))
        command = [
            sys.executable,
            os.path.join(ROOT, "scripts", "figures.py"),
            "--runs",
            folder,
            "--figure",
            "10",
        ]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    return {"runs": RUNS, "metrics.csv, GB": size / 1e9, "read and drawn, s": seconds}


def _settings() -> Iterator[tuple]:
    """seed, n, replay ratio, method, game of the runs of panels a and b, seed by seed."""
    return itertools.product(range(5), (1, 3), (0.25, 0.5, 1, 2), METHODS, GAMES_17)


def _write(
    folder: str, number: int, seed: int, n: int, replay_ratio: float, method: str, game: str
) -> int:
    """Writes one run; returns the bytes of its metrics.csv."""
    own = os.path.join(folder, f"run_{number}")
    os.makedirs(own)
    facts = {
        "agent": "DQN",
        "game": game,
        "replay_ratio": replay_ratio,
        "update_horizon": n,
        "network": "nature",
    }
    member = {"member": 0, "seed": seed, "method": method, "label": method, **METHODS[method]}
    protocol = {"iterations": ITERATIONS, "training_steps": STEPS, "evaluation_steps": STEPS // 2}
    run = {
        "status": "finished",
        "frames_per_agent_step": 4,
        "protocol": protocol,
        "members": [member],
        **facts,
    }
    results.write_run(own, run)
    values = np.random.default_rng(number).uniform(0, 1000, ITERATIONS)
    evaluations = [
        Measurement(
            0, i, (i + 1) * STEPS, int((i + 1) * STEPS * replay_ratio), "eval/average_return", value
        )
        for i, value in enumerate(values)
    ]
    text = results.header() + _bulk(replay_ratio) + results.format_rows(evaluations)
    with open(os.path.join(own, results.METRICS_FILE), "w") as file:
        return file.write(text)


@functools.cache
def _bulk(replay_ratio: float) -> str:
    """All that a run writes and Figure 10 does not read; the same for every run of a replay
    ratio.
    """
    steps = ITERATIONS * STEPS
    episodes = [
        Measurement(0, (at - 1) // STEPS, at, int(at * replay_ratio), name, value)
        for at in range(EPISODE, steps + 1, EPISODE)
        for name, value in (("episode/return", 123.0), ("episode/length", EPISODE))
    ]
    names = [
        results.dormant_fraction_name(tau, layer) for tau in (0.0, 0.025, 0.1) for layer in LAYERS
    ]
    names += ["learn/loss", "learn/mean_q", "learn/gradient_norm", "feature_rank"]
    logs = [
        Measurement(
            0, (int(at / replay_ratio) - 1) // STEPS, int(at / replay_ratio), at, name, 0.0123456789
        )
        for at in range(LOG_PERIOD, int(steps * replay_ratio) + 1, LOG_PERIOD)
        for name in names
    ]
    return results.format_rows(episodes + logs)
