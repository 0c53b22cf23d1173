"""The host loop: agent steps, gradient steps, and what falls due on their clocks.

Differences from Dopamine's schedule:
 1. An iteration is exactly ``training_steps`` agent steps; Dopamine finishes the episode in which
    they are reached. Episodes end with the iteration in both.
 2. The gradient steps of an agent step run while the environments make the next one
    (``agents/dqn.py``, difference 3).

What falls due at one gradient step happens in the order of the release: the gradient step, the log,
interventions, the synchronisation of the target. A target network that is synchronised at a reset
is a copy of the network after it.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dormant.training.checkpoint import Restored
from dormant.training.collect import Collector
from dormant.training.evaluate import evaluate
from dormant.training.files import RunFiles
from dormant.training.members import (
    EVALUATE,
    TRAIN,
    Collection,
    distinct_interventions,
    environment_seeds,
)
from dormant.training.population import Population, to_host
from dormant.training.protocol import Protocol
from dormant.training.report import Clocks, Reporter
from dormant.training.resume import portable, refill, unpacked
from dormant.training.signals import Interrupted, signals_noted
from dormant.types import VectorEnv


class State(NamedTuple):
    """Where a run stands: the members' collections and the clocks."""

    states: Collection
    metrics: Collection
    memories: Collection
    agent_steps: int = 0
    gradient_steps: int = 0
    evaluations: int = 0

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.agent_steps, self.gradient_steps)


class Loop:
    """One run of a population in ``base_dir``. Host side; ``run`` is the way in.

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
        self._population, self._protocol = population, protocol
        self._schedule, self._members = population.agent.schedule, population.members
        self._interventions = distinct_interventions(self._members)
        self._files = RunFiles(base_dir, self._members, population.agent.spec)
        self._reporter = Reporter(self._members, protocol, self._files.recorder)
        self._collector = Collector(population, make_env(False))
        evaluates = protocol.evaluation_steps or protocol.evaluation_episodes
        self._evaluation_env = make_env(True) if evaluates else None
        self._stop_signal: int | None = None

    def run(self) -> None:
        """Trains to the end, from the newest checkpoint where there is one.

        Raises:
          Interrupted: SIGTERM or SIGINT came; everything is saved.
          DormantError: the run cannot be resumed.
        """
        state = self.start()
        with signals_noted(self._note_signal):
            while state.evaluations < self._protocol.iterations:
                state = self.advance(state)
                if self._stop_signal is not None:
                    self._save(state)
                    raise Interrupted(self._stop_signal, state.agent_steps)

    def start(self) -> State:
        """Opens the files; the state of the newest checkpoint, or of a new run.

        Raises:
          DormantError: the run cannot be resumed.
        """
        states, metrics = self._population.init()
        new = State(states, metrics, self._population.init_memories(0))
        tree = portable(self._population, *new[:3])
        found = self._files.open(tree)
        if found is not None:
            del new  # or two memories would be held at once
            return self._resume(found)
        self._files.save(tree, *new[3:])
        self._reporter.begin(new.clocks, [], set())
        return new

    def _resume(self, found: Restored) -> State:
        for line in found.passed_over:
            self._reporter.say(line)
        steps, facts = self._protocol.training_steps, found.facts
        refilled = refill(self._population, self._collector, self._files.actions, facts, steps)
        collections = unpacked(self._population, found.tree, refilled.memories)
        state = State(*collections, facts.agent_steps, facts.gradient_steps, facts.evaluations)
        self._reporter.say(
            f"resumed at agent step {facts.agent_steps}, gradient step {facts.gradient_steps}"
        )
        logged = facts.gradient_steps - facts.gradient_steps % self._protocol.log_period
        diverged = enumerate(found.tree["metrics"].diverged)
        reported = {index for index, first in diverged if 0 <= first < logged}
        self._reporter.begin(state.clocks, refilled.episodes, reported)
        return state

    def advance(self, state: State) -> State:
        """One call of the learner's worth of agent steps, or the end of an iteration."""
        if state.agent_steps == (state.evaluations + 1) * self._protocol.training_steps:
            return self._end_iteration(state)
        return self._block(state)

    def _block(self, state: State) -> State:
        """``update_period`` agent steps.

        The learning on what came before runs while the first of them is made.
        """
        period, in_iteration = self._schedule.update_period, self._protocol.training_steps
        if state.agent_steps % in_iteration == 0:
            self._begin_iteration(state.agent_steps // in_iteration)
        for step in range(state.agent_steps, state.agent_steps + period):
            if (
                step < self._schedule.min_replay_history
                and self._population.agent.explores_uniformly
            ):
                chosen = self._population.explore(step)
            else:
                chosen = self._population.act(state.states, self._collector.observe(), step, False)
            if step == state.agent_steps and step > self._schedule.min_replay_history:
                # Handed over before the actions are waited for: no pause between them.
                state = self._learn(state)
            actions = to_host(chosen)
            self._collector.send(actions)
            self._files.actions.append(actions)
            finished = self._collector.receive(last=(step + 1) % in_iteration == 0)
            self._reporter.finished(finished, Clocks(step + 1, state.gradient_steps))
        memories = self._population.add(state.memories, *self._collector.take_rows())
        self._files.digests[-1] = self._collector.digest
        self._reporter.steps(period)
        state = state._replace(memories=memories, agent_steps=state.agent_steps + period)
        if self._files.minutes_since_save() > self._protocol.checkpoint_minutes:
            self._save(state)
        return state

    def _begin_iteration(self, iteration: int) -> None:
        self._collector.begin(environment_seeds(self._members, TRAIN, iteration))
        self._files.digests.append(self._collector.digest)
        self._reporter.begin_iteration()

    def _learn(self, state: State) -> State:
        """The gradient steps of one call, cut where something is due."""
        synchronised, log_period = self._schedule.target_update_period, self._protocol.log_period
        periods = [log_period, *(each.when.period for each in self._interventions)]
        periods += [synchronised] if synchronised else []
        until = state.gradient_steps + self._schedule.updates_per_call
        while (done := state.gradient_steps) < until:
            count = min([until - done] + [period - done % period for period in periods])
            due = done + count
            states, metrics, memories = self._population.learn(
                *state[:3], done, count, due % log_period == 0
            )
            state = state._replace(
                states=states, metrics=metrics, memories=memories, gradient_steps=due
            )
            if due % log_period == 0:
                state = self._log(state)
            state = self._intervene(state)
            if synchronised and due % synchronised == 0:
                state = state._replace(states=self._population.sync_target(state.states))
        return state

    def _log(self, state: State) -> State:
        """Measures, and begins new metrics."""
        measured = self._population.measure(state.states, state.memories, state.gradient_steps)
        metrics = self._population.axis.unstack(state.metrics)
        self._reporter.measured(metrics, measured, state.clocks, self._files.saved_steps)
        states = self._population.remember(state.states, state.memories, state.gradient_steps)
        return state._replace(states=states, metrics=self._population.clear(state.metrics))

    def _intervene(self, state: State) -> State:
        for intervention in self._interventions:
            if intervention.when.due(state.gradient_steps):
                states, touched = self._population.intervene(
                    intervention, state.states, state.memories, state.gradient_steps
                )
                state = state._replace(states=states)
                self._reporter.recycled(touched, state.clocks)
        return state

    def _end_iteration(self, state: State) -> State:
        """The evaluation phase, the iteration's means, a checkpoint."""
        returns, started = None, time.monotonic()
        if self._evaluation_env is not None:
            self._save(state)  # an interrupted evaluation is begun again
            started = time.monotonic()
            returns = self._evaluate(state, self._evaluation_env)
        self._reporter.end_iteration(returns, time.monotonic() - started, state.clocks)
        state = state._replace(evaluations=state.evaluations + 1)
        self._save(state)
        return state

    def _evaluate(self, state: State, env: VectorEnv) -> list[list[float]]:
        protocol = self._protocol

        def enough(steps: np.ndarray, episodes: np.ndarray) -> np.ndarray:
            return (steps >= protocol.evaluation_steps) & (episodes >= protocol.evaluation_episodes)

        with self._reporter.evaluating() as bar:

            def tick(count: int) -> None:
                bar.update(1)
                if self._stop_signal is not None:
                    raise Interrupted(self._stop_signal, state.agent_steps)

            seeds = environment_seeds(self._members, EVALUATE, state.evaluations)
            return evaluate(
                self._population, state.states, env, seeds, enough, state.agent_steps, tick
            )

    def _save(self, state: State) -> None:
        self._files.save(portable(self._population, *state[:3]), *state[3:])

    def _note_signal(self, signum: int) -> None:
        self._stop_signal = signum

    def close(self) -> None:
        """Frees environments, files and threads."""
        for thing in (self._collector, self._evaluation_env, self._files, self._reporter):
            if thing is not None:
                thing.close()
