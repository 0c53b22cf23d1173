"""Published numbers: complete, in the right units, and found by the entries that draw them."""

import numpy as np
import pytest

from dormant.paper import SUITES
from dormant.paper.games import GAMES_17, GAMES_26, MINATAR, human_normalised, random_return
from dormant.paper.published import published, published_series
from dormant.types import DormantError


def test_every_game_has_its_scores():
    assert all(random_return(game) > 0 for game in MINATAR)
    with pytest.raises(DormantError, match="no random policy's return in 'Pong'"):
        random_return("Pong")
    for game in {*GAMES_17, *GAMES_26, "Riverraid", "Venture"}:
        assert np.isfinite(human_normalised(game, 1.0))


def test_human_normalised_by_hand():
    assert human_normalised("Pong", np.array([-20.7, 14.6])) == pytest.approx([0, 1])
    assert human_normalised("Breakout", 16.1) == pytest.approx((16.1 - 1.7) / (30.5 - 1.7))
    with pytest.raises(DormantError, match="did you mean 'DemonAttack'"):
        human_normalised("DemonAtack", 1.0)


def test_figure_10_as_printed():
    base, redo = (
        published_series("10a", "iqm", name)["value"].tolist() for name in ("DQN", "DQN + ReDo")
    )
    assert base == [0.41, 0.47, 0.30, 0.09] and redo == [0.40, 0.575, 0.625, 0.54]
    drq = published_series("10d", "iqm", "DrQ(eps)")
    assert drq["x"].tolist() == [1, 2, 4, 8] and drq["low"].iloc[0] == 0.58


def test_units_are_counts():
    assert published_series("2", "DemonAttack", "DQN")["x"].max() == pytest.approx(6.25e6, rel=0.02)
    assert published_series("9", "return", "DQN")["x"].max() == pytest.approx(39e6, rel=0.05)
    assert published_series("14", "Ant", "SAC")["x"].max() == pytest.approx(1e6, rel=0.05)


def test_young_and_tians_dqn():
    """What their figure shows at a glance: returns near 10, 17 and 44 after 5 million frames."""
    ends = {"Breakout": 10, "Asterix": 17, "SpaceInvaders": 44}
    for game, end in ends.items():
        curve = published_series("16 on MinAtar", f"return MinAtar/{game}", "RR 1")
        assert curve["x"].iloc[-1] == pytest.approx(5e6, rel=0.03)
        assert curve["value"].iloc[-1] == pytest.approx(end, rel=0.05)


def test_the_published_curve_is_u_shaped():
    """What makes a claim of monotone growth wrong: it falls below a third of its start before it
    ends above it.
    """
    for game in ("DemonAttack", "Asterix"):
        curve = published_series("2", game, "DQN")["value"].to_numpy()
        assert curve.min() < curve[0] / 2 and curve[-1] > 1.5 * curve[0]


def test_published_curves_agree_with_each_other():
    """Figure 2 at 2.5M gradient steps and Figure 7 at replay ratio 0.25 and 40M frames are the same
    quantity.
    """
    long, short = (
        published_series("2", "DemonAttack", "DQN"),
        published_series("7", "dormant", "RR 0.25"),
    )
    assert np.interp(2.5e6, long["x"], long["value"]) == pytest.approx(
        short["value"].iloc[-1], abs=2
    )


def test_every_number_names_its_source():
    table = published()
    assert set(table["source"]) == {"C-fig", "C-2nd", "Dopamine baselines", "Young and Tian"}
    assert table["value"].notna().all() and len(table) > 3000


def test_entries_find_what_was_published():
    """Names of panels and series in entries and tables agree: each published series of an entry's
    figure is drawn.
    """
    entries = {entry.name: entry for suite in SUITES.values() for entry in suite.values()}
    for figure, group in published().groupby("figure"):
        if figure not in entries:
            continue
        drawn = {
            (panel.name, series.name) for panel in entries[figure].panels for series in panel.series
        }
        assert set(zip(group["panel"], group["series"])) <= drawn, figure
