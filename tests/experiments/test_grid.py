"""Grids: what is packed into a population, what becomes a run of its own, how runs are called, what
is refused.
"""

import ast

import pytest

from dormant.experiments.grid import Sweep, expand, read_axis, read_grid
from dormant.types import DormantError
from tests.training.run_probe import BINDINGS, FILES

PROBE = Sweep(FILES, BINDINGS, games=["probe/see"])


def members(job):
    return ast.literal_eval(job.bindings[-1].removeprefix("Run.members="))


def test_tau_is_packed_and_the_baseline_is_there_once():
    grid = {"ReDo.tau": [0, 0.1], "replay_ratio": [0.5, 1]}
    jobs = expand(
        PROBE._replace(
            grid=grid, games=["probe/see", "probe/two_step"], methods=["none", "redo"], seeds=2
        )
    )
    assert [job.name for job in jobs] == [
        "probe_see/replay_ratio=0.5",
        "probe_see/replay_ratio=1",
        "probe_two_step/replay_ratio=0.5",
        "probe_two_step/replay_ratio=1",
    ]
    for job in jobs:
        assert members(job) == [
            {"method": "none", "seed": 0},
            {"method": "none", "seed": 1},
            {"method": "redo", "seed": 0, "tau": 0},
            {"method": "redo", "seed": 1, "tau": 0},
            {"method": "redo", "seed": 0, "tau": 0.1},
            {"method": "redo", "seed": 1, "tau": 0.1},
        ]
    assert "replay_ratio=1" in jobs[1].bindings and "Run.game='probe/two_step'" in jobs[2].bindings


def test_every_setting_of_a_member_is_packed():
    grid = {"learning_rate": [1e-3, 1e-4], "WeightDecay.coefficient": [1e-5, 1e-4], "seeds": [7, 9]}
    (job,) = expand(PROBE._replace(grid={**grid, "methods": ["none", "weight_decay"]}))
    found = members(job)
    assert job.name == "probe_see/run" and len(found) == 2 * 2 + 2 * 2 * 2
    assert {member["seed"] for member in found} == {7, 9}
    assert {member["learning_rate"] for member in found} == {1e-3, 1e-4}
    assert all(
        ("weight_decay" in member) == (member["method"] == "weight_decay") for member in found
    )


def test_a_cap_on_members():
    jobs = expand(PROBE._replace(seeds=5, methods=["redo"], members_per_run=2, title="dqn"))
    assert [job.name for job in jobs] == [
        f"probe_see/dqn,members={part}" for part in ("0-1", "2-3", "4-4")
    ]
    assert [len(members(job)) for job in jobs] == [2, 2, 1]


def test_methods_and_game_of_the_gin_files_hold_where_the_sweep_says_nothing():
    (job,) = expand(Sweep(FILES, BINDINGS))
    assert job.name.startswith("probe_see/")
    assert members(job) == [{"method": "none", "seed": 0}, {"method": "redo", "seed": 0}]


def test_names_of_axes():
    (job,) = expand(PROBE._replace(grid={"ReDo.networks": [("online",)], "width": [0.5]}))
    assert job.name == "probe_see/ReDo.networks=online,DQN.width=0.5"
    assert "DQN.width=0.5" in job.bindings and "ReDo.networks=('online',)" in job.bindings


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"grid": {"replay_ration": [1]}},
            "unknown setting 'replay_ration'; did you mean 'replay_ratio'",
        ),
        ({"grid": {"ReDo.tua": [1]}}, "did you mean 'ReDo.tau'"),
        ({"grid": {"period": [1]}}, "ReDo.period or Reset.period"),
        ({"grid": {"ReDo.tau": []}}, "no value of ReDo.tau"),
        ({"grid": {"replay_ratio": [1, 1]}}, "two runs of the sweep are the same"),
        ({"methods": ["reddo"]}, "did you mean 'redo'"),
        ({"seeds": 0}, "no member"),
        ({"files": ["dqm.gin"]}, "no gin file .* did you mean 'dqn.gin'"),
        ({"games": [], "bindings": []}, "no game"),
        ({"grid": {"ReDo.tau": ["high"]}}, "ReDo.tau is 'high'; it should be a finite number"),
        ({"grid": {"learning_rate": [0]}}, "DQN.learning_rate is 0; it should be .* above 0"),
        ({"grid": {"width": [1, "2"]}}, "DQN.width is '2'"),
        ({"grid": {"seeds": [1, -1]}}, "seeds is .*-1"),
        ({"grid": {"seeds": ["one"]}}, "seeds is"),
        ({"grid": {"width": [1], "DQN.width": [2]}}, "has the axis DQN.width twice"),
        ({"grid": {"SAC.width": [1]}}, "unknown setting 'SAC.width'"),
        ({"grid": {"ReDo.tau": [0, 0.1]}, "methods": ["none"]}, "axis ReDo.tau means nothing"),
        ({"grid": {"Reset.period": [10]}}, "axis Reset.period means nothing to the .*none, redo"),
        ({"bindings": [*BINDINGS, "Run.members=[{'seed': 1}]"]}, "leave out Run.members"),
        ({"bindings": [*BINDINGS, "Run.methods='redo'"]}, "Run.methods is 'redo'"),
        ({"bindings": [*BINDINGS, "replay_ration=2"]}, "nothing reads 'replay_ration'"),
        ({"grid": {"game": ["probe/see"]}}, "Run.game is no axis .* name its games by --games"),
        ({"grid": {"Run.seeds": [1, 2]}}, "Run.seeds is no axis"),
        ({"grid": {"Run.methods": [("none",), ("redo",)]}}, "Run.methods is no axis"),
        ({"grid": {"Run.members": [None]}}, "Run.members is no axis"),
        (
            {"bindings": [*BINDINGS, "many=2\nRun.seeds=%many"], "grid": {"many": [1, 2]}},
            "many is no axis of a sweep: name its seeds by --seeds",
        ),
        ({"grid": {"methods": ["redo"]}, "methods": ["none"]}, "the methods are given twice"),
        ({"grid": {"games": []}, "games": []}, "the grid has no value of games"),
        ({"grid": {"games": [1]}, "games": []}, "games is .*1"),
        ({"seeds": 20230213}, r"seeds is 20230213; it should be how many \(at most 10000\), or a"),
    ],
)
def test_refused(change, message):
    with pytest.raises(DormantError, match=message):
        expand(PROBE._replace(**change))


def test_seeds_of_the_gin_files_hold_where_the_sweep_says_nothing():
    (job,) = expand(Sweep(FILES, [*BINDINGS, "Run.seeds=[3, 5]"], methods=["none"]))
    assert [member["seed"] for member in members(job)] == [3, 5]


def test_macros_stand_for_what_a_sweep_makes_itself():
    macros = """
        where = "probe/see"
        which = ("redo",)
        Run.game = %where
        Run.methods = %which
        Run.seeds = [%first, 5]
        first = 3"""
    (job,) = expand(Sweep(FILES, [*BINDINGS, macros]))
    assert job.name == "probe_see/run" and "Run.game='probe/see'" in job.bindings
    assert [(each["method"], each["seed"]) for each in members(job)] == [("redo", 3), ("redo", 5)]


def test_axes_on_the_command_line():
    with pytest.raises(DormantError, match="has the axis ReDo.tau twice"):
        read_grid(["ReDo.tau=[0]", "ReDo.tau=[0.1]"])
    assert read_axis("ReDo.tau=[0,0.01]") == ("ReDo.tau", (0, 0.01))
    assert read_axis("DQN.network=['nature', 'resnet']") == ("DQN.network", ("nature", "resnet"))
    wrongs = ("ReDo.tau", "ReDo.tau=0.1", "=[1]", "ReDo.tau=[0,", "ReDo.tau={[0,0.1]}")
    for wrong in (*wrongs, "DQN.network=[nature]"):
        with pytest.raises(DormantError, match="is not of the form"):
            read_axis(wrong)
