"""Environments that are pure functions of a state and a key: they run in the agents' own program.

Each function describes one environment; ``vmap`` makes many of them. A game (``Game``) knows only
its rules. ``make_device_env`` adds what every game needs: sticky actions, the limit on the length
of an episode, and the reset in the same step in which an episode ends.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from dormant.tracing import expect, traced
from dormant.types import DormantError, EnvSpec, Key

GameState = Any  # a pytree of the game's own
Outcome = tuple[GameState, jax.Array, jax.Array]  # state, reward () float32, terminal () bool


class Game(NamedTuple):
    """The rules.

    reset(key) -> state
    step(state, action, key) -> state, reward () float32, terminal () bool
        action is () int32, or (action_dim,) float32 from -1 to 1
    observe(state) -> (*observation,) of the specification's dtype
    """

    spec: EnvSpec
    reset: Callable[[Key], GameState]
    step: Callable[[GameState, jax.Array, Key], Outcome]
    observe: Callable[[GameState], jax.Array]


@struct.dataclass
class DeviceState:
    """One environment."""

    game: GameState
    # () int32 or (action_dim,) float32, repeated by a sticky action, also across episodes
    last_action: jax.Array
    length: jax.Array  # () int32 agent steps of the running episode
    total: jax.Array  # () float32 undiscounted return of the running episode


class DeviceStep(NamedTuple):
    """The outcome of one agent step; fields as in ``types.EnvStep``, without the leading axis."""

    reward: jax.Array  # () float32, raw
    terminal: jax.Array  # () bool
    truncated: jax.Array  # () bool, never true together with terminal
    next_observation: jax.Array  # (*observation,) before any reset
    episode_return: jax.Array  # () float32 of the episode so far, this step included
    episode_length: jax.Array  # () int32, likewise


class DeviceEnv(NamedTuple):
    """One environment on the device.

    init(key) -> state at the start of an episode, with no action before it
    restart(state, key) -> state: another episode, as after the end of one
    step(state, action, key) -> state, DeviceStep; where the episode has ended, the state is the
        start of the next one
    observe(state) -> (*observation,) to act on
    """

    spec: EnvSpec
    init: Callable[[Key], DeviceState]
    restart: Callable[[DeviceState, Key], DeviceState]
    step: Callable[[DeviceState, jax.Array, Key], tuple[DeviceState, DeviceStep]]
    observe: Callable[[DeviceState], jax.Array]


def make_device_env(game: Game, sticky_actions: float = 0.0) -> DeviceEnv:
    """The environment of a game.

    Args:
      sticky_actions: probability that the previous action is repeated instead.
    """
    limit = game.spec.max_episode_steps

    def restart(state: DeviceState, key: Key) -> DeviceState:
        return DeviceState(game.reset(key), state.last_action, jnp.int32(0), jnp.float32(0))

    def init(key: Key) -> DeviceState:
        still = jnp.zeros(*_action(game.spec))
        return DeviceState(game.reset(key), still, jnp.int32(0), jnp.float32(0))

    def step(state: DeviceState, action: jax.Array, key: Key) -> tuple[DeviceState, DeviceStep]:
        key_sticky, key_game, key_reset = jax.random.split(key, 3)
        sticks = jax.random.uniform(key_sticky) < sticky_actions
        action = jnp.where(sticks, state.last_action, action.astype(state.last_action.dtype))
        after, reward, terminal = game.step(state.game, action, key_game)
        terminal = jnp.asarray(terminal, bool)  # ~False of Python is -1
        played = DeviceState(after, action, state.length + 1, state.total + reward)
        truncated = (played.length >= limit) & ~terminal
        next_observation = game.observe(after)
        fresh = restart(played, key_reset)
        ended = terminal | truncated
        result = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, played)
        return result, DeviceStep(
            reward, terminal, truncated, next_observation, played.total, played.length
        )

    return DeviceEnv(game.spec, init, restart, step, lambda state: game.observe(state.game))


def _action(spec: EnvSpec) -> tuple[tuple[int, ...], type]:
    """Shape and dtype of one action."""
    return ((), jnp.int32) if spec.num_actions else (spec.action_shape, jnp.float32)


# Games from outside
# ------------------------------------------------------------------------------------------------


def check_game(game: Game, spec: EnvSpec) -> None:
    """Raises a DormantError for a game that does not do what its specification says.

    Its functions are traced, not run.
    """
    name = spec.name
    if not isinstance(game, Game):
        raise DormantError(f"{name} is made as a {type(game).__name__}; expected envs.device.Game")
    if spec.stack_size != 1:
        raise DormantError(
            f"{name} has stack_size {spec.stack_size}; on the device it must be 1: observe returns "
            "what the agent sees"
        )
    key, action = jax.random.key(0), jax.ShapeDtypeStruct(*_action(spec))
    state = traced(name, "reset", game.reset, key)
    if any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state)):
        raise DormantError(
            f"{name} keeps a typed PRNG key in its state, which no checkpoint can hold; keep "
            "jax.random.key_data(key)"
        )
    observation = jax.ShapeDtypeStruct(spec.observation_shape, spec.observation_dtype)
    expect(name, "observe", traced(name, "observe", game.observe, state), observation)
    outcome = traced(name, "step", game.step, state, action, key)
    if not isinstance(outcome, tuple) or len(outcome) != 3:
        raise DormantError(f"{name}: step should return state, reward, terminal")
    after, reward, terminal = outcome
    expect(name, "the state after step", after, state)
    expect(name, "step's reward", reward, jax.ShapeDtypeStruct((), jnp.float32))
    expect(name, "step's terminal", terminal, jax.ShapeDtypeStruct((), jnp.bool_))
