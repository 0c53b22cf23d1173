"""Prioritised replay: the uniform memory's twin says what may be sampled, the priorities how
often.
"""

import jax
import numpy as np
import pytest

from dormant.replay import make_prioritised
from tests.reference.replay import NaiveReplay
from tests.reference.rows import (
    FRAMES,
    GAMMA,
    VECTORS,
    check_batch,
    make_rows,
    naive_rows,
    population,
)


def make_pair(spec, capacity, batch_size, n):
    memory = make_prioritised(spec, capacity, batch_size, n, GAMMA)
    memory = memory._replace(
        add=jax.jit(memory.add, donate_argnums=0),
        sample=jax.jit(memory.sample),
        update=jax.jit(memory.update, donate_argnums=0),
    )
    return memory, NaiveReplay(capacity, spec.stack_size, n, GAMMA, memory.stores_next_observation)


@pytest.mark.parametrize(
    "spec, n",
    [
        (FRAMES, 3),
        (VECTORS, 1),
        pytest.param(FRAMES, 6, marks=pytest.mark.slow),
        pytest.param(VECTORS, 3, marks=pytest.mark.slow),
    ],
)
def test_equals_its_twin_under_random_operations_that_wrap_around(spec, n):
    capacity = 37
    memory, twin = make_pair(spec, capacity, 8, n)
    random = np.random.default_rng(n)
    state, added, largest, priorities = (
        jax.jit(memory.init)(),
        0,
        1.0,
        {},
    )  # priorities by row number
    for step in range(50):
        count = int(random.choice([1, 7]))
        rows = make_rows(spec, added, random.choice(3, size=count, p=[0.75, 0.1, 0.15]))
        state = memory.add(state, rows)
        twin.add(naive_rows(rows))
        added += count
        starts = twin.starts()
        priorities = {number: priorities.get(number, largest) for number in starts}
        expected = np.zeros(capacity)
        expected[[number % capacity for number in starts]] = list(priorities.values())
        np.testing.assert_array_equal(state.tree[0][:capacity], expected)
        assert int(memory.size(state)) == len(starts)
        if not starts:
            continue
        batch = memory.sample(state, jax.random.key(step))
        check_batch(twin, batch, capacity)
        drawn = [
            next(number for number in starts if number % capacity == slot)
            for slot in np.asarray(batch.index)
        ]
        of_batch = np.array([priorities[number] for number in drawn])
        np.testing.assert_allclose(batch.weight, np.sqrt(of_batch.min() / of_batch), rtol=1e-5)
        new = random.integers(1, 40, size=8) / 8
        state = memory.update(state, batch.index, new.astype(np.float32))
        largest = max(largest, new.max())
        priorities.update({number: new[[d == number for d in drawn]].max() for number in drawn})
    assert added > 4 * capacity


def test_sampling_follows_the_priorities_in_strata():
    memory, _ = make_pair(VECTORS, 40, 10, 1)
    state = memory.add(jax.jit(memory.init)(), make_rows(VECTORS, 0, [0] * 4))
    state = memory.update(state, np.arange(4), np.array([1.0, 2.0, 3.0, 4.0], np.float32))
    for i in range(5):
        # Total 10 in 10 strata of length 1, each within one priority: the counts are the
        # priorities, every time.
        batch = memory.sample(state, jax.random.key(i))
        assert np.bincount(batch.index).tolist() == [1, 2, 3, 4]
        np.testing.assert_allclose(
            batch.weight, np.sqrt(1.0 / np.array([1, 2, 2, 3, 3, 3, 4, 4, 4, 4])), rtol=1e-6
        )


def test_sampling_within_a_stratum_is_in_proportion():
    memory, _ = make_pair(VECTORS, 40, 1, 1)
    state = memory.add(jax.jit(memory.init)(), make_rows(VECTORS, 0, [0] * 3))
    state = memory.update(state, np.arange(3), np.array([0.5, 3.0, 1.5], np.float32))
    keys = jax.random.split(jax.random.key(0), 4000)
    index = jax.vmap(memory.sample, in_axes=(None, 0))(state, keys).index[:, 0]
    np.testing.assert_allclose(
        np.bincount(index) / 4000, [0.1, 0.6, 0.3], atol=0.03
    )  # four standard deviations


def test_an_update_that_comes_too_late_changes_nothing():
    memory, _ = make_pair(FRAMES, 12, 4, 1)
    state = memory.add(jax.jit(memory.init)(), make_rows(FRAMES, 0, [0] * 8))
    index = memory.sample(state, jax.random.key(0)).index * 0  # slot 0
    state = memory.add(
        state, make_rows(FRAMES, 8, [0] * 2)
    )  # age of slot 0: 9 rows, one too many for a stack of 4
    assert float(state.tree[0][0]) == 0.0
    state = memory.update(state, index, np.ones(4, np.float32))
    assert float(state.tree[0][0]) == 0.0


def test_members_have_their_own_priorities():
    memory = make_prioritised(FRAMES, 41, 16, 3, GAMMA)
    init, add, sample = population(memory, 2)
    rows = [make_rows(FRAMES, 1000 * member, [0, 0, 0, 0, 2 * member, 0, 0]) for member in range(2)]
    state = add(init(), jax.tree.map(lambda *leaves: np.stack(leaves), *rows))
    assert state.position.shape == ()
    # n = 3: member 0 has rows 0 to 3; member 1 ends in row 4, so rows 0 to 4
    np.testing.assert_array_equal(state.tree[0][:, :6], [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 0]])
    update = jax.jit(jax.vmap(memory.update, in_axes=(memory.axes, 0, 0), out_axes=memory.axes))
    state = update(
        state, np.array([[0, 1, 2], [3, 4, 0]]), np.array([[1, 2, 0], [5, 0, 0]], np.float32)
    )
    np.testing.assert_array_equal(state.tree[0][:, :6], [[1, 2, 0, 1, 0, 0], [0, 1, 1, 5, 0, 0]])
    np.testing.assert_array_equal(state.largest, [2.0, 5.0])
    batch = sample(state, jax.random.split(jax.random.key(0), 2))
    assert set(np.asarray(batch.index[0]).tolist()) == {0, 1, 3}
    assert set(np.asarray(batch.index[1]).tolist()) == {1, 2, 3}


def test_programs_of_a_million_frames_never_copy_the_memory():
    memory = make_prioritised(FRAMES._replace(observation_shape=(84, 84)), 1_000_000, 32, 3, GAMMA)
    rows = make_rows(FRAMES._replace(observation_shape=(84, 84)), 0, [0, 0, 2, 0])
    state = jax.eval_shape(memory.init)
    adding = jax.jit(memory.add, donate_argnums=0).lower(state, rows).compile().memory_analysis()
    index, priorities = np.zeros(32, np.int32), np.zeros(32, np.float32)
    updating = (
        jax.jit(memory.update, donate_argnums=0)
        .lower(state, index, priorities)
        .compile()
        .memory_analysis()
    )
    for program in (adding, updating):
        assert program.temp_size_in_bytes < 1e6  # not even of the priorities (4 MB)
        assert program.alias_size_in_bytes > 1_000_000 * 84 * 84
