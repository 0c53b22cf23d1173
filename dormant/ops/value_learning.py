"""Temporal difference errors of scalar action values."""

import jax
import jax.numpy as jnp
import numpy as np

from dormant.ops.checks import assert_rank
from dormant.types import Array, Scalar


def q_learning_td_error(
    q_tm1: jax.Array, a_tm1: Scalar, r_t: Scalar, discount_t: Scalar, q_t: jax.Array
) -> jax.Array:
    """Q-learning (Watkins, 1989): r_t + discount_t * max_a q_t[a] - q_tm1[a_tm1].

    q_tm1, q_t (A,); a_tm1 () int; r_t, discount_t (). No gradient flows into the target.
    """
    return double_q_learning_td_error(q_tm1, a_tm1, r_t, discount_t, q_t, q_t)


def double_q_learning_td_error(
    q_tm1: jax.Array,
    a_tm1: Scalar,
    r_t: Scalar,
    discount_t: Scalar,
    q_t_value: jax.Array,
    q_t_selector: jax.Array,
) -> jax.Array:
    """Double Q-learning (van Hasselt et al., 2016).

    The next action is chosen by q_t_selector and valued by q_t_value.

    q_tm1, q_t_value, q_t_selector (A,); a_tm1 () int; r_t, discount_t (). No gradient flows into
    the target.
    """
    assert_rank(1, q_tm1=q_tm1, q_t_value=q_t_value, q_t_selector=q_t_selector)
    assert_rank(0, a_tm1=a_tm1, r_t=r_t, discount_t=discount_t)
    target = r_t + discount_t * q_t_value[jnp.argmax(q_t_selector)]
    return jax.lax.stop_gradient(target) - q_tm1[a_tm1]


def huber(x: Scalar, delta: float = 1.0) -> jax.Array:
    """Huber (1964): x**2 / 2 within delta of zero, delta * (|x| - delta / 2) beyond. x () -> ()."""
    assert_rank(0, x=x)
    within = jnp.minimum(jnp.abs(x), delta)
    return 0.5 * within**2 + delta * (jnp.abs(x) - within)


def clip_reward(reward: Array) -> Array:
    """Rewards to [-1, 1] (Mnih et al., 2015), element by element; numpy stays numpy."""
    return (
        jnp.clip(reward, -1.0, 1.0) if isinstance(reward, jax.Array) else np.clip(reward, -1.0, 1.0)
    )
