"""Rows that tell which they are, and what the tests of the replay memories share."""

import jax
import jax.numpy as jnp
import numpy as np

from dormant.types import EnvSpec, Row

GAMMA = 0.9
FRAMES = EnvSpec("Frames", (2, 3), np.uint8, 4, (), 4, 4, 1000)
VECTORS = EnvSpec("Vectors", (3,), np.float32, 0, (2,), 1, 1, 1000)


def make_rows(spec, first, endings):
    """Rows numbered from ``first``; every field encodes its row's number. endings: 0, 1 truncated,
    2 terminal.
    """
    numbers = np.arange(first, first + len(endings))
    wide = numbers.reshape(-1, *[1] * len(spec.observation_shape))
    observation = np.ones((1, *spec.observation_shape)) * (
        1 + wide % 250
    )  # never the zero of padding
    action = numbers if spec.num_actions else np.stack([numbers, -numbers], axis=1)
    endings = np.asarray(endings)
    return Row(
        observation=observation.astype(spec.observation_dtype),
        action=action.astype(np.int32 if spec.num_actions else np.float32),
        reward=(numbers + 0.5).astype(np.float32),
        terminal=endings == 2,
        truncated=endings == 1,
        next_observation=(observation + 0.25).astype(spec.observation_dtype)
        if spec.stack_size == 1
        else None,
    )


def naive_rows(rows):
    following = (
        rows.next_observation if rows.next_observation is not None else [None] * len(rows.reward)
    )
    return list(
        zip(rows.observation, rows.action, rows.reward, rows.terminal, rows.truncated, following)
    )


def check_batch(twin, batch, capacity):
    """Every transition of a batch against the twin's of the row in its slot."""
    batch = jax.device_get(batch)
    by_slot = {number % capacity: number for number in twin.starts()}
    for i, slot in enumerate(batch.index):
        s_tm1, a_tm1, r_t, discount_t, s_t = twin.transition(by_slot[int(slot)])
        np.testing.assert_array_equal(batch.s_tm1[i], s_tm1)
        np.testing.assert_array_equal(batch.a_tm1[i], a_tm1)
        np.testing.assert_allclose(batch.r_t[i], r_t, rtol=1e-6)
        np.testing.assert_allclose(batch.discount_t[i], discount_t, rtol=1e-6)
        if s_t is not None:
            np.testing.assert_array_equal(batch.s_t[i], s_t)


def population(memory, members):
    init = jax.jit(
        lambda: jax.vmap(lambda _: memory.init(), out_axes=memory.axes)(jnp.arange(members))
    )
    add = jax.jit(
        jax.vmap(memory.add, in_axes=(memory.axes, 0), out_axes=memory.axes), donate_argnums=0
    )
    return init, add, jax.jit(jax.vmap(memory.sample, in_axes=(memory.axes, 0)))
