"""Ranks, checked on entry: a forgotten ``vmap`` would otherwise broadcast into a plausible wrong
number.
"""

from typing import Any

import numpy as np


def assert_rank(rank: int, **arrays: Any) -> None:
    """Raises a TypeError that names the first argument whose number of axes is not ``rank``."""
    for name, array in arrays.items():
        if np.ndim(array) != rank:
            raise TypeError(
                f"{name} has shape {np.shape(array)}, expected {rank} axes "
                "(unbatched: use jax.vmap)"
            )
