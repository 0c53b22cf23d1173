import jax
import jax.numpy as jnp
import numpy as np

from dormant import ops
from tests.reference import ops as reference

IMAGE = np.random.default_rng(0).integers(1, 255, (6, 5, 2), dtype=np.uint8)


def test_every_shift_is_a_crop_of_the_padded_image_and_all_are_equally_likely():
    pad = 1
    crops = {
        (r, c): reference.random_shift(IMAGE, r, c, pad).tobytes()
        for r in range(3)
        for c in range(3)
    }
    assert len(set(crops.values())) == 9 and crops[1, 1] == IMAGE.tobytes()
    keys = jax.random.split(jax.random.key(0), 1800)
    shifted = np.asarray(jax.vmap(ops.random_shift, in_axes=(None, 0, None))(IMAGE, keys, pad))
    assert shifted.dtype == np.uint8
    seen = [image.tobytes() for image in shifted]
    counts = [seen.count(crop) for crop in crops.values()]
    assert sum(counts) == 1800
    np.testing.assert_allclose(counts, 200, atol=60)  # 4.5 standard deviations


def test_default_padding_is_four():
    keys = jax.random.split(jax.random.key(1), 500)
    shifted = np.asarray(jax.vmap(ops.random_shift, in_axes=(None, 0))(IMAGE, keys))
    seen = {image.tobytes() for image in shifted}
    crops = {reference.random_shift(IMAGE, r, c, 4).tobytes() for r in range(9) for c in range(9)}
    assert seen <= crops and reference.random_shift(IMAGE, 0, 8, 4).tobytes() in seen


def test_intensity_is_one_factor_for_an_image():
    keys = jax.random.split(jax.random.key(0), 2000)
    changed = np.asarray(jax.vmap(ops.random_intensity, in_axes=(None, 0))(IMAGE, keys))
    factors = changed / IMAGE.astype(np.float32)
    np.testing.assert_allclose(
        factors, np.broadcast_to(factors[:, :1, :1, :1], factors.shape), rtol=1e-5
    )
    factors = factors[:, 0, 0, 0]
    np.testing.assert_allclose(
        [factors.min(), factors.max()], [0.9, 1.1], rtol=1e-5
    )  # clipped at two deviations
    np.testing.assert_allclose(factors.mean(), 1.0, atol=0.005)
    np.testing.assert_allclose(
        factors.std(), 0.05 * 0.959, atol=0.003
    )  # of a normal clipped at 2 deviations


def test_augmentation_uses_different_randomness_for_its_two_parts():
    image = jnp.ones((8, 8, 1)).at[4, 4].set(0.0)
    keys = jax.random.split(jax.random.key(0), 200)
    out = np.asarray(jax.vmap(ops.augment, in_axes=(None, 0))(image, keys))
    rows = np.argmin(out.min(axis=2)[..., 0], axis=1)
    factors = out.max(axis=(1, 2, 3))
    assert out.shape == (200, 8, 8, 1) and len(set(rows)) > 4
    assert abs(np.corrcoef(rows, factors)[0, 1]) < 0.3
