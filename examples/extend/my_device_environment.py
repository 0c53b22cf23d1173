"""An environment on the device: the corridor in pure jax, ``--game Corridor/device``.

The whole training loop of a population then is one program. A state is any pytree of arrays.
"""

import jax
import jax.numpy as jnp

from dormant import register
from dormant.envs.device import Game

LENGTH = 8


def reset(key: jax.Array) -> jax.Array:
    """-> the state of a new episode: () int32, the place."""
    return jax.random.randint(key, (), 0, LENGTH // 2)


def step(state: jax.Array, action: jax.Array, key: jax.Array) -> tuple:
    """-> state, reward () float32, terminal () bool."""
    del key  # nothing is random after the start
    place = jnp.clip(state + jnp.where(action == 1, 1, -1), 0, LENGTH - 1)
    arrived = place == LENGTH - 1
    return place, jnp.float32(arrived) - 0.01, arrived


def observe(state: jax.Array) -> jax.Array:
    """-> (LENGTH,) float32."""
    return jax.nn.one_hot(state, LENGTH, dtype=jnp.float32)


@register.environment(
    "Corridor/device",
    observation_shape=(LENGTH,),
    num_actions=2,
    max_episode_steps=50,
    on_device=True,
)
def make(spec):
    return Game(spec, reset, step, observe)
