"""Statistics over runs and games, after Agarwal et al. (2021), through rliable.

Shapes: S seeds, G games, X points along a curve. Scores are (S, G) or (S, G, X).

This is the only caller of rliable: its bootstrap draws from NumPy's global generator whatever
``random_state`` it is given, so every call here seeds that generator and puts it back.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from rliable import library, metrics

RESAMPLES = 2000
SEED = 0


class Estimate(NamedTuple):
    """A statistic and its 95% stratified bootstrap interval; low and high are NaN where one seed
    allows none.
    """

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
    """Median over games of the mean over seeds: (S, G) -> (1,)."""
    return np.array([metrics.aggregate_median(scores)])


def optimality_gap(scores: np.ndarray) -> np.ndarray:
    """How far scores fall short of 1 (a human) on average, what exceeds 1 not counted: (S, G) ->
    (1,).
    """
    return np.array([metrics.aggregate_optimality_gap(scores, gamma=1.0)])


def improvement(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Probability that a run of ``ours`` beats one of ``theirs`` on the same game, mean over games:
    -> (1,).

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
    statistic: Callable, *scores: np.ndarray, resamples: int = RESAMPLES, seed: int = SEED
) -> Estimate:
    """``statistic(*scores)`` and its interval: seeds are resampled within each game, arrays
    independently.

    Args:
      statistic: arrays shaped as the scores -> (X,) or (1,).
      scores: (S, G) or (S, G, X) each; S may differ between them.
      resamples: of the bootstrap.
      seed: the same one gives the same interval.
    """
    value = np.asarray(statistic(*scores), dtype=float)
    if min(len(array) for array in scores) < 2:
        return Estimate(value, np.full_like(value, np.nan), np.full_like(value, np.nan))
    data = scores[0] if len(scores) == 1 else list(scores)
    with _seeded(seed):
        _, intervals = library.get_interval_estimates({"": data}, statistic, reps=resamples)
    return Estimate(value, intervals[""][0], intervals[""][1])


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> Estimate:
    """Share of runs (S, G) whose score exceeds each threshold (X,), with its interval."""
    return interval(lambda runs: (runs[:, :, None] > thresholds).mean(axis=(0, 1)), scores)
