"""Claims checked: the number behind a claim, its 95% interval, and what follows.

supported     the whole interval lies on the side that is claimed
contradicted  the whole interval lies on the other side
undecided     the interval reaches both sides
not asked     there is no answer to be had from these runs: none, unfinished ones, fewer than
              ``stats.MIN_SEEDS`` seeds, or runs shorter than what the claim speaks of

Lines are compared seed by seed: methods of one seed start from the same network in the same
environment, so the bootstrap draws a seed for all terms of a claim at once, from the seeds that all
of them have.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from dormant.analysis import stats
from dormant.analysis.cells import Lines, rectangles, with_unit
from dormant.analysis.draw import short
from dormant.analysis.records import Cell, GameNumber, Verdict
from dormant.paper.published import published_series
from dormant.paper.records import Claim, Entry, Term
from dormant.types import DormantError

VERDICTS = ("supported", "contradicted", "undecided", "not asked")
BY_MEAN = "all, by the mean"  # which may say another thing than the interquartile mean
NO_GAME = "no game was run for all of its lines"
GAP = "a part of the curve that it speaks of has no values"
MOST_GAMES = 5  # for which a claim's number is given game by game


def check(claim: Claim, entry: Entry, lines: Mapping[str, Lines], steps: float) -> Verdict:
    """The claim's number with its interval, and the verdict: of the games that all its lines have.

    Args:
      lines: of each panel.
      steps: the length of the runs behind the lines, in the entry's unit; 0 without runs.
    """
    published = _published_number(claim, entry)
    try:
        found = _cells(claim, entry, lines)
    except DormantError:
        return _not_asked(claim, published, NO_GAME)
    missing = [_name(term) for term, cell in zip(claim.terms, found) if cell is None]
    known = [cell for cell in found if cell is not None]
    if missing:
        more = f" and {len(missing) - 2} more" if len(missing) > 3 else ""
        names = ", ".join(missing[: 2 if more else 3]) + more
        return _not_asked(claim, published, f"no runs of {names}" if steps else "not run")
    if not all(cell.complete for cell in known):
        return _not_asked(claim, published, "runs are not finished")
    if not all(
        points.any() for term, cell in zip(claim.terms, known) for points in _parts(cell, term.part)
    ):
        return _not_asked(claim, published, GAP)
    games = [game for game in known[0].games if all(game in cell.games for cell in known)]
    if not games:
        return _not_asked(claim, published, NO_GAME)
    scores, seeds = _paired(known, games, claim.terms)
    if not seeds:
        return _not_asked(claim, published, "no seed was run for all of its lines")
    estimate = _estimate(claim, known[0].statistic, scores)
    verdict, reason = _verdict(claim, estimate, seeds, steps, entry)
    answer = Verdict(claim, published, *estimate, verdict, reason, tuple(games), seeds)
    return _in_parts(answer, known[0].statistic, scores)


def _cells(claim: Claim, entry: Entry, lines: Mapping[str, Lines]) -> list[Cell | None]:
    """One for each term; None where it was not run."""
    panels = {panel.name: panel for panel in entry.panels}
    keys = [(term.panel, (term.series, *_key(term))) for term in claim.terms]
    cells = {}
    for name in {panel: None for panel, _ in keys}:
        mine = with_unit(lines[name], [key for panel, key in keys if panel == name], panels[name])
        cells[name] = rectangles(mine, panels[name], lambda note: None)
    return [cells[panel].get(key) for panel, key in keys]


def _in_parts(answer: Verdict, statistic: str, scores: np.ndarray) -> Verdict:
    """The verdict with its number game by game, and by the mean."""
    claim, games = answer.claim, answer.games
    if not 1 < len(games) <= MOST_GAMES:
        return answer
    parts = tuple(
        GameNumber(game, *_estimate(claim, statistic, scores[:, i : i + 1]))
        for i, game in enumerate(games)
    )
    by_mean = None
    if statistic == "iqm" and claim.kind != "improvement":
        by_mean = GameNumber(BY_MEAN, *_estimate(claim, "mean", scores))
    return answer._replace(by_game=parts, by_mean=by_mean)


def shortest(entry: Entry) -> float:
    """Agent steps of the shortest run that asks the entry's questions."""
    return entry.shortest or entry.paper_steps / 10


def _not_asked(claim: Claim, published: float | None, reason: str) -> Verdict:
    return Verdict(claim, published, np.nan, np.nan, np.nan, "not asked", reason)


def _verdict(
    claim: Claim, estimate: tuple[float, float, float], seeds: int, steps: float, entry: Entry
) -> tuple[str, str]:
    """(verdict, reason)"""
    (value, low, high), least = estimate, shortest(entry)
    if steps < least:
        ran, wanted = f"{short(steps)} {entry.unit}", f"{short(least)} at least"
        return "not asked", f"{ran}; it speaks of {wanted}"
    if seeds < stats.MIN_SEEDS:
        return "not asked", f"seeds in common: {seeds}; wanted: {stats.MIN_SEEDS}"
    if claim.kind != "improvement" and high - low <= 1e-9 * max(1.0, abs(value)):
        return "undecided", "every seed gave the same: the interval has no width"
    margin = claim.margin
    holds, fails = {
        "below": (high < margin, low > margin),
        "within": (-margin < low and high < margin, high <= -margin or low >= margin),
    }.get(claim.kind, (low > margin, high < margin))
    return ("supported" if holds else "contradicted" if fails else "undecided"), ""


def _paired(
    cells: Sequence[Cell], games: Sequence[str], terms: Sequence[Term]
) -> tuple[np.ndarray, int]:
    """((S, G, T) scores of T terms, S): of each game the seeds that all terms have."""
    ends, columns = [reduced(cell, term.part) for cell, term in zip(cells, terms)], []
    for game in games:
        at = [cell.games.index(game) for cell in cells]
        have = [cell.seeds[g][: len(cell.values)] for cell, g in zip(cells, at)]
        common = sorted(set.intersection(*map(set, have)))
        rows = [
            end[[seeds.index(seed) for seed in common], g] for end, seeds, g in zip(ends, have, at)
        ]
        columns.append(np.stack(rows, axis=-1))
    fewest = min(len(column) for column in columns)
    return np.stack([column[:fewest] for column in columns], axis=1), fewest


def _estimate(claim: Claim, statistic: str, scores: np.ndarray) -> tuple[float, float, float]:
    """(value, low, high) of the claim's number from scores (S, G, T)."""
    return _bootstrapped(claim.kind, statistic, scores.shape, scores.astype(float).tobytes())


@functools.lru_cache(maxsize=1024)  # figures share differences, and a bootstrap takes 0.1 s
def _bootstrapped(
    kind: str, statistic: str, shape: tuple[int, ...], data: bytes
) -> tuple[float, float, float]:
    aggregate, scores = stats.STATISTICS[statistic], np.frombuffer(data).reshape(shape)
    if kind == "best":
        return _above_each(aggregate, scores)

    def number(stacked: np.ndarray) -> np.ndarray:
        if kind == "improvement":
            return stats.improvement(stacked[..., 0], stacked[..., 1])
        return np.array([_contrast(kind, aggregate(stacked))])

    bounds = (0.0, 1.0) if kind == "improvement" else (-np.inf, np.inf)
    value, low, high = (float(part[0]) for part in stats.interval(number, scores, bounds))
    return value, low, high


def _above_each(aggregate: Callable, scores: np.ndarray) -> tuple[float, float, float]:
    """(value, low, high) of the first term minus the largest of the others.

    The largest of several noisy numbers is too large on average, so a bootstrap of this difference
    lies below zero where all terms are equal. Each of the others is compared alone instead; the
    number is the smallest of these differences. The smallest of their lower ends lies below it as
    surely as each does. All of their upper ends must lie above it, so those are corrected for their
    number (Bonferroni).
    """

    def differences(stacked: np.ndarray) -> np.ndarray:
        ends = aggregate(stacked)
        return ends[0] - ends[1:]

    others = scores.shape[-1] - 1
    value, low, _ = stats.interval(differences, scores)
    _, _, high = stats.interval(differences, scores, confidence=1 - 0.05 / others)
    return float(value.min()), float(low.min()), float(high.min())


def reduced(cell: Cell, part: str) -> np.ndarray:
    """(S, G) The part of a curve that a term speaks of."""
    end, *middle = (cell.values[..., points].mean(axis=-1) for points in _parts(cell, part))
    return end - middle[0] if middle else end


def _parts(cell: Cell, part: str) -> list[np.ndarray]:
    """(X,) each: which points lie in the last tenth of all that were measured, and for a rise in
    the middle one. Of the points that are left, those tenths would be elsewhere in the run.
    """
    points, every = cell.points, cell.every
    tenth = max(1, round(len(every) / 10))
    first = (len(every) - tenth) // 2
    end = points >= every[-tenth]
    middle = (points >= every[first]) & (points <= every[first + tenth - 1])
    return [end] if part == "end" else [end, middle]


def _contrast(kind: str, ends: np.ndarray) -> float:
    """The number a claim is about, of what its terms (T,) come to."""
    first, others = ends[0], ends[1:]
    if not len(others):
        return first
    return first - (others.max() if kind == "best" else others.mean())


def _published_number(claim: Claim, entry: Entry) -> float | None:
    """The same number from published aggregates, where all of its terms were published.

    An entry of another suite has the paper's number of the same difference there: of its terms, or
    of ``Claim.published`` where the paper's panels have other names.
    """
    if claim.kind == "improvement":
        return None
    values = []
    for term in claim.published or claim.terms:
        series = published_series(entry.figure, term.panel, term.series)
        if term.x is not None and len(series):
            series = series[np.isclose(series["x"], _key(term)[0])]
        if series.empty or (term.part == "rise" and len(series) < 10):
            return None
        values.append(published_part(series, term.part))
    return float(_contrast(claim.kind, np.array(values)))


def published_part(line: pd.DataFrame, part: str) -> float:
    """``reduced`` of a published line: by x, since its points are not evenly spaced where other
    lines hide it.
    """
    if len(line) == 1:
        return float(line["value"].iloc[0])
    value, along = line["value"].to_numpy(), line["x"].to_numpy() / line["x"].max() - 1e-6
    end = float(value[along > 0.9].mean())
    return end if part == "end" else end - float(value[(along > 0.45) & (along <= 0.55)].mean())


def _key(term: Term) -> tuple:
    return term.x if isinstance(term.x, tuple) else (term.x, None)


def _name(term: Term) -> str:
    if term.x is None:
        return term.series
    return f"{term.series} at {term.x if isinstance(term.x, tuple) else f'{term.x:g}'}"
