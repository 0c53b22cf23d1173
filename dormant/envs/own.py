"""Single environments from outside: what is registered, and what gymnasium knows by an id.

They are stepped one after the other (``vector.SequentialVectorEnv``). gymnasium's own vector
environments were measured beside it (docs/extending.md): none is faster with the few environments
of a population, and those that step arrays take one seed for all, where each member needs its own.
"""

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np

from dormant import register
from dormant.envs.device import DeviceEnv, Game, check_game, make_device_env
from dormant.envs.vector import SequentialVectorEnv, SingleEnv
from dormant.tracing import called, made
from dormant.types import DormantError, EnvSpec, VectorEnv

CHECKED_STEPS = 64  # agent steps by which two copies are compared
_games: dict[Hashable, Game] = {}  # that have been checked


class Limited:
    """A single environment whose episodes are truncated at the specification's limit."""

    def __init__(self, env: SingleEnv, spec: EnvSpec):
        self._env, self._limit, self._steps = env, spec.max_episode_steps, 0

    def reset(self, seed: int | None) -> np.ndarray:
        self._steps = 0
        return self._env.reset(seed)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        self._steps += 1
        observation, reward, terminal, truncated = self._env.step(action)
        return observation, reward, terminal, truncated or self._steps >= self._limit

    def close(self) -> None:
        self._env.close()


def spec(name: str) -> EnvSpec:
    """The description of a registered environment.

    Raises:
      DormantError: the environment does not do what it says.
    """
    entry = register.ENVIRONMENTS[name]
    if entry.spec.on_device:
        _game(name)
        return entry.spec
    return checked((name, entry.make), entry.spec, lambda: _made(name))


def make(name: str, num_envs: int) -> VectorEnv:
    """N copies of a registered environment on the host."""
    entry = register.ENVIRONMENTS[name]
    return vector(entry.spec, lambda: _made(name), num_envs)


def make_on_device(name: str) -> DeviceEnv:
    """A registered environment on the device."""
    return make_device_env(_game(name))


def _game(name: str) -> Game:
    """The checked rules of a registered environment on the device; traced once for each entry."""
    entry = register.ENVIRONMENTS[name]
    key = (name, entry)
    if key not in _games:
        game = _made(name)
        check_game(game, entry.spec)
        _games[key] = game
    return _games[key]


def _made(name: str) -> Any:
    entry = register.ENVIRONMENTS[name]
    return made(f"environment {name!r}", entry.make, None, entry.spec)


def vector(spec: EnvSpec, make_one: Callable[[], SingleEnv], num_envs: int) -> VectorEnv:
    """N copies of a single environment."""
    return SequentialVectorEnv(spec, [Limited(make_one(), spec) for _ in range(num_envs)])


# Determinism
# ------------------------------------------------------------------------------------------------

_deterministic: dict[Hashable, bool] = {}


def checked(key: Hashable, spec: EnvSpec, make_one: Callable[[], SingleEnv]) -> EnvSpec:
    """The specification with ``deterministic`` as two copies show it; once a process for each key.

    Raises:
      DormantError: the environment does not do what its specification says.
    """
    if key not in _deterministic:
        _deterministic[key] = _repeats(spec, make_one)
    return spec._replace(deterministic=_deterministic[key])


def _repeats(spec: EnvSpec, make_one: Callable[[], SingleEnv]) -> bool:
    """Whether two copies agree under one seed and the same actions, one of them after others."""
    random, shape = np.random.default_rng(0), (CHECKED_STEPS, 1, *spec.action_shape)
    actions: np.ndarray = random.uniform(-1, 1, shape).astype(np.float32)
    if spec.num_actions:
        actions = random.integers(spec.num_actions, size=shape)
    streams = []
    for before in (0, 7):
        env = vector(spec, lambda: Checked(make_one(), spec), 1)
        if before:
            _played(env, spec, 1, actions[:before])
        streams.append(_played(env, spec, 0, actions))
        env.close()
    return streams[0] == streams[1]


def _played(env: VectorEnv, spec: EnvSpec, seed: int, actions: np.ndarray) -> list[bytes]:
    """Everything that the environment returns."""
    stream = [env.reset(np.array([seed])).tobytes()]
    for action in actions:
        env.send(action)
        stream += [np.asarray(each).tobytes() for each in env.recv()[:5]]
    return stream


class Checked:
    """A single environment whose results are compared with its specification."""

    def __init__(self, env: SingleEnv, spec: EnvSpec):
        self._env, self._spec = env, spec

    def reset(self, seed: int | None) -> np.ndarray:
        observation = called(self._spec.name, "reset", lambda: self._env.reset(seed))
        if isinstance(observation, tuple) and observation and isinstance(observation[-1], dict):
            raise DormantError(
                f"{self._spec.name}: reset should return the observation alone, without "
                "gymnasium's info"
            )
        return self._right(observation)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        stepped = called(self._spec.name, "step", lambda: self._env.step(action))
        if not isinstance(stepped, (tuple, list)) or len(stepped) != 4:
            raise DormantError(
                f"{self._spec.name}: step should return observation, reward, terminal, truncated"
            )
        observation, reward, terminal, truncated = stepped
        if np.shape(reward) or np.asarray(reward).dtype.kind not in "buif":
            raise DormantError(
                f"{self._spec.name}: step returns {reward!r} as its reward; expected one number"
            )
        return self._right(observation), reward, terminal, truncated

    def close(self) -> None:
        called(self._spec.name, "close", lambda: self._env.close())

    def _right(self, observation: Any) -> np.ndarray:
        found, spec = np.asarray(observation), self._spec
        if found.shape != spec.observation_shape:
            raise DormantError(
                f"{spec.name} observes arrays of shape {found.shape}; it is registered with "
                f"{spec.observation_shape}"
            )
        kind = np.dtype(spec.observation_dtype)
        if kind.kind in "bui" and not np.array_equal(found.astype(kind), found):
            raise DormantError(
                f"{spec.name} observes {found.dtype} values that {kind} cannot hold; it is "
                f"registered with observation_dtype {kind}"
            )
        return found
