"""N single environments behind ``types.VectorEnv``, stepped one after the other."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from dormant.types import EnvSpec, EnvStep


class SingleEnv(Protocol):
    """One environment. After ``reset(seed)`` its stream depends on the seed and actions only."""

    def reset(self, seed: int | None) -> np.ndarray:
        """Starts an episode; None continues the random stream of the last seed."""

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        """-> observation, reward, terminal, truncated.

        Args:
          action: an int where the actions are discrete, else an array of its own.
        """

    def close(self) -> None:
        """Frees memory."""


class SequentialVectorEnv:
    """``types.VectorEnv`` over single environments, which step within ``send``.

    The device learns meanwhile: the training loop dispatches the learning first. A thread of their
    own would only take turns with the caller's (``results/benchmark/NOTES.md``).
    """

    def __init__(self, spec: EnvSpec, envs: Sequence[SingleEnv]):
        self.spec = spec
        self.num_envs = len(envs)
        self._envs = envs
        self._pending: EnvStep | None = None

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        with self._own_failures():
            return self._stack(
                [env.reset(int(seed)) for env, seed in zip(self._envs, seeds, strict=True)]
            )

    def send(self, actions: np.ndarray) -> None:
        with self._own_failures():
            self._pending = self._step(np.asarray(actions))

    def recv(self) -> EnvStep:
        assert self._pending is not None, "recv without send"
        step, self._pending = self._pending, None
        return step

    def close(self) -> None:
        for env in self._envs:
            env.close()

    @contextlib.contextmanager
    def _own_failures(self) -> Iterator[None]:
        """A file or a connection of an environment is not one of the run's: a sweep tries again."""
        try:
            yield
        except OSError as error:
            raise RuntimeError(f"an environment of {self.spec.name} failed: {error}") from error

    def _stack(self, observations: list[np.ndarray]) -> np.ndarray:
        return np.stack(observations).astype(self.spec.observation_dtype, copy=False)

    def _step(self, actions: np.ndarray) -> EnvStep:
        # Whatever type they came in (a log's is the smallest that holds them), and nothing that an
        # environment could change under the caller's hands.
        own = int if self.spec.num_actions else np.copy
        stepped = [env.step(own(each)) for env, each in zip(self._envs, actions, strict=True)]
        terminal = np.array([t for _, _, t, _ in stepped], bool)
        truncated = np.array([t for _, _, _, t in stepped], bool) & ~terminal
        next_observation = self._stack([observation for observation, _, _, _ in stepped])
        ended = terminal | truncated
        observation = next_observation
        if ended.any():
            observation = observation.copy()
            for index in np.flatnonzero(ended).tolist():
                observation[index] = self._envs[index].reset(None)
        reward = np.array([r for _, r, _, _ in stepped], np.float32)
        return EnvStep(observation, reward, terminal, truncated, next_observation, ended)
