"""The host loop: iterations of training and evaluation, logging, interventions, checkpoints,
resuming.

Differences from Dopamine's schedule:
 1. An iteration is exactly ``training_steps`` agent steps; Dopamine finishes the episode in which
    they are reached. Episodes end with the iteration in both.
 2. The gradient steps of an agent step run while the environments make the next one
    (``agents/dqn.py``, difference 3).
"""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from dormant import results
from dormant.results import Measurement
from dormant.training import checkpoint
from dormant.training.collect import Collector, Episode
from dormant.training.evaluate import evaluate
from dormant.training.members import EVALUATE, TRAIN, environment_seeds
from dormant.training.population import TAUS, Population, to_host
from dormant.training.record import Recorder
from dormant.training.resume import portable, refill, restored
from dormant.types import VectorEnv


@dataclass(frozen=True)
class Protocol:
    """How long a run is and what is recorded. Defaults: the paper's default setting on Atari
    (paper.md 3.2).
    """

    iterations: int = 40
    training_steps: int = 250_000  # agent steps of an iteration
    evaluation_steps: int = 125_000  # agent steps of its evaluation at least; 0 = by episodes
    evaluation_episodes: int = 0  # episodes of its evaluation; both 0 = no evaluation
    evaluation_noop_max: int = 0  # Atari: random no-ops at the start of its episodes; DrQ(eps): 30
    log_period: int = 20_000  # gradient steps between two measurements
    checkpoint_minutes: float = 10.0  # and one at each iteration's end


class Interrupted(Exception):
    """The run was asked to stop, and has saved."""

    def __init__(self, signum: int, agent_steps: int):
        super().__init__(f"saved at agent step {agent_steps}; the same command goes on from there")
        self.signum = signum


class State(NamedTuple):
    """Where a run stands: the members' collections and the clocks."""

    states: Any
    tallies: Any
    memories: Any
    agent_steps: int = 0
    gradient_steps: int = 0
    evaluations: int = 0


class Loop:
    """One run of a population in ``base_dir``. Host side; ``run`` is the way in.

    Args:
      population, protocol: what is trained, for how long.
      make_env: evaluation? -> a vector environment with one environment a member.
      base_dir: an existing folder that no other process writes.
    """

    def __init__(
        self,
        population: Population,
        protocol: Protocol,
        make_env: Callable[[bool], VectorEnv],
        base_dir: str,
    ):
        self._population, self._protocol, self._base_dir = population, protocol, base_dir
        self._schedule = population.agent.schedule
        self._members = population.members
        interventions = [member.intervention for member in self._members if member.intervention]
        self._interventions = list({each.name: each for each in interventions}.values())
        self._collector = Collector(population, make_env(False))
        evaluates = protocol.evaluation_steps or protocol.evaluation_episodes
        self._evaluation_env = make_env(True) if evaluates else None
        self._store = checkpoint.Store(base_dir)
        self._stop_signal: int | None = None
        self._diverged: set[int] = set()  # members of which it has been said
        self._saved_steps = 0
        self._digests: list[int] = []
        self._episodes: list[Episode] = []

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
        """The state to go on from; opens the files."""
        state = self._restore()
        total = self._protocol.iterations * self._protocol.training_steps
        self._bar = tqdm(
            total=total, initial=state.agent_steps, unit=" steps", smoothing=0.05, desc="training"
        )
        self._mark = self._saved = time.monotonic()
        self._marked = (state.agent_steps, state.gradient_steps)
        return state

    def advance(self, state: State) -> State:
        """One call of the learner's worth of agent steps, or the end of an iteration."""
        if state.agent_steps == (state.evaluations + 1) * self._protocol.training_steps:
            return self._end_iteration(state)
        return self._block(state)

    def close(self) -> None:
        """Frees environments, files and threads."""
        for thing in (self._collector, self._evaluation_env, self._store, *self._opened()):
            if thing is not None:
                thing.close()

    def _opened(self) -> list:
        return [
            getattr(self, name) for name in ("_recorder", "_actions", "_bar") if hasattr(self, name)
        ]

    # Training
    # -------------------------------------------------------------------------------------------------------

    def _block(self, state: State) -> State:
        """``update_period`` agent steps; the learning on what came before runs while the first of
        them is made.
        """
        period, in_iteration = self._schedule.update_period, self._protocol.training_steps
        if state.agent_steps % in_iteration == 0:
            self._collector.begin(
                environment_seeds(self._members, TRAIN, state.agent_steps // in_iteration)
            )
            self._digests, self._episodes = self._digests + [0], []
        for step in range(state.agent_steps, state.agent_steps + period):
            if (
                step < self._schedule.min_replay_history
                and self._population.agent.explores_uniformly
            ):
                chosen = self._population.explore(step)
            else:
                chosen = self._population.act(
                    state.states, self._collector.observations, step, False
                )
            if step == state.agent_steps and step > self._schedule.min_replay_history:
                state = self._learn(
                    state
                )  # handed over before the actions are waited for: no pause between them
            actions = to_host(chosen)
            self._collector.send(actions)
            self._actions.append(actions)
            finished = self._collector.receive(last=(step + 1) % in_iteration == 0)
            self._record_episodes(finished, step + 1, state)
        memories = self._population.add(state.memories, self._collector.take_rows())
        self._digests[-1] = self._collector.digest
        self._bar.update(period)
        state = state._replace(memories=memories, agent_steps=state.agent_steps + period)
        if time.monotonic() - self._saved > 60 * self._protocol.checkpoint_minutes:
            self._save(state)
        return state

    def _learn(self, state: State) -> State:
        """The gradient steps of one call, cut where something is due."""
        schedule = self._schedule
        periods = [schedule.target_update_period, self._protocol.log_period]
        periods = [period for period in periods if period] + [
            each.when.period for each in self._interventions
        ]
        done = state.gradient_steps
        until = done + schedule.updates_per_call
        states, tallies, memories = state.states, state.tallies, state.memories
        while done < until:
            count = min([until - done] + [period - done % period for period in periods])
            logged = (done + count) % self._protocol.log_period == 0
            states, tallies, memories = self._population.learn(
                states, tallies, memories, done, count, logged
            )
            done += count
            if schedule.target_update_period and done % schedule.target_update_period == 0:
                states = self._population.sync_target(states)
            now = state._replace(
                states=states, tallies=tallies, memories=memories, gradient_steps=done
            )
            if done % self._protocol.log_period == 0:
                tallies = self._log(now)
            for intervention in self._interventions:
                if intervention.when.due(done):
                    states, touched = self._population.intervene(
                        intervention, states, memories, done
                    )
                    for index, found in touched.items():
                        row = {
                            f"recycled_neurons/{layer}": float(value)
                            for layer, value in found.items()
                        }
                        self._write(now, {index: row})
        return state._replace(
            states=states, tallies=tallies, memories=memories, gradient_steps=done
        )

    def _end_iteration(self, state: State) -> State:
        """The evaluation phase, the iteration's means, a checkpoint."""
        iteration, returns = state.evaluations, None
        if self._evaluation_env is not None:
            self._save(state)  # an interrupted evaluation is begun again
            returns = self._evaluate(state, self._evaluation_env)
        for index in range(len(self._members)):
            totals = [episode.total for episode in self._episodes if episode.member == index]
            row: dict[str, float] = {"train/episodes": len(totals)}
            if totals:
                row["train/average_return"] = float(np.mean(totals))
            if returns is not None:
                row |= {
                    "eval/episodes": len(returns[index]),
                    "eval/average_return": float(np.mean(returns[index])),
                }
            self._write(state, {index: row})
        state = state._replace(evaluations=iteration + 1)
        self._save(state)
        return state

    def _evaluate(self, state: State, env: VectorEnv) -> list[list[float]]:
        protocol, started = self._protocol, time.monotonic()

        def enough(steps: np.ndarray, episodes: np.ndarray) -> np.ndarray:
            return (steps >= protocol.evaluation_steps) & (episodes >= protocol.evaluation_episodes)

        with tqdm(
            desc="evaluating", unit=" steps", leave=False, total=protocol.evaluation_steps or None
        ) as bar:

            def tick(count: int) -> None:
                bar.update(1)
                if self._stop_signal is not None:
                    raise Interrupted(self._stop_signal, state.agent_steps)

            seeds = environment_seeds(self._members, EVALUATE, state.evaluations)
            found = evaluate(
                self._population, state.states, env, seeds, enough, state.agent_steps, tick
            )
        self._mark += time.monotonic() - started  # evaluation is no part of the training's rate
        return found

    # Recording
    # ------------------------------------------------------------------------------------------------------

    def _write(
        self, state: State, rows: dict[int, dict[str, float]], table: str = results.METRICS_FILE
    ) -> None:
        """rows: {member: {metric: value}}, all at the state's clocks."""
        iteration = (state.agent_steps - 1) // self._protocol.training_steps
        self._recorder.write(
            (
                Measurement(
                    member,
                    max(iteration, 0),
                    state.agent_steps,
                    state.gradient_steps,
                    metric,
                    value,
                )
                for member, metrics in rows.items()
                for metric, value in metrics.items()
            ),
            table,
        )

    def _record_episodes(self, finished: list[Episode], agent_steps: int, state: State) -> None:
        self._episodes += finished
        for episode in finished:
            row = {"episode/return": episode.total, "episode/length": episode.length}
            self._write(state._replace(agent_steps=agent_steps), {episode.member: row})

    def _log(self, state: State) -> Any:
        """Measures and writes; returns empty tallies."""
        measured = self._population.measure(state.states, state.memories, state.gradient_steps)
        rows: dict[int, dict[str, float]] = {}
        for index, tally in enumerate(self._population.axis.separate(state.tallies)):
            means = {
                f"learn/{name}": float(value) / int(tally.count)
                for name, value in tally.sums.items()
            }
            latest = {f"learn/{name}": float(value) for name, value in tally.latest.items()}
            rows[index] = (
                means | latest | {name: values[index] for name, values in measured.items()}
            )
            if int(tally.diverged) >= 0 and index not in self._diverged:
                self._diverged.add(index)
                rows[index]["diverged"] = int(tally.diverged)
                member = self._members[index]
                self._say(
                    f"member {index} ({member.label}, seed {member.seed}) diverged: its loss was not finite at "
                    f"gradient step {int(tally.diverged)}; the last checkpoint is of agent step {self._saved_steps}; "
                    "its peers go on"
                )
        self._write(state, rows)
        self._log_time(state)
        name = results.dormant_fraction_name(TAUS[1])
        shown = [f"{100 * row[name]:.0f}%" for row in rows.values()][:4]
        self._bar.set_postfix_str(f"dormant at tau {TAUS[1]:g}: {', '.join(shown)}", refresh=False)
        return self._population.clear(state.tallies)

    def _log_time(self, state: State) -> None:
        now = time.monotonic()
        seconds, (agent_steps, gradient_steps) = max(now - self._mark, 1e-9), self._marked
        rates = {
            "time/agent_steps_per_second": (state.agent_steps - agent_steps) / seconds,
            "time/gradient_steps_per_second": (state.gradient_steps - gradient_steps) / seconds,
        }
        self._mark, self._marked = now, (state.agent_steps, state.gradient_steps)
        self._write(
            state, {index: rates for index in range(len(self._members))}, results.TIMING_FILE
        )

    def _say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    # Saving and resuming
    # --------------------------------------------------------------------------------------------

    def _save(self, state: State) -> None:
        self._actions.sync()
        sizes = self._recorder.sizes()
        facts = checkpoint.Facts(
            state.agent_steps, state.gradient_steps, state.evaluations, sizes, self._digests
        )
        self._store.save(portable(self._population, *state[:3]), facts)
        self._saved, self._saved_steps = time.monotonic(), state.agent_steps

    def _restore(self) -> State:
        """The state of the newest checkpoint, or of a new run; opens the files accordingly."""
        population = self._population
        states, tallies = population.init()
        memories = population.init_memories(0)
        found = self._store.restore(portable(population, states, tallies, memories), self._say)
        agent_steps = found[1].agent_steps if found else 0
        spec, members = population.agent.spec, len(self._members)
        dtype = np.uint8 if spec.num_actions else np.float32
        self._actions = checkpoint.ActionLog(
            self._base_dir, (members, *spec.action_shape), dtype, agent_steps
        )
        labels = [f"{member.label}, seed {member.seed}" for member in self._members]
        self._recorder = Recorder(
            self._base_dir, labels, found[1].sizes if found else None, agent_steps
        )
        if found is None:
            return State(states, tallies, memories)
        tree, facts = found
        del memories  # or two would be held at once
        steps = self._protocol.training_steps
        with tqdm(desc="refilling the replay memory", unit=" steps", leave=False) as bar:
            refilled = refill(
                population,
                self._collector,
                self._actions,
                facts,
                steps,
                lambda count: bar.update(1),
            )
        self._digests, self._episodes = list(facts.digests), refilled.episodes
        self._say(
            f"resumed at agent step {facts.agent_steps}, gradient step {facts.gradient_steps}"
        )
        states, tallies, memories = restored(population, tree, refilled.memories)
        logged = facts.gradient_steps - facts.gradient_steps % self._protocol.log_period
        self._diverged = {
            i for i, first in enumerate(tree["tallies"].diverged) if 0 <= first < logged
        }
        return State(
            states, tallies, memories, facts.agent_steps, facts.gradient_steps, facts.evaluations
        )

    def _note_signal(self, signum: int, frame: Any) -> None:
        self._stop_signal = signum


@contextlib.contextmanager
def signals_noted(note: Callable) -> Iterator[None]:
    """SIGTERM and SIGINT are noted instead of ending the process at once; a second one ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(signum: int, frame: Any) -> None:
        note(signum, frame)
        signal.signal(signum, before[signal.Signals(signum)])

    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
