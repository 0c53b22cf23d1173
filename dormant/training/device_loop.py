"""The loop for environments on the device: calls of one program, and what is due between them.

A call makes all agent steps and gradient steps up to the next event (``device.py``). Between calls
the host writes rows, recycles, synchronises targets, evaluates and saves. A checkpoint holds
everything: the agents, the environments and the replay memories, whose observations are bits.
"""

import sys
import time
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from dormant import results
from dormant.envs.device import DeviceEnv
from dormant.results import Measurement
from dormant.training import checkpoint
from dormant.training.device import CHUNK, Calls, Ended, make_program, plan_calls
from dormant.training.loop import Interrupted, Protocol, signals_noted
from dormant.training.population import TAUS, Population
from dormant.training.record import Recorder


class State(NamedTuple):
    """Where a run stands: the members' collections and the clocks."""

    states: Any
    tallies: Any
    memories: Any
    players: Any
    agent_steps: int = 0
    gradient_steps: int = 0
    evaluations: int = 0  # iterations whose evaluation is over

    @property
    def carried(self) -> tuple:
        """The collections."""
        return self.states, self.tallies, self.memories, self.players


class DeviceLoop:
    """One run of a population in ``base_dir``. Host side; ``run`` is the way in.

    Args:
      population, protocol: what is trained, for how long.
      env: one environment; every member has its own.
      base_dir: an existing folder that no other process writes.
    """

    def __init__(self, population: Population, protocol: Protocol, env: DeviceEnv, base_dir: str):
        self._population, self._protocol = population, protocol
        self._schedule, self._members = population.agent.schedule, population.members
        wanted = [member.intervention for member in self._members if member.intervention]
        self._interventions = [
            each for index, each in enumerate(wanted) if each not in wanted[:index]
        ]
        periods = [protocol.log_period, self._schedule.target_update_period]
        periods += [each.when.period for each in self._interventions]
        self._periods = [period for period in periods if period]
        self._program = make_program(population, env, protocol.training_steps)
        self._store = checkpoint.Store(base_dir)
        self._stop_signal: int | None = None
        self._diverged: set[int] = set()  # members of which it has been reported
        restored, kept = self._restore()
        self._restored: State | None = restored
        labels = [f"{member.label}, seed {member.seed}" for member in self._members]
        clocks = (restored.agent_steps, restored.gradient_steps)
        self._recorder = Recorder(base_dir, labels, kept, clocks[0])
        self._saved_steps, self._marked = clocks[0], clocks
        self._mark = self._saved = time.monotonic()
        self._bar = tqdm(
            total=protocol.iterations * protocol.training_steps,
            initial=clocks[0],
            unit=" steps",
            smoothing=0.05,
            desc="training",
        )

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
        """The state to begin or resume with. Once: its arrays are given away."""
        state, self._restored = self._restored, None
        assert state is not None, "start is called once"
        return state

    def advance(self, state: State) -> State:
        """One call of the program and what is due after it, or the end of an iteration."""
        training_steps = self._protocol.training_steps
        if state.agent_steps == (state.evaluations + 1) * training_steps:
            return self._end_iteration(state)
        at_start = state.agent_steps == state.evaluations * training_steps
        if at_start:
            players = self._program.restart(state.players, state.evaluations)
            state = state._replace(players=players)
        calls = plan_calls(
            state.agent_steps, state.gradient_steps, self._schedule, self._periods, training_steps
        )
        states, tallies, memories, players, ended = self._program.advance(
            *state.carried, state.agent_steps, state.gradient_steps, calls
        )
        self._record_episodes(state, calls, ended)
        before = state.gradient_steps
        state = State(
            states,
            tallies,
            memories,
            players,
            state.agent_steps + calls.agent_steps(self._schedule),
            before + calls.gradient_steps(self._schedule),
            state.evaluations,
        )
        if state.gradient_steps > before:
            state = self._events(state)
        self._bar.update(calls.agent_steps(self._schedule))
        if time.monotonic() - self._saved > 60 * self._protocol.checkpoint_minutes:
            self._save(state)
        return state

    def close(self) -> None:
        """Frees files and threads."""
        for thing in (self._store, self._recorder, self._bar):
            thing.close()

    # What is due between calls
    # --------------------------------------------------------------------------------------------

    def _events(self, state: State) -> State:
        """Logs, intervenes and synchronises, in this order, where the gradient-step clock says."""
        done = state.gradient_steps
        if done % self._protocol.log_period == 0:
            state = state._replace(tallies=self._log(state))
        for intervention in self._interventions:
            if intervention.when.due(done):
                states, touched = self._population.intervene(
                    intervention, state.states, state.memories, done
                )
                state = state._replace(states=states)
                for member, found in touched.items():
                    row = {f"recycled_neurons/{layer}": float(n) for layer, n in found.items()}
                    self._write(state, {member: row})
        target_period = self._schedule.target_update_period
        if target_period and done % target_period == 0:
            state = state._replace(states=self._population.sync_target(state.states))
        return state

    def _end_iteration(self, state: State) -> State:
        """The evaluation phase, the iteration's means, a checkpoint."""
        returns = self._evaluate(state)
        for member, player in enumerate(self._population.axis.separate(state.players)):
            row: dict[str, float] = {"train/episodes": int(player.episodes)}
            if player.episodes:
                row["train/average_return"] = float(player.total) / int(player.episodes)
            if returns:
                row["eval/episodes"] = len(returns[member])
                row["eval/average_return"] = float(np.mean(returns[member]))
            self._write(state, {member: row})
        state = state._replace(evaluations=state.evaluations + 1)
        self._save(state)
        return state

    def _evaluate(self, state: State) -> list[list[float]]:
        """The raw returns of each member's evaluation episodes, as ``training.evaluate`` counts
        them; no list where the protocol has no evaluation.
        """
        protocol, started, step = self._protocol, time.monotonic(), 0
        if not (protocol.evaluation_steps or protocol.evaluation_episodes):
            return []
        envs = self._program.begin_evaluation(state.evaluations)
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
                enough_steps = step + place + 1 >= protocol.evaluation_steps
                if enough_steps and len(returns[member]) >= protocol.evaluation_episodes:
                    playing.remove(member)
            step += CHUNK
            self._stop_if_asked(state)
        self._mark += time.monotonic() - started  # evaluation is no part of the training's rate
        return returns

    # Recording
    # --------------------------------------------------------------------------------------------

    def _write(
        self, state: State, rows: dict[int, dict[str, float]], table: str = results.METRICS_FILE
    ) -> None:
        """rows: {member: {metric: value}}, all at the state's clocks."""
        iteration = max((state.agent_steps - 1) // self._protocol.training_steps, 0)
        clocks = (iteration, state.agent_steps, state.gradient_steps)
        self._recorder.write(
            (
                Measurement(member, *clocks, metric, value)
                for member, metrics in rows.items()
                for metric, value in metrics.items()
            ),
            table,
        )

    def _record_episodes(self, before: State, calls: Calls, ended: Ended) -> None:
        """Rows of the episodes that ended in a call, at the clocks' readings then."""
        for place, member in np.argwhere(ended.lengths.T > 0).tolist():
            row = {
                "episode/return": float(ended.returns[member, place]),
                "episode/length": int(ended.lengths[member, place]),
            }
            learned = calls.gradient_steps_before(place, self._schedule)
            now = before._replace(
                agent_steps=before.agent_steps + place + 1,
                gradient_steps=before.gradient_steps + learned,
            )
            self._write(now, {member: row})

    def _log(self, state: State) -> Any:
        """Measures and writes; returns empty tallies."""
        population = self._population
        measured = population.measure(state.states, state.memories, state.gradient_steps)
        rows: dict[int, dict[str, float]] = {}
        for index, tally in enumerate(population.axis.separate(state.tallies)):
            count = int(tally.count)
            means = {f"learn/{name}": float(each) / count for name, each in tally.sums.items()}
            latest = {f"learn/{name}": float(each) for name, each in tally.latest.items()}
            rows[index] = means | latest | {name: each[index] for name, each in measured.items()}
            if int(tally.diverged) >= 0 and index not in self._diverged:
                self._diverged.add(index)
                rows[index]["diverged"] = int(tally.diverged)
                member = self._members[index]
                self._say(
                    f"member {index} ({member.label}, seed {member.seed}) diverged: its loss was "
                    f"not finite at gradient step {int(tally.diverged)}; the last checkpoint is of "
                    f"agent step {self._saved_steps}; its peers go on"
                )
        self._write(state, rows)
        self._log_time(state)
        name = results.dormant_fraction_name(TAUS[1])
        shown = [f"{100 * row[name]:.0f}%" for row in rows.values()][:4]
        self._bar.set_postfix_str(f"dormant at tau {TAUS[1]:g}: {', '.join(shown)}", refresh=False)
        return population.clear(state.tallies)

    def _log_time(self, state: State) -> None:
        now, (agent_steps, gradient_steps) = time.monotonic(), self._marked
        seconds = max(now - self._mark, 1e-9)
        rates = {
            "time/agent_steps_per_second": (state.agent_steps - agent_steps) / seconds,
            "time/gradient_steps_per_second": (state.gradient_steps - gradient_steps) / seconds,
        }
        self._mark, self._marked = now, (state.agent_steps, state.gradient_steps)
        rows = {index: rates for index in range(len(self._members))}
        self._write(state, rows, results.TIMING_FILE)

    def _say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    # Saving and resuming
    # --------------------------------------------------------------------------------------------

    def _note_signal(self, signum: int, frame: Any) -> None:
        self._stop_signal = signum

    def _stop_if_asked(self, state: State) -> None:
        if self._stop_signal is not None:
            self._save(state)
            raise Interrupted(self._stop_signal, state.agent_steps)

    def _save(self, state: State) -> None:
        sizes = self._recorder.sizes()
        clocks = (state.agent_steps, state.gradient_steps, state.evaluations)
        self._store.save(_portable(self._population, state), checkpoint.Facts(*clocks, sizes, []))
        self._saved, self._saved_steps = time.monotonic(), state.agent_steps

    def _restore(self) -> tuple[State, dict[str, int] | None]:
        """The state of the newest checkpoint and the tables' sizes then; or of a new run, None."""
        population, axis = self._population, self._population.axis
        states, tallies = population.init()
        new = State(states, tallies, population.init_memories(0), self._program.init())
        found = self._store.restore(_portable(population, new), self._say)
        if found is None:
            return new, None
        del new, states, tallies  # or two would be held at once
        tree, facts = found
        parts = {
            name: axis.collect(
                [
                    jax.tree.map(lambda leaf, i=index: np.array(leaf[i]), part)
                    for index in range(len(self._members))
                ]
            )
            for name, part in tree.items()
        }
        axes = population.memory.axes
        shared = axis.lift(
            lambda empty, full: full.replace(position=empty.position), (axes, 0), axes
        )
        memories = shared(population.init_memories(facts.agent_steps), parts["memories"])
        logged = facts.gradient_steps - facts.gradient_steps % self._protocol.log_period
        self._diverged = {
            index for index, first in enumerate(tree["tallies"].diverged) if 0 <= first < logged
        }
        self._say(
            f"resumed at agent step {facts.agent_steps}, gradient step {facts.gradient_steps}"
        )
        state = State(
            parts["states"],
            parts["tallies"],
            memories,
            parts["players"],
            facts.agent_steps,
            facts.gradient_steps,
            facts.evaluations,
        )
        return state, facts.sizes


def _portable(population: Population, state: State) -> dict[str, Any]:
    """What a checkpoint holds: numpy arrays (P, ...), whichever axis carries the members."""
    axis = population.axis
    whole = axis.lift(lambda memory: memory, (population.memory.axes,))(state.memories)
    trees = {"states": state.states, "tallies": state.tallies, "players": state.players}
    return {
        name: jax.tree.map(lambda *leaves: np.stack(leaves), *axis.separate(tree))
        for name, tree in {**trees, "memories": whole}.items()
    }
