"""From neurons to parameter elements and back."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.paths import OTHER_COLLECTION, leaf_paths
from dormant.redo.wiring import Wiring
from dormant.types import DormantError, nearest


def element_mask(neurons: Any, users: np.ndarray) -> Any:
    """Elements whose user is marked: (neurons + 1,) bool, the last False, and a leaf's owner or
    feeder (compact).
    """
    return neurons[users]


def per_neuron_sum(array: Any, users: np.ndarray, size: int) -> Any:
    """(size,) sums of a leaf's elements over those of each user."""
    flat = tuple(a for a, n in enumerate(users.shape) if n == 1)
    sums = jnp.sum(array.reshape(array.shape or (1,)), axis=flat, keepdims=True)
    return jax.ops.segment_sum(sums.ravel(), np.where(users < 0, size, users).ravel(), size + 1)[
        :size
    ]


def leaves_by_path(params: Any, wiring: Wiring) -> dict[str, Any]:
    """{path: array} of the parameters that a wiring knows.

    Raises:
      DormantError: a leaf is missing, unknown or of another shape: these are not the parameters of
        that network.
    """
    found = {path: leaf for path, leaf in leaf_paths(params)[0] if path is not OTHER_COLLECTION}
    for leaf in wiring.leaves:
        if leaf.path not in found:
            hint = nearest(leaf.path, found) if found else "there are none"
            raise DormantError(
                f"the parameters have no leaf {leaf.path!r}, which the observed network has; {hint}"
            )
        check_shape(leaf.path, jnp.shape(found[leaf.path]), leaf.shape, "parameter")
    known = {leaf.path for leaf in wiring.leaves}
    for path, leaf in found.items():
        if path not in known and jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise DormantError(
                f"the parameters have a leaf {path!r}, which the observed network has not"
            )
    return found


def check_shape(path: str, shape: tuple, expected: tuple, what: str) -> None:
    """Raises DormantError where a leaf has another shape than the wiring says (scalars count as
    (1,)).
    """
    if (tuple(shape) or (1,)) != tuple(expected) or math.prod(shape) != math.prod(expected):
        raise DormantError(
            f"{what} {path!r} has shape {tuple(shape)}; the observed network has {tuple(expected)}"
        )
