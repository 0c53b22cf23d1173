"""Recycling an nnx module and its Optimizer."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from dormant import capture, dormant_fraction, recycle


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(4, 64, rngs=rngs), nnx.Linear(64, 1, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


x = jax.random.normal(jax.random.key(0), (256, 4))
model = Network(nnx.Rngs(0))
optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
# an nnx module does not keep its initialisers
observe = capture(model, init=lambda key: Network(nnx.Rngs(key)))


@nnx.jit
def train_step(model, optimizer):
    grads = nnx.grad(lambda model: jnp.mean((model(x) - jnp.sin(x[:, :1])) ** 2))(model)
    optimizer.update(model, grads)


@nnx.jit
def recycle_step(model, optimizer, key):
    activations = observe(model, x)
    params = nnx.state(model, nnx.Param)
    params, optimizer.opt_state = recycle(params, optimizer.opt_state, activations, 0.1, key)
    nnx.update(model, params)
    return dormant_fraction(activations, 0.1)


for step in range(1, 101):
    train_step(model, optimizer)
    if step % 50 == 0:
        fraction = recycle_step(model, optimizer, jax.random.key(step))
        print(f"step {step}: dormant fraction {fraction:.3f}")
