"""Recycling parameters that are sharded over devices, with the batch sharded as well."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from dormant import capture, recycle

devices = jax.devices()
mesh = Mesh(devices, ("devices",))
network, optimizer = nn.Sequential([nn.Dense(64), nn.relu, nn.Dense(8)]), optax.adam(1e-2)
x = jax.random.normal(jax.random.key(0), (64, 4))
params = network.init(jax.random.key(1), x)
# Each device holds some neurons of the hidden layer: columns of the first kernel, rows of the
# second.
hidden, out = (
    {"kernel": P(None, "devices"), "bias": P("devices")},
    {"kernel": P("devices"), "bias": P()},
)
place = lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec))
params = jax.tree.map(place, params, {"params": {"layers_0": hidden, "layers_2": out}})
opt_state = jax.jit(optimizer.init)(params)
observe = capture(network)


@jax.jit
def recycle_step(params, opt_state, x, key):
    return recycle(params, opt_state, observe(params, x), 0.5, key)


new, opt_state = recycle_step(params, opt_state, place(x, P("devices")), jax.random.key(2))
before, after = params["params"]["layers_0"]["kernel"], new["params"]["layers_0"]["kernel"]
moved = jnp.sum(jnp.any(before != after, axis=0))
number, spec = len(devices), after.sharding.spec
print(f"{moved} of 64 neurons recycled on {number} devices; kernel sharded as {spec}")
