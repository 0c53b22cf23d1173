"""The schedule of a run, which stands here once: what happens in which order, and when it is saved.

Two loops follow it. They differ in how agent steps and gradient steps are made between two events:
``loop.py`` steps environments on the host, ``device_loop.py`` in the agents' own program.

What falls due at one gradient step happens in the order of the release: the gradient step, the log,
interventions, the synchronisation of the target. A target network that is synchronised at a reset
is a copy of the network after it.
"""

import abc
import time
from collections.abc import Callable
from typing import NamedTuple

from dormant.training.checkpoint import Restored
from dormant.training.collect import Episode
from dormant.training.files import RunFiles
from dormant.training.members import Collection, Tree, distinct_interventions
from dormant.training.population import Population
from dormant.training.protocol import Protocol
from dormant.training.replay_log import ReplayLog
from dormant.training.report import Clocks, Reporter, Trained
from dormant.training.signals import Interrupted, signals_noted


class State(NamedTuple):
    """Where a run stands: the members' collections and the clocks."""

    states: Collection
    metrics: Collection
    memories: Collection
    agent_steps: int = 0
    gradient_steps: int = 0
    evaluations: int = 0  # iterations whose evaluation is over
    players: Collection | None = None  # environments on the device; None on the host

    @property
    def clocks(self) -> Clocks:
        return Clocks(self.agent_steps, self.gradient_steps)


class Driver(abc.ABC):
    """One run of a population in ``base_dir``. Host side; ``run`` is the way in.

    Args:
      population, protocol: what is trained, for how long.
      base_dir: an existing folder that no other process writes.
      replay: where the rows of the memories are kept beside the checkpoints; None = they are not.

    Raises:
      DormantError: the run cannot be resumed; nothing has been changed.
    """

    def __init__(
        self,
        population: Population,
        protocol: Protocol,
        base_dir: str,
        replay: ReplayLog | None = None,
    ):
        self._population, self._protocol = population, protocol
        self._schedule, self._members = population.agent.schedule, population.members
        self._interventions = distinct_interventions(self._members)
        periods = [protocol.log_period, self._schedule.target_update_period]
        periods += [each.when.period for each in self._interventions]
        self._periods = [period for period in periods if period]  # of events, in gradient steps
        self._files = RunFiles(
            base_dir, self._members, population.agent.spec, replay, protocol.writers
        )
        game = population.agent.spec.name
        self._reporter = Reporter(self._members, protocol, self._files.recorder, game)
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
        new = self._new()
        tree = self._portable(new)
        found = self._files.open(tree)
        if found is not None:
            del new, tree  # or two populations would be held at once
            return self._resume(found)
        self._files.save(tree, new.memories, 0, 0, 0)
        self._reporter.begin(new.clocks, [], set())
        return new

    def _resume(self, found: Restored) -> State:
        for line in found.passed_over:
            self._reporter.say(line)
        state, episodes = self._restored(found)
        self._reporter.say(
            f"resumed at agent step {state.agent_steps}, gradient step {state.gradient_steps}"
        )
        self._reporter.begin(state.clocks, episodes, self._files.recorder.diverged())
        return state

    def advance(self, state: State) -> State:
        """Agent steps and gradient steps, with what falls due; or the end of an iteration."""
        training_steps = self._protocol.training_steps
        if state.agent_steps == (state.evaluations + 1) * training_steps:
            return self._end_iteration(state)
        if state.agent_steps == state.evaluations * training_steps:
            state = self._begin_iteration(state)
            self._reporter.begin_iteration()
        before = state.agent_steps
        state = self._step(state)
        self._reporter.steps(state.agent_steps - before)
        if self._files.minutes_since_save() > self._protocol.checkpoint_minutes:
            self._save(state)
        return state

    def _events(self, state: State) -> State:
        """What falls due at this gradient step."""
        done, target_period = state.gradient_steps, self._schedule.target_update_period
        if done % self._protocol.log_period == 0:
            state = self._log(state)
        for intervention in self._interventions:
            if intervention.when.due(done):
                states, touched = self._population.intervene(
                    intervention, state.states, state.memories, done
                )
                state = state._replace(states=states)
                self._reporter.recycled(touched, state.clocks)
        if target_period and done % target_period == 0:
            state = state._replace(states=self._population.sync_target(state.states))
        return state

    def _log(self, state: State) -> State:
        """Measures, and begins new metrics."""
        measured = self._population.measure(state.states, state.memories, state.gradient_steps)
        metrics = self._population.axis.unstack(state.metrics)
        self._reporter.measured(metrics, measured, state.clocks, self._files.saved_steps)
        states = self._population.remember(state.states, state.memories, state.gradient_steps)
        return state._replace(states=states, metrics=self._population.clear(state.metrics))

    def _end_iteration(self, state: State) -> State:
        """The evaluation phase, the iteration's means, a checkpoint."""
        metrics = self._population.axis.unstack(state.metrics)
        self._reporter.diverged(metrics, state.clocks, self._files.saved_steps)
        returns, started = None, time.monotonic()
        if self._protocol.evaluates:
            self._save(state)  # an interrupted evaluation is begun again
            started = time.monotonic()
            with self._reporter.evaluating() as bar:

                def tick(count: int) -> None:
                    bar.update(count)
                    if self._stop_signal is not None:
                        raise Interrupted(self._stop_signal, state.agent_steps)

                returns = self._evaluate(state, tick)
        seconds = time.monotonic() - started
        self._reporter.end_iteration(returns, seconds, state.clocks, self._trained(state))
        state = state._replace(evaluations=state.evaluations + 1)
        self._save(state)
        return state

    def _save(self, state: State) -> None:
        clocks = state.agent_steps, state.gradient_steps, state.evaluations
        self._files.save(self._portable(state), state.memories, *clocks)

    def _note_signal(self, signum: int) -> None:
        self._stop_signal = signum

    def close(self) -> None:
        """Frees files and threads."""
        self._files.close()
        self._reporter.close()

    # What the two loops do in their own way
    # --------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def _new(self) -> State:
        """A run at its beginning."""

    @abc.abstractmethod
    def _portable(self, state: State) -> dict[str, Tree]:
        """What a checkpoint holds of the collections: numpy arrays (P, ...)."""

    @abc.abstractmethod
    def _restored(self, found: Restored) -> tuple[State, list[Episode]]:
        """The state of a checkpoint, and the episodes that its iteration has finished so far."""

    @abc.abstractmethod
    def _begin_iteration(self, state: State) -> State:
        """New episodes for all members. May be called again before the first agent step."""

    @abc.abstractmethod
    def _step(self, state: State) -> State:
        """Agent steps and gradient steps, in their order; ``_events`` where they meet one."""

    @abc.abstractmethod
    def _evaluate(self, state: State, tick: Callable[[int], None]) -> list[list[float]]:
        """Raw returns of each member's evaluation episodes; tick: called with the agent steps
        made since the last call.
        """

    @abc.abstractmethod
    def _trained(self, state: State) -> list[Trained] | None:
        """Each member's episodes of the iteration; None where all were given to the reporter."""
