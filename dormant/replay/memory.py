"""What the training loop knows of a replay memory: a bundle of pure functions for one member."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from dormant.types import DormantError, Key, Row, Transition

MemoryState = Any  # UniformState or PrioritisedState, with or without a member axis


class Memory(NamedTuple):
    """One replay memory.

    init() -> state
        an empty memory; run it under ``jax.jit`` to make it on the device.
    add(state, rows) -> state
        rows: a ``Row`` whose arrays have a leading axis of T agent steps, 1 <= T <= max_rows.
        Donate the state: the memory is then written in place.
    sample(state, key) -> Transition
        a batch; meaningless while ``size`` is 0.
    size(state) -> () int32
        number of starting points that sampling draws from.
    update(state, index, priorities) -> state
        new priorities (B,) of the sampled starting points ``index`` (B,); None where sampling is
        uniform.
    axes
        ``in_axes``/``out_axes`` of a state for ``jax.vmap`` over members: they share the cursor
        (None), which is what keeps ``add`` one write for the whole population instead of one for
        each member.
    capacity
        rows that are kept. A state is a record whose field ``storage`` holds them and whose field
        ``position``, shared by all members, is the slot that is written next: checkpoints save
        everything but the storage.
    max_rows
        the most rows of one ``add``.
    stores_next_observation
        whether ``Row.next_observation`` is kept; frame memories ignore it and rebuild the next
        stack from later rows.
    """

    init: Callable[[], MemoryState]
    add: Callable[[MemoryState, Row], MemoryState]
    sample: Callable[[MemoryState, Key], Transition]
    size: Callable[[MemoryState], jax.Array]
    axes: MemoryState
    capacity: int
    max_rows: int
    stores_next_observation: bool
    update: Callable[[MemoryState, jax.Array, jax.Array], MemoryState] | None = None


def check_sizes(capacity: int, batch_size: int, update_horizon: int, stack_size: int) -> None:
    """Raises a DormantError unless the memory can hold a starting point and everything it needs."""
    for name, value in (("batch_size", batch_size), ("update_horizon", update_horizon)):
        if value < 1:
            raise DormantError(f"{name} is {value}; it must be at least 1")
    needed = stack_size + update_horizon + 1
    if capacity < needed:
        raise DormantError(
            f"replay_capacity is {capacity}; stacks of {stack_size} and an update_horizon of "
            f"{update_horizon} need at least {needed}"
        )
