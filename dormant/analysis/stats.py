"""Statistics over runs and games, after Agarwal et al. (2021), through rliable.

Shapes: S seeds, G games, X points along a curve (or lines that are compared). Scores are (S, G) or
(S, G, X).

Few seeds: the percentile bootstrap of S values is too narrow, by sqrt((S - 1) / S) and by using the
normal distribution's tails for Student's, and of two or three values it means nothing at all. Below
MIN_SEEDS there is no interval; above, it is widened about its value by both factors, so that of a
mean of normal values it is Student's interval.

This is the only caller of rliable: its bootstrap draws from NumPy's global generator whatever
``random_state`` it is given, so every call here seeds that generator and puts it back.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from rliable import library, metrics
from scipy.stats import norm, t

RESAMPLES = 2000
MIN_SEEDS = 5  # of every game, for an interval
SEED = 0


class Estimate(NamedTuple):
    """A statistic and its 95% interval; low and high are NaN where there are too few seeds."""

    value: np.ndarray  # (X,) or (1,)
    low: np.ndarray
    high: np.ndarray


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """NumPy's global generator seeded inside, as before outside."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean over seeds and games: (S, G) -> (1,), (S, G, X) -> (X,).

    The same number as ``rliable.metrics.aggregate_iqm``, whose trimmed mean spends its time on
    checking its input.
    """
    flat = np.sort(scores.reshape(scores.shape[0] * scores.shape[1], -1), axis=0)
    cut = len(flat) // 4
    return flat[cut : len(flat) - cut].mean(axis=0)


def mean(scores: np.ndarray) -> np.ndarray:
    """Mean over seeds and games: (S, G) -> (1,), (S, G, X) -> (X,)."""
    return scores.reshape(scores.shape[0] * scores.shape[1], -1).mean(axis=0)


def median(scores: np.ndarray) -> np.ndarray:
    """Median over games of the mean over seeds: (S, G) -> (1,), (S, G, X) -> (X,)."""
    return np.atleast_1d(metrics.aggregate_median(scores))


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """How far scores fall short of 1 (a human) on average: (S, G) -> (1,), (S, G, X) -> (X,). What
    exceeds 1 does not count.
    """
    return 1 - mean(np.minimum(scores, 1))


def improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(1,) Probability that a run of ``ours`` beats one of ``theirs`` on the same game, mean over
    games.

    A tie counts one half. The same number as ``rliable.metrics.probability_of_improvement``,
    without its thousand times slower test statistic.
    """
    pairs = ours[:, None, :] - theirs[None, :, :]
    return np.array([np.mean(0.5 * (np.sign(pairs) + 1))])


STATISTICS: dict[str, Callable] = {
    "iqm": iqm,
    "mean": mean,
    "median": median,
    "optimality gap": optimality_gap,
}


def interval(
    statistic: Callable,
    scores: np.ndarray,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    resamples: int = RESAMPLES,
    seed: int = SEED,
    confidence: float = 0.95,
) -> Estimate:
    """``statistic(scores)`` and its interval: seeds are resampled within each game.

    A seed is drawn for all of the last axis of (S, G, X): compared lines are stacked there,
    so that they are compared seed by seed.

    Args:
      statistic: an array shaped as the scores -> (X,) or (1,).
      scores: (S, G) or (S, G, X).
      bounds: what the statistic can be at all, e.g. (0, 1) for a share.
      resamples: of the bootstrap.
      seed: the same one gives the same interval.
      confidence: how often the interval is to hold the true number.
    """
    value = np.asarray(statistic(scores), dtype=float)
    seeds, games = scores.shape[:2]
    if seeds < MIN_SEEDS:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    rows = np.tile(np.arange(seeds)[:, None], games)  # (S, G): rliable would draw X independently
    every_game = np.arange(games)

    def drawn(rows: np.ndarray) -> np.ndarray:
        return statistic(scores[rows, every_game])

    with _seeded(seed):
        _, intervals = library.get_interval_estimates(
            {"": rows}, drawn, reps=resamples, confidence_interval_size=confidence
        )
    wider = widening(seeds, games, confidence)
    low, high = (value + wider * (end - value) for end in intervals[""])
    return Estimate(value, np.clip(low, *bounds), np.clip(high, *bounds))


def widening(seeds: int, games: int, confidence: float = 0.95) -> float:
    """What makes a percentile interval as wide as Student's."""
    end = (1 + confidence) / 2
    student = t.ppf(end, games * (seeds - 1)) / norm.ppf(end)
    return float(np.sqrt(seeds / (seeds - 1)) * student)


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> Estimate:
    """Share of runs (S, G) whose score exceeds each threshold (X,), with its interval."""
    return interval(lambda runs: (runs[:, :, None] > thresholds).mean(axis=(0, 1)), scores, (0, 1))
