"""Stacks of the newest observations, kept where the agents act.

A frame is moved there once, as the bytes it is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dormant.training.members import Axis, Collection
from dormant.types import EnvSpec


class Seen(NamedTuple):
    """What the members act on, where they act."""

    observations: Collection  # (P, *observation)
    frames: Collection  # (P, *single): the newest of each


class Stacks:
    """The newest ``stack_size`` single observations of every member, on a new last axis.

    The newest is last. Zeros where the episode is younger than the stack, as Dopamine does. An
    episode here is what the learner sees as one: a lost life that is terminal begins a new stack.
    With stack_size 1 observations pass unchanged. Frames are moved by ``move``, so whoever only
    steps environments moves nothing.
    """

    def __init__(self, axis: Axis, spec: EnvSpec, members: int):
        self._device_put, self._size = axis.device_put, spec.stack_size
        self._push = axis.map(_push, (0, 0, 0), 0, (0,))
        self._shape = (members, *spec.observation_shape, spec.stack_size)
        self._stacks: Collection = None  # (P, *observation), once one has been asked for
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []

    def note(self, frames: np.ndarray, first: np.ndarray) -> None:
        """The next observations (P, *single); first: (P,) bool, they begin an episode."""
        self._waiting = [*self._waiting, (frames, first)][-self._size :]

    def move(self) -> Seen:
        """Moves what was noted since the last call, at least one observation of each member."""
        for frames, first in self._waiting:
            moved = self._device_put(frames)
            if self._size > 1:
                if self._stacks is None:
                    self._stacks = self._device_put(np.zeros(self._shape, frames.dtype))
                self._stacks = self._push(self._stacks, moved, self._device_put(first))
        self._waiting = []
        return Seen(self._stacks if self._size > 1 else moved, moved)


def _push(stack: jax.Array, frame: jax.Array, first: jax.Array) -> jax.Array:
    """One member's stack (*single, stack_size) with the next frame (*single) in it."""
    kept = jnp.where(first, jnp.zeros_like(stack[..., 1:]), stack[..., 1:])
    return jnp.concatenate([kept, frame[..., None]], axis=-1)
