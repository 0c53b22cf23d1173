"""MinAtar (Young and Tian, 2019) on the device: gymnax's rules as pure functions.

Five games, "MinAtar/Asterix" and so on: 10x10 images of 4 to 10 binary channels, all six actions
(as Young and Tian, and Ceron and Castro's "Revisiting Rainbow", play them), sticky actions 0.1,
difficulty that ramps up. ``tests/envs/test_minatar.py`` compares them with the ``minatar`` package.

Differences from the ``minatar`` package 1.0.15:
 1. An episode is truncated after ``max_episode_steps`` agent steps; the package has no limit but
    Freeway's own.
 2. Observations after a terminal step may differ: no agent learns from them, as their value is 0.
 3. Seaquest: gymnax moves each kind of entity at once, the package one after the other. Results
    differ only where entities of one kind share a cell (two divers and one free place, two bullets
    and one fish), and a submarine that is hit in the step in which it would shoot does not shoot.
 4. Random numbers come from JAX's generator: the distributions are the package's, the draws are
    not.

Differences from gymnax 1.0.1, each towards the package:
 5. All six actions instead of the minimal set; observations are bool, not float32.
 6. Episodes do not end after 1000 agent steps; Freeway ends, terminally, after 2501.
 7. Asterix spawns here: gymnax never fills the first slot of its random order, and once all slots
    are taken it overwrites one of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.envs.device import DeviceEnv, Game, GameState, Outcome, make_device_env
from dormant.types import DormantError, EnvSpec, Key

SIZE, NUM_ACTIONS = 10, 6
CHANNELS = {
    "MinAtar/Asterix": 4,
    "MinAtar/Breakout": 4,
    "MinAtar/Freeway": 7,
    "MinAtar/Seaquest": 10,
    "MinAtar/SpaceInvaders": 6,
}
FREEWAY_STEPS = 2501  # the package's timer starts at 2500 and ends the episode below 0
NEVER = 2**30  # agent steps: beyond every episode, instead of gymnax's own limit


@dataclass(frozen=True)
class MinAtarProtocol:
    """How the games are played; the defaults are those of the ``minatar`` package."""

    sticky_actions: float = 0.1  # probability that an agent step repeats the previous action
    difficulty_ramping: bool = True
    max_episode_steps: int = 5000  # agent steps; the package has no limit

    def validate(self) -> None:
        """Raises: DormantError where a value makes no sense."""
        if not 0 <= self.sticky_actions < 1:
            raise DormantError(
                f"MinAtarProtocol.sticky_actions is {self.sticky_actions}; expected 0 <= p < 1"
            )
        if self.max_episode_steps < 1:
            raise DormantError(
                f"MinAtarProtocol.max_episode_steps is {self.max_episode_steps}; expected 1 or more"
            )


def spec(name: str, protocol: MinAtarProtocol = MinAtarProtocol()) -> EnvSpec:
    """Description of a game; needs no gymnax."""
    protocol.validate()
    return EnvSpec(
        name=name,
        observation_shape=(SIZE, SIZE, CHANNELS[name]),
        observation_dtype=np.bool_,
        num_actions=NUM_ACTIONS,
        action_shape=(),
        stack_size=1,
        frames_per_agent_step=1,
        max_episode_steps=protocol.max_episode_steps,
        on_device=True,
    )


def make(name: str, protocol: MinAtarProtocol = MinAtarProtocol()) -> DeviceEnv:
    """One environment of a game.

    Raises:
      DormantError: gymnax is not installed.
    """
    described = spec(name, protocol)
    rules = game_rules(name, protocol.difficulty_ramping)
    game = Game(described, rules.reset, rules.step, rules.observe)
    return make_device_env(game, protocol.sticky_actions)


class Rules(NamedTuple):
    """A game of gymnax, its state with fixed dtypes; functions as in ``device.Game``."""

    reset: Callable[[Key], GameState]
    step: Callable[[GameState, jax.Array, Key], Outcome]
    observe: Callable[[GameState], jax.Array]


def game_rules(name: str, ramping: bool = True) -> Rules:
    """The rules of one game, without sticky actions and resets.

    Raises:
      DormantError: gymnax is not installed.
    """
    try:
        from gymnax.environments import minatar as games
    except ImportError as error:
        raise DormantError(
            f"{name} needs gymnax, which cannot be imported ({error}): "
            "pip install 'dormant[minatar]'"
        ) from error
    game = getattr(games, f"Min{name.split('/')[1]}")(use_minimal_action_set=False)
    params = game.default_params.replace(max_steps_in_episode=NEVER)
    if hasattr(params, "ramping"):
        params = params.replace(ramping=ramping)
    like = jax.tree.map(
        lambda leaf: leaf.dtype,
        jax.eval_shape(lambda key: game.reset_env(key, params)[1], jax.random.key(0)),
    )

    def fixed(state: GameState) -> GameState:
        """gymnax's Python numbers become arrays, so that a state keeps its types in a loop."""
        return jax.tree.map(lambda leaf, dtype: jnp.asarray(leaf).astype(dtype), state, like)

    def reset(key: Key) -> GameState:
        state = game.reset_env(key, params)[1]
        return fixed(state.replace(ramping=ramping) if hasattr(state, "ramping") else state)

    def step(state: GameState, action: jax.Array, key: Key) -> Outcome:
        after, reward, terminal = _step(game, params, state, action, key)
        if name == "MinAtar/Freeway":
            terminal = after.time >= FREEWAY_STEPS
        return fixed(after), reward.astype(jnp.float32), terminal

    def observe(state: GameState) -> jax.Array:
        return game.get_obs(state).astype(bool)

    return Rules(reset, step, observe)


def _step(game: Any, params: Any, state: GameState, action: jax.Array, key: Key) -> Outcome:
    if game.name == "Asterix-MinAtar":
        return _step_asterix(params, state, action, key)
    _, after, reward, terminal, _ = game.step_env(key, state, action, params)
    return after, reward, terminal


def _step_asterix(params: Any, state: GameState, action: jax.Array, key: Key) -> Outcome:
    from gymnax.environments.minatar import asterix

    spawns = state.spawn_timer == 0
    state = state.replace(
        entities=jnp.where(spawns, _spawned(state.entities, key), state.entities),
        spawn_timer=jnp.where(spawns, state.spawn_speed, state.spawn_timer),
    )
    state = asterix.step_agent(state, action)
    state, reward, terminal = asterix.step_entities(state)
    state = asterix.step_timers(state, params)
    return state.replace(time=state.time + 1, terminal=terminal), reward, terminal


def _spawned(entities: jax.Array, key: Key) -> jax.Array:
    """entities (8, 5) with an enemy or gold in a free slot, each as likely.

    Unchanged where none is free.
    """
    key_direction, key_gold, key_slot = jax.random.split(key, 3)
    right = jax.random.uniform(key_direction) < 1 / 2
    gold = jax.random.uniform(key_gold) < 1 / 3
    free = entities[:, 4] == 0
    # The free slot with the largest of eight numbers; taken slots have none.
    draws = jnp.where(free, jax.random.uniform(key_slot, (8,), minval=1.0, maxval=2.0), 0.0)
    slot = jnp.argmax(draws)
    entity = jnp.stack([jnp.where(right, 0, 9), slot + 1, right, gold, 1]).astype(entities.dtype)
    chosen = (jnp.arange(8) == slot) & free
    return jnp.where(chosen[:, None], entity[None, :], entities)
