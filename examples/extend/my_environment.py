"""An environment on the host: a corridor of eight fields, ``--game Corridor``.

Walk right to the end for a reward of 1; every step costs 0.01.
"""

import numpy as np

from dormant import register

LENGTH = 8


class Corridor:
    """One environment (dormant.envs.vector.SingleEnv)."""

    def __init__(self):
        self._random = np.random.default_rng(0)
        self._place = 0

    def reset(self, seed: int | None) -> np.ndarray:
        """Starts an episode. None continues the random stream of the last seed.

        After a seed, what follows depends on the seed and the actions only: runs can be resumed.
        """
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._place = int(self._random.integers(LENGTH // 2))
        return self._observation()

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool]:
        """-> observation, reward, terminal, truncated. The package enforces max_episode_steps."""
        self._place = min(max(self._place + (1 if action == 1 else -1), 0), LENGTH - 1)
        arrived = self._place == LENGTH - 1
        return self._observation(), float(arrived) - 0.01, arrived, False

    def close(self) -> None:
        """Frees memory."""

    def _observation(self) -> np.ndarray:
        return np.eye(LENGTH, dtype=np.float32)[self._place]


@register.environment("Corridor", observation_shape=(LENGTH,), num_actions=2, max_episode_steps=50)
def make(spec):
    return Corridor()
