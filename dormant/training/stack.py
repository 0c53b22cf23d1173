"""Stacks of the newest observations, kept where the agents act: a frame is moved there once, as the
bytes it is.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from dormant.training.members import Axis
from dormant.types import EnvSpec


class Stacks:
    """The newest ``stack_size`` single observations of every member, along a new last axis, newest
    last.

    Zeros where the episode is younger than the stack, as Dopamine does. An episode here is what the
    learner sees as
    one: a lost life that is terminal begins a new stack. With stack_size 1 observations pass
      unchanged.
    Frames are moved when ``collection`` is asked for, so whoever only steps environments moves
    nothing.
    """

    def __init__(self, axis: Axis, spec: EnvSpec, members: int):
        self._spread, self._size = axis.spread, spec.stack_size
        self._push = axis.lift(_push, (0, 0, 0), 0, (0,))
        self._stacks = None
        self._shape = (members, *spec.observation_shape, spec.stack_size)
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self.newest: Any = (
            None  # the collection of the newest frames (P, *single); None = not moved
        )

    def note(self, frames: np.ndarray, first: np.ndarray) -> None:
        """The next observations (P, *single); first: (P,) bool, they begin an episode."""
        self._waiting = [*self._waiting, (frames, first)][-self._size :]
        self.newest = None

    def collection(self) -> Any:
        """What the members act on, (P, *observation)."""
        for frames, first in self._waiting:
            self.newest = self._spread(frames)
            if self._size > 1:
                if self._stacks is None:
                    self._stacks = self._spread(np.zeros(self._shape, frames.dtype))
                self._stacks = self._push(self._stacks, self.newest, self._spread(first))
        self._waiting = []
        return self._stacks if self._size > 1 else self.newest


def _push(stack: Any, frame: Any, first: Any) -> Any:
    """One member's stack (*single, stack_size) with the next frame (*single) in it."""
    kept = jnp.where(first, jnp.zeros_like(stack[..., 1:]), stack[..., 1:])
    return jnp.concatenate([kept, frame[..., None]], axis=-1)
