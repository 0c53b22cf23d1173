"""From the lines of a panel to rectangles of scores: the same games for all lines that are
compared, in a line the same number of seeds for every game, and the same points for every seed.

A picture compares all lines of its panel, a claim only those it speaks of: a line that was run on
fewer games takes none from the claims about others.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dormant.analysis.records import Cell
from dormant.paper.games import human_normalised, random_return
from dormant.paper.records import Measure, Panel
from dormant.types import DormantError

MOST_POINTS = 100  # of a curve

Note = Callable[[str], None]


class Line(NamedTuple):
    """The members behind one line or point, one of each game and seed, and what they measured."""

    members: pd.DataFrame  # ``load.Table.members`` with the column task, by id
    wide: pd.DataFrame  # a row for each point of the x axis, a column for each member's id
    # (N,) every point of the x axis, in order: ``wide`` lacks those where some member has no value
    every: np.ndarray
    measure: Measure
    complete: bool  # false: the runs have not reached the end of their budget


# by (series' name, x, x2); x and x2 are None where the panel has none
Lines = dict[tuple, Line]


def rectangles(lines: Lines, panel: Panel, note: Note) -> dict[tuple, Cell]:
    """{(series' name, x, x2): Cell} of the games that all the lines have.

    Args:
      lines: all of a panel's, or those of a claim (``with_unit``), in the panel's order.
      note: called with what is left out.

    Raises:
      DormantError: there is no such game.
    """
    if not lines:
        return {}
    games = set.intersection(*(set(line.members["task"]) for line in lines.values()))
    every = set().union(*(set(line.members["task"]) for line in lines.values()))
    if not games:
        names = ", ".join(sorted({key[0] for key in lines}))
        raise DormantError(f"panel {panel.title!r}: no game was run for all of {names}")
    if every - games:
        note(f"games that some lines lack left out: {', '.join(sorted(every - games))}")
    missing = [game for game in panel.games if game not in every]
    if missing:
        note(f"{len(missing)} of {len(panel.games)} games not run: {', '.join(missing)}")
    cells = {key: _cell(line, games) for key, line in lines.items()}
    return _relative(cells, panel, note) if panel.y.normalised == "baseline" else cells


def with_unit(lines: Lines, keys: Collection[tuple], panel: Panel) -> Lines:
    """The lines of these keys, and the one whose scores are the unit of the panel's, if any is."""
    unit = [*lines][:1] if panel.y.normalised == "baseline" else []
    return {key: line for key, line in lines.items() if key in keys or key in unit}


def _relative(cells: dict[tuple, Cell], panel: Panel, note: Note) -> dict[tuple, Cell]:
    """Per game, 0 at a random policy's return and 1 at the first line's mean over seeds."""
    (name, x, _), first = next(iter(cells.items()))
    if name != panel.series[0].name or (len(panel.xs) and x != panel.xs[0]):
        at = "" if x is None else f" at {panel.x} {x:g}"
        note(f"{panel.title}: 1 is {name}{at}, for want of the panel's first line")
    low = np.array([random_return(game) for game in first.games])
    unit = first.values.mean(axis=(0, 2)) - low
    good = unit > 0
    # a unit that may as well be 0 by its seeds makes differences of any size
    error = first.values.mean(axis=2).std(axis=0) / np.sqrt(max(len(first.values) - 1, 1))
    doubtful = good & (unit < 1.96 * error)
    for which, text in ((~good, "left out, {} is no"), (doubtful, "{} is hardly")):
        if which.any():
            games = ", ".join(np.array(first.games)[which])
            note(f"{panel.title}: {text.format(name)} better than random: {games}")
    if not good.any():
        return {}

    def relative(cell: Cell) -> Cell:
        values = ((cell.values - low[:, None]) / unit[:, None])[:, good]
        games = tuple(game for game, kept in zip(cell.games, good) if kept)
        seeds = tuple(each for each, kept in zip(cell.seeds, good) if kept)
        return cell._replace(values=values, games=games, seeds=seeds)

    return {key: relative(cell) for key, cell in cells.items()}


def measured(line: Line, panel: Panel, budget: Any, name: str, note: Note) -> Line:
    """Members that have been measured; for last values only those at the end of their budget.

    Args:
      line: of members that may not have.
      budget: (iterations, training_steps)
      name: the line's, for notes.
      note: called with what is left out.
    """
    chosen, wide, complete = line.members, line.wide, line.complete
    if panel.kind == "curve":
        ids = [i for i in chosen.index if i in wide.columns]
        wide = wide[ids].dropna()
        longest = float(wide.index.max()) if len(wide) else 0.0
        # a claim compares the ends of curves: of runs that have come to theirs
        complete = bool((chosen["status"] == "finished").all())
        complete &= longest >= 0.75 * _length(chosen, panel.x, budget)
        if ids and not complete:
            note(f"{name}: drawn as far as all its runs have come")
    else:
        last = wide.loc[wide.index == budget[0] - 1]
        ids = [i for i in chosen.index if i in wide.columns and last[i].notna().any()]
        wide = last[ids]
    if len(ids) < len(chosen):
        lost = len(chosen) - len(ids)
        note(f"{name}: {lost} of {len(chosen)} members without values at the end left out")
    return line._replace(members=chosen.loc[ids if len(wide) else []], wide=wide, complete=complete)


def _length(members: pd.DataFrame, x: str, budget: Any) -> float:
    """The budget in the unit of x."""
    steps, first = budget[0] * budget[1], members.iloc[0]
    if x == "gradient_steps":
        return float((steps - first["min_replay_history"]) * first["replay_ratio"])
    return steps * float(first["frames_per_agent_step"] if x == "frames" else 1)


def _cell(line: Line, wanted: Collection[str]) -> Cell:
    """The scores of a line's members in the games wanted."""
    wide, measure = line.wide, line.measure
    members = line.members[line.members["task"].isin(wanted)]
    games = tuple(sorted(wanted))
    has = [set(members.loc[members["task"] == game, "seed"]) for game in games]
    # first the seeds that every game has: where some lack one, lines share more of these
    ranked = members.assign(lacks=~members["seed"].isin(set.intersection(*has)))
    ranked = ranked.sort_values(["lacks", "seed"])
    by_game = [ranked.index[ranked["task"] == game] for game in games]
    seeds = tuple(tuple(int(seed) for seed in members.loc[ids, "seed"]) for ids in by_game)
    fewest = min(len(each) for each in seeds)
    columns = []
    for game, ids in zip(games, by_game):
        scores = wide[ids[:fewest]].to_numpy().T * measure.scale  # (S, X)
        human = measure.normalised == "human"
        columns.append(human_normalised(game, scores) if human else scores)
    values, points = np.stack(columns, axis=1), wide.index.to_numpy(float)
    return Cell(values, points, line.every, games, seeds, line.complete, measure.statistic)


def thinned(cell: Cell) -> Cell:
    """Long curves as MOST_POINTS means of neighbouring points, to be drawn."""
    if len(cell.points) <= MOST_POINTS:
        return cell
    blocks = np.array_split(np.arange(len(cell.points)), MOST_POINTS)
    values = np.stack([cell.values[..., block].mean(axis=-1) for block in blocks], axis=-1)
    return cell._replace(values=values, points=np.array([cell.points[b].mean() for b in blocks]))
