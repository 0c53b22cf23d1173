"""Stacks of the newest observations on the host: the twin of ``training/stack.py``."""

import numpy as np

from dormant.types import EnvSpec


class FrameStack:
    """The newest ``stack_size`` single observations of N environments, along a new last axis,
    newest last.

    Filled with zeros where the episode is younger than the stack, as Dopamine does. An episode here
    is what the learner sees as one: a lost life that is terminal begins a new stack. With
    stack_size 1 observations pass unchanged.
    """

    def __init__(self, spec: EnvSpec, num_envs: int):
        self._size = spec.stack_size
        self._stack = np.zeros(
            (num_envs, *spec.observation_shape, spec.stack_size), spec.observation_dtype
        )

    def reset(self, observation: np.ndarray) -> np.ndarray:
        """observation (N, *single), the first of N episodes -> stacks (N, *single, stack_size)."""
        return self.push(observation, np.ones(len(observation), bool))

    def push(self, observation: np.ndarray, first: np.ndarray) -> np.ndarray:
        """The next observations (N, *single) -> stacks (N, *single, stack_size), in memory of their
        own.

        first: (N,) bool, the observation begins an episode (terminal or truncated of the step that
          led to it).
        """
        if self._size == 1:
            return observation
        kept = self._stack[..., 1:] * ~first.reshape(-1, *[1] * observation.ndim)
        self._stack = np.concatenate(
            [kept.astype(observation.dtype), observation[..., None]], axis=-1
        )
        return self._stack
