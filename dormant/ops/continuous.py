"""Tanh-squashed Gaussians and the objectives of soft actor-critic (Haarnoja et al., 2018).

Equations and appendices are those of arXiv 1812.05905.
"""

import jax
import jax.numpy as jnp

from dormant.ops.checks import assert_rank
from dormant.types import Key, Scalar


def tanh_gaussian_sample(
    mean: jax.Array, log_std: jax.Array, key: Key
) -> tuple[jax.Array, jax.Array]:
    """A reparametrised action tanh(mean + std * noise), and its log density; appendix C.

    mean, log_std (D,) -> action (D,) in [-1, 1], log density (). log(1 - tanh(u)**2) is computed as
    2 * (log 2 - u - softplus(-2 u)), which does not overflow.
    """
    assert_rank(1, mean=mean, log_std=log_std)
    noise = jax.random.normal(key, mean.shape)
    u = mean + jnp.exp(log_std) * noise
    log_gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    log_slope = 2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u))
    return jnp.tanh(u), jnp.sum(log_gaussian - log_slope)


def tanh_gaussian_mode(mean: jax.Array) -> jax.Array:
    """The greedy action: tanh of the mean. (D,) -> (D,)."""
    assert_rank(1, mean=mean)
    return jnp.tanh(mean)


def sac_td_errors(
    q_tm1: jax.Array,
    r_t: Scalar,
    discount_t: Scalar,
    q_t: jax.Array,
    log_prob_t: Scalar,
    temperature: Scalar,
) -> jax.Array:
    """Each critic's soft Bellman error, equations 5 and 6.

    r_t + discount_t * (min q_t - temperature * log pi) - q_tm1 -> (C,).

    q_tm1 (C,) are the critics' values of the action taken, q_t (C,) the target critics' values of
    the policy's next action; the rest is (). No gradient flows into the target.
    """
    assert_rank(1, q_tm1=q_tm1, q_t=q_t)
    assert_rank(0, r_t=r_t, discount_t=discount_t, log_prob_t=log_prob_t, temperature=temperature)
    target = r_t + discount_t * (jnp.min(q_t) - temperature * log_prob_t)
    return jax.lax.stop_gradient(target) - q_tm1


def sac_actor_loss(q: jax.Array, log_prob: Scalar, temperature: Scalar) -> jax.Array:
    """Equation 9: temperature * log pi(a|s) - min over critics of q (C,) -> ().

    The action a is reparametrised.
    """
    assert_rank(1, q=q)
    assert_rank(0, log_prob=log_prob, temperature=temperature)
    return jax.lax.stop_gradient(temperature) * log_prob - jnp.min(q)


def sac_temperature_loss(
    log_temperature: jax.Array, log_prob: Scalar, target_entropy: float
) -> jax.Array:
    """Equation 18 as the authors and TF-Agents implement it -> ().

    -log(temperature) * (log pi + target_entropy). Its gradient has the sign of equation 18's and
    does not vanish with the temperature.
    """
    assert_rank(0, log_temperature=log_temperature, log_prob=log_prob)
    return -log_temperature * jax.lax.stop_gradient(log_prob + target_entropy)
