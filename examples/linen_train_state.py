"""Recycling in a Linen TrainState loop: the five lines are marked."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState

from dormant import capture, dormant_fraction, recycle


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(64)(x))
        return nn.Dense(1)(nn.relu(nn.Dense(64)(x)))


network, key = Network(), jax.random.key(0)
x = jax.random.normal(key, (256, 4))
y = jnp.sin(3 * x).sum(axis=1, keepdims=True)
state = TrainState.create(
    apply_fn=network.apply, params=network.init(key, x)["params"], tx=optax.adam(1e-2)
)
observe, recycle = capture(network), jax.jit(recycle)  # 1


@jax.jit
def train_step(state):
    loss = lambda params: jnp.mean((state.apply_fn({"params": params}, x) - y) ** 2)
    return state.apply_gradients(grads=jax.grad(loss)(state.params))


for step in range(1, 201):
    state = train_step(state)
    if step % 50 == 0:  # 2
        activations = observe(state.params, x)  # 3
        print(f"step {step}: dormant fraction {dormant_fraction(activations, 0.025):.3f}")
        new = recycle(
            state.params, state.opt_state, activations, 0.025, jax.random.fold_in(key, step)
        )  # 4
        state = state.replace(params=new[0], opt_state=new[1])  # 5
