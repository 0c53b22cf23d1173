"""One small test of a machine before anything is measured on it: is what it computes right?"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dormant.benchmarks.record import conditions
from dormant.nets import Module, NatureCNN
from dormant.nets.precision import with_products
from dormant.redo import capture, recycle
from dormant.types import DormantError

TOLERANCE = 1e-4  # of values of the order of 1, float32


def check(report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """The machine's conditions, how long the test took, and how far off its two results are.

    report: is called with the conditions, before anything is compiled.

    Raises:
      DormantError: a float32 product of matrices is not numpy's, or recycling at tau 0 moves the
        outputs of a network.
    """
    stated = conditions("")
    report(stated)
    started = time.perf_counter()
    apart = {"product": _product(), "recycling at tau 0": _recycling()}
    for name, distance in apart.items():
        if not distance <= TOLERANCE:
            raise DormantError(f"{name} is wrong by {distance:.2g} on {jax.devices()[0]}")
    return {**stated, "seconds": time.perf_counter() - started, "largest difference": apart}


def _product() -> float:
    """The largest distance of a float32 product of matrices from numpy's."""
    random = np.random.default_rng(0)
    one, other = (random.normal(0, 1 / 4, (256, 256)).astype(np.float32) for _ in range(2))
    found = jax.jit(with_products(jnp.matmul, "float32"))(one, other)
    return float(np.max(np.abs(np.asarray(found) - one @ other)))


def _recycling() -> float:
    """How far recycling at tau 0 moves the outputs of a small Nature CNN on the batch it saw."""
    key = jax.random.key(0)
    network: Module = NatureCNN(4, 0.125, formulation="xla")
    images = jax.random.randint(key, (4, 84, 84, 4), 0, 255).astype(jnp.uint8)
    params = network.init(key, images)
    # Half of the first layer's channels never fire: they are dormant and are recycled.
    bias = params["params"]["Conv_0"]["bias"]
    params["params"]["Conv_0"]["bias"] = bias.at[: len(bias) // 2].set(-1e6)

    def outputs(params: Any) -> jax.Array:
        return with_products(network.apply, "float32")(params, images).q_values

    @jax.jit
    def distance(params: Any) -> jax.Array:
        activations = capture(network)(params, images)
        recycled, _ = recycle(params, (), activations, 0.0, key)
        return jnp.max(jnp.abs(outputs(recycled) - outputs(params)))

    return float(distance(params))
