"""An entry's numbers from a table of runs: estimates with intervals, published values beside them,
claims checked (``verdicts``).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dormant.analysis import stats
from dormant.analysis.cells import Lines, rectangles, thinned
from dormant.analysis.draw import short
from dormant.analysis.load import Table
from dormant.analysis.records import Cell, Verdict
from dormant.analysis.select import (
    BUDGET,
    RETURNS,
    candidates,
    choose_budget,
    of_one_origin,
    panel_lines,
)
from dormant.analysis.verdicts import check, reduced, shortest
from dormant.paper.published import published_series
from dormant.paper.records import Entry, Panel
from dormant.types import DormantError

PROFILE_THRESHOLDS = np.round(np.linspace(0, 2, 41), 3)
COLUMNS = [
    "figure",
    "panel",
    "series",
    "x",
    "x2",
    "value",
    "low",
    "high",
    "seeds",
    "games",
    "source",
]


class Evidence(NamedTuple):
    """What the runs say about one entry."""

    entry: Entry
    estimates: pd.DataFrame  # COLUMNS; source is "ours" or "published"
    cells: dict[str, dict[tuple, Cell]]  # as drawn, by panel, then (series, x, x2)
    verdicts: tuple[Verdict, ...]
    budget: str
    notes: tuple[str, ...]  # what was left out, what differs from the paper
    parts: tuple["Evidence", ...] = ()

    def where(self, panel: str, source: str) -> pd.DataFrame:
        """The estimates of one panel from one source."""
        table = self.estimates
        return table[(table["panel"] == panel) & (table["source"] == source)]


def metrics_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """Beginnings of the metrics' names that the entries need, for ``load``."""
    found = {"diverged"}
    for entry in entries:
        found.update(metrics_of(entry.parts))
        for panel in entry.panels:
            for metric in [series.metric or panel.y.metric for series in panel.series]:
                found.update(RETURNS if metric == "return" else [metric.rstrip("*")])
    return tuple(sorted(found))


def gather(entry: Entry, table: Table | None, drawn: bool = True, strict: bool = True) -> Evidence:
    """Everything the figure and the report show of an entry. Without runs: published values only.

    Args:
      drawn: whether the estimates that figures draw are wanted, which take half the time.
      strict: whether a panel whose lines have no game in common is refused. Else it has none of our
        runs, and claims about some of its lines are answered all the same.

    Raises:
      DormantError: runs that cannot be compared in any part.
    """
    if entry.parts:
        return _joined(entry, tuple(gather(part, table, drawn, strict) for part in entry.parts))
    notes: dict[str, None] = {}  # in order, each once
    lines: dict[str, Lines] = {panel.name: {} for panel in entry.panels}
    cells: dict[str, dict[tuple, Cell]] = {panel.name: {} for panel in entry.panels}
    budget, steps = "not run", 0
    if table is not None:
        table = of_one_origin(table, entry.panels, notes.setdefault)
        members = pd.concat([candidates(table, panel) for panel in entry.panels])
        chosen = choose_budget(members, entry.paper_steps, shortest(entry), notes.setdefault)
        if chosen is not None:
            for panel in entry.panels:
                lines[panel.name] = panel_lines(table, panel, chosen, notes.setdefault)
                try:
                    cells[panel.name] = rectangles(lines[panel.name], panel, notes.setdefault)
                except DormantError as error:
                    if strict:
                        raise
                    notes.setdefault(str(error))
            used = members[(members[BUDGET] == list(chosen)).all(axis=1)]
            budget, steps = _budget(chosen, used, entry.unit), chosen[0] * chosen[1]
            _remark(table, used, entry, cells, notes)
        for problem in _damaged(table, entry):
            notes.setdefault(problem)
    panels = entry.panels if drawn else ()
    estimates = [row for panel in panels for row in _estimates(entry, panel, cells[panel.name])]
    verdicts = tuple(check(claim, entry, lines, steps) for claim in entry.claims)
    frame = pd.DataFrame(estimates, columns=COLUMNS).astype({name: float for name in COLUMNS[3:10]})
    return Evidence(entry, frame, cells, verdicts, budget, _merged(entry, notes))


def _damaged(table: Table, entry: Entry) -> list[str]:
    """Runs that this entry would use and cannot, since their metrics are damaged."""
    if table.left_out.empty:
        return []
    lost = table._replace(members=table.left_out)
    found = pd.concat([candidates(lost, panel) for panel in entry.panels])
    return list(dict.fromkeys(found["problem"]))


def _merged(entry: Entry, notes: Iterable[str]) -> tuple[str, ...]:
    """Notes of several series that say the same, as one."""
    names = {series.name for panel in entry.panels for series in panel.series}
    said: dict[str, list[str]] = {}
    for note in notes:
        name, _, rest = note.partition(": ")
        said.setdefault(rest if name in names else note, []).extend([name] if name in names else [])

    def called(who: list[str]) -> str:
        return (
            "all lines: "
            if set(who) == names and len(names) > 1
            else ", ".join(who) + ": "
            if who
            else ""
        )

    return tuple(called(who) + what for what, who in said.items())


def _joined(entry: Entry, parts: tuple[Evidence, ...]) -> Evidence:
    estimates = pd.concat([part.estimates for part in parts], ignore_index=True)
    verdicts = tuple(verdict for part in parts for verdict in part.verdicts)
    budgets = "; ".join(f"{part.entry.figure}: {part.budget}" for part in parts)
    notes = tuple(f"{part.entry.figure}: {note}" for part in parts for note in part.notes)
    return Evidence(entry, estimates, {}, verdicts, budgets, notes, parts)


def _budget(budget: Any, members: pd.DataFrame, unit: str) -> str:
    steps = budget[0] * budget[1]
    factor = members["frames_per_agent_step"].iloc[0]
    text = f"{short(steps)} {unit}"
    return text if factor == 1 else f"{text} = {short(steps * factor)} frames"


def _remark(table: Table, used: pd.DataFrame, entry: Entry, cells: dict, notes: dict) -> None:
    """Unequal or few seeds, diverged members."""
    for panel in entry.panels:
        counts = {len(seeds) for cell in cells[panel.name].values() for seeds in cell.seeds}
        if len(counts) > 1:
            notes.setdefault(
                f"unequal seeds ({min(counts)} to {max(counts)}): each line uses as many as its "
                "poorest game has"
            )
        if counts and min(counts) < stats.MIN_SEEDS:
            notes.setdefault(f"no interval where a game has fewer than {stats.MIN_SEEDS} seeds")
    diverged = table.metric("diverged")
    diverged = diverged[diverged["id"].isin(used.index).to_numpy()]
    if len(diverged):
        names = ", ".join(
            sorted(
                f"{row.label} {row.game} seed {row.seed} at gradient step {row.value:.0f}"
                for row in diverged.itertuples()
            )
        )
        notes.setdefault(f"diverged, counted as far as their values are finite: {names}")


def _estimates(entry: Entry, panel: Panel, cells: dict[tuple, Cell]) -> Iterable[list]:
    """Rows of COLUMNS: ours, then published."""
    for (series, x, x2), cell in cells.items():
        points, estimate = _along(panel, cell, x)
        for i, point in enumerate(points):
            numbers = [estimate.value[i], estimate.low[i], estimate.high[i]]
            yield [
                entry.figure,
                panel.name,
                series,
                point,
                x2,
                *numbers,
                len(cell.values),
                len(cell.games),
                "ours",
            ]
    for series_ in panel.series:
        for row in published_series(entry.name, panel.name, series_.name).itertuples():
            numbers = [row.value, row.low, row.high]
            yield [
                entry.figure,
                panel.name,
                series_.name,
                row.x,
                None,
                *numbers,
                None,
                None,
                "published",
            ]


def _along(panel: Panel, cell: Cell, x: Any) -> tuple[Any, stats.Estimate]:
    """Where on the x axis, and how high."""
    if panel.kind == "profile":
        return PROFILE_THRESHOLDS, stats.performance_profile(
            reduced(cell, "end"), PROFILE_THRESHOLDS
        )
    statistic, shown = stats.STATISTICS[cell.statistic], thinned(cell)
    if panel.kind == "curve":
        return shown.points, stats.interval(statistic, shown.values, panel.y.bounds)
    return [x], stats.interval(statistic, reduced(cell, "end"), panel.y.bounds)
