"""MinAtar: the whole loop on the device, the bare update, and one agent on the host, in turns.

    python -m dormant.benchmarks minatar --members 16

All sides train DQN with the MinAtar network at replay ratio 1, one gradient step an agent step, and
take turns of a few seconds, so that other work on the machine slows each alike. Rates are gradient
steps a second of all members together, the median of the turns; ratios are of the same round.

loop     what ``dormant.train`` runs: acting, stepping, storing, sampling, learning, recycling,
         measuring (every 1000 gradient steps), writing rows (no checkpoints)
spread   the same loop and members, divided over one process a core, as a sweep with --workers;
         over fewer where the cores cannot have equally many of each method
bare     the batched update of the same members alone, on batches sampled before
agent    one agent of ours on the host, built as Dopamine's: the original ``minatar`` package, a
         replay memory in numpy, one compiled call for an action and one for a gradient step, XLA's
         own convolution
dopamine Dopamine's JaxDQNAgent itself with the same network, on its own MinAtar environment, where
         --dopamine_python names a Python in which dopamine-rl is installed
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.agents.interface import Agent
from dormant.benchmarks.peer import Peer
from dormant.dopamine.peer import answer
from dormant.experiments import CONFIGS
from dormant.experiments.run import Plan, plan
from dormant.training.device_loop import DeviceLoop
from dormant.training.members import AXES
from dormant.training.population import scalars
from dormant.types import DormantError, Transition

WARM_UP, CAPACITY = 1000, 100_000  # agent steps
PERIOD = 1000  # gradient steps: recycling, measuring, synchronising
BATCHES = 32  # of one call of the bare update: each gradient step has another one
WANTED = {
    "loop": "wanted: at least 1500 on two cores",
    "loop / bare": "wanted: at least 0.8",
    "loop / dopamine": "wanted: at least 20",
    "compile_seconds": "wanted: at most 40",
}


class Case(NamedTuple):
    """What is measured."""

    game: str = "MinAtar/Breakout"
    members: int = 16
    formulation: str = "auto"  # of the convolution
    axis: str = "auto"


def plan_of(case: Case) -> Plan:
    """The run: half of the members recycle."""
    methods = ("none", "redo") if case.members > 1 else ("none",)
    bindings = [
        f"Run.game={case.game!r}",
        f"Run.methods={methods!r}",
        f"Run.seeds={max(case.members // len(methods), 1)}",
        f"Run.axis={case.axis!r}",
        "replay_ratio=1",
        f"DQN.formulation={case.formulation!r}",
        f"DQN.min_replay_history={WARM_UP}",
        f"DQN.replay_capacity={CAPACITY}",
        f"Protocol.log_period={PERIOD}",
        f"ReDo.period={PERIOD}",
        "Protocol.iterations=1",
        "Protocol.training_steps=100000000",
        "Protocol.checkpoint_minutes=1000000.0",
    ]
    return plan([os.path.join(CONFIGS, name) for name in ("minatar.gin", "redo.gin")], bindings)


Run = Callable[[float], float]  # for so many seconds -> gradient steps a second


@contextlib.contextmanager
def loop(case: Case) -> Iterator[Run]:
    """The loop on the device, once every program of it has run."""
    planned = plan_of(case)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        env = planned.make_env(False)
        running = DeviceLoop(planned.population, planned.protocol, env, folder)
        state = running.start()
        while state.gradient_steps < PERIOD + 1:
            state = running.advance(state)
        held = [state]

        def run(budget: float) -> float:
            first, began = held[0].gradient_steps, time.perf_counter()
            while time.perf_counter() - began < budget:
                held[0] = running.advance(held[0])
            jax.block_until_ready(held[0].states)
            done = held[0].gradient_steps - first
            return done * len(planned.population.members) / (time.perf_counter() - began)

        yield run
        running.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        yield


@contextlib.contextmanager
def spread(case: Case) -> Iterator[Run]:
    """``loop`` in one process a core, each with an equal part of the members.

    Raises:
      DormantError: a process does not start.
    """
    count = parts(case.members, os.cpu_count() or 1)
    command = [sys.executable, "-m", __name__, case.game, str(case.members // count)]
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(count) as pool:
        begun = [pool.submit(Peer, "loop", command, {"NPROC": "1"}) for _ in range(count)]
        peers = [stack.enter_context(contextlib.closing(each.result())) for each in begun]
        yield lambda budget: sum(pool.map(lambda peer: peer.work(round(1000 * budget)), peers))


def parts(members: int, cores: int) -> int:
    """The most processes, one a core, that share the members equally; half of each recycle."""
    return max(count for count in range(1, cores + 1) if count == 1 or members % (2 * count) == 0)


def part_of_spread(game: str, members: int) -> None:
    """Answers milliseconds with the gradient steps a second that the loop made in them."""
    with loop(Case(game, members)) as run:
        answer(lambda milliseconds: run(milliseconds / 1000))


def bare(case: Case) -> Run:
    """``agent.learn`` of all members, each gradient step on the next of ``BATCHES`` batches."""
    planned = plan_of(case)
    population, axis = planned.population, planned.population.axis
    agent, members = population.agent, population.members

    def learn(state: Any, batches: Transition, key: jax.Array, settings: Any) -> Any:
        step = lambda state, batch: (agent.learn(state, batch, key, settings)[0], None)
        return jax.lax.scan(step, state, batches)[0]

    keys = axis.stack([jax.random.key(index) for index in range(len(members))])
    settings = axis.stack([scalars(member.settings) for member in members])
    batches = axis.stack([_batches(agent, index) for index in range(len(members))])
    learn_all = axis.map(learn, (0, 0, 0, 0), 0, (0,))
    held = [jax.block_until_ready(learn_all(population.init()[0], batches, keys, settings))]

    def run(budget: float) -> float:
        began, calls = time.perf_counter(), 0
        while time.perf_counter() - began < budget:
            held[0] = jax.block_until_ready(learn_all(held[0], batches, keys, settings))
            calls += 1
        return calls * BATCHES * len(members) / (time.perf_counter() - began)

    return run


def _batches(agent: Agent, seed: int) -> Transition:
    """Random transitions (BATCHES, B, ...); a tenth of the bits are set, as in the games."""
    random, spec = np.random.default_rng(seed), agent.spec
    size = (BATCHES, agent.schedule.batch_size)
    return Transition(
        s_tm1=jnp.asarray(random.random((*size, *spec.observation_shape)) < 0.1),
        a_tm1=jnp.asarray(random.integers(spec.num_actions, size=size, dtype=np.int32)),
        r_t=jnp.asarray(random.random(size) < 0.1, jnp.float32),
        discount_t=jnp.full(size, agent.schedule.gamma, jnp.float32),
        s_t=jnp.asarray(random.random((*size, *spec.observation_shape)) < 0.1),
    )


class HostMemory:
    """One agent's transitions in numpy."""

    def __init__(self, shape: tuple[int, ...]):
        self._first = np.zeros((CAPACITY, *shape), bool)
        self._next = np.zeros((CAPACITY, *shape), bool)
        self._action, self._reward = np.zeros(CAPACITY, np.int32), np.zeros(CAPACITY, np.float32)
        self._discount = np.zeros(CAPACITY, np.float32)
        self._random, self._added = np.random.default_rng(0), 0

    def add(
        self, first: np.ndarray, action: int, reward: float, discount: float, following: np.ndarray
    ) -> None:
        slot = self._added % CAPACITY
        self._first[slot], self._next[slot] = first, following
        self._action[slot], self._reward[slot], self._discount[slot] = action, reward, discount
        self._added += 1

    def sample(self, size: int) -> Transition:
        rows = self._random.integers(min(self._added, CAPACITY), size=size)
        kept = (self._first, self._action, self._reward, self._discount, self._next)
        return Transition(*(jnp.asarray(each[rows]) for each in kept))


def host_agent(game: str) -> Run:
    """One agent as Dopamine has it, past its warm-up.

    Raises:
      DormantError: the ``minatar`` package is not installed.
    """
    try:
        import minatar
    except ImportError as error:
        raise DormantError(
            "the benchmark needs the minatar package: pip install minatar"
        ) from error
    agent = plan_of(Case(game, 1, "xla")).population.agent
    settings, schedule = scalars(agent.default_settings), agent.schedule
    key = jax.random.key(0)
    act = jax.jit(
        lambda state, image, step: agent.act(
            state, image, jax.random.fold_in(key, step), step, False
        )
    )
    learn = jax.jit(lambda state, batch: agent.learn(state, batch, key, settings), donate_argnums=0)
    env, memory = minatar.Environment(_original(game)), HostMemory(agent.spec.observation_shape)
    env.seed(0)
    env.reset()
    held: list[Any] = [jax.jit(lambda: agent.init(key, settings))(), 0, None]

    def step(state: Any, number: int) -> tuple[Any, Any]:
        image = env.state()
        action = int(act(state, image, np.int32(number)))
        reward, terminal = env.act(action)
        discount = 0.0 if terminal else schedule.gamma
        learned = float(agent.transform_reward(np.asarray(reward, np.float32)))
        memory.add(image, action, learned, discount, env.state())
        if terminal:
            env.reset()
        if number <= WARM_UP:
            return state, None
        state, metrics, _ = learn(state, memory.sample(schedule.batch_size))
        if agent.sync_target and number % schedule.target_update_period == 0:
            state = agent.sync_target(state)
        return state, metrics["loss"]

    def play(budget: float, steps: int) -> float:
        began, first = time.perf_counter(), held[1]
        while time.perf_counter() - began < budget or held[1] - first < steps:
            held[0], held[2] = step(held[0], held[1])
            held[1] += 1
        jax.block_until_ready(held[0])
        return (held[1] - first) / (time.perf_counter() - began)

    play(0.0, WARM_UP + 10)
    return lambda budget: play(budget, 1)


def _original(game: str) -> str:
    """The game as the ``minatar`` package spells it: "MinAtar/SpaceInvaders", "space_invaders"."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in game[8:])[1:]


@contextlib.contextmanager
def dopamine_agent(game: str, python: str) -> Iterator[Run]:
    """Dopamine's agent at replay ratio 1, as a process of its own.

    Raises:
      DormantError: it does not start.
    """
    command = [python, "-m", "dormant.dopamine.peer", "minatar", _original(game), "1"]
    peer = Peer("Dopamine", command)
    rate = [100.0]

    def run(budget: float) -> float:
        steps = max(round(rate[0] * budget), 1)
        rate[0] = steps / peer.work(steps)
        return rate[0]

    try:
        run(1.0)  # the rate of the second turn is known after the first
        yield run
    finally:
        peer.close()


def measure(case: Case, seconds: float, rounds: int, dopamine: str | None) -> dict[str, Any]:
    """All sides in turns. dopamine: a Python in which dopamine-rl is installed.

    Returns "loop", "spread", "bare", "agent", "dopamine" (gradient steps a second), "loop / bare"
    and its like, "compile_seconds" (of the loop), and what was measured.
    """
    with contextlib.ExitStack() as stack:
        compiling = stack.enter_context(_compile_seconds())
        whole = stack.enter_context(loop(case))
        compile_seconds = sum(compiling)
        sides = {"loop": whole, "spread": stack.enter_context(spread(case))}
        sides |= {"bare": bare(case), "agent": host_agent(case.game)}
        if dopamine:
            sides["dopamine"] = stack.enter_context(dopamine_agent(case.game, dopamine))
        turns = [{name: run(seconds) for name, run in sides.items()} for _ in range(rounds)]
    found: dict[str, Any] = {
        name: statistics.median(turn[name] for turn in turns) for name in sides
    }
    for other in list(sides)[1:]:
        ratios = [turn["loop"] / turn[other] for turn in turns]
        found[f"loop / {other}"] = statistics.median(ratios)
    found["compile_seconds"] = compile_seconds
    return {**found, **case._asdict(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}


@contextlib.contextmanager
def _compile_seconds() -> Iterator[list[float]]:
    """A list that grows by what XLA needs for each program."""
    seconds: list[float] = []

    def note(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield seconds


def formulations(members: int, seconds: float) -> dict[str, float]:
    """Gradient steps a second of the bare update: how the convolution is written, and whether the
    members are one program (vmap), one for every few (groups), or one call each (loop).
    """
    return {
        f"{formulation}, {axis}": bare(Case("MinAtar/Breakout", members, formulation, axis))(
            seconds
        )
        for formulation in ("matmul", "xla")
        for axis in AXES
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the benchmark can be told."""
    parser.add_argument("--game", default="MinAtar/Breakout", help="(default: MinAtar/Breakout)")
    parser.add_argument("--members", type=int, default=16, help="(default: 16)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--dopamine_python", help="one in which dopamine-rl is installed")
    parser.add_argument("--formulations", action="store_true", help="compare these instead")
    parser.add_argument("--json", help="a file for the numbers")


def run(arguments: argparse.Namespace) -> int:
    """Prints a table and, with --json, writes the numbers there; returns the exit code.

    Raises:
      DormantError: half of so many members cannot recycle.
    """
    members = arguments.members
    if members < 1 or (members > 1 and members % 2):
        raise DormantError(f"--members is {members}; it must be 1 or an even number: half recycle")
    if arguments.formulations:
        found: dict[str, Any] = formulations(members, arguments.seconds)
    else:
        case = Case(arguments.game, members)
        found = measure(case, arguments.seconds, arguments.rounds, arguments.dopamine_python)
    for name, value in found.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{name:18} {shown:>18}   {WANTED.get(name, '')}".rstrip())
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found, file, indent=2)
    return 0


if __name__ == "__main__":
    part_of_spread(sys.argv[1], int(sys.argv[2]))
