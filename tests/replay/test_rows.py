"""Rows out of a memory go into another as the run's own memory stores them."""

import jax
import numpy as np
import pytest

from dormant.replay.rows import Rows, check_rows, filled, memory_for, stored_spec
from dormant.types import EnvSpec

COUNT = 30
PLAIN = EnvSpec("made up", (16,), np.float32, 3, (), 1, 1, 9, False)


def rows_of(spec):
    random = np.random.default_rng(0)
    seen = random.integers(0, 2, (COUNT + 1, 16)).astype(spec.observation_dtype)
    if stored_spec(spec).observation_dtype != spec.observation_dtype:
        seen = np.packbits(seen, axis=-1)
    endings = np.zeros(COUNT, np.uint8)
    actions = random.integers(0, 3, COUNT).astype(np.int32)
    return Rows(seen[:-1], actions, np.ones(COUNT, np.float32), endings, seen[1:])


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("dtype, size", [(np.float32, 16), (np.bool_, 2)])
def test_bits_are_those_of_binary_observations_wherever_they_come_from(on_device, dtype, size):
    spec = PLAIN._replace(observation_dtype=dtype, on_device=on_device)
    rows = rows_of(spec)
    assert rows.observation.shape == (COUNT, size)
    check_rows(rows, spec, "here")
    memory = memory_for(spec, COUNT, 8, 1, 0.9)
    batch = memory.sample(filled(spec, rows, memory, 1, 0.9), jax.random.key(0))
    assert batch.s_tm1.shape == (8, 16) and batch.s_tm1.dtype == dtype
    seen = np.unpackbits(rows.observation, axis=-1) if dtype == np.bool_ else rows.observation
    for observation in np.asarray(batch.s_tm1):
        assert (seen == observation).all(axis=1).any()
