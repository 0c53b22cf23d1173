"""An entry's numbers from a table of runs: estimates with intervals, published values beside them,
claims checked.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dormant.analysis import stats
from dormant.analysis.draw import short
from dormant.analysis.load import Table
from dormant.analysis.published import published_series
from dormant.analysis.records import Cell, Claim, Entry, Panel, Term, Verdict
from dormant.analysis.select import BUDGET, RETURNS, candidates, choose_budget, panel_cells

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
    cells: dict[str, dict[tuple, Cell]]  # by panel, then (series, x, x2)
    verdicts: tuple[Verdict, ...]
    budget: str
    notes: tuple[
        str, ...
    ]  # what a reader must know: what was left out, what differs from the paper
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


def gather(entry: Entry, table: Table | None) -> Evidence:
    """Everything the figure and the report show of an entry. No table, or one without its runs:
    published values only.

    Raises:
      DormantError: runs that cannot be compared in any part.
    """
    if entry.parts:
        return _joined(entry, tuple(gather(part, table) for part in entry.parts))
    notes: dict[str, None] = {}  # in order, each once
    cells: dict[str, dict[tuple, Cell]] = {panel.name: {} for panel in entry.panels}
    budget = "not run"
    if table is not None:
        members = pd.concat([candidates(table, panel) for panel in entry.panels])
        chosen = choose_budget(members, entry.paper_steps, notes.setdefault)
        if chosen is not None:
            cells = {
                panel.name: panel_cells(table, panel, chosen, notes.setdefault)
                for panel in entry.panels
            }
            used = members[(members[BUDGET] == list(chosen)).all(axis=1)]
            budget = _budget(chosen, used)
            _remark(table, used, entry, cells, notes)
    estimates = [
        row for panel in entry.panels for row in _estimates(entry, panel, cells[panel.name])
    ]
    verdicts = tuple(check(claim, entry, cells) for claim in entry.claims)
    frame = pd.DataFrame(estimates, columns=COLUMNS).astype({name: float for name in COLUMNS[3:10]})
    return Evidence(entry, frame, cells, verdicts, budget, _merged(entry, notes))


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


def _budget(budget: Any, members: pd.DataFrame) -> str:
    steps = budget[0] * budget[1]
    factor = members["frames_per_agent_step"].iloc[0]
    text = f"{short(steps)} agent steps"
    return text if factor == 1 else f"{text} = {short(steps * factor)} frames"


def _remark(table: Table, used: pd.DataFrame, entry: Entry, cells: dict, notes: dict) -> None:
    """Unequal or single seeds, diverged members."""
    for panel in entry.panels:
        counts = {n for cell in cells[panel.name].values() for n in cell.seeds}
        if len(counts) > 1:
            notes.setdefault(
                f"unequal seeds ({min(counts)} to {max(counts)}): each line uses as many as its poorest game has"
            )
        if 1 in {min(cell.seeds) for cell in cells[panel.name].values()}:
            notes.setdefault("no interval where a game has one seed")
    diverged = table.metric("diverged")
    diverged = diverged[diverged["id"].isin(used.index).to_numpy()]
    if len(diverged):
        names = ", ".join(
            sorted(diverged["label"].astype(str) + " " + diverged["game"].astype(str))
        )
        notes.setdefault(
            f"{diverged['id'].nunique()} diverged members are counted as they are: {names}"
        )


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
                min(cell.seeds),
                len(cell.games),
                "ours",
            ]
    for series_ in panel.series:
        for row in published_series(entry.figure, panel.name, series_.name).itertuples():
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
            _reduced(cell.values, "end"), PROFILE_THRESHOLDS
        )
    statistic = stats.STATISTICS[cell.statistic]
    if panel.kind == "curve":
        return cell.points, stats.interval(statistic, cell.values)
    return [x], stats.interval(statistic, _reduced(cell.values, "end"))


def check(claim: Claim, entry: Entry, cells: dict[str, dict[tuple, Cell]]) -> Verdict:
    """The claim's number with its interval, and whether it holds."""
    published = _published_number(claim, entry)
    found = [cells[term.panel].get((term.series, *_key(term))) for term in claim.terms]
    missing = [_name(term) for term, cell in zip(claim.terms, found) if cell is None]
    if missing:
        return _not_run(claim, published, f"no runs of {', '.join(missing)}")
    if not all(cell.complete for cell in found if cell):
        return _not_run(claim, published, "runs are not finished")
    scores = [_reduced(cell.values, term.part) for cell, term in zip(found, claim.terms) if cell]
    statistic = stats.STATISTICS[next(cell.statistic for cell in found if cell)]
    estimate = stats.interval(lambda *arrays: _number(claim, statistic, arrays), *scores)
    value, low, high = (float(part[0]) for part in estimate)
    if np.isnan(low):
        return Verdict(claim, published, value, low, high, "not supported", "one seed: no interval")
    holds = {"below": high < claim.margin, "within": -claim.margin < low and high < claim.margin}
    supported = holds.get(claim.kind, low > claim.margin)
    return Verdict(
        claim, published, value, low, high, "supported" if supported else "not supported"
    )


def _not_run(claim: Claim, published: float | None, reason: str) -> Verdict:
    return Verdict(claim, published, np.nan, np.nan, np.nan, "not run", reason)


def _key(term: Term) -> tuple:
    return term.x if isinstance(term.x, tuple) else (term.x, None)


def _name(term: Term) -> str:
    at = (
        ""
        if term.x is None
        else f" at {term.x:g}"
        if not isinstance(term.x, tuple)
        else f" at {term.x}"
    )
    return term.series + at


def _reduced(values: np.ndarray, part: str) -> np.ndarray:
    """(S, G, X) -> (S, G): the part of the curve a term speaks of. Along the last axis."""
    points = values.shape[-1]
    tenth = max(1, round(points / 10))
    end = values[..., -tenth:].mean(axis=-1)
    if part == "end":
        return end
    middle = (points - tenth) // 2
    return end - values[..., middle : middle + tenth].mean(axis=-1)


def _number(claim: Claim, aggregate: Any, scores: tuple[np.ndarray, ...]) -> np.ndarray:
    """(1,) The number a claim is about."""
    if claim.kind == "improvement":
        return stats.improvement(*scores)
    first, *others = [aggregate(array) for array in scores]
    if not others:
        return first
    return first - (np.max(others, axis=0) if claim.kind == "best" else np.mean(others, axis=0))


def _published_number(claim: Claim, entry: Entry) -> float | None:
    """The same number from published aggregates, where all of its terms were published."""
    if claim.kind == "improvement":
        return None
    values = []
    for term in claim.terms:
        series = published_series(entry.figure, term.panel, term.series)
        if term.x is not None:
            series = series[np.isclose(series["x"], _key(term)[0])]
        if series.empty or (term.part == "rise" and len(series) < 10):
            return None
        values.append(_reduced(series["value"].to_numpy(), term.part))
    return float(_number(claim, np.mean, tuple(values)))
