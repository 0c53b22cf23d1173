"""The rows of a replay memory: written at a cursor that all members share, read as n-step
transitions.

Slots and time: row number m lies in slot m % capacity. The oldest ``stack_size - 1`` slots are kept
for the stacks of younger rows and are never starting points, so no stack reaches over the cursor.

A row i starts a transition of the n = update_horizon rows from i, fewer where the episode ends
earlier:
- No end within them: n rewards, discount gamma**n, bootstrapping from row i + n's observation.
- Terminated within them, in row i + k - 1: k rewards, discount 0.
- Truncated within them (time limit, end of an iteration), in row i + k - 1: k rewards and discount
  gamma**k where next observations are stored. Frame memories do not have the observation after a
  truncation; such a row is no starting point there, as in Dopamine.

A row becomes a starting point when the last row that it needs has been added.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from dormant.types import Array, EnvSpec, Row, Transition

CONTINUES, TRUNCATED, TERMINATED = 0, 1, 2  # how a row ends


class Layout(NamedTuple):
    """Static facts of a memory."""

    spec: EnvSpec
    capacity: int  # rows
    update_horizon: int
    gamma: float

    @property
    def keeps_next(self) -> bool:
        """Whether next observations are stored; for stacked frames, later rows rebuild them."""
        return self.spec.stack_size == 1

    @property
    def max_rows(self) -> int:
        """The most rows of one ``add``: the starting points they complete must outlive it."""
        return self.capacity - self.spec.stack_size - self.update_horizon + 1

    @property
    def shared_frames(self) -> tuple[int, ...]:
        """Row offsets of the frames of a transition's two stacks, each once.

        With n = 1 and stacks of 4 they are -3 to 1.
        """
        stack, n = self.spec.stack_size, self.update_horizon
        return tuple(sorted({*range(1 - stack, 1), *range(n + 1 - stack, n + 1)}))


@struct.dataclass
class Storage:
    """Rows by slot. Observations are flat: sampling is fast because it gathers contiguous rows."""

    observation: jax.Array  # (capacity, D) of the specification's dtype
    action: jax.Array  # (capacity,) int32, or (capacity, action_dim) float32
    reward: jax.Array  # (capacity,) float32
    ending: jax.Array  # (capacity,) uint8: CONTINUES, TRUNCATED or TERMINATED
    next_observation: jax.Array | None  # (capacity, D), or None for frames


def empty(layout: Layout) -> Storage:
    """No rows yet.

    Empty slots count as ends of episodes, so the first row begins one wherever the cursor starts.
    """
    spec, capacity = layout.spec, layout.capacity
    flat = (capacity, int(np.prod(spec.observation_shape)))
    action = (
        ((capacity,), jnp.int32)
        if spec.num_actions
        else ((capacity, *spec.action_shape), jnp.float32)
    )
    return Storage(
        observation=jnp.zeros(flat, spec.observation_dtype),
        action=jnp.zeros(*action),
        reward=jnp.zeros((capacity,), jnp.float32),
        ending=jnp.full((capacity,), TRUNCATED, jnp.uint8),
        next_observation=jnp.zeros(flat, spec.observation_dtype) if layout.keeps_next else None,
    )


def write(layout: Layout, storage: Storage, position: jax.Array, rows: Row) -> Storage:
    """Writes the rows (T, ...) to the slots from ``position`` () on, around the end.

    ``position`` has no member axis. Under ``vmap`` this stays one scatter of T indices, whose
    windows span the members, and it happens in place where the storage is donated.
    """
    count = rows.reward.shape[0]
    if not 1 <= count <= layout.max_rows:
        raise ValueError(f"{count} rows at once; this memory takes 1 to {layout.max_rows}")
    slots = (position + jnp.arange(count)) % layout.capacity

    def flat(observations: Array) -> jax.Array:
        return jnp.asarray(observations).reshape(count, -1)

    fresh = Storage(
        observation=flat(rows.observation),
        action=jnp.asarray(rows.action),
        reward=jnp.asarray(rows.reward),
        ending=_ending(rows),
        next_observation=flat(rows.next_observation) if layout.keeps_next else None,
    )
    return jax.tree.map(
        lambda old, new: old.at[slots].set(
            new.astype(old.dtype), unique_indices=True, mode="promise_in_bounds"
        ),
        storage,
        fresh,
    )


def _ending(rows: Row) -> jax.Array:
    ending = jnp.where(rows.truncated, TRUNCATED, CONTINUES)
    return jnp.where(rows.terminal, TERMINATED, ending).astype(jnp.uint8)


def completed_starts(
    layout: Layout, storage: Storage, position: jax.Array, count: int
) -> tuple[jax.Array, jax.Array]:
    """Which rows are now starting points, after ``count`` = T rows were written at ``position``.

    Returns slots (T + n,), oldest first, and a mask (T + n,).
    """
    n = layout.update_horizon
    slots = (position + jnp.arange(-n, count)) % layout.capacity
    ending = storage.ending[slots]
    place = jnp.arange(n + count)
    # The end of each row's episode, and the last row that a start needs.
    end = jax.lax.cummin(jnp.where(ending == CONTINUES, 2 * (n + count), place), reverse=True)
    ends_within = end < place + n
    needed = jnp.where(ends_within, end, place + n - int(layout.keeps_next))
    mask = (needed >= n) & (needed < n + count)
    if not layout.keeps_next:
        mask &= ~ends_within | (ending[jnp.minimum(end, n + count - 1)] == TERMINATED)
    return slots, mask


def outlived_slots(layout: Layout, position: jax.Array, count: int) -> jax.Array:
    """The slots (T,) that stop being starting points once ``count`` = T rows are written."""
    return (position + layout.spec.stack_size - 1 + jnp.arange(count)) % layout.capacity


def read(layout: Layout, storage: Storage, starts: jax.Array) -> Transition:
    """The transitions that begin in the slots ``starts`` (B,).

    Where discount_t is 0, s_t of frames means nothing.
    """
    n, stack = layout.update_horizon, layout.spec.stack_size
    history = _around(layout, starts, range(1 - stack, n))  # (stack - 1 + n, B)
    ending = storage.ending[history]
    continues = ending[stack - 1 :] == CONTINUES
    reached = jnp.concatenate(
        [jnp.ones_like(continues[:1]), jnp.cumprod(continues[:-1], axis=0, dtype=bool)]
    )  # (n, B)
    steps = jnp.sum(reached, axis=0)  # k
    powers = jnp.asarray(layout.gamma ** np.arange(n), jnp.float32)[:, None]
    rewards = storage.reward[history[stack - 1 :]]
    terminated = jnp.any(reached & (ending[stack - 1 :] == TERMINATED), axis=0)
    discounts = jnp.asarray(layout.gamma ** np.arange(n + 1), jnp.float32)
    if storage.next_observation is not None:
        s_tm1 = _shaped(layout, storage.observation[starts])
        s_t = _shaped(layout, storage.next_observation[(starts + steps - 1) % layout.capacity])
    else:
        s_tm1, s_t = _stacks(layout, storage, starts, ending != CONTINUES)
    return Transition(
        s_tm1=s_tm1,
        a_tm1=storage.action[starts],
        r_t=jnp.sum(jnp.where(reached, powers * rewards, 0.0), axis=0),
        discount_t=jnp.where(terminated, 0.0, discounts[steps]),
        s_t=s_t,
        index=starts,
    )


def _around(layout: Layout, starts: jax.Array, offsets: Iterable[int]) -> jax.Array:
    """Slots (len(offsets), B) at these distances from the starts (B,)."""
    return (starts[None, :] + jnp.asarray(tuple(offsets))[:, None]) % layout.capacity


def _shaped(layout: Layout, flat: jax.Array) -> jax.Array:
    """(B, D) -> (B, *observation)."""
    return flat.reshape(flat.shape[0], *layout.spec.observation_shape)


def _stacks(
    layout: Layout, storage: Storage, starts: jax.Array, ends: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Stacks (B, *single, stack) at the starts (B,), and n rows later.

    ends: (stack - 1 + n, B), whether the rows from 1 - stack on end an episode.
    """
    stack, n = layout.spec.stack_size, layout.update_horizon
    offsets = layout.shared_frames
    frames = storage.observation[_around(layout, starts, offsets)]  # (F, B, D), each frame once

    def at(newest: int) -> jax.Array:
        before = ends[newest : newest + stack - 1]  # rows from the stack's oldest to its newest
        begun_later = (
            jnp.cumsum(before[::-1], axis=0)[::-1] > 0
        )  # an episode begins after the frame
        kept = jnp.concatenate([~begun_later, jnp.ones_like(begun_later[:1])])  # (stack, B)
        first = offsets.index(newest + 1 - stack)
        empty = jnp.zeros((), frames.dtype)
        planes = [jnp.where(kept[i][:, None], frames[first + i], empty) for i in range(stack)]
        return _interleave(planes).reshape(starts.shape[0], *layout.spec.observation_shape, stack)

    return at(0), at(n)


def _interleave(planes: list[jax.Array]) -> jax.Array:
    """Arrays (B, D) of one dtype -> (B, D, len(planes))."""
    if len(planes) == 4 and planes[0].dtype == jnp.uint8:
        # The bytes of one 32-bit word, least significant first: vector instructions instead of a
        # byte-wise transpose.
        words = sum(plane.astype(jnp.uint32) << (8 * i) for i, plane in enumerate(planes))
        return jax.lax.bitcast_convert_type(words, jnp.uint8)
    return jnp.stack(planes, axis=-1)
