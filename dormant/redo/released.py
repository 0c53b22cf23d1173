"""Where the authors' released code differs from the paper, as values (docs/paper.md, section 5).

``PAPER`` is what is right, ``RELEASED`` what the release does, so that the effect of its faults can
be measured. Users choose with ``as_released=True``; nothing else asks which of the two it has.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.wiring import Leaf
from dormant.types import Key


class Variant(NamedTuple):
    """The points at which the two differ."""

    # (values (H,), number ()) -> (H,) bool: the neurons of the lowest values
    lowest: Callable[[jax.Array, jax.Array], jax.Array]
    # (key, scores (H,)) -> (H,): values whose order is random
    shuffled: Callable[[Key, jax.Array], jax.Array]
    # leaf -> compact over the leaf: the neuron that each element is an outgoing weight of, or -1
    feeder: Callable[[Leaf], np.ndarray]
    # leaf -> whether the optimiser's statistics of recycled elements stay as they are
    keeps_statistics: Callable[[Leaf], bool]


def lowest(values: jax.Array, number: jax.Array) -> jax.Array:
    """(H,) bool: exactly ``number`` of them, ties broken by index."""
    return jnp.argsort(jnp.argsort(values, stable=True), stable=True) < number


def _lowest_and_their_ties(values: jax.Array, number: jax.Array) -> jax.Array:
    """(H,) bool: at least one, and all that are tied with the last one taken."""
    last = jnp.sort(values)[jnp.maximum(number, 1) - 1]
    return values <= last


def _uniform(key: Key, scores: jax.Array) -> jax.Array:
    return jax.random.uniform(key, scores.shape)


def _channel_first_rows(leaf: Leaf) -> np.ndarray:
    """The rows of a dense layer behind a flattened image as if they were channel-first.

    They are channel-last.
    """
    flattened = leaf.feeder.ndim == 2 and leaf.feeder.shape[1] == 1 and (leaf.feeder >= 0).all()
    return np.sort(leaf.feeder, axis=0) if flattened else leaf.feeder


def _is_bias(leaf: Leaf) -> bool:
    return leaf.additive and not leaf.fans


PAPER = Variant(lowest, _uniform, lambda leaf: leaf.feeder, lambda leaf: False)
RELEASED = Variant(_lowest_and_their_ties, jax.random.permutation, _channel_first_rows, _is_bias)


def glorot_uniform(key: Key, shape: tuple[int, ...], fans: tuple[int, int]) -> jax.Array:
    """The release's initialiser of every kernel, whatever the layer's own is ("xavier")."""
    bound = math.sqrt(6 / sum(fans))
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
