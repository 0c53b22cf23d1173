"""Which runs stand behind a line, and what is noted about the others."""

import numpy as np
import pytest

from dormant.analysis.cells import rectangles, thinned
from dormant.analysis.load import load
from dormant.analysis.select import candidates, choose_budget, of_one_origin, panel_lines
from dormant.paper.games import random_return
from dormant.paper.records import Measure, Panel
from dormant.paper.shared import HNS, RETURN, dormant, dqn
from dormant.types import DormantError

BASE, REDO = dqn(replay_ratio=1), dqn("redo", replay_ratio=1)
PAIR = Panel("return", "return", "curve", RETURN, [BASE, REDO], ["DemonAttack"], "agent_steps")
BARS = Panel("iqm", "IQM", "bars", HNS, [BASE, REDO], ["Breakout", "DemonAttack"])


@pytest.fixture
def cells(tmp_path):
    """cells(panel) -> ({(series, x, x2): Cell}, [what was said]) of the runs written so far."""

    def gather(panel, paper_steps=200, shortest=0):
        said: list[str] = []
        table = of_one_origin(load(str(tmp_path / "runs")), [panel], said.append)
        budget = choose_budget(candidates(table, panel), paper_steps, shortest, said.append)
        lines = panel_lines(table, panel, budget, said.append)
        return rectangles(lines, panel, said.append), said

    return gather


def test_scores_are_seeds_games_points(write_returns, cells):
    write_returns("a", {"none": [[1, 2], [3, 4]], "redo": [[5, 6]]})
    found, said = cells(PAIR)
    cell = found["DQN", None, None]
    assert cell.values.tolist() == [[[1, 2]], [[3, 4]]] and cell.points.tolist() == [100, 200]
    assert (
        cell.games == ("DemonAttack",) and cell.seeds == ((1, 2),) and cell.complete and said == []
    )
    assert found["DQN + ReDo", None, None].values.tolist() == [[[5, 6]]]


def test_normalised_last_values(write_returns, cells):
    write_returns("a", {"none": [[0, 30.5]]}, game="Breakout")  # a human's score
    write_returns("b", {"none": [[0, 152.1]]}, game="DemonAttack")  # a random policy's
    found, _ = cells(BARS)
    assert found["DQN", None, None].values[:, :, 0] == pytest.approx(np.array([[1, 0]]))
    assert found["DQN", None, None].games == ("Breakout", "DemonAttack")


def test_runs_of_dopamines_never_stand_beside_ours_in_a_panel(write_returns, cells):
    theirs = [[7, 7, 7]] * 5  # longer, more seeds, and returns of training alone
    write_returns("a", {"none": theirs}, metric="train/average_return", origin="dopamine")
    found, said = cells(PAIR)
    assert found["DQN", None, None].values.shape == (5, 1, 3) and len(said) == 1
    write_returns("b", {"none": [[1, 2]], "redo": [[3, 4]]})
    found, said = cells(PAIR)
    assert found["DQN", None, None].values.tolist() == [[[1, 2]]]
    assert said == ["5 runs of Dopamine's left out; draw them by themselves"]


def test_budgets_are_never_mixed(write_returns, cells):
    write_returns("long", {"none": [[1, 2, 3]]})
    write_returns("short", {"none": [[4, 5]], "redo": [[6, 7]]})
    found, said = cells(PAIR)
    assert found["DQN", None, None].values.tolist() == [
        [[4, 5]]
    ]  # the budget that covers both lines
    assert said == ["runs of other budgets left out (300 agent steps)"]
    write_returns("more", {"redo": [[8, 9, 10]]})
    assert cells(PAIR, paper_steps=200)[0]["DQN", None, None].values.tolist() == [
        [[4, 5]]
    ]  # equal: the paper's
    assert cells(PAIR, paper_steps=7)[0]["DQN", None, None].values.tolist() == [
        [[1, 2, 3]]
    ]  # neither: the larger


def test_runs_long_enough_for_the_claims_win_over_more_seeds_but_not_over_more_lines(
    write_returns, cells
):
    write_returns("short", {"none": [[4, 5], [6, 7]], "redo": [[6, 7], [8, 9]]})
    write_returns("long", {"none": [[1, 2, 3]]})
    assert len(cells(PAIR, shortest=300)[0]["DQN", None, None].values) == 2
    write_returns("more", {"redo": [[8, 9, 10]]})
    found, said = cells(PAIR, shortest=300)
    assert found["DQN", None, None].values.tolist() == [[[1, 2, 3]]]
    assert said == ["runs of other budgets left out (200 agent steps)"]
    for shortest in (200, 301):  # both, or neither
        assert len(cells(PAIR, shortest=shortest)[0]["DQN", None, None].values) == 2


def test_the_budget_with_most_lines_wins_over_more_seeds(write_returns, cells):
    write_returns("long", {"none": [[1, 2, 3], [1, 2, 3], [1, 2, 3]]})
    write_returns("short", {"none": [[4, 5]], "redo": [[6, 7]]})
    assert {name for name, *_ in cells(PAIR)[0]} == {"DQN", "DQN + ReDo"}


def test_of_settings_unlike_the_papers_the_one_that_other_lines_have(write_returns, cells):
    random = dqn("redo", "random", replay_ratio=1, outgoing="random")
    panel = PAIR._replace(series=[REDO, random])
    for period in (2, 20):
        write_returns(f"zero_{period}", {"redo": [[period, period]]}, facts={"period": period})
    write_returns("random", {"redo": [[5, 5]]}, facts={"period": 20, "outgoing": "random"})
    found, _ = cells(panel)
    assert found["DQN + ReDo", None, None].values.tolist() == [[[20, 20]]]


def test_settings_are_never_mixed(write_returns, cells):
    write_returns("a", {"redo": [[1, 1]]}, facts={"tau": 0.01})
    found, said = cells(PAIR)
    assert said == ["DQN + ReDo: tau 0.01 (paper: 0.1)"]  # drawn, since nothing else was run
    write_returns("b", {"redo": [[2, 2]]})
    found, said = cells(PAIR)
    assert found["DQN + ReDo", None, None].values.tolist() == [[[2, 2]]]
    assert said == ["DQN + ReDo: drawn at tau 0.1; members of other settings left out"]


def test_settings_that_are_no_facts_are_never_mixed(write_returns, cells):
    """Runs before they were recorded have none, and are like all others."""
    gamma = lambda value: {"settings": {"DQN.gamma": value, "DQN.clip_rewards": True}}
    write_returns("a", {"none": [[1, 1], [1, 1]]}, **gamma(0.99))
    write_returns("b", {"redo": [[2, 2]]})
    assert cells(PAIR)[1] == []
    write_returns("c", {"none": [[9, 9]]}, first_seed=3, **gamma(0.9))
    found, said = cells(PAIR)
    assert found["DQN", None, None].values.tolist() == [[[1, 1]], [[1, 1]]]
    assert said == ["DQN: drawn at DQN.gamma 0.99; members of other settings left out"]
    write_returns("d", {"redo": [[2, 2]]}, first_seed=2, **gamma(0.9))
    assert "lines differ in DQN.gamma: 0.9, 0.99" in cells(PAIR)[1]


def test_versions_of_a_game_are_never_mixed(write_returns, cells):
    walker = PAIR._replace(games=["Walker2d"])
    write_returns("a", {"none": [[1, 1]]}, game="Walker2d-v4")
    write_returns("b", {"none": [[2, 2], [3, 3]]}, game="Walker2d-v5")
    found, said = cells(walker)
    assert found["DQN", None, None].values[:, 0, 0].tolist() == [2, 3]
    assert said == ["DQN: drawn at one game version; members of other settings left out"]


def test_the_same_run_twice_counts_once(write_returns, cells):
    write_returns("a", {"none": [[1, 1]]})
    write_returns("b", {"none": [[1, 1]]})
    found, said = cells(PAIR)
    assert found["DQN", None, None].seeds == ((1,),)
    assert said == ["DQN: 1 repeated runs of the same game and seed left out"]


def test_a_run_made_for_other_measurements_does_not_take_the_usual_ones_place(write_returns, cells):
    """Whatever their folders are called: the same agent, run again, ends elsewhere."""
    write_returns("a", {"none": [[2, 2]]}, facts={"metrics": "overlap"})
    write_returns("b", {"none": [[1, 1]]})
    assert cells(PAIR)[0]["DQN", None, None].values.tolist() == [[[1, 1]]]


def test_missing_games_and_unequal_seeds(write_returns, cells):
    panel = BARS._replace(games=["Breakout", "DemonAttack", "Pong", "Qbert"])
    write_returns("a", {"none": [[0, 1], [0, 2], [0, 3]], "redo": [[0, 4]]}, game="Breakout")
    write_returns("b", {"none": [[0, 1], [0, 2]], "redo": [[0, 4]]}, game="DemonAttack")
    write_returns("c", {"none": [[0, 1]]}, game="Pong")
    found, said = cells(panel)
    cell = found["DQN", None, None]
    assert (
        cell.games == ("Breakout", "DemonAttack")
        and cell.seeds == ((1, 2, 3), (1, 2))
        and cell.values.shape == (2, 2, 1)
    )
    assert said == ["games that some lines lack left out: Pong", "1 of 4 games not run: Qbert"]


def test_lines_that_differ_in_more_than_their_method_are_named(write_returns, cells):
    write_returns("a", {"none": [[0, 1]]}, max_episode_steps=27_000, batch_size=32)
    write_returns("b", {"redo": [[0, 1]]}, max_episode_steps=999)  # its batches are not known
    series = [line._replace(prefer={}) for line in PAIR.series]
    assert cells(PAIR._replace(series=series))[1] == [
        "lines differ in max episode steps: 999, 27000"
    ]
    asked = [series[0], series[1]._replace(where={**series[1].where, "max_episode_steps": 999})]
    assert cells(PAIR._replace(series=asked))[1] == []


def test_no_game_in_common_is_refused(write_returns, cells):
    write_returns("a", {"none": [[0, 1]]}, game="Breakout")
    write_returns("b", {"redo": [[0, 1]]}, game="DemonAttack")
    with pytest.raises(DormantError, match="no game was run for all of DQN, DQN . ReDo"):
        cells(BARS)


def test_training_returns_only_where_a_run_has_no_others(write_returns, cells):
    write_returns("a", {"none": [[1, 2]]})
    write_returns("b", {"redo": [[3, 4]]}, metric="train/average_return")
    found, said = cells(PAIR)
    assert list(found) == [("DQN + ReDo", None, None)]
    assert said[0].startswith("returns are those of training episodes")
    assert said[1] == "DQN: 1 members have no train/average_return yet"


def test_unfinished_runs(write_returns, cells):
    write_returns("a", {"none": [[1, 2, 3, 4], [5, 6]], "redo": [[7], [8]]})
    found, said = cells(PAIR)
    assert found["DQN", None, None].values.tolist() == [[[1, 2]], [[5, 6]]]
    assert not found["DQN", None, None].complete
    assert "DQN: drawn as far as all its runs have come" in said
    found, said = cells(PAIR._replace(kind="bars"))
    assert found["DQN", None, None].values.tolist() == [[[4]]]
    assert ("DQN + ReDo", None, None) not in found
    assert "DQN: 1 of 2 members without values at the end left out" in said


def test_a_run_near_its_end_has_not_finished(write_returns, cells):
    """Its last points are earlier than those of the line it is compared with."""
    lines = {"none": [[1, 2, 3, 4, 5], [5, 6, 7, 8]]}
    write_returns("a", lines, status="running")
    write_returns("b", {"redo": [[1, 2, 3, 4, 5]]})
    found, _ = cells(PAIR)
    assert found["DQN", None, None].points.tolist() == [100, 200, 300, 400]
    assert not found["DQN", None, None].complete and found["DQN + ReDo", None, None].complete


def test_against_a_fact(write_returns, cells):
    panel = Panel("r", "r", "final", RETURN, [dqn()], ["DemonAttack"], "replay_ratio", (0.25, 1, 2))
    for ratio in (0.25, 1.0, 3.0):
        write_returns(f"ratio {ratio}", {"none": [[0, ratio]]}, replay_ratio=ratio)
    found, _ = cells(panel)
    assert {key: cell.values.item() for key, cell in found.items()} == {
        ("DQN", 0.25, None): 0.25,
        ("DQN", 1, None): 1,
    }


def test_over_two_facts(write_returns, cells):
    series = [dqn("redo", tau=(0, 0.1), period=(10, 20))]
    panel = Panel(
        "r", "r", "heat", RETURN, series, ["DemonAttack"], "tau", (0, 0.1), "period", (10, 20)
    )
    for tau, period in ((0.0, 10), (0.1, 20)):
        write_returns(
            f"{tau} {period}", {"redo": [[0, tau + period]]}, facts={"tau": tau, "period": period}
        )
    found, _ = cells(panel)
    assert {key: cell.values.item() for key, cell in found.items()} == {
        ("DQN + ReDo", 0, 10): 10,
        ("DQN + ReDo", 0.1, 20): 20.1,
    }


def test_a_networks_layers_are_averaged_in_percent(write_run, cells):
    member = [{"member": 0, "seed": 1, "method": "none"}]
    layers = {"actor/Dense_0": 0.1, "actor/Dense_1": 0.3, "critic/Dense_0": 0.9}
    rows = [
        (0, 1, 200, 200, f"dormant_fraction/tau=0/{layer}", value)
        for layer, value in layers.items()
    ]
    write_run("a", member, rows)
    found, _ = cells(PAIR._replace(y=dormant(0, "actor*")))
    assert found["DQN", None, None].values.item() == pytest.approx(20)


def test_long_curves_are_drawn_as_a_hundred_means(write_run, cells):
    rows = [(0, 1, step, step, "dormant_fraction/tau=0/all", step / 1000) for step in range(1, 201)]
    write_run("a", [{"member": 0, "seed": 1, "method": "none"}], rows)
    whole = cells(PAIR._replace(y=dormant(0)))[0]["DQN", None, None]
    cell = thinned(whole)
    assert len(whole.points) == 200  # claims are of them
    assert cell.points[:2].tolist() == [1.5, 3.5] and cell.values[0, 0, :2] == pytest.approx(
        [0.15, 0.35]
    )
    assert len(cell.points) == 100


def test_a_member_that_ends_in_no_number_is_left_out_by_name(write_run, cells):
    members = [{"member": i, "seed": i, "method": "none"} for i in range(3)]
    values = [[0.1, 0.2], [0.3, float("nan")], [float("nan"), 0.6]]
    rows = [
        (i, n, 100 * (n + 1), 100 * (n + 1), "dormant_fraction/tau=0/all", value)
        for i, pair in enumerate(values)
        for n, value in enumerate(pair)
    ]
    write_run("a", members, rows)
    found, said = cells(PAIR._replace(y=dormant(0)))
    assert found["DQN", None, None].seeds == ((0, 2),)
    assert found["DQN", None, None].values[:, 0] == pytest.approx(np.array([[20], [60]]))
    assert "DQN: left out, the last value is not finite: DemonAttack seed 1" in said
    assert "DQN: points where one of 1 members has no finite value left out" in said
    found, said = cells(PAIR._replace(y=dormant(0), kind="bars"))
    assert found["DQN", None, None].values[:, 0] == pytest.approx(np.array([[20], [60]]))
    assert "DQN: left out, the last value is not finite: DemonAttack seed 1" in said


RELATIVE = Measure("return", "relative", normalised="baseline")


def test_minatar_returns_are_relative_to_the_first_line(write_returns, cells):
    games = ["MinAtar/Breakout", "MinAtar/Asterix"]
    panel = BARS._replace(y=RELATIVE, games=games)
    low = [random_return(game) for game in games]
    for game, random, unit in zip(games, low, (10, 1)):
        returns = {"none": [[0, random + unit / 2], [0, random + 3 * unit / 2]]}
        returns["redo"] = [[0, random + 2 * unit], [0, random]]
        write_returns(game.replace("/", ""), returns, game=game)
    found, said = cells(panel)
    assert found["DQN", None, None].values[:, :, 0] == pytest.approx(
        np.array([[0.5] * 2, [1.5] * 2])
    )
    assert found["DQN + ReDo", None, None].values[:, :, 0] == pytest.approx(
        np.array([[2, 2], [0, 0]])
    )
    assert said == []


def test_a_game_that_the_first_line_does_not_learn_is_left_out(write_returns, cells):
    games = ["MinAtar/Breakout", "MinAtar/SpaceInvaders"]
    for game in games:
        write_returns(game.replace("/", ""), {"none": [[0, 3]], "redo": [[0, 5]]}, game=game)
    found, said = cells(BARS._replace(y=RELATIVE, games=games))
    assert found["DQN + ReDo", None, None].games == ("MinAtar/Breakout",)
    assert said == ["IQM: left out, DQN is no better than random: MinAtar/SpaceInvaders"]


def test_a_game_that_the_first_line_hardly_learns_is_named(write_returns, cells):
    """The unit is 0.1, of seeds that differ by 2: 1 point more is 10 units."""
    random, games = random_return("MinAtar/Asterix"), ["MinAtar/Asterix"]
    returns = {"none": [[0, random - 0.9], [0, random + 1.1]], "redo": [[0, random + 1.1]] * 2}
    write_returns("a", returns, game=games[0])
    found, said = cells(BARS._replace(y=RELATIVE, games=games))
    assert found["DQN + ReDo", None, None].values[0, 0, 0] == pytest.approx(11)
    assert said == ["IQM: DQN is hardly better than random: MinAtar/Asterix"]
