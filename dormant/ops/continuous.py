"""Tanh-squashed Gaussians and the objectives of soft actor-critic (Haarnoja et al., 2018, arXiv
1812.05905).
"""

from typing import Any

import jax
import jax.numpy as jnp

from dormant.ops.checks import assert_rank


def tanh_gaussian_sample(mean: Any, log_std: Any, key: Any) -> tuple[Any, Any]:
    """A reparametrised action tanh(mean + std * noise) (D,) in [-1, 1], and its log density ();
    appendix C.

    mean, log_std (D,). log(1 - tanh(u)**2) is written as 2 * (log 2 - u - softplus(-2 u)), which
    does not overflow.
    """
    assert_rank(1, mean=mean, log_std=log_std)
    noise = jax.random.normal(key, mean.shape)
    u = mean + jnp.exp(log_std) * noise
    log_gaussian = -0.5 * noise**2 - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    log_slope = 2.0 * (jnp.log(2.0) - u - jax.nn.softplus(-2.0 * u))
    return jnp.tanh(u), jnp.sum(log_gaussian - log_slope)


def tanh_gaussian_mode(mean: Any) -> Any:
    """The greedy action: tanh of the mean. (D,) -> (D,)."""
    assert_rank(1, mean=mean)
    return jnp.tanh(mean)


def sac_td_errors(
    q_tm1: Any, r_t: Any, discount_t: Any, q_t: Any, log_prob_t: Any, temperature: Any
) -> Any:
    """Each critic's soft Bellman error, equations 5 and 6: r_t + discount_t * (min q_t -
    temperature * log pi) - q_tm1.

    q_tm1, q_t (C,) critics of the action taken and target critics of the policy's next action; the
    rest (). No gradient flows into the target. -> (C,)
    """
    assert_rank(1, q_tm1=q_tm1, q_t=q_t)
    assert_rank(0, r_t=r_t, discount_t=discount_t, log_prob_t=log_prob_t, temperature=temperature)
    target = r_t + discount_t * (jnp.min(q_t) - temperature * log_prob_t)
    return jax.lax.stop_gradient(target) - q_tm1


def sac_actor_loss(q: Any, log_prob: Any, temperature: Any) -> Any:
    """Equation 9: temperature * log pi(a|s) - min over critics of q (C,), a reparametrised. ->
    ()
    """
    assert_rank(1, q=q)
    assert_rank(0, log_prob=log_prob, temperature=temperature)
    return jax.lax.stop_gradient(temperature) * log_prob - jnp.min(q)


def sac_temperature_loss(log_temperature: Any, log_prob: Any, target_entropy: float) -> Any:
    """Equation 18 in the form of the authors' and TF-Agents' code: -log(temperature) * (log pi +
    target_entropy). -> ()

    Its gradient has the sign of equation 18's and does not vanish with the temperature.
    """
    assert_rank(0, log_temperature=log_temperature, log_prob=log_prob)
    return -log_temperature * jax.lax.stop_gradient(log_prob + target_entropy)
