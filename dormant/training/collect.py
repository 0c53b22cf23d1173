"""The members' training environments: acting, episodes' returns, rows for the replay memories.

Host side.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np

from dormant.training.members import Collection
from dormant.training.population import Population
from dormant.training.stack import Stacks
from dormant.types import Row, VectorEnv


class Episode(NamedTuple):
    """A finished training episode."""

    member: int
    undiscounted_return: float  # of raw rewards
    length: int  # agent steps


class Rows(NamedTuple):
    """T agent steps of every member, on their way to the replay memories (``Population.add``)."""

    row: Row  # host arrays (P, T, ...)
    # The T observations (P, *single) as collections, where the agents have acted on all of them: no
    # frame is moved twice. ``row.observation`` is then None. Otherwise it has them, and this is ().
    frames: tuple[Collection, ...]


class Collector:
    """Steps one environment per member, and keeps the rows until the memories take them.

    Everything here is decided by the seeds of ``begin`` and the actions of ``send``: a resumed run
    rebuilds it by sending the logged actions again.
    """

    def __init__(self, population: Population, env: VectorEnv):
        self._agent, self._env = population.agent, env
        self._stacks = Stacks(population.axis, population.agent.spec, env.num_envs)
        self._keeps_next = population.memory.stores_next_observation
        self._rows: list[Row] = []
        self._frames: list[
            Collection
        ] = []  # of the rows whose observations the agents have acted on
        # of the step that is being made: its observations, those as moved, its actions
        self._observation, self._moved, self._actions = np.zeros(0), None, np.zeros(0)
        self._returns, self._lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
        self.digest = 0  # CRC-32 of what the environments answered since ``begin``

    def begin(self, seeds: np.ndarray) -> None:
        """New episodes for all members, as Dopamine begins every iteration."""
        self._observation = self._env.reset(seeds)
        self._stacks.note(self._observation, np.ones(self._env.num_envs, bool))
        self._returns[:], self._lengths[:], self.digest = 0, 0, 0

    def observe(self) -> Collection:
        """Moves the newest observations to the agents; the collection (P, *observation)."""
        observations, self._moved = self._stacks.move()
        return observations

    def send(self, actions: np.ndarray) -> None:
        """Starts one agent step of every member; single environments make it here."""
        self._actions = actions
        self._env.send(actions)

    def receive(self, last: bool) -> list[Episode]:
        """Waits for the step; ``last`` = the iteration ends after it, and with it every episode."""
        step = self._env.recv()
        ended = step.terminal | step.truncated
        self._rows.append(
            Row(
                observation=self._observation,
                action=np.asarray(self._actions),
                reward=np.asarray(self._agent.transform_reward(step.reward), np.float32),
                terminal=step.terminal,
                truncated=(step.truncated | last) & ~step.terminal,
                # A frame memory ignores it: moved for nothing, it would double what is moved.
                next_observation=step.next_observation if self._keeps_next else None,
            )
        )
        if self._moved is not None:
            self._frames.append(self._moved)
        self._observation, self._moved = step.observation, None
        self._stacks.note(step.observation, ended)
        seen = (step.reward, step.terminal, step.truncated, step.next_observation)
        for each in seen:
            self.digest = zlib.crc32(np.ascontiguousarray(each).view(np.uint8).data, self.digest)
        return self._finished(step.reward, step.episode_end)

    def _finished(self, reward: np.ndarray, ended: np.ndarray) -> list[Episode]:
        """Counts a step with these rewards (P,); the episodes that ended (P,) with it."""
        self._returns += reward
        self._lengths += 1
        finished = [
            Episode(int(member), float(self._returns[member]), int(self._lengths[member]))
            for member in np.flatnonzero(ended)
        ]
        self._returns[ended], self._lengths[ended] = 0, 0
        return finished

    def take_rows(self) -> Rows:
        """The rows since the last call."""
        rows, self._rows, frames, self._frames = self._rows, [], self._frames, []
        if len(frames) == len(rows):
            rows = [row._replace(observation=None) for row in rows]
        else:
            frames = []
        stacked: Any = (
            None if parts[0] is None else np.stack(parts, axis=1) for parts in zip(*rows)
        )
        return Rows(Row(*stacked), tuple(frames))

    @property
    def waiting(self) -> int:
        """Agent steps whose rows have not been taken."""
        return len(self._rows)

    def close(self) -> None:
        self._env.close()
