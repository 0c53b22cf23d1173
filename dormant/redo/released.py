"""Where the authors' released code differs from the paper, as values (docs/paper.md, section 5).

``PAPER`` is what is right, ``RELEASED`` what the release does, so that the effect of its faults can
be measured. Users choose with ``as_released=True``; nothing else asks which of the two it has.
"""

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.wiring import Leaf, Wiring
from dormant.types import Key


class Variant(NamedTuple):
    """The points at which the two differ."""

    # (values (H,), number ()) -> (H,) bool: the neurons of the lowest values
    lowest: Callable[[jax.Array, jax.Array], jax.Array]
    # (key, scores (H,)) -> (H,): values whose order is random
    shuffled: Callable[[Key, jax.Array], jax.Array]
    # wiring -> {leaf's path: compact over the leaf: the neuron that each element is an outgoing
    # weight of, or -1}
    feeders: Callable[[Wiring], dict[str, np.ndarray]]
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


def _feeders(wiring: Wiring) -> dict[str, np.ndarray]:
    return {leaf.path: leaf.feeder for leaf in wiring.leaves}


# One of the ResNet's stacks: its last convolution, which the release does not record, and the one
# that this reads.
_UNRECORDED = re.compile(r"(.*Stack_\d+)/Conv_4")
_BEFORE_IT = re.compile(r"(.*Stack_\d+)/Conv_3")


def _feeders_as_released(wiring: Wiring) -> dict[str, np.ndarray]:
    """Rows in channel-first order (B1), and the next recorded layer taken for the reader (B2).

    So the next stack, or the dense layer, is cut off from the neurons that a stack's last
    convolution reads, and that one keeps its weights.
    """
    feeders = {leaf.path: _channel_first_rows(leaf) for leaf in wiring.leaves}
    shapes = {leaf.path: leaf.shape for leaf in wiring.leaves}
    recorded = [layer for layer in wiring.scored if not _UNRECORDED.fullmatch(layer.name)]
    for layer, following in pairwise(recorded):
        stack, taken = _BEFORE_IT.fullmatch(layer.name), f"{following.name}/kernel"
        if stack and taken in feeders:
            feeders[f"{stack[1]}/Conv_4/kernel"] = np.full(1, -1)
            numbers = np.arange(layer.start, layer.start + layer.size)
            feeders[taken] = np.repeat(numbers, shapes[taken][-2] // layer.size)[:, None]
    return feeders


def _is_bias(leaf: Leaf) -> bool:
    return leaf.additive and not leaf.fans


PAPER = Variant(lowest, _uniform, _feeders, lambda leaf: False)
RELEASED = Variant(_lowest_and_their_ties, jax.random.permutation, _feeders_as_released, _is_bias)


def glorot_uniform(key: Key, shape: tuple[int, ...], fans: tuple[int, int]) -> jax.Array:
    """The release's initialiser of every kernel, whatever the layer's own is ("xavier")."""
    bound = math.sqrt(6 / sum(fans))
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
