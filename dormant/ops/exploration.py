"""Choosing discrete actions."""

import jax
import jax.numpy as jnp

from dormant.ops.checks import assert_rank
from dormant.types import Key, Scalar


def linearly_decaying_epsilon(
    decay_period: int, agent_steps: Scalar, warmup: int, epsilon: float
) -> jax.Array:
    """Dopamine's schedule: 1 for ``warmup`` agent steps, then linearly to ``epsilon``.

    The decay takes ``decay_period`` agent steps.

    agent_steps () int, done so far -> () float32.
    """
    assert_rank(0, agent_steps=agent_steps)
    left = (decay_period + warmup - jnp.asarray(agent_steps)).astype(jnp.float32) / max(
        decay_period, 1
    )
    return epsilon + (1.0 - epsilon) * jnp.clip(left, 0.0, 1.0)


def epsilon_greedy(q_values: jax.Array, epsilon: Scalar, key: Key) -> jax.Array:
    """A uniformly random action with probability epsilon, else the first of the best.

    q_values (A,) -> () int32.
    """
    assert_rank(1, q_values=q_values)
    explore_key, action_key = jax.random.split(key)
    random_action = jax.random.randint(action_key, (), 0, q_values.shape[0], jnp.int32)
    explore = jax.random.uniform(explore_key) < epsilon
    return jnp.where(explore, random_action, jnp.argmax(q_values).astype(jnp.int32))
