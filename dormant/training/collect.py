"""The members' training environments: acting, episodes' returns, rows for the replay memories. Host
side.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np

from dormant.training.population import Population
from dormant.training.stack import Stacks
from dormant.types import Row, VectorEnv


class Episode(NamedTuple):
    """A finished training episode."""

    member: int
    total: float  # undiscounted raw return
    length: int  # agent steps


class Collector:
    """Steps one environment a member, and keeps the rows until the memories take them.

    Everything here is decided by the seeds of ``begin`` and the actions of ``send``: a resumed run
    rebuilds it by sending the logged actions again.
    """

    def __init__(self, population: Population, env: VectorEnv):
        self._agent, self._env = population.agent, env
        self._stacks = Stacks(population.axis, population.agent.spec, env.num_envs)
        self._rows: list[Row] = []
        self._frames: list[
            Any
        ] = []  # the rows' observations where the agents act; None = not moved there
        self._returns, self._lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
        self.digest = 0  # CRC-32 of the rewards since ``begin``

    def begin(self, seeds: np.ndarray) -> None:
        """New episodes for all members, as Dopamine begins every iteration."""
        self._observation = self._env.reset(seeds)
        self._stacks.note(self._observation, np.ones(self._env.num_envs, bool))
        self._returns[:], self._lengths[:], self.digest = 0, 0, 0

    @property
    def observations(self) -> Any:
        """The collection (P, *observation) to act on."""
        return self._stacks.collection()

    def send(self, actions: np.ndarray) -> None:
        """Starts one agent step of every member; single environments make it here."""
        self._actions = actions
        self._env.send(actions)

    def receive(self, last: bool) -> list[Episode]:
        """Waits for the step; ``last`` = the iteration ends after it, and with it every episode."""
        step = self._env.recv()
        ended = step.terminal | step.truncated
        row = Row(
            observation=self._observation,
            action=np.asarray(self._actions),
            reward=np.asarray(self._agent.transform_reward(step.reward), np.float32),
            terminal=step.terminal,
            truncated=(step.truncated | last) & ~step.terminal,
            next_observation=step.next_observation,
        )
        self._rows.append(row)
        self._frames.append(self._stacks.newest)
        self.digest = zlib.crc32(step.reward.tobytes(), self.digest)
        self._returns += step.reward
        self._lengths += 1
        finished = [
            Episode(int(member), float(self._returns[member]), int(self._lengths[member]))
            for member in np.flatnonzero(step.episode_end)
        ]
        for episode in finished:
            self._returns[episode.member], self._lengths[episode.member] = 0, 0
        self._observation = step.observation
        self._stacks.note(step.observation, ended)
        return finished

    def take_rows(self) -> Row:
        """The rows since the last call, as arrays (P, T, ...).

        Where the agents have acted on all of them, ``observation`` is instead a list of the T
        collections (P, ...) that were moved for that: no frame is moved twice.
        """
        rows, self._rows, frames, self._frames = self._rows, [], self._frames, []
        moved = all(frame is not None for frame in frames)
        if moved:
            rows = [row._replace(observation=None) for row in rows]
        stacked = Row(
            *(None if parts[0] is None else np.stack(parts, axis=1) for parts in zip(*rows))
        )
        return stacked._replace(observation=frames) if moved else stacked

    @property
    def waiting(self) -> int:
        """Agent steps whose rows have not been taken."""
        return len(self._rows)

    def close(self) -> None:
        self._env.close()
