"""Ranks are checked on entry.

Otherwise a forgotten ``vmap`` would broadcast into a plausible wrong number.
"""

import numpy as np
from jax.typing import ArrayLike


def assert_rank(rank: int, **arrays: ArrayLike) -> None:
    """Raises a TypeError that names the first argument whose number of axes is not ``rank``."""
    for name, array in arrays.items():
        if np.ndim(array) != rank:
            raise TypeError(
                f"{name} has shape {np.shape(array)}, expected {rank} axes "
                "(unbatched: use jax.vmap)"
            )
