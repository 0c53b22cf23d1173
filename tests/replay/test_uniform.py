"""Uniform replay against its twin, and the properties that its speed rests on."""

import jax
import numpy as np
import pytest

from dormant.replay import make_uniform
from dormant.types import DormantError
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
    memory = make_uniform(spec, capacity, batch_size, n, GAMMA)
    memory = memory._replace(
        add=jax.jit(memory.add, donate_argnums=0), sample=jax.jit(memory.sample)
    )
    twin = NaiveReplay(capacity, spec.stack_size, n, GAMMA, memory.stores_next_observation)
    return memory, twin


def live_slots(state, capacity):
    """The queue of starting points, oldest first."""
    places = (int(state.first) + np.arange(int(state.count))) % (2 * capacity)
    return np.asarray(state.starts)[places]


@pytest.mark.parametrize(
    "spec, n",
    [
        (FRAMES, 1),
        (FRAMES, 6),
        (VECTORS, 3),
        pytest.param(FRAMES, 3, marks=pytest.mark.slow),
        pytest.param(VECTORS, 1, marks=pytest.mark.slow),
    ],
)
def test_equals_its_twin_under_random_additions_that_wrap_around(spec, n):
    capacity = 37
    memory, twin = make_pair(spec, capacity, 16, n)
    random = np.random.default_rng(n)
    state, added = jax.jit(memory.init)(), 0
    assert int(memory.size(state)) == 0
    for step in range(50):
        count = int(random.choice([1, 7]))
        rows = make_rows(spec, added, random.choice(3, size=count, p=[0.75, 0.1, 0.15]))
        state = memory.add(state, rows)
        twin.add(naive_rows(rows))
        added += count
        assert int(state.position) == added % capacity
        np.testing.assert_array_equal(
            live_slots(state, capacity), [s % capacity for s in twin.starts()]
        )
        assert int(memory.size(state)) == len(twin.starts())
        if twin.starts():
            check_batch(twin, memory.sample(state, jax.random.key(step)), capacity)
    assert added > 4 * capacity


def test_many_rows_at_once_equal_the_same_rows_one_by_one():
    endings = np.random.default_rng(0).choice(3, size=1024, p=[0.9, 0.05, 0.05])
    rows = make_rows(FRAMES, 0, endings)
    memory, _ = make_pair(FRAMES, 1500, 8, 3)
    init = jax.jit(memory.init)
    at_once = memory.add(init(), rows)
    one_by_one = init()
    for i in range(1024):
        one_by_one = memory.add(one_by_one, jax.tree.map(lambda x: x[i : i + 1], rows))
    jax.tree.map(np.testing.assert_array_equal, at_once, one_by_one)


@pytest.mark.parametrize("spec, n", [(FRAMES, 2), pytest.param(VECTORS, 2, marks=pytest.mark.slow)])
def test_a_cursor_that_starts_elsewhere_changes_slots_only(spec, n):
    """A resumed run refills a memory from the row that it would hold first: row 30 of 37 slots
    here.
    """
    memory, twin = make_pair(spec, 37, 16, n)
    state = jax.jit(memory.init)().replace(position=np.int32(30))
    for first in range(0, 60, 5):
        rows = make_rows(spec, first, [0, 0, 0, 2, 0] if first % 10 else [0, 0, 1, 0, 0])
        state = memory.add(state, rows)
        twin.add(naive_rows(rows))
        expected = np.array(twin.starts())
        np.testing.assert_array_equal(live_slots(state, 37), (30 + expected) % 37)
        batch = memory.sample(state, jax.random.key(first))
        check_batch(twin, batch._replace(index=(batch.index - 30) % 37), 37)


def test_written_out_example():
    """n = 2, gamma 0.9, stack 4; rows 0 1 2(terminal) 3 4(truncated) 5 6 7, one frame of value
    number + 1.
    """
    memory, _ = make_pair(FRAMES, 20, 64, 2)
    state = memory.add(jax.jit(memory.init)(), make_rows(FRAMES, 0, [0, 0, 2, 0, 1, 0, 0, 0]))
    # 3 and 4 meet the truncation and 6, 7 miss the row that they bootstrap from.
    assert live_slots(state, 20).tolist() == [0, 1, 2, 5]
    batch = memory.sample(state, jax.random.key(0))
    assert set(np.asarray(batch.index).tolist()) == {0, 1, 2, 5}
    expected = {  # stack, reward, discount, next stack
        0: ([0, 0, 0, 1], 0.5 + 0.9 * 1.5, 0.81, [0, 1, 2, 3]),
        1: ([0, 0, 1, 2], 1.5 + 0.9 * 2.5, 0.0, None),
        2: ([0, 1, 2, 3], 2.5, 0.0, None),
        5: ([0, 0, 0, 6], 5.5 + 0.9 * 6.5, 0.81, [0, 6, 7, 8]),
    }
    for i, slot in enumerate(np.asarray(batch.index).tolist()):
        stack, reward, discount, next_stack = expected[slot]
        assert batch.s_tm1[i, 0, 0].tolist() == stack
        np.testing.assert_allclose(batch.r_t[i], reward, rtol=1e-6)
        np.testing.assert_allclose(batch.discount_t[i], discount, rtol=1e-6)
        if next_stack is not None:
            assert batch.s_t[i, 1, 2].tolist() == next_stack


@pytest.mark.parametrize("kind", [np.uint8, np.bool_, np.float32])
def test_stacks_are_of_the_type_of_the_frames(kind):
    spec = FRAMES._replace(observation_dtype=kind)
    memory, _ = make_pair(spec, 20, 4, 1)
    state = memory.add(jax.jit(memory.init)(), make_rows(spec, 0, [0] * 8))
    batch = memory.sample(state, jax.random.key(0))
    assert batch.s_tm1.dtype == batch.s_t.dtype == kind


def test_truncation_bootstraps_from_the_stored_next_observation():
    """n = 3: rows 0 1(truncated) 2 ...: row 0 sums two rewards, gamma**2, and sees what row 1 led
    to.
    """
    memory, _ = make_pair(VECTORS, 20, 64, 3)
    state = memory.add(jax.jit(memory.init)(), make_rows(VECTORS, 0, [0, 1, 0, 0, 0]))
    assert live_slots(state, 20).tolist() == [0, 1, 2]
    batch = memory.sample(state, jax.random.key(0))
    i = np.asarray(batch.index).tolist().index(0)
    np.testing.assert_allclose(batch.r_t[i], 0.5 + 0.9 * 1.5, rtol=1e-6)
    np.testing.assert_allclose(batch.discount_t[i], 0.81, rtol=1e-6)
    np.testing.assert_allclose(batch.s_t[i], [2.25] * 3)


def test_starting_points_are_equally_likely():
    memory, twin = make_pair(FRAMES, 50, 5000, 2)
    rows = make_rows(FRAMES, 0, np.random.default_rng(3).choice(3, size=43, p=[0.7, 0.15, 0.15]))
    state = memory.add(memory.add(jax.jit(memory.init)(), rows), rows)
    twin.add(naive_rows(rows) * 2)
    starts = [number % 50 for number in twin.starts()]
    assert 15 < len(starts) < 45
    drawn = np.concatenate([memory.sample(state, jax.random.key(i)).index for i in range(4)])
    counts = np.bincount(drawn, minlength=50)
    assert counts.sum() == counts[starts].sum() == 20_000
    expected = 20_000 / len(starts)
    chi_squared = np.sum((counts[starts] - expected) ** 2 / expected)
    assert chi_squared < len(starts) + 5 * np.sqrt(
        2 * len(starts)
    )  # mean and five standard deviations
    other = memory.sample(state, jax.random.key(99)).index
    assert np.any(other != memory.sample(state, jax.random.key(98)).index)


def test_members_share_the_cursor_and_nothing_else():
    members, capacity = 3, 41
    memory = make_uniform(FRAMES, capacity, 16, 3, GAMMA)
    init, add, sample = population(memory, members)
    state = init()
    assert state.position.shape == () and state.storage.observation.shape == (members, capacity, 6)
    random = np.random.default_rng(1)
    twins = [NaiveReplay(capacity, 4, 3, GAMMA, False) for _ in range(members)]
    for step in range(25):
        # Members differ in their rewards, actions and ends; numbers of rows 1000 apart.
        rows = [
            make_rows(FRAMES, 1000 * m + 5 * step, random.choice(3, size=5, p=[0.8, 0.1, 0.1]))
            for m in range(members)
        ]
        for twin, member_rows in zip(twins, rows):
            twin.add(naive_rows(member_rows))
        state = add(state, jax.tree.map(lambda *leaves: np.stack(leaves), *rows))
    assert state.position.shape == () and int(state.position) == 125 % capacity
    batch = sample(state, jax.random.split(jax.random.key(0), members))
    for m, twin in enumerate(twins):
        check_batch(twin, jax.tree.map(lambda x: x[m], batch), capacity)
    assert not np.array_equal(batch.index[0], batch.index[1])


@pytest.mark.parametrize("members", [0, 2])
def test_programs_of_a_million_frames_never_copy_the_memory(members):
    spec = FRAMES._replace(observation_shape=(84, 84))
    memory = make_uniform(spec, 1_000_000, 32, 3, GAMMA)
    rows, key = make_rows(spec, 0, [0, 0, 2, 0]), jax.random.key(0)
    init, add, sample = memory.init, memory.add, memory.sample
    if members:
        init, add, sample = population(memory, members)
        rows = jax.tree.map(lambda x: np.stack([x] * members), rows)
        key = jax.random.split(key, members)
    state = jax.eval_shape(init)  # nothing of its 7 GB is made
    frames = max(members, 1) * 1_000_000 * 84 * 84
    adding = jax.jit(add, donate_argnums=0).lower(state, rows).compile().memory_analysis()
    assert adding.temp_size_in_bytes < 1e6  # no copy, not even of the rewards (4 MB)
    assert adding.alias_size_in_bytes > frames  # the donated memory is the result
    sampling = jax.jit(sample).lower(state, key).compile().memory_analysis()
    assert sampling.temp_size_in_bytes + sampling.output_size_in_bytes < 1e7 * max(members, 1)


def test_a_donated_memory_stays_where_it_is():
    spec = FRAMES._replace(observation_shape=(84, 84))
    memory, _ = make_pair(spec, 500, 32, 3)
    state = jax.jit(memory.init)()
    pointer = state.storage.observation.unsafe_buffer_pointer()
    for first in range(0, 12, 4):
        state = memory.add(state, make_rows(spec, first, [0, 0, 2, 0]))
    assert state.storage.observation.unsafe_buffer_pointer() == pointer


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((5, 32, 1), "replay_capacity is 5"),
        ((100, 0, 1), "batch_size is 0"),
        ((100, 32, 0), "update_horizon is 0"),
    ],
)
def test_sizes_that_cannot_work_are_named(arguments, message):
    with pytest.raises(DormantError, match=message):
        make_uniform(FRAMES, *arguments, gamma=0.99)


def test_more_rows_than_a_memory_takes_at_once():
    memory = make_uniform(FRAMES, 20, 4, 1, GAMMA)
    assert memory.max_rows == 20 - 4
    with pytest.raises(ValueError, match="17 rows at once; this memory takes 1 to 16"):
        memory.add(memory.init(), make_rows(FRAMES, 0, [0] * 17))
