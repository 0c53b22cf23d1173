"""Recycling inside one compiled loop: lax.scan over gradient steps, lax.cond for the period."""

import jax
import jax.numpy as jnp
import optax
from jax import lax

from dormant import capture, dormant_fraction, recycle
from dormant.nets import MLP

network, optimizer = MLP(num_actions=1, sizes=(32, 32)), optax.adam(1e-2)
forward = lambda params, x: (
    network.apply(params, x).q_values
)  # the features that MLP returns too would be outputs
observe = capture(forward, init=lambda key: network.init(key, jnp.zeros((1, 4))))


def gradient_step(carry, step, x, period=20, tau=0.05):
    params, opt_state, key = carry
    key, key_step = jax.random.split(key)
    grads = jax.grad(lambda params: jnp.mean((forward(params, x) - jnp.sin(x[:, :1])) ** 2))(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    activations = observe(params, x)
    params, opt_state = lax.cond(
        step % period
        == 0,  # no member axis may enter here: under vmap it would compute both branches
        lambda: recycle(params, opt_state, activations, tau, key_step),
        lambda: (params, opt_state),
    )
    return (params, opt_state, key), dormant_fraction(activations, tau)


@jax.jit
def train(key):
    x = jax.random.normal(key, (64, 4))
    params = network.init(key, x)
    carry = (params, optimizer.init(params), key)
    return lax.scan(lambda carry, step: gradient_step(carry, step, x), carry, jnp.arange(1, 101))[1]


print("dormant fraction:", [round(float(f), 3) for f in train(jax.random.key(0))[::20]])
