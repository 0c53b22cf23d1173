"""Claims checked on runs whose answer is known."""

import numpy as np
import pytest

from dormant.analysis.entries import get
from dormant.analysis.entries.shared import RETURN, dqn
from dormant.analysis.evidence import gather, metrics_of
from dormant.analysis.load import load
from dormant.analysis.records import Claim, Entry, Panel, Term

PANELS = [
    Panel("curve", "", "curve", RETURN, [dqn(), dqn("redo")], ["DemonAttack"], "agent_steps"),
    Panel("bars", "", "bars", RETURN, [dqn(), dqn("redo"), dqn("reset")], ["DemonAttack"]),
]


def verdict(tmp_path, kind, *terms, margin=0.0):
    claim = Claim(
        "", kind, [Term(*term) if isinstance(term, tuple) else term for term in terms], margin
    )
    entry = Entry("1", "", "?", PANELS, [claim], "")
    return gather(entry, load(str(tmp_path / "runs"))).verdicts[0]


BASE, REDO, RESET = ("bars", "DQN"), ("bars", "DQN + ReDo"), ("bars", "DQN + Reset")


def test_above_and_below(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 1], [0, 2], [0, 3]], "redo": [[0, 5], [0, 6], [0, 7]]})
    found = verdict(tmp_path, "above", REDO, BASE)
    assert found.value == 4 and found.verdict == "supported" and 0 < found.low < 4 < found.high
    assert (
        verdict(tmp_path, "above", REDO, BASE, margin=3.9).verdict == "not supported"
    )  # the interval reaches below
    assert verdict(tmp_path, "below", REDO, BASE).verdict == "not supported"
    assert verdict(tmp_path, "below", BASE, REDO).verdict == "supported"


def test_within(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 1.0], [0, 1.1]], "redo": [[0, 1.0], [0, 1.1]]})
    assert verdict(tmp_path, "within", REDO, BASE, margin=0.2).verdict == "supported"
    assert verdict(tmp_path, "within", REDO, BASE, margin=0.05).verdict == "not supported"


def test_best_and_improvement(write_returns, tmp_path):
    write_returns(
        "a", {"none": [[0, 1], [0, 1]], "redo": [[0, 4], [0, 4]], "reset": [[0, 3], [0, 3]]}
    )
    assert verdict(tmp_path, "best", REDO, BASE, RESET).value == 1  # above the better of the two
    assert verdict(tmp_path, "above", REDO, BASE, RESET).value == 2  # above their mean
    assert verdict(tmp_path, "improvement", REDO, BASE, margin=0.5).value == 1


def test_growth_is_measured_over_the_second_half(write_returns, tmp_path):
    """A U: 10 points 9 5 1 2 3 4 5 6 7 8. Mean of the last tenth 8, of the middle tenth (the fifth
    point) 3.
    """
    u = [9, 5, 1, 2, 3, 4, 5, 6, 7, 8]
    write_returns("a", {"none": [u, u]})
    rise = Term("curve", "DQN", part="rise")
    assert (
        verdict(tmp_path, "above", rise).value == 5
        and verdict(tmp_path, "above", rise).verdict == "supported"
    )


def test_what_cannot_be_said(write_returns, tmp_path):
    write_returns("a", {"none": [[0, 1]], "redo": [[0, 5], [0, 6]]})
    found = verdict(tmp_path, "above", REDO, BASE)
    assert (found.verdict, found.reason) == ("not supported", "one seed: no interval") and np.isnan(
        found.low
    )
    found = verdict(tmp_path, "above", RESET, BASE)
    assert (found.verdict, found.reason) == ("not run", "no runs of DQN + Reset") and np.isnan(
        found.value
    )
    write_returns("b", {"none": [[1, 2, 3, 4], [1]]}, first_seed=3, replay_ratio=2.0)
    write_returns(
        "c", {"none": [[1, 2, 3, 4], [1]], "redo": [[1], [2]]}, first_seed=5, replay_ratio=2.0
    )
    found = verdict(tmp_path, "above", ("curve", "DQN"))
    assert (found.verdict, found.reason) == ("not run", "runs are not finished")


def test_published_numbers_are_the_same_difference():
    verdicts = gather(get("10a"), None).verdicts
    assert [v.published for v in verdicts] == pytest.approx(
        [0.09 - 0.41, 0.625 - 0.30, 0.54 - 0.09]
    )
    assert {v.verdict for v in verdicts} == {"not run"}
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
    assert evidence.notes[0].startswith("15 of 17 games not run: Asterix, BeamRider, ")
    assert evidence.notes[1:] == (
        "unequal seeds (1 to 2): each line uses as many as its poorest game has",
        "no interval where a game has one seed",
    )


def test_diverged_members_are_named(write_run, tmp_path):
    rows = [(0, 1, 200, 200, "eval/average_return", 1.0), (0, 0, 50, 50, "diverged", 50)]
    write_run("a", [{"member": 0, "seed": 1, "method": "none", "label": "DQN"}], rows)
    notes = gather(get("10a"), load(str(tmp_path / "runs"))).notes
    assert "1 diverged members are counted as they are: DQN DemonAttack" in notes


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
