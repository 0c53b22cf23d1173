"""The time to read a thousand runs and to draw Figure 10 from them.

The runs are as large as the paper's (one member, 40 evaluations, a measurement every 20,000
gradient steps, an episode every 1,000 agent steps). Their numbers are random and mean
nothing.
"""

import argparse
import functools
import itertools
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from dormant import results
from dormant.benchmarks import processes
from dormant.paper.games import GAMES_17
from dormant.results import Measurement
from dormant.types import DormantError

DRAW = ["-m", "dormant.figures"]  # the command that draws figures
RUNS = 1000
SECONDS = 600.0  # that it may take
ITERATIONS, STEPS, LOG_PERIOD, EPISODE = 40, 250_000, 20_000, 1_000
LAYERS = ("all", *(f"online/{name}" for name in ("Conv_0", "Conv_1", "Conv_2", "Dense_0")))
METHODS: dict[str, dict] = {
    "none": {},
    "redo": {"tau": 0.1, "period": 1000},
    "reset": {"period": 100_000},
    "weight_decay": {},
}


def reading(arguments: argparse.Namespace) -> Any:
    """Seconds that drawing Figure 10 takes, from the start of the command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        size = sum(_write(folder, number, *what) for number, what in zip(range(RUNS), _settings()))
        command = [sys.executable, *DRAW, "--runs", folder, "--figure", "10"]
        ended = processes.run(command, SECONDS)
    if ended.code != 0:
        raise DormantError(f"the figure was not drawn: {ended.reason()}")
    return {"runs": RUNS, "metrics.csv, GB": size / 1e9, "read and drawn, s": ended.seconds}


def _settings() -> Iterator[tuple]:
    """seed, n, replay ratio, method, game of the runs of panels a and b, seed by seed."""
    return itertools.product(range(5), (1, 3), (0.25, 0.5, 1, 2), METHODS, GAMES_17)


def _write(
    folder: str, number: int, seed: int, n: int, replay_ratio: float, method: str, game: str
) -> int:
    """Writes one run; returns the bytes of its metrics.csv."""
    own = os.path.join(folder, f"run_{number}")
    os.makedirs(own)
    member = {"member": 0, "seed": seed, "method": method, "label": method, **METHODS[method]}
    protocol = {"iterations": ITERATIONS, "training_steps": STEPS, "evaluation_steps": STEPS // 2}
    run = results.RunRecord(
        status="finished",
        frames_per_agent_step=4,
        protocol=protocol,
        members=[results.MemberRecord(**member)],  # type: ignore[typeddict-item]
        agent="DQN",
        game=game,
        replay_ratio=replay_ratio,
        update_horizon=n,
        network="nature",
    )
    results.write_run(own, run)
    values = np.random.default_rng(number).uniform(0, 1000, ITERATIONS)
    ends = [(i + 1) * STEPS for i in range(ITERATIONS)]
    evaluations = [
        Measurement(0, i, end, int(end * replay_ratio), "eval/average_return", value)
        for i, (end, value) in enumerate(zip(ends, values))
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
    taus = (0.0, 0.025, 0.1)
    names = [results.dormant_fraction_name(tau, layer) for tau in taus for layer in LAYERS]
    names += ["learn/loss", "learn/mean_q", "learn/gradient_norm", "feature_rank"]
    clocks = [
        (int(at / replay_ratio), at)
        for at in range(LOG_PERIOD, int(steps * replay_ratio) + 1, LOG_PERIOD)
    ]
    logs = [
        Measurement(0, (agent_steps - 1) // STEPS, agent_steps, at, name, 0.0123456789)
        for agent_steps, at in clocks
        for name in names
    ]
    return results.format_rows(episodes + logs)
