"""Uniform replay: every starting point is equally likely, exactly and without rejection."""

import jax
import jax.numpy as jnp
from flax import struct

from dormant.replay import storage as rows_of
from dormant.replay.memory import Memory, check_sizes
from dormant.types import EnvSpec, Key, Row, Transition


@struct.dataclass
class UniformState:
    """Rows, and the starting points as a queue: oldest first, in a ring of slots."""

    storage: rows_of.Storage
    position: jax.Array  # () int32 the slot that is written next; shared by all members
    # (2 * capacity,) int32 slots; the queue lies in the places first, first + 1, ... (around the
    # end)
    starts: jax.Array
    first: jax.Array  # () int32 place of the oldest starting point
    count: jax.Array  # () int32 number of starting points


# vmap's axes in the places of the arrays
AXES = UniformState(0, None, 0, 0, 0)  # type: ignore[arg-type]


def make_uniform(
    spec: EnvSpec, capacity: int, batch_size: int, update_horizon: int, gamma: float
) -> Memory:
    """A uniform memory of ``capacity`` rows; see ``storage`` for what is a starting point.

    Raises:
      DormantError: a size below what one transition needs.
    """
    check_sizes(capacity, batch_size, update_horizon, spec.stack_size)
    layout = rows_of.Layout(spec, capacity, update_horizon, gamma)

    ring = 2 * capacity  # places: new starting points find room before old ones leave

    def init() -> UniformState:
        zero = jnp.zeros((), jnp.int32)
        return UniformState(rows_of.empty(layout), zero, jnp.zeros((ring,), jnp.int32), zero, zero)

    def add(state: UniformState, rows: Row) -> UniformState:
        # Arrays are written before they are read: the other way round XLA copies them.
        added = rows.reward.shape[0]
        storage = rows_of.write(layout, state.storage, state.position, rows)
        slots, is_start = rows_of.completed_starts(layout, storage, state.position, added)
        tail = state.first + state.count
        places = jnp.where(
            is_start, (tail + jnp.cumsum(is_start) - 1) % ring, ring
        )  # place ``ring`` is dropped
        starts = state.starts.at[places].set(slots, mode="drop")
        # What leaves is at the head of the queue: the starts that have grown too old for their
        # stacks.
        head = starts[(state.first + jnp.arange(added)) % ring]
        age = (state.position - 1 - head) % capacity  # before this addition
        leaves = (jnp.arange(added) < state.count) & (age + added > capacity - spec.stack_size)
        left = jnp.sum(leaves, dtype=jnp.int32)
        return UniformState(
            storage=storage,
            position=(state.position + added) % capacity,
            starts=starts,
            first=(state.first + left) % ring,
            count=state.count - left + jnp.sum(is_start, dtype=jnp.int32),
        )

    def sample(state: UniformState, key: Key) -> Transition:
        drawn = jax.random.randint(key, (batch_size,), 0, jnp.maximum(state.count, 1))
        return rows_of.read(layout, state.storage, state.starts[(state.first + drawn) % ring])

    return Memory(
        init=init,
        add=add,
        sample=sample,
        size=lambda state: state.count,
        axes=AXES,
        capacity=capacity,
        max_rows=layout.max_rows,
        stores_next_observation=layout.keeps_next,
    )
