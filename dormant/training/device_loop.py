"""The loop for environments on the device: calls of one program, and what is due between them.

A call makes all agent steps and gradient steps up to the next event (``device.py``). Between calls
the host writes rows, recycles, synchronises targets, evaluates and saves. A checkpoint holds
everything: the agents, the environments and the replay memories, whose observations are bits.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dormant.envs.device import DeviceEnv
from dormant.training.checkpoint import Restored
from dormant.training.collect import Episode
from dormant.training.device import CHUNK, Calls, Ended, make_program, plan_calls
from dormant.training.files import RunFiles
from dormant.training.members import Axis, distinct_interventions
from dormant.training.population import Population
from dormant.training.protocol import Protocol
from dormant.training.report import Clocks, Reporter, Trained
from dormant.training.signals import Interrupted, signals_noted


class Collections(NamedTuple):
    """What all members have, and a checkpoint holds."""

    states: Any
    metrics: Any
    memories: Any
    players: Any


class State(NamedTuple):
    """Where a run stands: the members' collections and the clocks."""

    collections: Collections
    agent_steps: int = 0
    gradient_steps: int = 0
    evaluations: int = 0  # iterations whose evaluation is over

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.agent_steps, self.gradient_steps)

    def changed(self, **collections: Any) -> "State":
        """The same with some collections replaced."""
        return self._replace(collections=self.collections._replace(**collections))


class DeviceLoop:
    """One run of a population in ``base_dir``. Host side; ``run`` is the way in.

    Args:
      population, protocol: what is trained, for how long.
      env: one environment; every member has its own.
      base_dir: an existing folder that no other process writes.

    Raises:
      DormantError: the run cannot be resumed; nothing has been changed.
    """

    def __init__(self, population: Population, protocol: Protocol, env: DeviceEnv, base_dir: str):
        self._population, self._protocol = population, protocol
        self._schedule, self._members = population.agent.schedule, population.members
        self._interventions = distinct_interventions(self._members)
        periods = [protocol.log_period, self._schedule.target_update_period]
        periods += [each.when.period for each in self._interventions]
        self._periods = [period for period in periods if period]
        self._program = make_program(population, env, protocol.training_steps)
        self._files = RunFiles(base_dir, self._members, population.agent.spec)
        self._reporter = Reporter(self._members, protocol, self._files.recorder)
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
                self._stop_if_asked(state)

    def start(self) -> State:
        """Opens the files; the state of the newest checkpoint, or of a new run.

        Raises:
          DormantError: the run cannot be resumed.
        """
        states, metrics = self._population.init()
        memories = self._population.init_memories(0)
        new = State(Collections(states, metrics, memories, self._program.init()))
        tree = _portable(self._population, new.collections)
        found = self._files.open(tree)
        if found is not None:
            del new, states, metrics, memories  # or two populations would be held at once
            return self._resume(found)
        self._files.save(tree, *new[1:])
        self._reporter.begin(new.clocks, [], set())
        return new

    def _resume(self, found: Restored) -> State:
        for line in found.passed_over:
            self._reporter.say(line)
        facts = found.facts
        collections = _unpacked(self._population, found.tree, facts.agent_steps)
        state = State(collections, facts.agent_steps, facts.gradient_steps, facts.evaluations)
        self._reporter.say(
            f"resumed at agent step {facts.agent_steps}, gradient step {facts.gradient_steps}"
        )
        logged = facts.gradient_steps - facts.gradient_steps % self._protocol.log_period
        diverged = enumerate(found.tree["metrics"].diverged)
        self._reporter.begin(
            state.clocks, [], {index for index, first in diverged if 0 <= first < logged}
        )
        return state

    def advance(self, state: State) -> State:
        """One call of the program and what is due after it, or the end of an iteration."""
        training_steps = self._protocol.training_steps
        if state.agent_steps == (state.evaluations + 1) * training_steps:
            return self._end_iteration(state)
        if state.agent_steps == state.evaluations * training_steps:
            players = self._program.restart(state.collections.players, state.evaluations)
            state = state.changed(players=players)
            self._reporter.begin_iteration()
        calls = plan_calls(*state.clocks, self._schedule, self._periods, training_steps)
        *collections, ended = self._program.advance(*state.collections, *state.clocks, calls)
        self._report_episodes(state.clocks, calls, ended)
        before = state.gradient_steps
        state = State(
            Collections(*collections),
            state.agent_steps + calls.agent_steps(self._schedule),
            before + calls.gradient_steps(self._schedule),
            state.evaluations,
        )
        if state.gradient_steps > before:
            state = self._events(state)
        self._reporter.steps(calls.agent_steps(self._schedule))
        if self._files.minutes_since_save() > self._protocol.checkpoint_minutes:
            self._save(state)
        return state

    def _report_episodes(self, before: Clocks, calls: Calls, ended: Ended) -> None:
        """Reports the episodes that ended in a call, at the clocks' readings then."""
        for place, member in np.argwhere(ended.lengths.T > 0).tolist():
            total, length = float(ended.returns[member, place]), int(ended.lengths[member, place])
            learned = calls.gradient_steps_before(place, self._schedule)
            clocks = Clocks(before.agent_steps + place + 1, before.gradient_steps + learned)
            self._reporter.finished([Episode(member, total, length)], clocks)

    # What is due between calls
    # --------------------------------------------------------------------------------------------

    def _events(self, state: State) -> State:
        """Logs, intervenes and synchronises, in this order, where the gradient-step clock says."""
        population, done = self._population, state.gradient_steps
        if done % self._protocol.log_period == 0:
            state = self._log(state)
        for intervention in self._interventions:
            if intervention.when.due(done):
                states, touched = population.intervene(
                    intervention, state.collections.states, state.collections.memories, done
                )
                state = state.changed(states=states)
                self._reporter.recycled(touched, state.clocks)
        target_period = self._schedule.target_update_period
        if target_period and done % target_period == 0:
            state = state.changed(states=population.sync_target(state.collections.states))
        return state

    def _log(self, state: State) -> State:
        """Measures, and begins new metrics."""
        population, now = self._population, state.collections
        measured = population.measure(now.states, now.memories, state.gradient_steps)
        metrics = population.axis.unstack(now.metrics)
        self._reporter.measured(metrics, measured, state.clocks, self._files.saved_steps)
        states = population.remember(now.states, now.memories, state.gradient_steps)
        return state.changed(states=states, metrics=population.clear(now.metrics))

    def _end_iteration(self, state: State) -> State:
        """The evaluation phase, the iteration's means, a checkpoint."""
        started = time.monotonic()
        returns = self._evaluate(state)
        players = self._population.axis.unstack(state.collections.players)
        trained = [Trained(int(each.episodes), float(each.total)) for each in players]
        seconds = time.monotonic() - started
        self._reporter.end_iteration(returns, seconds, state.clocks, trained)
        state = state._replace(evaluations=state.evaluations + 1)
        self._save(state)
        return state

    def _evaluate(self, state: State) -> list[list[float]] | None:
        """The raw returns of each member's evaluation episodes, as ``training.evaluate`` counts
        them; None where the protocol has no evaluation.
        """
        protocol, step = self._protocol, 0
        if not (protocol.evaluation_steps or protocol.evaluation_episodes):
            return None
        envs = self._program.begin_evaluation(state.evaluations)
        returns: list[list[float]] = [[] for _ in self._members]
        playing = set(range(len(self._members)))
        while playing:
            envs, ended = self._program.evaluate(
                state.collections.states, envs, state.agent_steps, state.evaluations, step
            )
            for place, member in np.argwhere(ended.lengths.T > 0).tolist():
                if member not in playing:
                    continue
                returns[member].append(float(ended.returns[member, place]))
                enough_steps = step + place + 1 >= protocol.evaluation_steps
                if enough_steps and len(returns[member]) >= protocol.evaluation_episodes:
                    playing.remove(member)
            step += CHUNK
            self._stop_if_asked(state)
        return returns

    # Saving
    # --------------------------------------------------------------------------------------------

    def _note_signal(self, signum: int) -> None:
        self._stop_signal = signum

    def _stop_if_asked(self, state: State) -> None:
        if self._stop_signal is not None:
            self._save(state)
            raise Interrupted(self._stop_signal, state.agent_steps)

    def _save(self, state: State) -> None:
        self._files.save(_portable(self._population, state.collections), *state[1:])

    def close(self) -> None:
        """Frees files and threads."""
        self._files.close()
        self._reporter.close()


def _portable(population: Population, collections: Collections) -> dict[str, Any]:
    """What a checkpoint holds: numpy arrays (P, ...), whichever way the axis is mapped."""
    axis = population.axis
    whole = _whole(axis, population.memory.axes)(collections.memories)
    return {
        name: jax.tree.map(lambda *leaves: np.stack(leaves), *axis.unstack(tree))
        for name, tree in collections._replace(memories=whole)._asdict().items()
    }


@functools.lru_cache(maxsize=4)
def _whole(axis: Axis, axes: Any) -> Callable:
    """The same program at every checkpoint: what the members share becomes each one's own."""
    return axis.map(lambda memory: memory, (axes,))


def _unpacked(population: Population, tree: dict[str, Any], agent_steps: int) -> Collections:
    """The collections of a checkpoint's tree."""
    axis, axes = population.axis, population.memory.axes
    parts = {
        name: axis.stack(
            [
                jax.tree.map(lambda leaf, i=index: np.array(leaf[i]), part)
                for index in range(len(population.members))
            ]
        )
        for name, part in tree.items()
    }
    shared = axis.map(lambda empty, full: full.replace(position=empty.position), (axes, 0), axes)
    memories = shared(population.init_memories(agent_steps), parts.pop("memories"))
    return Collections(memories=memories, **parts)
