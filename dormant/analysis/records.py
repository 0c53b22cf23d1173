"""What the analysis finds for an entry: plain records, no behaviour."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dormant.paper.records import Claim


class Cell(NamedTuple):
    """The scores behind one line (curve) or one point (final, bars, heat)."""

    values: np.ndarray  # (S, G, X), scaled, normalised where the measure says so
    points: np.ndarray  # (X,) along a curve; (1,) else
    # (N,) along a curve all that were measured, of which ``points`` lack those where some seed has
    # no value
    every: np.ndarray
    games: tuple[str, ...]  # (G,)
    # G tuples: which seeds each game has, those first that every game has. S is the length of the
    # shortest, and the first S of each are in ``values``
    seeds: tuple[tuple[int, ...], ...]
    complete: bool  # false: the runs have not reached the end of their budget
    statistic: str


class GameNumber(NamedTuple):
    """A claim's number in one game."""

    game: str
    value: float
    low: float  # NaN where there are too few seeds
    high: float


class Verdict(NamedTuple):
    """A claim checked. What each verdict means: ``verdicts``."""

    claim: Claim
    published: float | None  # the same number from the published values
    value: float  # NaN where not run
    low: float
    high: float
    verdict: str  # of verdicts.VERDICTS
    reason: str = ""
    games: tuple[str, ...] = ()
    seeds: int = 0  # of each game, which all of the claim's terms have
    by_game: Sequence[GameNumber] = ()  # where there are several games
    # of all games by the mean, where the claim's number is of interquartile means
    by_mean: GameNumber | None = None
