"""A real training loop with timers around its parts; the cases are the paper's agents.

Only this module of the benchmarks knows the insides of the training loop.
"""

import contextlib
import dataclasses
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dormant.experiments import CONFIGS
from dormant.experiments.run import Plan, plan
from dormant.training.loop import Loop, Protocol, State
from dormant.training.population import Population
from dormant.types import check_name

RECYCLING_PERIOD = 1000  # gradient steps, the paper's
ALONE = "Run.methods=('none',)"  # a binding: without recycling


class Case(NamedTuple):
    """An agent at a replay ratio, in the paper's configuration."""

    agent: str  # as its users call it
    file: str
    record: str  # the configuration's name in gin
    replay_ratio: float
    game: str

    @property
    def title(self) -> str:
        return f"{self.agent}, replay ratio {self.replay_ratio:g}"


CASES = {
    "dqn_rr0.25": Case("DQN", "dqn.gin", "DQN", 0.25, "Pong"),
    "dqn_rr1": Case("DQN", "dqn.gin", "DQN", 1.0, "Pong"),
    "drq_eps_rr1": Case("DrQ(eps)", "drq_eps.gin", "Rainbow", 1.0, "Pong"),
    "sac_rr1": Case("SAC", "sac.gin", "SAC", 1.0, "HalfCheetah-v5"),
    "sac_rr4": Case("SAC", "sac.gin", "SAC", 4.0, "HalfCheetah-v5"),
}


class Setup(NamedTuple):
    """What is measured; one process each."""

    case: str
    members: int = 1
    precision: str = "float32"
    formulation: str = "auto"
    axis: str = "auto"
    capacity: int = 20_000  # rows of each member's replay memory
    seconds: float = 20.0  # of each measurement
    game: str = ""  # another than the case's
    small: bool = False  # small networks and batches: a rehearsal, not a measurement


def plan_of(setup: Setup, *more: str) -> Plan:
    """The run: every member recycles at the paper's period, as ``setup`` says. more: gin bindings,
    which win.

    Raises:
      DormantError: an unknown case, or anything else that is wrong with the setup.
    """
    check_name("agent", setup.case, CASES)
    case = CASES[setup.case]
    record = case.record
    bindings = [
        f"Run.game={setup.game or case.game!r}",
        f"Run.seeds={setup.members}",
        f"Run.axis={setup.axis!r}",
        f"replay_ratio={case.replay_ratio:g}",
        f"{record}.replay_capacity={setup.capacity}",
        f"{record}.min_replay_history={min(600, setup.capacity // 2)}",
        f"{record}.precision={setup.precision!r}",
        f"ReDo.period={RECYCLING_PERIOD}",
        "Protocol.evaluation_steps=0",
        "Protocol.evaluation_episodes=0",
        "Protocol.iterations=1",
        "Protocol.training_steps=1000000000",
        "Protocol.checkpoint_minutes=100000.0",
    ]
    if record != "SAC":
        bindings.append(f"{record}.formulation={setup.formulation!r}")
    if setup.small:
        bindings += [f"{record}.width=0.125", f"{record}.batch_size=4"]
    return plan(
        [os.path.join(CONFIGS, name) for name in (case.file, "redo.gin")], [*bindings, *more]
    )


class Timers:
    """Seconds in each part of the loop. While on, every part waits for its device work: nothing
    overlaps.
    """

    def __init__(self) -> None:
        self.on = False
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable, *arguments: Any) -> Any:
        if not self.on:
            return function(*arguments)
        started = time.perf_counter()
        result = jax.block_until_ready(function(*arguments))
        self.seconds[part] += time.perf_counter() - started
        return result


class TimedEnv:
    """A vector environment whose steps are timed."""

    def __init__(self, env: Any, timers: Timers):
        self.spec, self.num_envs, self._env, self._timers = env.spec, env.num_envs, env, timers
        self.reset, self.close = env.reset, env.close

    def send(self, actions: Any) -> None:
        self._timers.timed("environment", self._env.send, actions)

    def recv(self) -> Any:
        return self._timers.timed("environment", self._env.recv)


def timed_population(population: Population, timers: Timers) -> Population:
    """The same population with a timer around each of its parts."""
    device_put = population.axis.device_put

    def add(memories: Any, row: Any, frames: Any = ()) -> Any:
        """The rows without their frames are moved inside: that alone is timed beforehand and taken
        off.
        """
        if not timers.on:
            return population.add(memories, row, frames)
        before = timers.seconds["transfer"]
        timers.timed("transfer", device_put, row)
        result = timers.timed("replay", population.add, memories, row, frames)
        timers.seconds["replay"] -= timers.seconds["transfer"] - before
        return result

    names = {"act": "acting", "learn": "learning", "sync_target": "learning"}
    names |= {"intervene": "recycling", "measure": "logging"}
    timed: dict[str, Any] = {
        name: lambda *arguments, part=part, name=name: timers.timed(
            part, getattr(population, name), *arguments
        )
        for name, part in names.items()
    }
    timed_put = lambda tree: timers.timed("transfer", device_put, tree)
    axis = population.axis._replace(device_put=timed_put)
    return population._replace(add=add, axis=axis, **timed)


class Unsaved(Loop):
    """A loop without the checkpoint that a run begins with: a large population's is gigabytes."""

    def start(self) -> State:
        new = self._new()
        self._files.open({})
        self._reporter.begin(new.clocks, [], set())
        return new


def _unbroken(population: Population, protocol: Protocol) -> tuple[Population, Protocol]:
    """The loop's: without recyclings and logs, which ``periodic`` times by themselves.

    A window that met one would count it twice; at the first log a gradient step of another program
    would be compiled in its middle.
    """
    plain = tuple(member._replace(intervention=None) for member in population.members)
    never = dataclasses.replace(protocol, log_period=protocol.training_steps)
    return population._replace(members=plain), never


class Session:
    """A loop past its warm-up: each program of a training step has been compiled and executed."""

    def __init__(self, planned: Plan, folder: str, saved: bool = False):
        self.timers = Timers()
        self.protocol: Protocol = planned.protocol
        self._population = timed_population(planned.population, self.timers)
        make_env = lambda evaluation: TimedEnv(planned.make_env(evaluation), self.timers)
        kind = Loop if saved else Unsaved
        self._loop = kind(*_unbroken(self._population, planned.protocol), make_env, folder)
        self._state: State = self._loop.start()
        schedule = self._population.agent.schedule
        for _ in range(schedule.min_replay_history // schedule.update_period + 3):
            self._state = self._loop.advance(self._state)
        self._intervention = self._population.members[0].intervention
        jax.block_until_ready(self._state.states)

    @property
    def members(self) -> int:
        return len(self._population.members)

    @property
    def axis_name(self) -> str:
        return self._population.axis.name

    @property
    def agent_steps(self) -> int:
        """Of one member."""
        return self._state.agent_steps

    @property
    def gradient_steps(self) -> int:
        """Of one member."""
        return self._state.gradient_steps

    @property
    def update_period(self) -> int:
        """Agent steps between two calls of the learner."""
        return self._population.agent.schedule.update_period

    def bytes_per_member(self) -> tuple[float, float]:
        """Of the agent's state and of its replay memory."""
        size = lambda tree: sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / self.members
        return size(self._state.states), size(self._state.memories)

    def close(self) -> None:
        self._loop.close()

    def advance(self, seconds: float = 0.0, agent_steps: int = 0) -> float:
        """Trains for so long, or so many agent steps; returns the seconds."""
        started, first = time.perf_counter(), self._state.agent_steps
        while True:
            self._state = self._loop.advance(self._state)
            done = self._state.agent_steps - first
            if (done >= agent_steps) if agent_steps else time.perf_counter() - started >= seconds:
                break
        jax.block_until_ready(self._state.states)
        return time.perf_counter() - started

    def periodic(self) -> dict[str, float]:
        """Seconds of one recycling and of one measurement for the log, all members."""
        intervention = self._intervention
        assert intervention is not None, "every member recycles"
        works = {
            "recycling": lambda: self._population.intervene(
                intervention,
                self._state.states,
                self._state.memories,
                self._state.gradient_steps,
            ),
            "logging": lambda: self._population.measure(
                self._state.states, self._state.memories, self._state.gradient_steps
            ),
        }
        found = {}
        for name, work in works.items():
            work = self._keeping(work) if name == "recycling" else work
            jax.block_until_ready(work())
            started = time.perf_counter()
            jax.block_until_ready(work())
            found[name] = time.perf_counter() - started
        return found

    def _keeping(self, intervene: Callable) -> Callable:
        """The intervention's own new states become the session's: the old ones were given away."""

        def run() -> Any:
            states, counts = intervene()
            self._state = self._state._replace(states=states)
            return states

        return run

    def bare(self) -> Callable[[float], float]:
        """Returns work(seconds) -> gradient steps a second of all members: ``agent.learn`` alone,
        on one batch.
        """
        population = self._population
        agent, axis, memory = population.agent, population.axis, population.memory
        count = agent.schedule.updates_per_call if agent.fused else 1

        def learn(state: Any, batch: Any, key: Any, settings: Any) -> Any:
            step = lambda state, key: (agent.learn(state, batch, key, settings)[0], None)
            if count == 1:
                return step(state, key)[0]
            return jax.lax.scan(step, state, jax.random.split(key, count))[0]

        keys = axis.stack([jax.random.key(index) for index in range(self.members)])
        settings = [jax.tree.map(jnp.float32, member.settings) for member in population.members]
        collected = axis.stack(settings)
        sample = axis.map(memory.sample, (memory.axes, 0))
        learn_all = axis.map(learn, (0, 0, 0, 0), 0, (0,))

        def run(seconds: float) -> float:
            batches = jax.block_until_ready(sample(self._state.memories, keys))
            states = jax.block_until_ready(learn_all(self._state.states, batches, keys, collected))
            started, calls = time.perf_counter(), 0
            while time.perf_counter() - started < seconds:
                for _ in range(4):
                    states = learn_all(states, batches, keys, collected)
                calls += 4
                jax.block_until_ready(states)
            taken = time.perf_counter() - started
            self._state = self._state._replace(states=states)
            return calls * count * self.members / taken

        return run


@contextlib.contextmanager
def session(setup: Setup, *more: str, saved: bool = False) -> Iterator[Session]:
    """A session in a folder of its own that goes with it; ``plan_of`` for the arguments.

    saved: with a run's first checkpoint, where the time from its start is measured.
    """
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as quiet:
        errors, sys.stderr = sys.stderr, quiet  # no progress bar
        try:
            running = Session(plan_of(setup, *more), folder, saved)
            sys.stderr = errors
            yield running
            running.close()
        finally:
            sys.stderr = errors
