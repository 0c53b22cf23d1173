"""The population: one agent's pure functions and one replay memory, carried out for all members.

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

from dormant import results
from dormant.agents.interface import Agent
from dormant.redo import feature_rank, scores
from dormant.replay import Memory
from dormant.training.interventions import Intervention
from dormant.training.members import ACT, INIT, INTERVENE, LEARN, MEASURE, Axis, Member, member_key
from dormant.types import Row

TAUS = (0.0, 0.025, 0.1)  # the thresholds of the paper's figures
# metrics whose name ends so cost a pass over all gradients: only measured when logged
LATEST = "gradient_norm"
SCORE_BATCH = 64  # transitions in a measurement's own sample (paper.md 3.3)


@struct.dataclass
class Tally:
    """What one member's learning has done since the last log."""

    sums: dict  # {metric: () float32}
    latest: dict  # {metric: () float32} of the last measured gradient step, see LATEST
    count: Any  # () int32 gradient steps
    # () int32 the first gradient step whose loss was not finite, since the start; -1 = none
    diverged: Any


class Population(NamedTuple):
    """Members in lockstep. ``states``, ``tallies`` and ``memories`` are collections of the axis.

    init() -> states, tallies
    init_memories(rows) -> empty memories whose next row is row number ``rows`` of the run
    act(states, observations, agent_steps, evaluate) -> collection (P, *action), see ``to_host``
        observations: a collection (P, *observation)
    explore(agent_steps) -> collection (P, *action), uniformly random
    add(memories, rows) -> memories; rows is a Row of host arrays (P, T, ...), its observation these
        or a list of T collections (P, ...)
    learn(states, tallies, memories, gradient_steps, count, measured) -> states, tallies, memories
        count gradient steps; measured: the last of them is logged
    sync_target(states) -> states
    measure(states, memories, gradient_steps) -> {metric: (P,) array}
    intervene(intervention, states, memories, gradient_steps) -> states, {member: {layer: count}}
    clear(tallies) -> tallies
    """

    agent: Agent
    memory: Memory
    members: tuple[Member, ...]
    axis: Axis
    init: Callable[..., tuple]
    init_memories: Callable[[int], Any]
    act: Callable[..., np.ndarray]
    explore: Callable[..., np.ndarray]
    add: Callable[..., Any]
    learn: Callable[..., tuple]
    sync_target: Callable[..., Any]
    measure: Callable[..., dict]
    intervene: Callable[..., tuple]
    clear: Callable[..., Any]


def make_population(
    agent: Agent, members: Sequence[Member], axis: Axis, make_memory: Callable[[int], Memory]
) -> Population:
    """``make_memory(batch_size)`` makes the replay memory's functions; all batch sizes read the
    same state.
    """
    memory, members = make_memory(agent.schedule.batch_size), tuple(members)
    keys = axis.collect([member_key(member) for member in members])
    settings = axis.collect([scalars(member.settings) for member in members])
    no_tally = _empty_tally(agent, memory)
    init = axis.lift(
        lambda key, setting: agent.init(jax.random.fold_in(key, INIT), setting), (0, 0)
    )
    init_memory = axis.lift(
        lambda key, position: memory.init().replace(position=position), (0, None), memory.axes
    )
    init_tally = axis.lift(lambda key: no_tally, (0,))
    acts = {
        evaluate: axis.lift(actor(agent, evaluate), (0, 0, 0, None)) for evaluate in (False, True)
    }
    explore = axis.lift(explorer(agent), (0, None))
    learns: dict[tuple[int, bool], Callable] = {}
    replays = memory.update is not None  # priorities: learning writes to the memory

    def learn(
        states: Any,
        tallies: Any,
        memories: Any,
        gradient_steps: int,
        count: int,
        measured: bool = False,
    ) -> tuple:
        if count > 1 and not agent.fused:
            for offset in range(count):
                last = measured and offset == count - 1
                states, tallies, memories = learn(
                    states, tallies, memories, gradient_steps + offset, 1, last
                )
            return states, tallies, memories
        if (count, measured) not in learns:
            outs = (0, 0, memory.axes) if replays else (0, 0)
            donate = (0, 1, 2) if replays else (0, 1)
            function = learner(agent, memory, count, measured)
            learns[count, measured] = axis.lift(
                function, (0, 0, memory.axes, 0, 0, None), outs, donate
            )
        step = np.int32(gradient_steps)
        out = learns[count, measured](states, tallies, memories, keys, settings, step)
        return out if replays else (*out, memories)

    return Population(
        agent=agent,
        memory=memory,
        members=members,
        axis=axis,
        init=lambda: (init(keys, settings), init_tally(keys)),
        init_memories=lambda rows: init_memory(keys, np.int32(rows % memory.capacity)),
        act=lambda states, observations, agent_steps, evaluate: acts[evaluate](
            states, observations, keys, np.int32(agent_steps)
        ),
        explore=lambda agent_steps: explore(keys, np.int32(agent_steps)),
        add=_adder(axis, memory),
        learn=learn,
        sync_target=axis.lift(agent.sync_target, (0,))
        if agent.sync_target
        else lambda states: states,
        measure=_measurer(agent, members, axis, make_memory(SCORE_BATCH), keys),
        intervene=_intervener(members, axis, make_memory, keys, settings),
        clear=axis.lift(
            lambda tally: Tally(no_tally.sums, no_tally.latest, no_tally.count, tally.diverged),
            (0,),
        ),
    )


def scalars(settings: Any) -> Any:
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), settings)


def to_host(values: Any) -> np.ndarray:
    """A collection of arrays as one numpy array (P, ...); waits for the device."""
    return (
        np.stack([np.asarray(value) for value in values])
        if isinstance(values, tuple)
        else np.asarray(values)
    )


def actor(agent: Agent, evaluate: bool) -> Callable:
    def act(state: Any, observation: Any, key: Any, agent_steps: Any) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(key, ACT), agent_steps)
        return agent.act(
            state, observation, jax.random.fold_in(key, int(evaluate)), agent_steps, evaluate
        )

    return act


def explorer(agent: Agent) -> Callable:
    spec = agent.spec

    def explore(key: Any, agent_steps: Any) -> Any:
        key = jax.random.fold_in(jax.random.fold_in(key, ACT), agent_steps)
        if spec.num_actions:
            return jax.random.randint(key, (), 0, spec.num_actions)
        return jax.random.uniform(key, spec.action_shape, minval=-1.0)

    return explore


def _adder(axis: Axis, memory: Memory) -> Callable:
    programs: dict[int, Callable] = {}

    def add_member(state: Any, rows: Row, *frames: Any) -> Any:
        return memory.add(state, rows._replace(observation=jnp.stack(frames)) if frames else rows)

    def add(memories: Any, rows: Row) -> Any:
        frames = rows.observation if isinstance(rows.observation, list) else []
        if len(frames) not in programs:
            in_axes = (memory.axes, 0, *[0] * len(frames))
            programs[len(frames)] = axis.lift(add_member, in_axes, memory.axes, (0,))
        rows = rows._replace(observation=None) if frames else rows
        return programs[len(frames)](memories, axis.spread(rows), *frames)

    return add


def learner(agent: Agent, memory: Memory, count: int, measured: bool) -> Callable:
    """``count`` gradient steps of one member as one program; what is not measured is not
    computed.
    """

    def step(carry: tuple, gradient_step: Any, key: Any, settings: Any) -> tuple:
        state, tally, memory_state = carry
        key_sample, key_learn = jax.random.split(
            jax.random.fold_in(jax.random.fold_in(key, LEARN), gradient_step)
        )
        batch = memory.sample(memory_state, key_sample)
        state, metrics, priorities = agent.learn(state, batch, key_learn, settings)
        if memory.update is not None:
            memory_state = memory.update(memory_state, batch.index, priorities)
        newly = (tally.diverged < 0) & ~jnp.isfinite(metrics["loss"])
        tally = Tally(
            sums={name: total + metrics[name] for name, total in tally.sums.items()},
            latest={name: metrics[name] for name in tally.latest} if measured else tally.latest,
            count=tally.count + 1,
            diverged=jnp.where(newly, gradient_step, tally.diverged),
        )
        return state, tally, memory_state

    def learn(
        state: Any, tally: Tally, memory_state: Any, key: Any, settings: Any, gradient_steps: Any
    ) -> tuple:
        if count == 1:
            out = step((state, tally, memory_state), gradient_steps, key, settings)
        else:
            body = lambda carry, offset: (step(carry, gradient_steps + offset, key, settings), None)
            out, _ = jax.lax.scan(body, (state, tally, memory_state), jnp.arange(count))
        return out if memory.update is not None else out[:2]

    return learn


def _empty_tally(agent: Agent, memory: Memory) -> Tally:
    """A tally whose metrics are those that the agent's learning returns."""

    def metrics(key: Any) -> dict:
        state = agent.init(key, scalars(agent.default_settings))
        return agent.learn(
            state, memory.sample(memory.init(), key), key, scalars(agent.default_settings)
        )[1]

    names = jax.eval_shape(metrics, jax.random.key(0))
    zeros = {name: jnp.float32(0) for name in names}
    sums = {name: zero for name, zero in zeros.items() if not name.endswith(LATEST)}
    latest = {name: zero for name, zero in zeros.items() if name.endswith(LATEST)}
    return Tally(sums, latest, jnp.int32(0), jnp.int32(-1))


def _measurer(agent: Agent, members: tuple, axis: Axis, memory: Memory, keys: Any) -> Callable:
    """Dormant fractions (pooled as the paper reports them, and per layer) and the feature rank, on
    a fresh sample.
    """

    def measure(state: Any, memory_state: Any, key: Any, gradient_steps: Any) -> dict:
        key = jax.random.fold_in(jax.random.fold_in(key, MEASURE), gradient_steps)
        batch = memory.sample(memory_state, key)
        key_noise = jax.random.fold_in(key, 1)
        observed = agent.observe(state, batch, key_noise)
        out = {"feature_rank": feature_rank(agent.features(state, batch, key_noise))}
        by_layer = {
            f"{name}/{layer}": each
            for name, activations in observed.items()
            for layer, each in scores(activations).items()
        }
        for tau in TAUS:
            for layer, each in {"all": jnp.concatenate([*by_layer.values()]), **by_layer}.items():
                out[results.dormant_fraction_name(tau, layer)] = jnp.mean(
                    each <= tau, dtype=jnp.float32
                )
        return out

    lifted = axis.lift(measure, (0, memory.axes, 0, None))

    def run(states: Any, memories: Any, gradient_steps: int) -> dict[str, np.ndarray]:
        values = axis.separate(lifted(states, memories, keys, np.int32(gradient_steps)))
        return {name: np.array([value[name] for value in values]) for name in values[0]}

    return run


def _intervener(
    members: tuple, axis: Axis, make_memory: Callable[[int], Memory], keys: Any, settings: Any
) -> Callable:
    """Applies an intervention to the members that have it; the others are not touched."""
    taus = axis.collect([jnp.float32(member.tau) for member in members])
    programs: dict[str, tuple] = {}

    def program(intervention: Intervention) -> tuple:
        def derived(key: Any, gradient_steps: Any, use: int) -> Any:
            return jax.random.fold_in(
                jax.random.fold_in(jax.random.fold_in(key, INTERVENE), gradient_steps), use
            )

        def apply(
            state: Any, batch: Any, key: Any, setting: Any, tau: Any, gradient_steps: Any
        ) -> tuple:
            return intervention.apply(
                state, batch, derived(key, gradient_steps, 1), setting, tau, gradient_steps
            )

        def sample(memory_state: Any, key: Any, gradient_steps: Any) -> Any:
            return memory.sample(memory_state, derived(key, gradient_steps, 0)) if memory else None

        memory = make_memory(intervention.batch_size) if intervention.batch_size else None
        batch_axis = 0 if memory else None
        return (
            axis.lift(sample, (memory.axes, 0, None)) if memory else lambda *unused: None,
            axis.lift(apply, (0, batch_axis, 0, 0, 0, None), (0, 0)),
        )

    def intervene(
        intervention: Intervention, states: Any, memories: Any, gradient_steps: int
    ) -> tuple:
        if intervention.name not in programs:
            programs[intervention.name] = program(intervention)
        sample, apply = programs[intervention.name]
        step = np.int32(gradient_steps)
        batches = sample(memories, keys, step)
        own = tuple(
            index for index, member in enumerate(members) if member.intervention is intervention
        )
        part = [
            None if each is None else axis.take(each, own)
            for each in (states, batches, keys, settings, taus)
        ]
        changed, counts = apply(*part, step)
        found = axis.separate(counts)
        touched = {
            index: {layer: int(value) for layer, value in each.items()}
            for index, each in zip(own, found)
        }
        return axis.put(states, own, changed), touched

    return intervene
