"""Training as one program: acting, stepping the environments, storing, sampling and learning.

For environments that are pure functions (``envs/device.py``). A call of the program makes the
agent steps and gradient steps up to the next event of the clocks (``Calls``), for all members; the
host then does what is due (``device_loop.py``).

The order of a block of ``update_period`` agent steps is the host loop's: where it is time to learn,
first the gradient steps on what came before, then the agent steps. Here an action is chosen with
the parameters after that learning; in the host loop the first one of a block is chosen before it.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dormant.agents.interface import Agent, Schedule, Settings
from dormant.envs.device import DeviceEnv, DeviceState, DeviceStep
from dormant.replay import Memory
from dormant.training.members import (
    ENVIRONMENT,
    EVALUATE,
    TRAIN,
    AgentState,
    Collection,
    MemoryState,
    member_key,
)
from dormant.training.population import Metrics, Population, actor, explorer, learner, scalars
from dormant.types import DormantError, Key, Row

CHUNK = 256  # agent steps of one call at most: signals are noticed between calls


@struct.dataclass
class Player:
    """One member's environment, and the episodes that it has finished since ``restart``."""

    env: DeviceState
    episodes: jax.Array  # () int32
    total: jax.Array  # () float32 sum of their returns


class Ended(NamedTuple):
    """The episodes that end in the agent steps of one call."""

    lengths: jax.Array  # (CHUNK,) int32 agent steps; 0 = no episode ends there
    returns: jax.Array  # (CHUNK,) float32 undiscounted raw returns


class Calls(NamedTuple):
    """The work of one call, in this order."""

    first: int  # gradient steps
    pairs: int  # blocks of update_period agent steps, each followed by its gradient steps
    blocks: int  # blocks without

    def agent_steps(self, schedule: Schedule) -> int:
        return (self.pairs + self.blocks) * schedule.update_period

    def gradient_steps(self, schedule: Schedule) -> int:
        return self.gradient_steps_before(self.pairs * schedule.update_period, schedule)

    def gradient_steps_before(self, agent_step: int, schedule: Schedule) -> int:
        """Of this call, before its agent step of that number (from 0) is made."""
        learned = min(agent_step // schedule.update_period, self.pairs)
        return self.first + learned * schedule.updates_per_call


class DeviceProgram(NamedTuple):
    """A population's programs; ``players`` is a collection of ``Player``.

    init() -> players
    restart(players, iteration) -> players at the start of an iteration: new episodes
    advance(states, metrics, memories, players, agent_steps, gradient_steps, calls)
        -> states, metrics, memories, players, Ended of numpy arrays (P, CHUNK)
    begin_evaluation(evaluation) -> collection of environments
    evaluate(states, environments, agent_steps, evaluation, step)
        -> environments, Ended: CHUNK steps of the evaluation, from its step number ``step`` on
    """

    init: Callable[[], Collection]
    restart: Callable[[Collection, int], Collection]
    advance: Callable[..., tuple[Collection, Collection, Collection, Collection, Ended]]
    begin_evaluation: Callable[[int], Collection]
    evaluate: Callable[[Collection, Collection, int, int, int], tuple[Collection, Ended]]


def plan_calls(
    agent_steps: int,
    gradient_steps: int,
    schedule: Schedule,
    periods: Sequence[int],
    training_steps: int,
) -> Calls:
    """The work up to the next event: a multiple of a period (gradient steps), the end of the
    iteration, or CHUNK agent steps.

    At an event of the gradient-step clock nothing else has been done; at the end of an iteration
    the gradient steps that are due then have not.
    """
    period, updates = schedule.update_period, schedule.updates_per_call
    learns_from = (schedule.min_replay_history // period + 1) * period  # agent steps
    due = updates * max(0, (agent_steps - learns_from) // period + 1)
    room = min(each - gradient_steps % each for each in periods)  # to the next event
    first = min(due - gradient_steps, room)
    if first == room:
        return Calls(first, 0, 0)
    room -= first
    until_end = (training_steps - agent_steps % training_steps) // period
    most = min(until_end, max(CHUNK // period, 1))
    if agent_steps < learns_from:
        return Calls(first, 0, min(most, (learns_from - agent_steps) // period))
    most_pairs = most - 1 if most == until_end else most
    pairs = min(most_pairs, room // updates)
    at_event = pairs * updates == room
    return Calls(first, pairs, 0 if at_event or pairs == most else 1)


def make_program(population: Population, env: DeviceEnv, training_steps: int) -> DeviceProgram:
    """The programs of a population on one kind of environment.

    Args:
      training_steps: agent steps of an iteration; every episode ends with it.

    Raises:
      DormantError: more agent steps between two calls of the learner than a call can make.
    """
    period = population.agent.schedule.update_period
    if period > CHUNK:
        raise DormantError(
            f"update_period is {period}; it can be {CHUNK} at most where environments run on the "
            "device"
        )
    axis, memory = population.axis, population.memory
    keys = axis.stack([member_key(member) for member in population.members])
    settings = axis.stack([scalars(member.settings) for member in population.members])
    init = axis.map(lambda key: _player(env.init(_start_key(key, TRAIN, 0))), (0,))
    restart = axis.map(
        lambda player, key, iteration: _player(
            env.restart(player.env, _start_key(key, TRAIN, iteration))
        ),
        (0, 0, None),
    )
    advance = axis.map(
        _advance(population.agent, memory, env, training_steps),
        (0, 0, memory.axes, 0, 0, 0, None),
        (0, 0, memory.axes, 0, 0),
        (0, 1, 2, 3),
    )
    begin = axis.map(
        lambda key, evaluation: env.init(_start_key(key, EVALUATE, evaluation)), (0, None)
    )
    evaluate = axis.map(_evaluate(population.agent, env), (0, 0, 0, None, None, None), (0, 0), (1,))

    def run(
        states: Collection,
        metrics: Collection,
        memories: Collection,
        players: Collection,
        agent_steps: int,
        gradient_steps: int,
        calls: Calls,
    ) -> tuple[Collection, Collection, Collection, Collection, Ended]:
        work = np.array([agent_steps, gradient_steps, *calls], np.int32)
        *out, ended = advance(states, metrics, memories, players, keys, settings, work)
        states, metrics, memories, players = out
        return states, metrics, memories, players, axis.to_host(ended)

    def play(
        states: Collection, envs: Collection, agent_steps: int, evaluation: int, step: int
    ) -> tuple[Collection, Ended]:
        clocks = np.int32(agent_steps), np.int32(evaluation), np.int32(step)
        envs, ended = evaluate(states, envs, keys, *clocks)
        return envs, axis.to_host(ended)

    return DeviceProgram(
        init=lambda: init(keys),
        restart=lambda players, iteration: restart(players, keys, np.int32(iteration)),
        advance=run,
        begin_evaluation=lambda evaluation: begin(keys, np.int32(evaluation)),
        evaluate=play,
    )


def _player(env: DeviceState) -> Player:
    return Player(env, jnp.int32(0), jnp.float32(0))


def _start_key(key: Key, phase: int, number: int | jax.Array) -> Key:
    """Of the first episode of an iteration (TRAIN) or of an evaluation (EVALUATE)."""
    return jax.random.fold_in(_step_key(key, 2 + phase), number)


def _step_key(key: Key, phase: int) -> Key:
    return jax.random.fold_in(jax.random.fold_in(key, ENVIRONMENT), phase)


def _none_ended() -> Ended:
    return Ended(jnp.zeros(CHUNK, jnp.int32), jnp.zeros(CHUNK, jnp.float32))


def _noted(ended: Ended, place: jax.Array, step: DeviceStep) -> Ended:
    """The episode of this step, if it has ended, at its place among the call's agent steps."""
    over = step.terminal | step.truncated
    return Ended(
        ended.lengths.at[place].set(jnp.where(over, step.episode_length, 0)),
        ended.returns.at[place].set(jnp.where(over, step.episode_return, 0.0)),
    )


def _advance(agent: Agent, memory: Memory, env: DeviceEnv, training_steps: int) -> Callable:
    """One member's ``DeviceProgram.advance``. Clocks and work have no member axis, so that the
    loops over them stay loops under ``vmap``.
    """
    schedule = agent.schedule
    agent_step = _agent_step(agent, memory, env, training_steps)
    gradient_step = learner(agent, memory, 1, True)

    def advance(
        state: AgentState,
        metrics: Metrics,
        memory_state: MemoryState,
        player: Player,
        key: Key,
        settings: Settings,
        work: jax.Array,  # (5,) int32 the two clocks and the fields of ``Calls``
    ) -> tuple[AgentState, Metrics, MemoryState, Player, Ended]:
        start, gradient_steps, first, pairs, blocks = work

        def act(_: jax.Array, carry: tuple) -> tuple:
            state, metrics, memory_state, player, ended, agent_steps, gradient_steps = carry
            memory_state, player, step = agent_step(state, memory_state, player, key, agent_steps)
            ended = _noted(ended, agent_steps - start, step)
            return state, metrics, memory_state, player, ended, agent_steps + 1, gradient_steps

        def learn(_: jax.Array, carry: tuple) -> tuple:
            state, metrics, memory_state, player, ended, agent_steps, gradient_steps = carry
            state, metrics, *changed = gradient_step(
                state, metrics, memory_state, key, settings, gradient_steps
            )
            memory_state = changed[0] if changed else memory_state
            return state, metrics, memory_state, player, ended, agent_steps, gradient_steps + 1

        def block(index: jax.Array, carry: tuple) -> tuple:
            acts = jnp.where(index == 0, 0, schedule.update_period)
            learns = jnp.where(index <= pairs, schedule.updates_per_call, 0)
            learns = jnp.where(index == 0, first, learns)
            carry = jax.lax.fori_loop(0, acts, act, carry)
            return jax.lax.fori_loop(0, learns, learn, carry)

        carry = (state, metrics, memory_state, player, _none_ended(), start, gradient_steps)
        return jax.lax.fori_loop(0, 1 + pairs + blocks, block, carry)[:5]

    return advance


def _agent_step(agent: Agent, memory: Memory, env: DeviceEnv, training_steps: int) -> Callable:
    """One agent step of one member: acting, stepping, storing."""
    act, explore = actor(agent, False), explorer(agent)

    def agent_step(
        state: AgentState,
        memory_state: MemoryState,
        player: Player,
        key: Key,
        agent_steps: jax.Array,
    ) -> tuple[MemoryState, Player, DeviceStep]:
        observation = env.observe(player.env)
        action = act(state, observation, key, agent_steps)
        if agent.explores_uniformly:
            warming_up = agent_steps < agent.schedule.min_replay_history
            action = jnp.where(warming_up, explore(key, agent_steps), action)
        key_step = jax.random.fold_in(_step_key(key, TRAIN), agent_steps)
        after, step = env.step(player.env, action, key_step)
        last = (agent_steps + 1) % training_steps == 0
        row = Row(
            observation=observation,
            action=action,
            reward=agent.transform_reward(step.reward),
            terminal=step.terminal,
            truncated=(step.truncated | last) & ~step.terminal,
            next_observation=step.next_observation,
        )
        memory_state = memory.add(memory_state, jax.tree.map(lambda leaf: leaf[None], row))
        over = step.terminal | step.truncated
        player = Player(
            env=after,
            episodes=player.episodes + over,
            total=player.total + jnp.where(over, step.episode_return, 0.0),
        )
        return memory_state, player, step

    return agent_step


def _evaluate(agent: Agent, env: DeviceEnv) -> Callable:
    """One member's ``DeviceProgram.evaluate``."""
    act = actor(agent, True)

    def evaluate(
        state: AgentState,
        env_state: DeviceState,
        key: Key,
        agent_steps: jax.Array,
        evaluation: jax.Array,
        first: jax.Array,
    ) -> tuple[DeviceState, Ended]:
        root = jax.random.fold_in(_step_key(key, EVALUATE), evaluation)

        def body(place: jax.Array, carry: tuple) -> tuple:
            env_state, ended = carry
            number = first + place
            action = act(state, env.observe(env_state), key, agent_steps + number)
            env_state, step = env.step(env_state, action, jax.random.fold_in(root, number))
            return env_state, _noted(ended, place, step)

        return jax.lax.fori_loop(0, CHUNK, body, (env_state, _none_ended()))

    return evaluate
