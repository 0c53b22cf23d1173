"""The host loop: environments step on the host, beside the learner.

Differences from Dopamine's schedule:
 1. An iteration is exactly ``training_steps`` agent steps; Dopamine finishes the episode in which
    they are reached. Episodes end with the iteration in both.
 2. The gradient steps of an agent step run while the environments make the next one
    (``agents/dqn.py``, difference 3).
"""

import time
from collections.abc import Callable

from dormant.training.checkpoint import Restored
from dormant.training.collect import Collector, Episode
from dormant.training.driver import Driver, State
from dormant.training.evaluate import evaluate
from dormant.training.files import REPLAY_FOLDER
from dormant.training.members import EVALUATE, TRAIN, Tree, environment_seeds
from dormant.training.population import Population
from dormant.training.protocol import Protocol
from dormant.training.replay_log import ReplayLog
from dormant.training.report import Clocks, Trained
from dormant.training.resume import portable, refill, unpacked
from dormant.types import DormantError, VectorEnv

__all__ = ["Loop", "Protocol", "State"]


class Loop(Driver):
    """One run of a population whose environments are on the host (``Driver``).

    Args:
      population, protocol: what is trained, for how long.
      make_env: evaluation? -> a vector environment with one environment per member.
      base_dir: an existing folder that no other process writes.

    Raises:
      DormantError: the run cannot be resumed; nothing has been changed.
    """

    def __init__(
        self,
        population: Population,
        protocol: Protocol,
        make_env: Callable[[bool], VectorEnv],
        base_dir: str,
    ):
        axis, memory = population.axis, population.memory
        log = ReplayLog(base_dir, REPLAY_FOLDER, len(population.members), axis, memory)
        self._replay = log if log.most_bytes <= protocol.checkpoint_replay_gb * 1e9 else None
        super().__init__(population, protocol, base_dir, self._replay)
        self._collector = Collector(population, make_env(False))
        self._evaluation_env = make_env(True) if protocol.evaluates else None

    def _new(self) -> State:
        return State(*self._population.init(), self._population.init_memories(0))

    def _portable(self, state: State) -> dict[str, Tree]:
        return portable(self._population, state, rows=False)

    def _restored(self, found: Restored) -> tuple[State, list[Episode]]:
        population, facts, stored = self._population, found.facts, None
        if self._replay and self._files.has_replay:
            empty = population.init_memories(facts.agent_steps)
            stored = self._replay.fill(empty, facts.agent_steps)
        started = time.monotonic()
        refilled = refill(
            population,
            self._collector,
            self._files.actions,
            facts,
            self._protocol.training_steps,
            stored,
        )
        state = unpacked(population, found.tree, facts, refilled.memories)
        self._reporter.refilled(refilled.steps, time.monotonic() - started, state.clocks)
        return state, refilled.episodes

    def _begin_iteration(self, state: State) -> State:
        iteration = state.agent_steps // self._protocol.training_steps
        self._collector.begin(environment_seeds(self._members, TRAIN, iteration))
        self._files.digests.append(self._collector.digest)
        return state

    def _step(self, state: State) -> State:
        """``update_period`` agent steps.

        The learning on what came before runs while the first of them is made.
        """
        population, collector, schedule = self._population, self._collector, self._schedule
        first, last = state.agent_steps, state.agent_steps + schedule.update_period - 1
        for step in range(first, last + 1):
            if step < schedule.min_replay_history and population.agent.explores_uniformly:
                chosen = population.explore(step)
            else:
                chosen = population.act(state.states, collector.observe(), step, False)
            if step == first and step > schedule.min_replay_history:
                # Handed over before the actions are waited for: no pause between them.
                state = self._learn(state)
            actions = population.axis.to_host(chosen)
            collector.send(actions)
            self._files.actions.append(actions)
            ends = (step + 1) % self._protocol.training_steps == 0
            finished = collector.receive(last=ends)
            self._reporter.finished(finished, Clocks(step + 1, state.gradient_steps))
        memories = population.add(state.memories, *collector.take_rows())
        self._files.digests[-1] = collector.digest
        return state._replace(memories=memories, agent_steps=last + 1)

    def _learn(self, state: State) -> State:
        """The gradient steps of one call, cut where something falls due."""
        if not state.gradient_steps:
            self._check_memories(state)
        until = state.gradient_steps + self._schedule.updates_per_call
        while (done := state.gradient_steps) < until:
            count = min([until - done] + [period - done % period for period in self._periods])
            logged = (done + count) % self._protocol.log_period == 0
            states, metrics, memories = self._population.learn(*state[:3], done, count, logged)
            state = state._replace(
                states=states, metrics=metrics, memories=memories, gradient_steps=done + count
            )
            state = self._events(state)
        return state

    def _check_memories(self, state: State) -> None:
        """Raises a DormantError where a memory has nothing to learn from yet: the samples of an
        empty one mean nothing. Frame memories leave out the last steps of a truncated episode.
        """
        axis, memory = self._population.axis, self._population.memory
        sizes = axis.to_host(axis.map(memory.size, (memory.axes,))(state.memories))
        if sizes.min() < 1:
            horizon, game = self._schedule.update_horizon, self._population.agent.spec.name
            raise DormantError(
                f"{game}: nothing to learn from after {state.agent_steps} agent steps; with "
                f"stacked frames and update_horizon {horizon}, an episode that is truncated must "
                f"be longer than {horizon} agent steps"
            )

    def _evaluate(self, state: State, tick: Callable[[int], None]) -> list[list[float]]:
        assert self._evaluation_env is not None, "there where the protocol has an evaluation"
        return evaluate(
            self._population,
            state.states,
            self._evaluation_env,
            environment_seeds(self._members, EVALUATE, state.evaluations),
            self._protocol.evaluated,
            state.agent_steps,
            tick,
        )

    def _trained(self, state: State) -> list[Trained] | None:
        return None

    def close(self) -> None:
        """Frees environments, files and threads."""
        self._collector.close()
        if self._evaluation_env is not None:
            self._evaluation_env.close()
        super().close()
