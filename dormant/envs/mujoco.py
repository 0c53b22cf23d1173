"""MuJoCo locomotion through gymnasium: the paper's four tasks and its released Humanoid.

The paper ran "-v2" (on mujoco-py, no longer maintained). "-v4" is the nearest to it that still
runs, and is drawn over the paper's curves; "-v5" is the current version.

Why gymnasium, stepped one environment after the other in one thread: with one environment a step it
was the fastest of gymnasium (alone, its SyncVectorEnv, over a thread pool) and envpool, and still
faster than the learner needs with eight; and it alone can seed each environment at any reset and
start an ended episode's successor in the same call. Many environments are shared out among
processes (``processes.py``), which step theirs in the same way: the numbers are the same.

Differences from gymnasium's own interface: actions lie in [-1, 1] and are scaled to the task's
range (Humanoid: 0.4); observations are float32.
"""

import contextlib
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dormant.envs.processes import ProcessVectorEnv, processes_for
from dormant.envs.vector import SequentialVectorEnv
from dormant.types import DormantError, EnvSpec, VectorEnv


class Task(NamedTuple):
    """Sizes of a task, so that a spec needs no MuJoCo."""

    observation: int
    action: int


TASKS = {
    "HalfCheetah-v5": Task(17, 6),
    "HalfCheetah-v4": Task(17, 6),
    "Hopper-v5": Task(11, 3),
    "Hopper-v4": Task(11, 3),
    "Walker2d-v5": Task(17, 6),
    "Walker2d-v4": Task(17, 6),
    "Ant-v5": Task(105, 8),
    "Ant-v4": Task(27, 8),
    "Humanoid-v5": Task(348, 17),
    "Humanoid-v4": Task(376, 17),
}
MAX_EPISODE_STEPS = 1000


def spec(name: str) -> EnvSpec:
    """Description of a task."""
    return EnvSpec(
        name=name,
        observation_shape=(TASKS[name].observation,),
        observation_dtype=np.float32,
        num_actions=0,
        action_shape=(TASKS[name].action,),
        stack_size=1,
        frames_per_agent_step=1,
        max_episode_steps=MAX_EPISODE_STEPS,
    )


class _GymnasiumEnv:
    """One task (``vector.SingleEnv``)."""

    def __init__(self, env: Any):
        self._env = env
        self._centre = (env.action_space.low + env.action_space.high) / 2
        self._half_range = (env.action_space.high - env.action_space.low) / 2

    def reset(self, seed: int | None) -> np.ndarray:
        return self._env.reset(seed=seed)[0]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool]:
        return self._env.step(self._centre + self._half_range * np.clip(action, -1, 1))[:4]

    def close(self) -> None:
        self._env.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the warnings of compiling a model.

    They say that -v4 is out of date (it is chosen deliberately) and complain about gymnasium's
    model files, the latter also in a log file in the working directory.
    """
    import mujoco

    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(before)


def make(name: str, num_envs: int, num_workers: int = 1) -> VectorEnv:
    """N environments of one task.

    Args:
      num_workers: processes that step them; 1 = this one, 0 = as many as are worth their while.

    Raises:
      DormantError: MuJoCo is not installed.
    """
    try:
        import gymnasium
        import gymnasium.envs.mujoco  # noqa: F401
    except ImportError as error:
        raise DormantError(
            f"{name} needs MuJoCo ({error}); install the 'mujoco' extra of dormant"
        ) from error
    num_workers = min(num_workers, num_envs) or processes_for(num_envs)
    if num_workers > 1:
        return ProcessVectorEnv(spec(name), partial(make, name), num_envs, num_workers)
    with _quiet():
        envs = [
            _GymnasiumEnv(gymnasium.make(name, disable_env_checker=True)) for _ in range(num_envs)
        ]
    return SequentialVectorEnv(spec(name), envs)
