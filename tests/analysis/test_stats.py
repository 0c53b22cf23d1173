"""Statistics against rliable, against numbers worked out by hand, and their seeding."""

import numpy as np
import pytest
from rliable import metrics

from dormant.analysis import stats


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=(5, 7))


def test_iqm_drops_the_outer_quarters():
    # 8 scores: the lowest 2 and the highest 2 go, the mean of 3, 4, 5, 6 stays.
    assert stats.iqm(np.array([[1.0, 8, 3, 6], [5, 4, 700, -200]])) == pytest.approx([4.5])
    # Along a curve, point by point.
    curve = np.stack([np.arange(8.0).reshape(2, 4), 10 * np.arange(8.0).reshape(2, 4)], axis=-1)
    assert stats.iqm(curve) == pytest.approx([3.5, 35.0])


def test_median_mean_and_gap_by_hand():
    scores = np.array([[0.0, 1.0, 5.0], [1.0, 3.0, 7.0]])  # means of the games: 0.5, 2, 6
    assert stats.median(scores) == pytest.approx([2.0])
    assert stats.mean(scores) == pytest.approx([17 / 6])
    assert stats.optimality_gap(scores) == pytest.approx(
        [1 / 6]
    )  # one score of 6 falls short, by 1


def test_the_same_as_rliable(scores):
    others = np.round(np.random.default_rng(1).normal(size=(4, 7)), 1)
    ours = np.round(scores, 1)  # with ties
    assert stats.iqm(scores)[0] == pytest.approx(metrics.aggregate_iqm(scores))
    assert stats.improvement(ours, others)[0] == pytest.approx(
        metrics.probability_of_improvement(ours, others)
    )


def test_probability_of_improvement_by_hand():
    # Game 1: 3 beats 1 and 2, 2 beats 1 and ties with 2: 3.5 of 4. Game 2: none of 4.
    assert stats.improvement(
        np.array([[3.0, 0], [2, 0]]), np.array([[1.0, 5], [2, 5]])
    ) == pytest.approx([3.5 / 8])


def test_the_same_seed_gives_the_same_interval_and_leaves_the_generator_alone(scores):
    np.random.seed(7)
    expected = np.random.random(3)
    np.random.seed(7)
    first = stats.interval(stats.iqm, scores, resamples=200)
    assert np.random.random(3) == pytest.approx(expected)
    second = stats.interval(stats.iqm, scores, resamples=200)
    assert first == second
    other = stats.interval(stats.iqm, scores, resamples=200, seed=1)
    assert (first.low, first.high) != (other.low, other.high)
    assert first.low < first.value < first.high


def test_the_interval_covers_as_often_as_it_says():
    """The mean of 10 normal draws: the bootstrap's 95% interval should hold 0 in 85 to 99 of 100
    cases.
    """
    rng = np.random.default_rng(3)
    estimates = [
        stats.interval(stats.mean, rng.normal(size=(10, 4)), resamples=200) for _ in range(100)
    ]
    assert 85 <= sum(bool(e.low[0] < 0 < e.high[0]) for e in estimates) <= 99


def test_seeds_are_resampled_within_a_game():
    """Games differ by 1000, seeds by nothing: resampling within games cannot change the mean."""
    estimate = stats.interval(stats.mean, np.tile([0.0, 1000.0], (5, 1)), resamples=100)
    assert (estimate.low, estimate.high) == (500, 500)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_few_seeds_have_no_interval(scores, seeds):
    """Two seeds of one game gave [1.93, 1.93] once."""
    estimate = stats.interval(stats.iqm, scores[:seeds])
    assert np.isfinite(estimate.value) and np.isnan(estimate.low) and np.isnan(estimate.high)


def test_the_interval_of_five_seeds_covers_as_often_as_it_says():
    """One game: the plain percentile bootstrap holds 0 in 83 of 100 cases."""
    rng = np.random.default_rng(3)
    draws = rng.normal(size=(100, 5, 1))
    estimates = [stats.interval(stats.mean, draw, resamples=400) for draw in draws]
    assert sum(bool(e.low[0] < 0 < e.high[0]) for e in estimates) >= 92


def test_intervals_are_as_wide_as_students():
    """5 seeds of one game: 2.776 standard errors; the bootstrap sees 1.96 * sqrt(4 / 5)."""
    assert stats.widening(5, 1) == pytest.approx(2.776 / 1.96 / np.sqrt(0.8), rel=1e-3)
    assert stats.widening(1000, 17) == pytest.approx(1, abs=1e-3)
    shares = stats.interval(stats.mean, np.array([[1.0], [1], [1], [1], [0]]), (0, 1))
    assert shares.high == 1


def test_lines_are_compared_seed_by_seed():
    """Seeds differ by hundreds, the lines of each seed by about 1."""
    rng = np.random.default_rng(0)
    one = rng.normal(size=(10, 2), scale=300)
    both = np.stack([one + 1 + 0.1 * rng.normal(size=(10, 2)), one], axis=-1)
    estimate = stats.interval(
        lambda pair: stats.mean(pair[..., 0]) - stats.mean(pair[..., 1]), both
    )
    assert 0.8 < estimate.low < 1 < estimate.high < 1.2


def test_performance_profile_by_hand():
    profile = stats.performance_profile(
        np.array([[0.2, 0.6], [0.4, 2.0]]), np.array([0.0, 0.3, 0.6, 3.0])
    )
    assert profile.value == pytest.approx([1, 0.75, 0.25, 0])
    scores = np.random.default_rng(0).uniform(size=(6, 2))
    profile = stats.performance_profile(scores, np.array([0.2, 0.5]))
    assert np.all(profile.low < profile.value) and np.all(profile.value < profile.high)
