"""A replay memory of binary observations, stored as bits: an eighth of the bytes.

Rows and transitions are the caller's own, with bool observations; only the storage is packed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dormant.replay.memory import Memory
from dormant.types import Array, EnvSpec, Key, Row, Transition


def binary(spec: EnvSpec) -> bool:
    """Whether the observations are stored as bits. Stacks of them are not."""
    return np.dtype(spec.observation_dtype) == np.bool_ and spec.stack_size == 1


def packed_spec(spec: EnvSpec) -> EnvSpec:
    """The specification as the storage sees it: each observation is one vector of bytes."""
    bits = int(np.prod(spec.observation_shape))
    return spec._replace(observation_shape=(-(-bits // 8),), observation_dtype=np.uint8)


def make_packed(make: Callable[..., Memory], spec: EnvSpec, *sizes: float) -> Memory:
    """A memory of bool observations, stored as bits.

    make: ``make_uniform`` or ``make_prioritised``; ``sizes`` are its other arguments.
    """
    inner = make(packed_spec(spec), *sizes)
    bits = int(np.prod(spec.observation_shape))

    def pack(observations: Array) -> jax.Array:  # (T, *observation) bool -> (T, bytes)
        return jnp.packbits(observations.reshape(observations.shape[0], bits), axis=-1)

    def unpack(stored: jax.Array) -> jax.Array:  # (B, bytes) -> (B, *observation) bool
        flat = jnp.unpackbits(stored, axis=-1, count=bits)
        return flat.astype(bool).reshape(stored.shape[0], *spec.observation_shape)

    def add(state: Any, rows: Row) -> Any:
        observation, following = pack(rows.observation), pack(rows.next_observation)
        return inner.add(state, rows._replace(observation=observation, next_observation=following))

    def sample(state: Any, key: Key) -> Transition:
        batch = inner.sample(state, key)
        # Without the barrier XLA unpacks the bits again for each of a convolution's fields.
        s_tm1, s_t = jax.lax.optimization_barrier((unpack(batch.s_tm1), unpack(batch.s_t)))
        return batch._replace(s_tm1=s_tm1, s_t=s_t)

    return inner._replace(add=add, sample=sample)
