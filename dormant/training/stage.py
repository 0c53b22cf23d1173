"""One environment for one agent that has been trained: as evaluation plays it, nothing is learned.

``reset`` and ``step`` return what the agent acts on, the newest observations stacked.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dormant.envs.device import DeviceEnv
from dormant.types import EnvSpec, VectorEnv


class Moment(NamedTuple):
    """What one agent step has led to."""

    observation: np.ndarray  # (*observation,) to act on, stacked
    newest: np.ndarray  # (*single,) what the action led to, before any reset
    reward: float  # raw
    ended: bool  # the episode is over


class Stage(NamedTuple):
    """One environment.

    reset(seed) -> Moment at the start of an episode
    step(action) -> Moment
    close()
    """

    reset: Callable[[int], Moment]
    step: Callable[[Any], Moment]
    close: Callable[[], None]


def host_stage(env: VectorEnv) -> Stage:
    """A vector environment with one environment in it."""
    spec, stack = env.spec, _Stack(env.spec)

    def reset(seed: int) -> Moment:
        first = env.reset(np.array([seed]))[0]
        return Moment(stack.push(first, True), first, 0.0, False)

    def step(action: Any) -> Moment:
        chosen = np.asarray(action, np.int32 if spec.num_actions else np.float32)
        env.send(chosen[None])
        made = env.recv()
        first = bool(made.terminal[0] | made.truncated[0])
        seen = stack.push(made.observation[0], first)
        newest = made.next_observation[0]
        return Moment(seen, newest, float(made.reward[0]), bool(made.episode_end[0]))

    return Stage(reset, step, env.close)


class _Stack:
    """The newest single observations on a new last axis, as ``stack.Stacks`` has them."""

    def __init__(self, spec: EnvSpec):
        self._size = spec.stack_size
        self._frames = np.zeros((*spec.observation_shape, self._size), spec.observation_dtype)

    def push(self, frame: np.ndarray, first: bool) -> np.ndarray:
        if self._size == 1:
            return frame
        kept = np.zeros_like(self._frames[..., 1:]) if first else self._frames[..., 1:]
        self._frames = np.concatenate([kept, frame[..., None]], axis=-1)
        return self._frames


def device_stage(env: DeviceEnv) -> Stage:
    """An environment that is a pure function."""
    init, step_once, observe = jax.jit(env.init), jax.jit(env.step), jax.jit(env.observe)
    now: dict[str, Any] = {}

    def reset(seed: int) -> Moment:
        key, key_init = jax.random.split(jax.random.key(seed))
        now.update(key=key, state=init(key_init))
        first = np.asarray(observe(now["state"]))
        return Moment(first, first, 0.0, False)

    def step(action: Any) -> Moment:
        now["key"], key = jax.random.split(now["key"])
        now["state"], made = step_once(now["state"], action, key)
        newest = np.asarray(made.next_observation)
        ended = bool(made.terminal | made.truncated)
        return Moment(np.asarray(observe(now["state"])), newest, float(made.reward), ended)

    return Stage(reset, step, lambda: None)
