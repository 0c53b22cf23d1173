"""The population: one agent's pure functions and one replay memory, mapped over all members.

Every member is at the same agent step and gradient step. These clocks are host integers handed in
as scalars without a member axis, so periodic work never becomes a conditional inside a compiled
program. Keys come from the clocks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dormant.agents.interface import Agent, Settings
from dormant.replay import Memory
from dormant.training.carried import Carried, Laden, laden, with_load, with_state
from dormant.training.interventions import Intervention
from dormant.training.measure import all_taus, history, make_measurer
from dormant.training.members import (
    ACT,
    INIT,
    INTERVENE,
    LEARN,
    AgentState,
    Axis,
    Collection,
    Member,
    MemoryState,
    member_key,
)
from dormant.training.protocol import Protocol
from dormant.types import Key, Row, Transition

# metrics whose name ends so cost a pass over all gradients: only measured when logged
LATEST = "gradient_norm"
SCORE_BATCH = 64  # transitions in a measurement's own sample (paper.md 3.3)


@struct.dataclass
class Metrics:
    """What one member's learning has done since the last log."""

    sums: dict[str, jax.Array]  # {metric: () float32}
    # {metric: () float32} of the last measured gradient step, see LATEST
    latest: dict[str, jax.Array]
    count: jax.Array  # () int32 gradient steps
    # () int32 the first gradient step whose loss was not finite, since the start; -1 = none
    diverged: jax.Array


class Population(NamedTuple):
    """Members in lockstep. ``states``, ``metrics`` and ``memories`` are collections of the axis.

    init() -> states, metrics
    init_memories(rows) -> memories
        empty ones, whose next row is row number ``rows`` of the run
    act(states, observations, agent_steps, evaluate) -> collection (P, *action)
        observations: a collection (P, *observation)
    explore(agent_steps) -> collection (P, *action), uniformly random
    add(memories, row, frames=()) -> memories
        row: a Row of host arrays (P, T, ...). frames: its T observations as collections
        (P, *single), where they have been moved to the agents; ``row.observation`` is then None.
    learn(states, metrics, memories, gradient_steps, count, measured) -> states, metrics, memories
        count gradient steps; measured: the last of them is logged
    sync_target(states) -> states
    measure(states, memories, gradient_steps) -> {metric: (P,) array}
    remember(states, memories, gradient_steps) -> states
        after a log: what was measured is what the next log's metrics look back to
    intervene(intervention, states, memories, gradient_steps) -> states, {member: {layer: count}}
    clear(metrics) -> metrics
    """

    agent: Agent
    memory: Memory
    members: tuple[Member, ...]
    axis: Axis
    init: Callable[[], tuple[Collection, Collection]]
    init_memories: Callable[[int], Collection]
    act: Callable[[Collection, Collection, int, bool], Collection]
    explore: Callable[[int], Collection]
    add: Callable[..., Collection]
    learn: Callable[..., tuple[Collection, Collection, Collection]]
    sync_target: Callable[[Collection], Collection]
    measure: Callable[[Collection, Collection, int], dict[str, np.ndarray]]
    remember: Callable[[Collection, Collection, int], Collection]
    intervene: Callable[
        [Intervention, Collection, Collection, int],
        tuple[Collection, dict[int, dict[str, int]]],
    ]
    clear: Callable[[Collection], Collection]


def make_population(
    agent: Agent,
    members: Sequence[Member],
    axis: Axis,
    make_memory: Callable[[int], Memory],
    taus: Sequence[float] = Protocol.taus,
    metrics: Sequence[str] = (),
) -> Population:
    """The population of these members.

    Args:
      make_memory: batch size -> the replay memory's functions; all batch sizes read the same state.
      taus: thresholds at which the dormant fraction is measured; every member's own is added.
      metrics: of training.measure.MEASURES, measured beside it.
    """
    memory, members = make_memory(agent.schedule.batch_size), tuple(members)
    asked = (all_taus(taus, members), metrics)
    agent = laden(agent, [*carried_by(members), *history(agent, *asked)])
    keys = axis.stack([member_key(member) for member in members])
    settings = axis.stack([scalars(member.settings) for member in members])
    no_metrics = empty_metrics(agent, memory)
    measurer = make_measurer(agent, asked, axis, make_memory(SCORE_BATCH), keys, settings)
    init = axis.map(lambda key, setting: agent.init(jax.random.fold_in(key, INIT), setting), (0, 0))
    init_memory = axis.map(
        lambda key, position: memory.init().replace(position=position), (0, None), memory.axes
    )
    init_metrics = axis.map(lambda key: no_metrics, (0,))
    acts = {
        evaluate: axis.map(actor(agent, evaluate), (0, 0, 0, None)) for evaluate in (False, True)
    }
    explore = axis.map(explorer(agent), (0, None))
    return Population(
        agent=agent,
        memory=memory,
        members=members,
        axis=axis,
        init=lambda: (init(keys, settings), init_metrics(keys)),
        init_memories=lambda rows: init_memory(keys, np.int32(rows % memory.capacity)),
        act=lambda states, observations, agent_steps, evaluate: acts[evaluate](
            states, observations, keys, np.int32(agent_steps)
        ),
        explore=lambda agent_steps: explore(keys, np.int32(agent_steps)),
        add=_adder(axis, memory),
        learn=_learns(agent, memory, axis, keys, settings),
        sync_target=axis.map(agent.sync_target, (0,))
        if agent.sync_target
        else lambda states: states,
        measure=measurer.measure,
        remember=measurer.remember,
        intervene=_intervener(members, axis, make_memory, keys, settings),
        clear=axis.map(
            lambda metrics: Metrics(
                no_metrics.sums, no_metrics.latest, no_metrics.count, metrics.diverged
            ),
            (0,),
        ),
    )


def carried_by(members: Sequence[Member]) -> list[Carried]:
    """What the interventions of a population carry, each once. All members carry it: they are one
    program.
    """
    carried = (each.intervention.carried for each in members if each.intervention)
    return list({each.name: each for each in carried if each is not None}.values())


def _learns(
    agent: Agent, memory: Memory, axis: Axis, keys: Collection, settings: Collection
) -> Callable:
    """``Population.learn``: a program for each number of gradient steps in one call."""
    programs: dict[tuple[int, bool], Callable] = {}
    replays = memory.update is not None  # priorities: learning writes to the memory

    def learn(
        states: Collection,
        metrics: Collection,
        memories: Collection,
        gradient_steps: int,
        count: int,
        measured: bool = False,
    ) -> tuple:
        if count > 1 and not agent.fused:
            for offset in range(count):
                last = measured and offset == count - 1
                states, metrics, memories = learn(
                    states, metrics, memories, gradient_steps + offset, 1, last
                )
            return states, metrics, memories
        if (count, measured) not in programs:
            outs = (0, 0, memory.axes) if replays else (0, 0)
            donate = (0, 1, 2) if replays else (0, 1)
            function = learner(agent, memory, count, measured)
            programs[count, measured] = axis.map(
                function, (0, 0, memory.axes, 0, 0, None), outs, donate
            )
        step = np.int32(gradient_steps)
        out = programs[count, measured](states, metrics, memories, keys, settings, step)
        return out if replays else (*out, memories)

    return learn


def scalars(settings: Settings) -> Settings:
    """The settings as () float32 arrays."""
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), settings)


def actor(agent: Agent, evaluate: bool) -> Callable:
    def act(
        state: AgentState, observation: jax.Array, key: Key, agent_steps: jax.Array
    ) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(key, ACT), agent_steps)
        return agent.act(
            state, observation, jax.random.fold_in(key, int(evaluate)), agent_steps, evaluate
        )

    return act


def explorer(agent: Agent) -> Callable:
    spec = agent.spec

    def explore(key: Key, agent_steps: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(key, ACT), agent_steps)
        if spec.num_actions:
            return jax.random.randint(key, (), 0, spec.num_actions)
        return jax.random.uniform(key, spec.action_shape, minval=-1.0)

    return explore


def _adder(axis: Axis, memory: Memory) -> Callable:
    programs: dict[int, Callable] = {}  # by the number of frames

    def add_member(state: MemoryState, row: Row, *frames: jax.Array) -> MemoryState:
        return memory.add(state, row._replace(observation=jnp.stack(frames)) if frames else row)

    def add(memories: Collection, row: Row, frames: Sequence[Collection] = ()) -> Collection:
        if len(frames) not in programs:
            in_axes = (memory.axes, 0, *[0] * len(frames))
            programs[len(frames)] = axis.map(add_member, in_axes, memory.axes, (0,))
        return programs[len(frames)](memories, axis.device_put(row), *frames)

    return add


def learner(agent: Agent, memory: Memory, count: int, measured: bool) -> Callable:
    """``count`` gradient steps of one member as one program.

    What is not measured is not computed.
    """

    def step(carry: tuple, gradient_step: jax.Array, key: Key, settings: Settings) -> tuple:
        state, totals, memory_state = carry
        key_sample, key_learn = jax.random.split(
            jax.random.fold_in(jax.random.fold_in(key, LEARN), gradient_step)
        )
        batch = memory.sample(memory_state, key_sample)
        state, metrics, priorities = agent.learn(state, batch, key_learn, settings)
        if memory.update is not None:
            assert priorities is not None  # a prioritised schedule says that there are some
            memory_state = memory.update(memory_state, batch.index, priorities)
        newly = (totals.diverged < 0) & ~jnp.isfinite(metrics["loss"])
        totals = Metrics(
            sums={name: total + metrics[name] for name, total in totals.sums.items()},
            latest={name: metrics[name] for name in totals.latest} if measured else totals.latest,
            count=totals.count + 1,
            diverged=jnp.where(newly, gradient_step, totals.diverged),
        )
        return state, totals, memory_state

    def learn(
        state: AgentState,
        totals: Metrics,
        memory_state: MemoryState,
        key: Key,
        settings: Settings,
        gradient_steps: jax.Array,
    ) -> tuple:
        if count == 1:
            out = step((state, totals, memory_state), gradient_steps, key, settings)
        else:
            body = lambda carry, offset: (step(carry, gradient_steps + offset, key, settings), None)
            out, _ = jax.lax.scan(body, (state, totals, memory_state), jnp.arange(count))
        return out if memory.update is not None else out[:2]

    return learn


def empty_metrics(agent: Agent, memory: Memory) -> Metrics:
    """Of no gradient step yet; the names are those that the agent's learning returns."""

    def metrics(key: Key) -> dict:
        state = agent.init(key, scalars(agent.default_settings))
        return agent.learn(
            state, memory.sample(memory.init(), key), key, scalars(agent.default_settings)
        )[1]

    names = jax.eval_shape(metrics, jax.random.key(0))
    zeros = {name: jnp.float32(0) for name in names}
    sums = {name: zero for name, zero in zeros.items() if not name.endswith(LATEST)}
    latest = {name: zero for name, zero in zeros.items() if name.endswith(LATEST)}
    return Metrics(sums, latest, jnp.int32(0), jnp.int32(-1))


def applied(
    intervention: Intervention, state: AgentState, *given: Any
) -> tuple[AgentState, dict[str, jax.Array]]:
    """An intervention knows the agent's own state, and of what is carried only its own."""
    if not isinstance(state, Laden):
        return intervention.apply(state, *given)
    if intervention.carried is None:
        own, counts = intervention.apply(state.state, *given)
        return with_state(state, own), counts
    name = intervention.carried.name
    own, counts, tree = intervention.apply(state.state, *given, state.carried[name])
    return with_load(with_state(state, own), name, tree), counts


def _intervener(
    members: tuple,
    axis: Axis,
    make_memory: Callable[[int], Memory],
    keys: Collection,
    settings: Collection,
) -> Callable:
    """Applies an intervention to the members that have it; the others are not touched."""
    programs: dict[Intervention, tuple] = {}

    def program(intervention: Intervention) -> tuple:
        def derived(key: Key, gradient_steps: jax.Array, use: int) -> Key:
            key = jax.random.fold_in(jax.random.fold_in(key, INTERVENE), gradient_steps)
            return jax.random.fold_in(key, use)

        def apply(
            state: AgentState,
            batch: Transition | None,
            key: Key,
            setting: Settings,
            gradient_steps: jax.Array,
        ) -> tuple[AgentState, dict[str, jax.Array]]:
            own = (batch, derived(key, gradient_steps, 1), setting, gradient_steps)
            return applied(intervention, state, *own)

        def sample(
            memory_state: MemoryState, key: Key, gradient_steps: jax.Array
        ) -> Transition | None:
            return memory.sample(memory_state, derived(key, gradient_steps, 0)) if memory else None

        memory = make_memory(intervention.batch_size) if intervention.batch_size else None
        batch_axis = 0 if memory else None
        return (
            axis.map(sample, (memory.axes, 0, None)) if memory else lambda *unused: None,
            axis.map(apply, (0, batch_axis, 0, 0, None), (0, 0)),
        )

    def intervene(
        intervention: Intervention, states: Collection, memories: Collection, gradient_steps: int
    ) -> tuple:
        if intervention not in programs:
            programs[intervention] = program(intervention)
        sample, apply = programs[intervention]
        step = np.int32(gradient_steps)
        batches = sample(memories, keys, step)
        own = tuple(
            index for index, member in enumerate(members) if member.intervention == intervention
        )
        part = [
            None if each is None else axis.take(each, own)
            for each in (states, batches, keys, settings)
        ]
        changed, counts = apply(*part, step)
        touched = {
            index: {name: np.asarray(value).item() for name, value in each.items()}
            for index, each in zip(own, axis.unstack(counts))
        }
        return axis.put(states, own, changed), touched

    return intervene
