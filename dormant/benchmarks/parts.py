"""Whole training loops and their parts, each against its peer in the same run.

Writes each part to OUT/<device>.json with the conditions it was measured under; parts that were
measured before stay there.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dormant.benchmarks import figures, processes
from dormant.benchmarks.peer import Peer, dopamine_command, our_command, setup_of
from dormant.benchmarks.record import conditions, file_name, median, put, table
from dormant.benchmarks.session import plan_of
from dormant.experiments import CONFIGS
from dormant.experiments import sweep as sweeps
from dormant.experiments.executors import Attempt, Local
from dormant.experiments.grid import Sweep
from dormant.redo import recycle
from dormant.types import DormantError

COMPARED = {"dqn_rr0.25": 400, "dqn_rr1": 120, "sac_rr1": 1000}  # agent steps a round
START_SECONDS = 600.0  # that a process may take to its first gradient steps


def against_dopamine(arguments: argparse.Namespace) -> Any:
    """Agent steps per second of both, in turn, with the ratio round by round."""
    found = {}
    for case, steps in COMPARED.items():
        with contextlib.ExitStack() as both:
            command = dopamine_command(arguments.dopamine_python, case, arguments.game)
            try:
                theirs = both.enter_context(contextlib.closing(Peer("Dopamine", command)))
            except DormantError as error:
                return f"skipped: {error}"
            command = our_command(case, arguments.game)
            ours = both.enter_context(contextlib.closing(Peer("ours", command)))
            pairs = [
                (steps / ours.work(steps), steps / theirs.work(steps))
                for _ in range(arguments.rounds)
            ]
        found[case] = {
            "ours, agent steps/s": median(own for own, _ in pairs),
            "Dopamine, agent steps/s": median(other for _, other in pairs),
            "ratio": median(own / other for own, other in pairs),
            "least ratio": min(own / other for own, other in pairs),
        }
    return found


def dopamine_recycling(arguments: argparse.Namespace) -> Any:
    """What recycling costs Dopamine's DQN at replay ratio 1 and period 1000, and what the authors'
    recycler would.
    """
    python, rounds = arguments.dopamine_python, str(arguments.rounds)
    command = [python, "-m", "dormant.dopamine.costs", arguments.game, rounds]
    ended = processes.run(command, START_SECONDS)
    if ended.code != 0:
        return f"skipped: {ended.reason()}"
    seconds = json.loads(ended.lines[-1])
    step = median(seconds["plain"])
    ratios = [plain / other for plain, other in zip(seconds["plain"], seconds["recycling"])]
    found = {
        "Dopamine's agent step, ms": 1000 * step,
        "recycling version's agent step between two recyclings, ms": 1000
        * median(seconds["recycling"]),
        "step rate between two recyclings, recycling / Dopamine": median(ratios),
    }
    for name, title in (("ours", "one recycling"), ("released", "one recycling as released")):
        taken = median(seconds[name])
        found[f"{title}, ms"] = 1000 * taken
        found[f"{title}, share of 1000 gradient steps, %"] = 100 * taken / (1000 * step)
    return found


def recycling(arguments: argparse.Namespace) -> Any:
    """A jitted recycle of the Nature CNN (scores included) against one gradient step."""
    population = plan_of(setup_of("dqn_rr1", arguments.game)).population
    agent, memory = population.agent, population.memory
    key = jax.random.key(0)
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state = jax.jit(agent.init)(key, settings)
    shapes = jax.eval_shape(memory.sample, jax.eval_shape(memory.init), key)
    batch = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    noise = jax.random.randint(key, batch.s_tm1.shape, 0, 255).astype(jnp.uint8)
    batch = batch._replace(s_tm1=noise, s_t=noise)

    def redo(state: Any, batch: Any, key: Any) -> Any:
        activations = agent.observe(state, batch, key)["online"]
        return recycle(state.params, state.opt_state, activations, 0.025, key)

    step, once = jax.jit(agent.learn), jax.jit(redo)
    forward, observed = jax.jit(agent.features), jax.jit(agent.observe)
    works = {
        "gradient step, ms": lambda: step(state, batch, key, settings),
        "recycle and scores, ms": lambda: once(state, batch, key),
        "forward pass, ms": lambda: forward(state, batch),
        "captured forward pass, ms": lambda: observed(state, batch),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for number in range(8 * arguments.rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            jax.block_until_ready(work())
            if number:
                times[name].append(1000 * (time.perf_counter() - started))
    found = {name: median(each) for name, each in times.items()}
    found["ratio"] = found["recycle and scores, ms"] / found["gradient step, ms"]
    found["captured against plain"] = found["captured forward pass, ms"] / found["forward pass, ms"]
    found["share of training at period 1000, %"] = 100 * found["ratio"] / 1000
    return found


def tracing(arguments: argparse.Namespace) -> Any:
    """Seconds to trace the ResNet's captured forward pass, wiring included; nothing is compiled."""
    population = plan_of(setup_of("dqn_rr1", arguments.game), "DQN.network='resnet'").population
    agent, memory = population.agent, population.memory
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state = jax.eval_shape(agent.init, jax.random.key(0), settings)
    batch = jax.eval_shape(memory.sample, jax.eval_shape(memory.init), jax.random.key(0))
    started = time.perf_counter()
    jax.eval_shape(agent.observe, state, batch)
    return {"ResNet, trace and wiring, s": time.perf_counter() - started}


def start_and_memory(arguments: argparse.Namespace) -> Any:
    """From the process's start to the first gradient steps (warm-up of 20,000 agent steps), and
    resident memory then.

    The replay memory has 100,000 frames; every page of it is touched before memory is read.
    """
    started = time.time()
    found = processes.ask("first_steps", {"game": arguments.game}, START_SECONDS)
    if "error" in found:
        raise DormantError(f"the run did not start: {found['error']}")
    return {
        "start to first gradient steps, s": found["time"] - started,
        "resident memory, GB": found["resident_bytes"] / 1e9,
    }


class _Timed(Local):
    """Keeps the seconds of each run, from the start of its process to its end."""

    def __init__(self, workers: int):
        super().__init__(workers)
        self.seconds: list[float] = []

    def _execute(self, attempt: Attempt) -> int:
        started = time.perf_counter()
        code = super()._execute(attempt)
        self.seconds.append(time.perf_counter() - started)
        return code


def sweep_overhead(arguments: argparse.Namespace) -> Any:
    """Wall time of a sweep of eight short runs over two workers, checks included, against half
    their own times.
    """
    bindings = ["Run.game='probe/see'", "DQN.network='mlp'", "replay_ratio=0.5"]
    bindings += ["DQN.min_replay_history=100", "DQN.replay_capacity=2000"]
    bindings += ["Protocol.iterations=1", "Protocol.training_steps=2000"]
    gammas = [0.9 + i / 100 for i in range(8)]
    swept = Sweep([os.path.join(CONFIGS, "dqn.gin")], bindings, {"DQN.gamma": gammas})
    with tempfile.TemporaryDirectory() as folder:
        started, executor = time.perf_counter(), _Timed(2)
        planned, _ = sweeps.plan_sweeps([swept], folder)
        outcomes = sweeps.execute_all(planned, folder, executor)
        wall = time.perf_counter() - started
        executor.close()
    if any(each.status != "finished" for each in outcomes):
        raise DormantError(sweeps.failures(outcomes))
    ideal = sum(executor.seconds) / 2
    return {"wall, s": wall, "ideal, s": ideal, "ratio": wall / ideal}


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "dopamine": against_dopamine,
    "dopamine_recycling": dopamine_recycling,
    "recycle": recycling,
    "tracing": tracing,
    "start": start_and_memory,
    "sweep": sweep_overhead,
    "figures": figures.reading,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", default="results/benchmark", help="folder of the JSON file")
    add("--game", default="Pong", help="of Atari")
    add("--rounds", type=int, default=5, help="how often each side is measured, in turn")
    add(
        "--dopamine_python",
        default=sys.executable,
        help="the Python in which dopamine-rl 4.1.2 is installed: pip install 'dormant[dopamine]'",
    )


def run(arguments: argparse.Namespace) -> int:
    """The part that ``arguments.name`` names, or all of them."""
    if arguments.rounds < 1:
        raise DormantError(f"--rounds is {arguments.rounds}; it must be at least 1")
    path = os.path.join(arguments.out, f"{file_name(jax.devices()[0].device_kind)}.json")
    for name in list(PARTS) if arguments.name == "all" else [arguments.name]:
        before = conditions(arguments.game)
        result = PARTS[name](arguments)
        os.makedirs(arguments.out, exist_ok=True)
        put(path, name, {"result": result, "conditions": before})
        print(f"{name}\n{table(result)}\n", flush=True)
    return 0
