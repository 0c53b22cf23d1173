"""A population in one program: vmap over seeds, each member with its own tau."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dormant import capture, dormant_fraction, recycle

network = nn.Sequential([nn.Dense(32), nn.relu, nn.Dense(32), nn.relu, nn.Dense(1)])
optimizer, observe = optax.adam(1e-2), capture(network)
x = jax.random.normal(jax.random.key(9), (64, 4))
taus = jnp.array([0.0, 0.025, 0.1])  # (P,)


def init(key):
    params = network.init(key, x)
    return params, optimizer.init(params)


def train_step(params, opt_state):
    grads = jax.grad(lambda params: jnp.mean((network.apply(params, x) - jnp.sin(x[:, :1])) ** 2))(
        params
    )
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def recycle_step(params, opt_state, tau, key):
    activations = observe(params, x)
    return recycle(params, opt_state, activations, tau, key), dormant_fraction(activations, 0.1)


train_all, recycle_all = jax.jit(jax.vmap(train_step)), jax.jit(jax.vmap(recycle_step))
members = jax.vmap(init)(jax.random.split(jax.random.key(0), 3))
for step in range(1, 101):  # the period is decided on the host, once for all members
    members = train_all(*members)
    if step % 50 == 0:
        members, fractions = recycle_all(*members, taus, jax.random.split(jax.random.key(step), 3))
        print(f"step {step}: dormant fractions", [round(float(f), 3) for f in fractions])
