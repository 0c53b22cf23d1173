"""Where the authors' released code differs from the paper, as values (docs/paper.md, section 5).

``PAPER`` is what is right; ``variant`` gives what the release does, or one of its faults alone, so
that their effect can be measured. Users choose with ``as_released``; nothing else asks which of
them it has.
"""

import functools
import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.wiring import Leaf, Wiring
from dormant.types import DormantError, Key, check_name

# The release's faults:
#   channel_order   after a convolution the dense layer's rows are masked in channel-first order,
#                   although they are channel-last (B1)
#   resnet_readers  the second blocks of the ResNet are cut off from the wrong reader (B2)
#   ties            a scheduled share takes everything tied with the last one taken, and at least
#                   one neuron of each layer; its random order is a shuffle of the scores (B12)
#   bias_moments    the optimiser's statistics of recycled neurons' biases are kept
FAULTS = ("channel_order", "resnet_readers", "ties", "bias_moments")


class Variant(NamedTuple):
    """The points at which the release differs."""

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


def _feeders(
    wiring: Wiring, channel_order: bool = False, resnet_readers: bool = False
) -> dict[str, np.ndarray]:
    rows = _channel_first_rows if channel_order else lambda leaf: leaf.feeder
    feeders = {leaf.path: rows(leaf) for leaf in wiring.leaves}
    return feeders | _mistaken_readers(wiring, channel_order) if resnet_readers else feeders


# One of the ResNet's stacks: its last convolution, which the release does not record, and the one
# that this reads.
_UNRECORDED = re.compile(r"(.*Stack_\d+)/Conv_4")
_BEFORE_IT = re.compile(r"(.*Stack_\d+)/Conv_3")


def _mistaken_readers(wiring: Wiring, channel_order: bool) -> dict[str, np.ndarray]:
    """The next recorded layer taken for the reader.

    So the next stack, or the dense layer, is cut off from the neurons that a stack's last
    convolution reads, and that one keeps its weights.
    """
    feeders = {}
    shapes = {leaf.path: leaf.shape for leaf in wiring.leaves}
    recorded = [layer for layer in wiring.scored if not _UNRECORDED.fullmatch(layer.name)]
    for layer, following in pairwise(recorded):
        stack, taken = _BEFORE_IT.fullmatch(layer.name), f"{following.name}/kernel"
        if stack and taken in shapes:
            feeders[f"{stack[1]}/Conv_4/kernel"] = np.full(1, -1)
            numbers = np.arange(layer.start, layer.start + layer.size)
            arrange = np.repeat if channel_order else np.tile  # of a dense layer's rows
            feeders[taken] = arrange(numbers, shapes[taken][-2] // layer.size)[:, None]
    return feeders


def _is_bias(leaf: Leaf) -> bool:
    return leaf.additive and not leaf.fans


PAPER = Variant(lowest, _uniform, _feeders, lambda leaf: False)


def check_as_released(what: str, as_released: bool | str) -> None:
    """Raises a DormantError where it is neither a bool nor one of ``FAULTS``."""
    if isinstance(as_released, str):
        check_name(what, as_released, FAULTS)
    elif not isinstance(as_released, bool):
        raise DormantError(
            f"{what} is {as_released!r}; expected True, False or one of {', '.join(FAULTS)}"
        )


def variant(as_released: bool | str) -> Variant:
    """What the paper says (False), what the release does (True), or one of its faults alone.

    Raises:
      DormantError: neither a bool nor one of ``FAULTS``.
    """
    check_as_released("as_released", as_released)
    has = {fault: as_released in (True, fault) for fault in FAULTS}
    return Variant(
        _lowest_and_their_ties if has["ties"] else PAPER.lowest,
        jax.random.permutation if has["ties"] else PAPER.shuffled,
        functools.partial(
            _feeders,
            channel_order=has["channel_order"],
            resnet_readers=has["resnet_readers"],
        ),
        _is_bias if has["bias_moments"] else PAPER.keeps_statistics,
    )


def glorot_uniform(key: Key, shape: tuple[int, ...], fans: tuple[int, int]) -> jax.Array:
    """The release's initialiser of every kernel, whatever the layer's own is ("xavier")."""
    bound = math.sqrt(6 / sum(fans))
    return jax.random.uniform(key, shape, jnp.float32, -bound, bound)
