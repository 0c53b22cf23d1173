"""The loop for environments on the device: calls of one program, and what is due between them.

A call makes all agent steps and gradient steps up to the next event (``device.py``). A checkpoint
holds everything: the agents, the environments and the replay memories, whose observations are bits.
"""

from collections.abc import Callable

import numpy as np

from dormant.envs.device import DeviceEnv
from dormant.training.checkpoint import Restored
from dormant.training.collect import Episode
from dormant.training.device import CHUNK, Calls, Ended, make_program, plan_calls
from dormant.training.driver import Driver, State
from dormant.training.members import Tree
from dormant.training.population import Population
from dormant.training.protocol import Protocol
from dormant.training.report import Clocks, Trained
from dormant.training.resume import portable, unpacked


class DeviceLoop(Driver):
    """One run of a population whose environments are on the device (``Driver``).

    Args:
      population, protocol: what is trained, for how long.
      env: one environment; every member has its own.
      base_dir: an existing folder that no other process writes.

    Raises:
      DormantError: the run cannot be resumed; nothing has been changed.
    """

    def __init__(self, population: Population, protocol: Protocol, env: DeviceEnv, base_dir: str):
        self._program = make_program(population, env, protocol.training_steps)
        super().__init__(population, protocol, base_dir)

    def _new(self) -> State:
        states, metrics = self._population.init()
        memories = self._population.init_memories(0)
        return State(states, metrics, memories, players=self._program.init())

    def _portable(self, state: State) -> dict[str, Tree]:
        return portable(self._population, state, rows=True)

    def _restored(self, found: Restored) -> tuple[State, list[Episode]]:
        empty = self._population.init_memories(found.facts.agent_steps)
        return unpacked(self._population, found.tree, found.facts, empty), []

    def _begin_iteration(self, state: State) -> State:
        return state._replace(players=self._program.restart(state.players, state.evaluations))

    def _step(self, state: State) -> State:
        schedule, clocks = self._schedule, state.clocks
        calls = plan_calls(*clocks, schedule, self._periods, self._protocol.training_steps)
        collections = state.states, state.metrics, state.memories, state.players
        states, metrics, memories, players, ended = self._program.advance(
            *collections, *clocks, calls
        )
        self._report_episodes(clocks, calls, ended)
        learned = calls.gradient_steps(schedule)
        state = State(
            states,
            metrics,
            memories,
            clocks.agent_steps + calls.agent_steps(schedule),
            clocks.gradient_steps + learned,
            state.evaluations,
            players,
        )
        return self._events(state) if learned else state

    def _report_episodes(self, before: Clocks, calls: Calls, ended: Ended) -> None:
        """Reports the episodes that ended in a call, at the clocks' readings then."""
        for place, member in np.argwhere(ended.lengths.T > 0).tolist():
            total, length = float(ended.returns[member, place]), int(ended.lengths[member, place])
            learned = calls.gradient_steps_before(place, self._schedule)
            clocks = Clocks(before.agent_steps + place + 1, before.gradient_steps + learned)
            self._reporter.finished([Episode(member, total, length)], clocks)

    def _evaluate(self, state: State, tick: Callable[[int], None]) -> list[list[float]]:
        """Counted as ``training.evaluate`` counts them."""
        envs, step = self._program.begin_evaluation(state.evaluations), 0
        returns: list[list[float]] = [[] for _ in self._members]
        playing = set(range(len(self._members)))
        while playing:
            envs, ended = self._program.evaluate(
                state.states, envs, state.agent_steps, state.evaluations, step
            )
            for place, member in np.argwhere(ended.lengths.T > 0).tolist():
                if member not in playing:
                    continue
                returns[member].append(float(ended.returns[member, place]))
                if self._protocol.evaluated(step + place + 1, len(returns[member])):
                    playing.remove(member)
            step += CHUNK
            tick(CHUNK)
        return returns

    def _trained(self, state: State) -> list[Trained] | None:
        players = self._population.axis.unstack(state.players)
        return [Trained(int(each.episodes), float(each.total)) for each in players]
