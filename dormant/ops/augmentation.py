"""DrQ's random shifts and intensities (Yarats, Kostrikov, Fergus, 2021), with DrQ(eps)'s constants
(paper.md 3.5).
"""

from typing import Any

import jax
import jax.numpy as jnp

from dormant.ops.checks import assert_rank


def random_shift(image: Any, key: Any, pad: int = 4) -> Any:
    """Pads by repeating the edge and crops back at a uniformly random place. image (H, W, C) -> the
    same shape.
    """
    assert_rank(3, image=image)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    row, column = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def random_intensity(image: Any, key: Any, scale: float = 0.05) -> Any:
    """The whole image times 1 + scale * z, z standard normal clipped to [-2, 2]. (H, W, C) -> (H,
    W, C) float32.
    """
    assert_rank(3, image=image)
    return image.astype(jnp.float32) * (1.0 + scale * jnp.clip(jax.random.normal(key), -2.0, 2.0))


def augment(image: Any, key: Any) -> Any:
    """A random shift, then a random intensity. image (H, W, C) -> (H, W, C) float32, on the scale
    of its input.
    """
    shift_key, intensity_key = jax.random.split(key)
    return random_intensity(random_shift(image, shift_key), intensity_key)
