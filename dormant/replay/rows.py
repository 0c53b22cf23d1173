"""The rows of a replay memory in order of time: out of a memory, into another. What a data set for
offline learning is made of.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dormant.replay.bits import binary, make_packed, packed_spec
from dormant.replay.memory import Memory
from dormant.replay.storage import TERMINATED, TRUNCATED
from dormant.replay.uniform import make_uniform
from dormant.types import DormantError, EnvSpec, Row

CHUNK = 20_000  # rows added at once


class Rows(NamedTuple):
    """R agent steps of one member, oldest first, as the memory stores them (host arrays)."""

    observation: np.ndarray  # (R, D) flat; bits of binary observations
    action: np.ndarray  # (R,) int32
    reward: np.ndarray  # (R,) float32, as learned from
    ending: np.ndarray  # (R,) uint8: CONTINUES, TRUNCATED or TERMINATED (replay.storage)
    next_observation: np.ndarray | None  # (R, D), or None for frames


def in_order(storage: Any, position: int, agent_steps: int) -> Rows:
    """The rows of a memory's storage (host arrays) after so many agent steps.

    Args:
      position: the slot that would be written next.
    """
    capacity = len(storage["reward"])
    count = min(agent_steps, capacity)
    slots = (position - count + np.arange(count)) % capacity
    taken = {
        name: None if values is None else np.asarray(values)[slots]
        for name, values in storage.items()
    }
    return Rows._make(taken.get(name) for name in Rows._fields)


def stored_spec(spec: EnvSpec) -> EnvSpec:
    """How a memory stores an environment's observations."""
    return packed_spec(spec) if binary(spec) else spec


def check_rows(rows: Rows, spec: EnvSpec, where: str) -> None:
    """Raises a DormantError where the rows are not of this environment's shape.

    Args:
      where: what the message names, a file.
    """
    stored, count = stored_spec(spec), len(rows.reward)
    size = int(np.prod(stored.observation_shape))
    wanted = {
        "observation": (count, size),
        "action": (count,),
        "ending": (count,),
        **({"next_observation": (count, size)} if spec.stack_size == 1 else {}),
    }
    for name, shape in wanted.items():
        found = np.shape(getattr(rows, name))
        if found != shape:
            raise DormantError(f"{where}: {name} has shape {found}; {spec.name} has {shape}")
    least = spec.stack_size + 2
    if count < least:
        raise DormantError(f"{where}: {count} rows; at least {least} are needed")
    if not 0 <= rows.action.min() <= rows.action.max() < spec.num_actions:
        raise DormantError(
            f"{where}: actions lie in {rows.action.min()} to {rows.action.max()}; {spec.name} has "
            f"{spec.num_actions}"
        )


def memory_for(
    spec: EnvSpec, rows: int, batch_size: int, update_horizon: int, gamma: float
) -> Memory:
    """A uniform memory that holds so many rows, all of them at once."""
    sizes = (rows + spec.stack_size + update_horizon, batch_size, update_horizon, gamma)
    if binary(spec):
        return make_packed(make_uniform, spec, *sizes)
    return make_uniform(spec, *sizes)


@functools.lru_cache(maxsize=2)
def _programs(
    stored: EnvSpec, capacity: int, update_horizon: int, gamma: float
) -> tuple[Callable[[], Any], Callable[[Any, Row], Any]]:
    """(init, add), compiled once for all members."""
    store = make_uniform(stored, capacity, 1, update_horizon, gamma)
    return jax.jit(store.init), jax.jit(store.add, donate_argnums=0)


def filled(spec: EnvSpec, rows: Rows, memory: Memory, update_horizon: int, gamma: float) -> Any:
    """The state of ``memory`` (of ``memory_for``) with these rows in it.

    Raises:
      DormantError: nothing in them can be learned from.
    """
    # The rows are stored already, so they go past the packing.
    init, add = _programs(stored_spec(spec), memory.capacity, update_horizon, gamma)
    state = init()
    for first in range(0, len(rows.reward), CHUNK):
        part = Rows._make(None if each is None else each[first : first + CHUNK] for each in rows)
        row = Row(
            observation=part.observation,
            action=part.action.astype(np.int32),
            reward=part.reward.astype(np.float32),
            terminal=part.ending == TERMINATED,
            truncated=part.ending == TRUNCATED,
            next_observation=part.next_observation,
        )
        state = add(state, row)
    if int(memory.size(state)) < 1:
        raise DormantError("the data set holds no transition to learn from")
    return state
