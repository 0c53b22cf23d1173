"""From neurons to parameter elements and back."""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.paths import named_leaves
from dormant.redo.wiring import Wiring
from dormant.types import DormantError, Params, nearest

Masks = Mapping[str, jax.Array]  # {layer: (H,) bool} of every scored layer


def recyclable(masks: Masks, wiring: Wiring) -> dict[str, jax.Array]:
    """The masks, in the wiring's order, without the neurons that cannot be recycled.

    Raises:
      DormantError: a layer is missing or unknown, or its mask is not (H,) bool.
    """
    for name in masks:
        wiring.layer(name)
    out = {}
    for layer in wiring.scored:
        if layer.name not in masks:
            raise DormantError(f"no mask of layer {layer.name}")
        mask = jnp.asarray(masks[layer.name])
        if mask.shape != (layer.size,) or mask.dtype != bool:
            raise DormantError(
                f"the mask of {layer.name} is {mask.dtype} of shape {mask.shape}; "
                f"expected bool of shape ({layer.size},)"
            )
        out[layer.name] = mask & layer.recyclable
    return out


def element_mask(neurons: jax.Array, users: np.ndarray, shape: tuple[int, ...]) -> jax.Array:
    """(*shape,) bool: the elements of a leaf whose user is marked.

    Args:
      neurons: (all neurons + 1,) bool, the last one False.
      users: a leaf's owner or feeder, compact over ``shape``.
    """
    return jnp.broadcast_to(neurons[users], shape)


def per_neuron_sum(array: jax.Array, users: np.ndarray, size: int) -> jax.Array:
    """(size,) sums of a leaf's elements over those of each user."""
    flat = tuple(a for a, n in enumerate(users.shape) if n == 1)
    sums = jnp.sum(array.reshape(array.shape or (1,)), axis=flat, keepdims=True)
    segments = np.where(users < 0, size, users).ravel()
    return jax.ops.segment_sum(sums.ravel(), segments, size + 1)[:size]


def leaves_by_path(params: Params, wiring: Wiring) -> dict[str, jax.Array]:
    """{path: array} of the parameters that a wiring knows.

    Raises:
      DormantError: a leaf is missing, unknown or of another shape: these are not the parameters of
        that network.
    """
    found = named_leaves(params)
    for leaf in wiring.leaves:
        if leaf.path not in found:
            hint = nearest(leaf.path, found) if found else "there are none"
            raise DormantError(
                f"the parameters have no leaf {leaf.path!r}, which the observed network has; {hint}"
            )
        check_shape(leaf.path, jnp.shape(found[leaf.path]), leaf.shape, "parameter")
    known = {leaf.path for leaf in wiring.leaves}
    for path, array in found.items():
        if path not in known and jnp.issubdtype(jnp.result_type(array), jnp.floating):
            raise DormantError(
                f"the parameters have a leaf {path!r}, which the observed network has not"
            )
    return found


def check_shape(path: str, shape: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    """Raises DormantError where a leaf's shape is not that of the wiring.

    Scalars count as (1,).
    """
    if (tuple(shape) or (1,)) != tuple(expected) or math.prod(shape) != math.prod(expected):
        raise DormantError(
            f"{what} {path!r} has shape {tuple(shape)}; the observed network has {tuple(expected)}"
        )
