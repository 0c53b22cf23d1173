"""What a run reports while it runs: rows of the tables, rates, divergence, progress. Host side."""

import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from dormant import results
from dormant.results import Measurement
from dormant.training.collect import Episode
from dormant.training.members import Member
from dormant.training.population import Metrics
from dormant.training.protocol import Protocol
from dormant.training.record import Recorder

SHOWN = 4  # members whose dormant fraction stands beside the progress bar


class Clocks(NamedTuple):
    """Where a run stands; the same for all members."""

    agent_steps: int
    gradient_steps: int


class Trained(NamedTuple):
    """One member's training episodes of an iteration."""

    episodes: int
    sum_of_returns: float  # undiscounted, raw


def described(game: str, members: Sequence[Member]) -> str:
    """What a run's progress bar is headed by: "Pong: none, redo; 5 seeds"."""
    methods = ", ".join(dict.fromkeys(member.method for member in members))
    seeds = len({member.seed for member in members})
    return f"{game}: {methods}; {seeds} seed{'' if seeds == 1 else 's'}"


class Reporter:
    """Turns what happens into rows, and into lines and a progress bar for whoever watches."""

    def __init__(
        self, members: Sequence[Member], protocol: Protocol, recorder: Recorder, game: str = ""
    ):
        self._game = game
        self._members, self._protocol, self._recorder = members, protocol, recorder
        self._diverged: set[int] = set()  # members whose divergence has been reported
        self._episodes: list[Episode] = []  # finished in this iteration
        self._bar: tqdm | None = None
        self._marked, self._mark = Clocks(0, 0), time.monotonic()  # since when rates are counted

    def begin(self, clocks: Clocks, episodes: list[Episode], diverged: set[int]) -> None:
        """Training begins or is resumed here.

        Args:
          episodes: those of the iteration so far.
          diverged: members whose divergence an earlier process has reported.
        """
        total = self._protocol.iterations * self._protocol.training_steps
        self._bar = tqdm(
            total=total,
            initial=clocks.agent_steps,
            unit=" steps",
            smoothing=0.05,
            desc=described(self._game, self._members),
        )
        self._episodes, self._diverged = episodes, diverged
        self._marked, self._mark = clocks, time.monotonic()

    def begin_iteration(self) -> None:
        self._episodes = []

    def steps(self, count: int) -> None:
        """So many agent steps were made."""
        if self._bar is not None:
            self._bar.update(count)

    def finished(self, episodes: list[Episode], clocks: Clocks) -> None:
        """Training episodes that ended at this agent step."""
        self._episodes += episodes
        for episode in episodes:
            row = {"episode/return": episode.undiscounted_return, "episode/length": episode.length}
            self._write(clocks, {episode.member: row})

    def measured(
        self,
        metrics: Sequence[Metrics],
        measurements: dict[str, np.ndarray],
        clocks: Clocks,
        saved_steps: int,
    ) -> None:
        """The learning since the last log, and what was measured now; the rates since then.

        Args:
          metrics: of each member, on the host.
          measurements: {metric: (P,)}.
          saved_steps: agent step of the last checkpoint.
        """
        rows: dict[int, dict[str, float]] = {}
        for index, member in enumerate(metrics):
            count = int(member.count)
            row = {f"learn/{name}": float(value) / count for name, value in member.sums.items()}
            row |= {f"learn/{name}": float(value) for name, value in member.latest.items()}
            row |= {name: values[index] for name, values in measurements.items()}
            rows[index] = row | self._divergence(index, member, saved_steps)
        self._write(clocks, rows)
        self._write_rates(clocks)
        self._show(rows)

    def diverged(self, metrics: Sequence[Metrics], clocks: Clocks, saved_steps: int) -> None:
        """The members that have diverged since the last log. Arguments as of ``measured``."""
        rows = {i: self._divergence(i, each, saved_steps) for i, each in enumerate(metrics)}
        self._write(clocks, {index: row for index, row in rows.items() if row})

    def _divergence(self, index: int, metrics: Metrics, saved_steps: int) -> dict[str, float]:
        """What is written of a member that has diverged, once."""
        gradient_step = int(metrics.diverged)
        if gradient_step < 0 or index in self._diverged:
            return {}
        self._diverged.add(index)
        member = self._members[index]
        self.say(
            f"member {index} ({member.label}, seed {member.seed}) diverged: its loss was not "
            f"finite at gradient step {gradient_step}; the last checkpoint is of agent step "
            f"{saved_steps}; the other members continue"
        )
        return {"diverged": gradient_step}

    def _show(self, rows: dict[int, dict[str, float]]) -> None:
        """The dormant fraction at the middle threshold, beside the progress bar."""
        taus = self._protocol.taus
        if not taus or self._bar is None:
            return
        tau = taus[len(taus) // 2]
        name = results.dormant_fraction_name(tau)
        shown = [f"{100 * row[name]:.0f}%" for row in rows.values()][:SHOWN]
        self._bar.set_postfix_str(f"dormant at tau {tau:g}: {', '.join(shown)}", refresh=False)

    def _write_rates(self, clocks: Clocks) -> None:
        now = time.monotonic()
        seconds = max(now - self._mark, 1e-9)
        done = [after - before for after, before in zip(clocks, self._marked)]
        rates = {
            "time/agent_steps_per_second": done[0] / seconds,
            "time/gradient_steps_per_second": done[1] / seconds,
        }
        self._mark, self._marked = now, clocks
        rows = {index: rates for index in range(len(self._members))}
        self._write(clocks, rows, results.TIMING_FILE)

    def recycled(self, counts: dict[int, dict[str, int]], clocks: Clocks) -> None:
        """What an intervention has done: {member: {layer: neurons recycled, or metric: value}}."""
        for index, done in counts.items():
            row = {
                name if results.is_metric(name) else results.recycled_name(name): float(count)
                for name, count in done.items()
            }
            self._write(clocks, {index: row})
            self._report_lost_layers(index, done, clocks)

    def _report_lost_layers(self, index: int, done: dict[str, int], clocks: Clocks) -> None:
        """One line, when the last neuron of a layer is pruned."""
        for name, count in done.items():
            layer = name.removeprefix(results.pruned_name(""))
            if layer != name and count and not done[results.remaining_name(layer)]:
                member = self._members[index]
                self.say(
                    f"member {index} ({member.label}, seed {member.seed}) has lost a whole layer: "
                    f"all neurons of {layer} are pruned at gradient step "
                    f"{clocks.gradient_steps}; the run continues without them"
                )

    def evaluating(self) -> tqdm:
        """A progress bar for the evaluation's agent steps; a context."""
        total = self._protocol.evaluation_steps or None
        return tqdm(desc="evaluating", unit=" steps", leave=False, total=total)

    def end_iteration(
        self,
        returns: list[list[float]] | None,
        seconds: float,
        clocks: Clocks,
        trained: list[Trained] | None = None,
    ) -> None:
        """The iteration's means.

        Args:
          returns: of each member's evaluation episodes; None = no evaluation.
          seconds: that the evaluation took; they are no part of the training's rate.
          trained: of each member; None = of the episodes given to ``finished``.
        """
        self._mark += seconds
        if returns is not None:
            self._write_time(clocks, "time/evaluation_seconds", seconds)
        for index, each in enumerate(trained or self._trained()):
            row: dict[str, float] = {"train/episodes": each.episodes}
            if each.episodes:
                row["train/average_return"] = each.sum_of_returns / each.episodes
            if returns is not None:
                row |= {
                    "eval/episodes": len(returns[index]),
                    "eval/average_return": float(np.mean(returns[index])),
                }
            self._write(clocks, {index: row})

    def refilled(self, steps: int, seconds: float, clocks: Clocks) -> None:
        """So many agent steps of each member were repeated to fill the replay memories."""
        if steps:
            rate = steps / max(seconds, 1e-9)
            self._write_time(clocks, "time/refilled_steps_per_second", rate)

    def _write_time(self, clocks: Clocks, metric: str, value: float) -> None:
        rows = {index: {metric: value} for index in range(len(self._members))}
        self._write(clocks, rows, results.TIMING_FILE)

    def _trained(self) -> list[Trained]:
        """Of the iteration's episodes so far."""
        returns: list[list[float]] = [[] for _ in self._members]
        for episode in self._episodes:
            returns[episode.member].append(episode.undiscounted_return)
        return [Trained(len(each), sum(each)) for each in returns]

    def say(self, line: str) -> None:
        """One line for whoever watches; the progress bar stays below it."""
        tqdm.write(line, file=sys.stderr)

    def _write(
        self,
        clocks: Clocks,
        rows: dict[int, dict[str, float]],
        table: str = results.METRICS_FILE,
    ) -> None:
        """rows: {member: {metric: value}}, all at these clocks."""
        iteration = max((clocks.agent_steps - 1) // self._protocol.training_steps, 0)
        self._recorder.write(
            (
                Measurement(member, iteration, *clocks, metric, value)
                for member, metrics in rows.items()
                for metric, value in metrics.items()
            ),
            table,
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
