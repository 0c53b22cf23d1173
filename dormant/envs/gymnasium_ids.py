"""Any environment that gymnasium knows by an id: "CartPole-v1", or one's own registered there.

Actions are discrete, or a bounded box, scaled from [-1, 1]. Observations are a vector, or an image
of bytes: one with two axes is stacked as on Atari, one with channels is used as it is. Where an id
has no limit on the length of its episodes, they end as Atari's do, after 27,000 agent steps.
"""

import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dormant.envs import own
from dormant.types import DormantError, EnvSpec, VectorEnv

MAX_EPISODE_STEPS = 27_000  # agent steps, where the id has no limit
STACK_SIZE = 4  # images without channels, stacked


class GymnasiumEnv:
    """One environment (``vector.SingleEnv``)."""

    def __init__(self, env: Any):
        self._env, space = env, env.action_space
        self._first = int(space.start) if isinstance(space, spaces.Discrete) else None
        if self._first is None:
            low, high = space.low.astype(np.float64), space.high.astype(np.float64)
            self._centre, self._half_range = low / 2 + high / 2, high / 2 - low / 2

    def reset(self, seed: int | None) -> np.ndarray:
        return self._env.reset(seed=seed)[0]

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        if self._first is not None:
            return self._env.step(self._first + int(action))[:4]
        return self._env.step(self._scaled(action))[:4]

    def _scaled(self, action: Any) -> np.ndarray:
        """The box's action (D,) for one in [-1, 1]."""
        space = self._env.action_space
        scaled = self._centre + self._half_range * np.clip(action, -1, 1)
        # Rounding may carry an end of the range past its bound, which many environments refuse.
        return np.clip(scaled.astype(space.dtype), space.low, space.high)

    def close(self) -> None:
        self._env.close()


def known(name: str) -> bool:
    """Whether gymnasium has an environment of this id."""
    return name in gymnasium.registry


def names() -> list[str]:
    """The ids that gymnasium knows, those of collections such as "ALE/" left out."""
    return [name for name in gymnasium.registry if "/" not in name]


def spec(name: str) -> EnvSpec:
    """The description of an id.

    Raises:
      DormantError: it cannot be made, or its spaces are of another kind.
    """
    return own.checked(name, _spec(name), lambda: _make(name))


def make(name: str, num_envs: int) -> VectorEnv:
    """N environments of one id."""
    return own.vector(_spec(name), lambda: _make(name), num_envs)


def _make(name: str) -> GymnasiumEnv:
    return GymnasiumEnv(_gymnasium(name))


def _gymnasium(name: str) -> Any:
    try:
        return gymnasium.make(name, disable_env_checker=True)
    except Exception as error:  # of whatever the environment needs
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise DormantError(f"gymnasium cannot make {name}: {line}") from error


@functools.cache
def _spec(name: str) -> EnvSpec:
    env = _gymnasium(name)
    seen, acts = env.observation_space, env.action_space
    limit = env.spec.max_episode_steps if env.spec else None
    env.close()
    image = isinstance(seen, spaces.Box) and seen.dtype == np.uint8 and len(seen.shape) in (2, 3)
    if not image and not (isinstance(seen, spaces.Box) and len(seen.shape) == 1):
        raise DormantError(
            f"{name} observes {seen}; it should be a box: a vector, or an image of bytes"
        )
    discrete = isinstance(acts, spaces.Discrete)
    vector = isinstance(acts, spaces.Box) and acts.is_bounded() and len(acts.shape) == 1
    if not discrete and not (vector and np.issubdtype(acts.dtype, np.floating)):
        raise DormantError(
            f"{name} has the actions {acts}; they should be discrete, or bounded vectors of floats"
        )
    return EnvSpec(
        name=name,
        observation_shape=seen.shape,
        observation_dtype=np.uint8 if image else np.float32,
        num_actions=int(acts.n) if discrete else 0,
        action_shape=() if discrete else acts.shape,
        stack_size=STACK_SIZE if image and len(seen.shape) == 2 else 1,
        frames_per_agent_step=1,
        max_episode_steps=limit or MAX_EPISODE_STEPS,
    )
