"""Bits in, bools out: the same memory in an eighth of the bytes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.replay import make_packed, make_prioritised, make_uniform
from dormant.replay.bits import binary
from dormant.types import EnvSpec, Row

SPEC = EnvSpec("bits", (3, 5, 7), np.bool_, 4, (), 1, 1, 50, True)  # 105 bits: 13.1 bytes
SIZES = (40, 16, 3, 0.9)


def rows(count):
    random = np.random.default_rng(0)
    return Row(
        observation=random.random((count, 3, 5, 7)) < 0.3,
        action=random.integers(0, 4, count),
        reward=random.normal(size=count).astype(np.float32),
        terminal=random.random(count) < 0.1,
        truncated=np.zeros(count, bool),
        next_observation=random.random((count, 3, 5, 7)) < 0.3,
    )


@pytest.mark.parametrize("make", [make_uniform, make_prioritised])
def test_samples_are_those_of_an_unpacked_memory(make):
    plain, packed = make(SPEC, *SIZES), make_packed(make, SPEC, *SIZES)
    one, other = plain.init(), packed.init()
    assert other.storage.observation.shape == (40, 14)
    assert other.storage.observation.dtype == jnp.uint8
    for start in range(0, 60, 20):
        part = jax.tree.map(lambda leaf, at=start: leaf[at : at + 20], rows(60))
        one, other = plain.add(one, part), packed.add(other, part)
    expected = plain.sample(one, jax.random.key(5))
    found = packed.sample(other, jax.random.key(5))
    assert found.s_tm1.dtype == bool and found.s_tm1.any() and not found.s_tm1.all()
    jax.tree.map(np.testing.assert_array_equal, expected, found)


def test_stacks_of_binary_frames_are_stored_as_bytes():
    """A packed memory knows no stacks."""
    assert binary(SPEC) and not binary(SPEC._replace(stack_size=4))
