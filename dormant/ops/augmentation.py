"""DrQ's random shifts and intensities (Yarats, Kostrikov, Fergus, 2021).

The constants are those of DrQ(eps) (paper.md 3.5).
"""

import jax
import jax.numpy as jnp

from dormant.ops.checks import assert_rank
from dormant.types import Key


def random_shift(image: jax.Array, key: Key, pad: int = 4) -> jax.Array:
    """Pads by repeating the edge and crops back at a uniformly random place.

    image (H, W, C) -> (H, W, C).
    """
    assert_rank(3, image=image)
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    row, column = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def random_intensity(image: jax.Array, key: Key, scale: float = 0.05) -> jax.Array:
    """The whole image times 1 + scale * z, z standard normal clipped to [-2, 2].

    image (H, W, C) -> (H, W, C) float32.
    """
    assert_rank(3, image=image)
    return image.astype(jnp.float32) * (1.0 + scale * jnp.clip(jax.random.normal(key), -2.0, 2.0))


def augment(image: jax.Array, key: Key) -> jax.Array:
    """A random shift, then a random intensity.

    image (H, W, C) -> (H, W, C) float32, on the scale of its input.
    """
    shift_key, intensity_key = jax.random.split(key)
    return random_intensity(random_shift(image, shift_key), intensity_key)
