"""Measures the speed of whole training loops and of their parts, each against its peer in the same
run.

A peer is a process that waits until it is told to work, so two of them can be measured in turn on
one machine: what disturbs one round disturbs both sides.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from dormant.dopamine import make_dopamine_dqn, make_dopamine_sac
from dormant.experiments import CONFIGS, ROOT
from dormant.experiments import sweep as sweeps
from dormant.experiments.benchmark_figures import reading
from dormant.experiments.executors import Attempt, Local
from dormant.experiments.grid import Sweep
from dormant.experiments.run import PACKAGES, version
from dormant.experiments.session import CASES, Setup, plan_of, session
from dormant.redo import recycle
from dormant.types import DormantError, check_name

WARM_UP = (
    600  # agent steps of Dopamine's agent before the first measurement, learning begins within them
)
COMPARED = {"dqn_rr0.25": 400, "dqn_rr1": 120, "sac_rr1": 1000}  # agent steps a round
ALONE = "Run.methods=('none',)"  # without recycling


def setup_of(case: str, game: str = "") -> Setup:
    """One member with a replay memory of 100,000 rows. game: of Atari; SAC has its own."""
    return Setup(case, capacity=100_000, game=game if CASES[case].record != "SAC" else "")


def our_rate(case: str, game: str) -> Iterator[Callable[[int], float]]:
    """Yields work(agent steps) -> seconds, of the whole training loop."""
    with session(setup_of(case, game), ALONE) as running:
        yield lambda steps: running.advance(agent_steps=steps)


def dopamine_rate(case: str, game: str) -> Iterator[Callable[[int], float]]:
    """The same of Dopamine's agent (the same network, batch, loss and optimiser) and its
    environment.
    """
    make = make_dopamine_sac if CASES[case].record == "SAC" else make_dopamine_dqn
    advance = make(setup_of(case, game).game or CASES[case].game, CASES[case].replay_ratio)

    def work(steps: int) -> float:
        started = time.perf_counter()
        advance(steps)
        return time.perf_counter() - started

    work(WARM_UP)
    yield work


SIDES = {"ours": our_rate, "dopamine": dopamine_rate}


def serve(side: str, case: str, game: str) -> None:
    """A peer: prints "ready", then for each number of agent steps read the seconds they took."""
    out, sys.stdout = sys.stdout, sys.stderr
    for work in SIDES[side](case, game):
        print("ready", file=out, flush=True)
        for line in sys.stdin:
            print(work(int(line)), file=out, flush=True)


class Peer:
    """One side of a comparison, as a process."""

    def __init__(self, python: str, side: str, case: str, game: str):
        code = (
            f"from dormant.experiments.benchmark import serve; serve({side!r}, {case!r}, {game!r})"
        )
        environment = {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3"}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [python, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, text=True
        )
        if self._process.stdout.readline().strip() != "ready":  # type: ignore[union-attr]
            lines = self._process.communicate()[1].strip().splitlines() or ["no message"]
            raise DormantError(f"{side} does not start: {lines[-1]}")

    def work(self, steps: int) -> float:
        """Seconds for so many agent steps."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def against_dopamine(game: str, python: str, rounds: int) -> Any:
    """Agent steps per second of both, in turn, with the ratio round by round."""
    found = {}
    for case, steps in COMPARED.items():
        ours = Peer(sys.executable, "ours", case, game)
        try:
            theirs = Peer(python, "dopamine", case, game)
        except DormantError as error:
            ours.close()
            return f"skipped: {error}"
        pairs = [(steps / ours.work(steps), steps / theirs.work(steps)) for _ in range(rounds)]
        ours.close()
        theirs.close()
        found[case] = {
            "ours, agent steps/s": _median(own for own, _ in pairs),
            "Dopamine, agent steps/s": _median(other for _, other in pairs),
            "ratio": _median(own / other for own, other in pairs),
            "least ratio": min(own / other for own, other in pairs),
        }
    return found


def recycling(game: str, python: str, rounds: int) -> Any:
    """A jitted recycle of the Nature CNN (scores included) against one gradient step."""
    del python
    population = plan_of(setup_of("dqn_rr1", game)).population
    agent, memory = population.agent, population.memory
    key = jax.random.key(0)
    settings = jax.tree.map(jnp.float32, agent.default_settings)
    state = jax.jit(agent.init)(key, settings)
    shapes = jax.eval_shape(memory.sample, jax.eval_shape(memory.init), key)
    batch = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    noise = jax.random.randint(key, batch.s_tm1.shape, 0, 255).astype(jnp.uint8)
    batch = batch._replace(s_tm1=noise, s_t=noise)

    def redo(state: Any, batch: Any, key: Any) -> Any:
        activations = agent.observe(state, batch)["online"]
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
    for number in range(8 * rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            jax.block_until_ready(work())
            if number:
                times[name].append(1000 * (time.perf_counter() - started))
    found = {name: _median(each) for name, each in times.items()}
    found["ratio"] = found["recycle and scores, ms"] / found["gradient step, ms"]
    found["captured against plain"] = found["captured forward pass, ms"] / found["forward pass, ms"]
    found["share of training at period 1000, %"] = 100 * found["ratio"] / 1000
    return found


def tracing(game: str, python: str, rounds: int) -> Any:
    """Seconds to trace the ResNet's captured forward pass, its wiring derived, with nothing
    compiled.
    """
    del python, rounds
    population = plan_of(setup_of("dqn_rr1", game), "DQN.network='resnet'").population
    agent, memory = population.agent, population.memory
    state = jax.eval_shape(
        agent.init, jax.random.key(0), jax.tree.map(jnp.float32, agent.default_settings)
    )
    batch = jax.eval_shape(memory.sample, jax.eval_shape(memory.init), jax.random.key(0))
    started = time.perf_counter()
    jax.eval_shape(agent.observe, state, batch)
    return {"ResNet, trace and wiring, s": time.perf_counter() - started}


def start_and_memory(game: str, python: str, rounds: int) -> Any:
    """From the process's start to the first gradient steps (warm-up of 20,000 agent steps), and
    resident memory then.

    The replay memory has 100,000 frames; every page of it is touched before memory is read.
    """
    del python, rounds
    code = f"from dormant.experiments.benchmark import _first_gradient_steps; _first_gradient_steps({game!r})"
    environment = {**os.environ, "PYTHONPATH": ROOT}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    assert process.stdout
    if process.stdout.readline().strip() != "learned":
        raise DormantError("the run did not start")
    seconds = time.perf_counter() - started
    resident = float(process.stdout.readline())
    process.communicate()
    return {"start to first gradient steps, s": seconds, "resident memory, GB": resident}


def _first_gradient_steps(game: str) -> None:
    with session(setup_of("dqn_rr1", game), ALONE, "DQN.min_replay_history=20000"):
        print("learned", flush=True)
        print(psutil.Process().memory_info().rss / 1e9, flush=True)


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


def sweep_overhead(game: str, python: str, rounds: int) -> Any:
    """Wall time of a sweep of eight short runs over two workers, checks included, against half
    their own times.
    """
    del game, python, rounds
    bindings = [
        "Run.game='probe/see'",
        "DQN.network='mlp'",
        "DQN.min_replay_history=100",
        "DQN.replay_capacity=2000",
    ]
    bindings += ["replay_ratio=0.5", "Protocol.iterations=1", "Protocol.training_steps=2000"]
    swept = Sweep(
        [os.path.join(CONFIGS, "dqn.gin")],
        bindings,
        {"DQN.gamma": [0.9 + i / 100 for i in range(8)]},
    )
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


PARTS: dict[str, Callable] = {
    "dopamine": against_dopamine,
    "recycle": recycling,
    "tracing": tracing,
    "start": start_and_memory,
    "sweep": sweep_overhead,
    "figures": reading,
}


def run(what: list[str], out: str, game: str, dopamine_python: str, rounds: int) -> None:
    """Measures, prints a table and writes ``out``/<device>.json, each part beside those measured
    before.

    Raises:
      DormantError: an unknown part.
    """
    for name in what:
        check_name("part", name, PARTS)
    device = jax.devices()[0].device_kind.replace(" ", "_").lower()
    path = os.path.join(out, f"{device}.json")
    os.makedirs(out, exist_ok=True)
    for name in what:
        result = PARTS[name](game, dopamine_python, rounds)
        write(path, name, {"result": result, "conditions": conditions(game)})
        print(f"{name}\n{table(result)}\n", flush=True)


def write(path: str, key: str, found: Any) -> dict[str, Any]:
    """The JSON file with one entry replaced; returns all of it."""
    everything: dict[str, Any] = {}
    if os.path.exists(path):
        with open(path) as file:
            everything = json.load(file)
    everything[key] = found
    with open(path, "w") as file:
        json.dump(everything, file, indent=1, default=float)
        file.write("\n")
    return everything


def table(result: Any) -> str:
    """A part's result for people: a line a figure, or a line a comparison and a column a figure."""
    if not isinstance(result, dict):
        return f"  {result}"
    if not all(isinstance(each, dict) for each in result.values()):
        return "\n".join(f"  {value:10.3f}  {name}" for name, value in result.items())
    names = list(next(iter(result.values())))
    lines = ["  ".join([" " * 26, *names])]
    for row, values in result.items():
        lines.append(
            "  ".join([f"  {row:24}", *(f"{values[name]:{len(name)}.2f}" for name in names)])
        )
    return "\n".join(lines)


def conditions(game: str) -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "load average before": os.getloadavg()[0],
        "platform": platform.platform(),
        "game": game,
        "precision": "float32",
        "versions": {name: version(name) for name in PACKAGES},
    }


def _median(values: Any) -> float:
    return float(statistics.median(np.array(list(values), float)))
