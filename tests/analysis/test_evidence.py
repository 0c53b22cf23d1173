"""Claims checked on runs whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from dormant.analysis.claims import markdown
from dormant.analysis.evidence import gather, metrics_of
from dormant.analysis.load import load
from dormant.analysis.stats import MIN_SEEDS, iqm
from dormant.analysis.suites import gather_all
from dormant.analysis.verdicts import GAP, NO_GAME, _estimate, published_part, shortest
from dormant.paper import ENTRIES, SUITES, get
from dormant.paper.budgets import BUDGETS
from dormant.paper.games import random_return
from dormant.paper.records import Claim, Entry, Panel, Term
from dormant.paper.shared import RETURN, dqn
from dormant.paper.studies import arms_of

PANELS = [
    Panel("curve", "", "curve", RETURN, [dqn(), dqn("redo")], ["DemonAttack"], "agent_steps"),
    Panel("bars", "", "bars", RETURN, [dqn(), dqn("redo"), dqn("reset")], ["DemonAttack"]),
]

WITH_RESET = [PANELS[0]._replace(series=PANELS[1].series)]


def verdict(tmp_path, kind, *terms, margin=0.0, shortest=200, panels=PANELS):
    claim = Claim(
        "", kind, [Term(*term) if isinstance(term, tuple) else term for term in terms], margin
    )
    entry = Entry("1", "", "?", panels, [claim], "", shortest=shortest)
    return gather(entry, load(str(tmp_path / "runs"))).verdicts[0]


BASE, REDO, RESET = ("bars", "DQN"), ("bars", "DQN + ReDo"), ("bars", "DQN + Reset")


def ends(*values):
    """Two iterations of each seed, the last with these returns."""
    return [[0, value] for value in values]


def test_above_and_below(write_returns, tmp_path):
    write_returns("a", {"none": ends(1, 2, 3, 2, 1), "redo": ends(4, 7, 7, 6, 6)})
    found = verdict(tmp_path, "above", REDO, BASE)
    assert found.value == pytest.approx(4.2) and found.verdict == "supported"
    assert 3 < found.low < 4.2 < found.high < 5.2 and found.seeds == 5
    assert verdict(tmp_path, "above", REDO, BASE, margin=4.1).verdict == "undecided"
    assert verdict(tmp_path, "above", REDO, BASE, margin=9).verdict == "contradicted"
    assert verdict(tmp_path, "below", REDO, BASE).verdict == "contradicted"
    assert verdict(tmp_path, "below", BASE, REDO).verdict == "supported"


def test_within(write_returns, tmp_path):
    write_returns("a", {"none": ends(1, 2, 3, 4, 5), "redo": ends(1.1, 2, 3, 4, 4.9)})
    assert verdict(tmp_path, "within", REDO, BASE, margin=0.2).verdict == "supported"
    assert verdict(tmp_path, "within", REDO, BASE, margin=0.05).verdict == "undecided"
    write_returns("b", {"reset": ends(11, 12.5, 13, 14, 15)})
    assert verdict(tmp_path, "within", RESET, BASE, margin=1).verdict == "contradicted"


def test_best_and_improvement(write_returns, tmp_path):
    returns = {"none": ends(*[1] * 5), "redo": ends(*[4] * 5), "reset": ends(*[3] * 5)}
    write_returns("a", returns)
    assert verdict(tmp_path, "best", REDO, BASE, RESET).value == 1  # above the better of the two
    assert verdict(tmp_path, "above", REDO, BASE, RESET).value == 2  # above their mean
    found = verdict(tmp_path, "improvement", REDO, BASE, margin=0.5)
    assert found.value == 1 and found.verdict == "supported"


def test_the_best_of_equals_is_not_contradicted():
    """The largest of eight noisy means is too large: by these seeds of nine settings alike, a
    bootstrap of the difference to it lies below 0 as a whole.
    """
    claim, noise = Claim("", "best", ()), np.random.default_rng(0).normal(size=(5, 1, 9))
    value, low, high = _estimate(claim, "iqm", noise)
    assert low < value < 0 < high
    assert value == iqm(noise)[0] - iqm(noise)[1:].max()
    lead = np.eye(9)[0]
    assert _estimate(claim, "iqm", noise + 6 * lead)[1] > 0
    assert _estimate(claim, "iqm", noise - 6 * lead)[2] < 0


def test_an_interval_without_width_decides_nothing(write_returns, tmp_path):
    write_returns("a", {"none": ends(1, 1, 1, 1, 1), "redo": ends(2, 2, 2, 2, 2)})
    found = verdict(tmp_path, "above", REDO, BASE)
    assert (found.verdict, found.low, found.high) == ("undecided", 1, 1)
    assert found.reason == "every seed gave the same: the interval has no width"


def test_lines_are_compared_by_the_seeds_they_share(write_returns, tmp_path):
    """Seeds differ by 100, methods by about 1: as independent samples nothing could be told."""
    write_returns("a", {"none": ends(*range(0, 700, 100))})
    write_returns("b", {"redo": ends(201, 302, 401, 503, 601, 701, 803)}, first_seed=3)
    found = verdict(tmp_path, "above", REDO, BASE)
    assert found.seeds == 5 and found.verdict == "supported"
    assert found.value == pytest.approx(1.6) and 0 < found.low < 1.6 < found.high < 3.2
    found = verdict(tmp_path, "above", BASE)
    assert found.seeds == 7


def test_a_seed_that_one_game_lacks_costs_no_pair_in_another(write_returns, tmp_path):
    """Each line lacks seed 1 in another game; all have seeds 2 to 6."""
    six = ends(1, 2, 3, 2, 1, 2)
    write_returns("a", {"none": six})
    write_returns("b", {"none": six[1:]}, game="Breakout", first_seed=2)
    write_returns("c", {"redo": six[1:]}, first_seed=2)
    write_returns("d", {"redo": six}, game="Breakout")
    panels = [panel._replace(games=["DemonAttack", "Breakout"]) for panel in PANELS]
    assert verdict(tmp_path, "above", REDO, BASE, panels=panels).seeds == 5


def test_a_line_run_on_fewer_games_takes_none_from_other_claims(write_returns, tmp_path):
    """The unit of each game is DQN's mean above a random policy."""
    games = ["MinAtar/Asterix", "MinAtar/Breakout"]
    for size, game in zip((1, 10), games):
        write_returns(
            game,
            {
                name: ends(*(random_return(game) + size * value for value in values))
                for name, values in {"none": (1, 2, 3, 2, 2), "redo": (3, 3, 4, 4, 4)}.items()
            },
            game=game,
        )
    few = ends(*(random_return(games[1]) + 10 * value for value in (7, 7, 8, 8, 8)))
    write_returns("few", {"reset": few}, game=games[1])
    relative = RETURN._replace(normalised="baseline")
    panels = [panel._replace(games=games, y=relative) for panel in PANELS]
    found = verdict(tmp_path, "above", REDO, BASE, panels=panels)
    assert found.games == tuple(games) and found.seeds == 5
    assert [each.value for each in found.by_game] == pytest.approx([0.8, 0.8])
    found = verdict(tmp_path, "above", RESET, REDO, panels=panels)
    assert found.games == ("MinAtar/Breakout",) and found.value == pytest.approx(2)


def test_a_panel_that_cannot_be_drawn_takes_no_claim_away(write_returns, tmp_path):
    """DQN and ReDo have Asterix, Reset has Breakout alone: no game for all of Figure 1's lines."""
    facts = {"network": "minatar", "metric": "train/average_return"}
    pair = {"none": ends(1, 2, 3, 2, 1), "redo": ends(4, 7, 7, 6, 6)}
    write_returns("a", pair, game="MinAtar/Asterix", **facts)
    write_returns("b", {"reset": ends(1, 2, 3, 2, 1)}, game="MinAtar/Breakout", **facts)
    (found,), lines = gather_all(load(str(tmp_path / "runs")), ["1"])
    assert len(lines) == 1 and lines[0].removeprefix("figure 1: ") in found.notes
    assert "no game was run for all of DQN, DQN + ReDo, DQN + Reset" in lines[0]
    first, _, last = found.verdicts
    assert first.games == ("MinAtar/Asterix",) and first.seeds == 5
    assert first.reason == "200 agent steps; it speaks of 500k at least"
    assert last.reason == NO_GAME


def test_growth_is_measured_over_the_second_half(write_returns, tmp_path):
    """A U: 10 points 9 5 1 2 3 4 5 6 7 8. Mean of the last tenth 8, of the middle tenth (the fifth
    point) 3.
    """
    u = [9, 5, 1, 2, 3, 4, 5, 6, 7]
    write_returns("a", {"none": [[*u, 8 + noise] for noise in (-0.2, -0.1, 0, 0.1, 0.2)]})
    found = verdict(tmp_path, "above", Term("curve", "DQN", part="rise"))
    assert found.value == pytest.approx(5) and found.verdict == "supported"


def test_a_point_that_one_seed_lacks_moves_no_part_of_the_curve(write_returns, tmp_path):
    """20 points 0 to 19: their last tenth is at 18.5 and their middle one at 9.5, which of points
    9 to 19 alone would be at 14.
    """
    seeds = [[point + noise for point in range(20)] for noise in (-0.2, -0.1, 0, 0.1, 0.2)]
    rise = Term("curve", "DQN", part="rise")
    write_returns("a", {"none": [[np.nan] * 9 + seeds[0][9:], *seeds[1:]]})
    assert verdict(tmp_path, "above", rise).value == pytest.approx(9)
    without_middle = [*seeds[0][:9], np.nan, np.nan, *seeds[0][11:]]
    write_returns("b", {"redo": [without_middle, *seeds[1:]], "reset": [seeds[0][:18], *seeds[1:]]})
    redo = rise._replace(series="DQN + ReDo")
    assert verdict(tmp_path, "above", redo).reason == GAP
    assert verdict(tmp_path, "above", redo._replace(part="end")).value == pytest.approx(18.5)
    assert verdict(tmp_path, "above", Term("curve", "DQN + Reset"), panels=WITH_RESET).reason == GAP


def test_parts_of_published_lines_are_by_x():
    """Where a line is hidden by others, half of its points may lie in its last tenth."""
    even = pd.DataFrame({"x": range(1, 11), "value": [9, 5, 1, 2, 3, 4, 5, 6, 7, 8]})
    assert published_part(even, "end") == 8 and published_part(even, "rise") == 5
    dense = pd.DataFrame({"x": [9.25, 9.5, 9.75], "value": [6, 4, 2]})
    uneven = pd.concat([even, dense]).sort_values("x")
    assert published_part(uneven, "end") == 5
    assert published_part(even.iloc[[3]], "end") == 2


def test_what_is_not_asked(write_returns, tmp_path):
    write_returns("a", {"none": ends(1, 2, 3, 4), "redo": ends(5, 6, 7, 8)})
    found = verdict(tmp_path, "above", REDO, BASE)
    assert (found.verdict, found.reason) == ("not asked", "seeds in common: 4; wanted: 5")
    assert found.value == 4 and np.isnan(found.low)
    found = verdict(tmp_path, "above", RESET, BASE)
    assert (found.verdict, found.reason) == ("not asked", "no runs of DQN + Reset")
    assert np.isnan(found.value)
    write_returns("b", {"none": ends(1), "redo": ends(5)}, first_seed=5)
    assert verdict(tmp_path, "above", REDO, BASE).verdict == "undecided"  # no width
    found = verdict(tmp_path, "above", REDO, BASE, shortest=1000)
    assert found.verdict == "not asked"
    assert found.reason == "200 agent steps; it speaks of 1k at least"


def test_unfinished_runs_are_not_asked(write_returns, tmp_path):
    write_returns("b", {"none": [[1, 2, 3, 4], [1]]}, first_seed=3, replay_ratio=2.0)
    runs = {"none": [[1, 2, 3, 4], [1]], "redo": [[1], [2]]}
    write_returns("c", runs, first_seed=5, replay_ratio=2.0)
    found = verdict(tmp_path, "above", ("curve", "DQN"))
    assert (found.verdict, found.reason) == ("not asked", "runs are not finished")


def test_the_smoke_budget_never_gives_a_verdict():
    smoke = BUDGETS["smoke"]
    assert max(smoke.seeds.values()) < MIN_SEEDS
    longest = max(max(lengths.values()) * steps for lengths, steps in smoke.steps.values())
    trained = [entry for entry in ENTRIES.values() if not entry.studies]
    assert all(shortest(entry) > longest for entry in trained)
    studied = [entry for suite in SUITES.values() for entry in suite.values() if entry.studies]
    for entry in studied:
        for arm in arms_of([entry], "smoke"):
            assert arm.settings["seeds"] < MIN_SEEDS
            assert shortest(entry) > arm.settings.get("epochs", arm.settings.get("gradient_steps"))


@pytest.mark.parametrize("budget", ["small", "laptop", "paper"])
def test_every_other_budget_asks_its_claims(budget):
    size = BUDGETS[budget]
    assert min(size.seeds.values()) >= MIN_SEEDS
    for entry in SUITES[size.suite].values():
        for need in () if entry.parts else entry.needs:
            lengths, steps = size.steps["heavy" if need.heavy else need.agent]
            assert lengths[need.length] * steps >= shortest(entry), entry.figure


def test_several_games_are_shown_one_by_one(write_returns, tmp_path):
    write_returns("a", {"none": ends(1, 2, 3, 2, 1), "redo": ends(4, 7, 7, 6, 6)})
    write_returns("b", {"none": ends(1, 2, 3, 2, 1), "redo": ends(1, 1, 1, 3, 1)}, game="Breakout")
    panel = PANELS[1]._replace(games=["DemonAttack", "Breakout"], series=PANELS[1].series[:2])
    claim = Claim("", "above", [Term(*REDO), Term(*BASE)])
    entry = Entry("1", "", "?", [panel], [claim], "", shortest=200)
    found = gather(entry, load(str(tmp_path / "runs"))).verdicts[0]
    assert [(each.game, each.value) for each in found.by_game] == [
        ("Breakout", pytest.approx(-0.4)),
        ("DemonAttack", pytest.approx(4.2)),
    ]
    assert found.value == pytest.approx(1.9) and found.games == ("Breakout", "DemonAttack")
    assert found.by_mean is None  # that is what the number is


def test_an_interquartile_mean_has_the_mean_beside_it(write_returns, tmp_path):
    """The pooled mean drops the best and the worst runs: here, all that ReDo improves."""
    write_returns("a", {"none": ends(1, 2, 3, 2, 1), "redo": ends(9, 9, 9, 9, 9)})
    write_returns("b", {"none": ends(1, 2, 3, 2, 1), "redo": ends(1, 1, 1, 3, 1)}, game="Breakout")
    measure = PANELS[1].y._replace(statistic="iqm")
    panel = PANELS[1]._replace(
        games=["DemonAttack", "Breakout"], series=PANELS[1].series[:2], y=measure
    )
    claim = Claim("", "above", [Term(*REDO), Term(*BASE)])
    entry = Entry("1", "", "?", [panel], [claim], "", shortest=200)
    evidence = gather(entry, load(str(tmp_path / "runs")))
    (found,) = evidence.verdicts
    ours, theirs = [1, 1, 1, 1, 3, 9, 9, 9, 9, 9], [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert found.value == pytest.approx(np.mean(ours[2:8]) - np.mean(theirs[2:8]))
    assert found.by_mean.value == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert found.by_mean.low < found.by_mean.value < found.by_mean.high
    assert "| all, by the mean | 3.4 |" in markdown([evidence])


def test_a_share_lies_between_0_and_100_percent(write_returns, tmp_path):
    write_returns("a", {"none": ends(0, 0, 0, 0, 1)})
    low = {}
    for scale in (1, 100):  # a return, a percentage
        panel = PANELS[1]._replace(series=PANELS[1].series[:1], y=PANELS[1].y._replace(scale=scale))
        entry = Entry("1", "", "?", [panel], [], "", shortest=200)
        low[scale] = gather(entry, load(str(tmp_path / "runs"))).estimates["low"].iloc[0]
    assert low[100] == 0 > low[1]  # widened about its value, an interval may leave what can be


def test_published_numbers_are_the_same_difference():
    verdicts = gather(get("10a"), None).verdicts
    assert [v.published for v in verdicts] == pytest.approx(
        [0.09 - 0.41, 0.625 - 0.30, 0.54 - 0.09]
    )
    assert {v.verdict for v in verdicts} == {"not asked"}
    rises = [v.published for v in gather(get("2"), None).verdicts]
    assert all(5 < rise < 20 for rise in rises)  # paper.md: 7.2 at 3M to 26 at 6.2M, and 17.2 to 30
    assert gather(get("16"), None).verdicts[0].published is None


def test_estimates_and_notes(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 152.1], [0, 152.1]]})
    write_returns("b", {"none": [[0, 1.7]]}, game="Breakout")
    evidence = gather(get("10a"), load(str(tmp_path / "runs")))
    ours = evidence.where("iqm", "ours")
    assert ours[["series", "x", "value", "seeds", "games"]].values.tolist() == [["DQN", 1, 0, 1, 2]]
    assert len(evidence.where("iqm", "published")) == 8
    assert evidence.budget == "200 agent steps = 800 frames"
    assert evidence.notes[0].startswith("15 of 17 games not run: Asterix, Seaquest, BeamRider, ")
    assert evidence.notes[1:] == (
        "unequal seeds (1 to 2): each line uses as many as its poorest game has",
        "no interval where a game has fewer than 5 seeds",
    )


def test_diverged_members_are_named(write_run, tmp_path):
    rows = [(0, 1, 200, 200, "eval/average_return", 1.0), (0, 0, 50, 50, "diverged", 50)]
    write_run("a", [{"member": 0, "seed": 1, "method": "none", "label": "DQN"}], rows)
    notes = gather(get("10a"), load(str(tmp_path / "runs"))).notes
    named = "DQN DemonAttack seed 1 at gradient step 50"
    assert f"diverged, counted as far as their values are finite: {named}" in notes


def test_damaged_metrics_are_named_where_they_are_missed(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 1]]})
    damaged = write_returns("b", {"redo": [[0, 1]]})
    (damaged / "metrics.csv").write_text("no table\n")
    table = load(str(tmp_path / "runs"))
    (note,) = [note for note in gather(get("10a"), table).notes if "left out: metrics.csv" in note]
    assert note.startswith("b: left out")
    assert not any("metrics.csv" in note for note in gather(get("18"), table).notes)


def test_a_figure_made_of_others(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 1]]})
    whole = gather(get("10"), load(str(tmp_path / "runs")))
    assert [part.entry.figure for part in whole.parts] == ["10a", "10b", "10c", "10d"]
    assert (
        set(whole.estimates["figure"]) == {"10a", "10b", "10c", "10d"} and len(whole.verdicts) == 12
    )
    assert whole.budget.startswith("10a: 200 agent steps = 800 frames; 10b: not run")


def test_only_what_is_drawn_is_read():
    assert metrics_of([get("10")]) == ("diverged", "eval/average_return", "train/average_return")
    layers = ("dormant_fraction/tau=0/actor", "dormant_fraction/tau=0/critic")
    assert metrics_of([get("18")]) == ("diverged", *layers)
