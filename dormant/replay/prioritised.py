"""Prioritised replay (Schaul et al., 2016).

Starting points are drawn in proportion to their priorities.
"""

import jax
import jax.numpy as jnp
from flax import struct

from dormant.replay import storage as rows_of
from dormant.replay import sum_tree
from dormant.replay.memory import Memory, check_sizes
from dormant.types import EnvSpec, Key, Row, Transition


@struct.dataclass
class PrioritisedState:
    """Rows, and a priority for each slot: 0 where it is no starting point."""

    storage: rows_of.Storage
    position: jax.Array  # () int32 the slot that is written next; shared by all members
    tree: sum_tree.Tree  # over the slots
    # () float32 the largest priority so far, at least 1: what a new starting point gets
    largest: jax.Array


# vmap's axes in the places of the arrays
AXES = PrioritisedState(0, None, 0, 0)  # type: ignore[arg-type]


def make_prioritised(
    spec: EnvSpec,
    capacity: int,
    batch_size: int,
    update_horizon: int,
    gamma: float,
    importance_exponent: float = 0.5,
) -> Memory:
    """A prioritised memory of ``capacity`` rows; see ``storage`` for what is a starting point.

    Sampling is stratified: one starting point from each of batch_size equal shares of the sum
    of all priorities. Priorities are used as they are given: the exponent alpha of Schaul et al. is
    the agent's business. Importance weights are (1 / probability)**importance_exponent (their
    beta), divided by the largest of the batch; 0.5 throughout is Dopamine's value.

    Raises:
      DormantError: a size below what one transition needs.
    """
    check_sizes(capacity, batch_size, update_horizon, spec.stack_size)
    layout = rows_of.Layout(spec, capacity, update_horizon, gamma)

    def init() -> PrioritisedState:
        start, largest = jnp.zeros((), jnp.int32), jnp.ones((), jnp.float32)
        return PrioritisedState(rows_of.empty(layout), start, sum_tree.empty(capacity), largest)

    def add(state: PrioritisedState, rows: Row) -> PrioritisedState:
        added = rows.reward.shape[0]
        storage = rows_of.write(layout, state.storage, state.position, rows)
        slots, is_start = rows_of.completed_starts(layout, storage, state.position, added)
        gone = rows_of.outlived_slots(layout, state.position, added)
        # The others keep what they have: their places go to a slot that becomes 0 anyway.
        slots = jnp.concatenate([gone, jnp.where(is_start, slots, gone[0])])
        priorities = jnp.concatenate([jnp.zeros(added), jnp.where(is_start, state.largest, 0.0)])
        tree = sum_tree.assign(state.tree, slots, priorities)
        position = (state.position + added) % capacity
        return PrioritisedState(storage, position, tree, state.largest)

    def sample(state: PrioritisedState, key: Key) -> Transition:
        share = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
        starts = sum_tree.find(state.tree, share * sum_tree.total(state.tree))
        starts = jnp.minimum(starts, capacity - 1)  # of an empty memory
        priorities = state.tree[0][starts]
        weight = (jnp.min(priorities) / jnp.maximum(priorities, 1e-30)) ** importance_exponent
        return rows_of.read(layout, state.storage, starts)._replace(weight=weight)

    def update(
        state: PrioritisedState, index: jax.Array, priorities: jax.Array
    ) -> PrioritisedState:
        # A starting point that has left since it was sampled stays away.
        age = (state.position - 1 - index) % capacity
        held = jnp.where(age <= capacity - spec.stack_size, priorities, 0.0)
        largest = jnp.maximum(state.largest, jnp.max(priorities))
        return PrioritisedState(
            state.storage, state.position, sum_tree.assign(state.tree, index, held), largest
        )

    return Memory(
        init=init,
        add=add,
        sample=sample,
        size=lambda state: jnp.sum(state.tree[0] > 0, dtype=jnp.int32),
        axes=AXES,
        capacity=capacity,
        max_rows=layout.max_rows,
        stores_next_observation=layout.keeps_next,
        update=update,
    )
