"""The population benchmark itself, tiny: complete and consistent rows, an image."""

import json

import jax
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.benchmarks import fit
from dormant.benchmarks import session as sessions
from dormant.benchmarks.command import main
from dormant.benchmarks.measure import measure
from dormant.benchmarks.population import COLUMNS, table
from dormant.benchmarks.scaling import draw_scaling
from dormant.benchmarks.session import Setup, session
from dormant.envs import env_spec
from dormant.replay import make_uniform
from dormant.training.checkpoint import Store


def test_bytes_of_a_member_are_those_of_its_arrays():
    """An MLP of 1 -> 64 -> 64 -> 2: four copies of its parameters (online, target, two moments) and
    Adam's count.
    """
    spec = env_spec("probe/see")
    parameters = (1 + 1) * 64 + (64 + 1) * 64 + (64 + 1) * 2
    agent, rows = make_dqn(DQN(network="mlp"), spec), 500
    counted = fit.count(agent, make_uniform(spec, rows, 32, 1, 0.99))
    assert counted.state == 4 * 4 * parameters + 4
    # observation and next one 4 + 4, action 4, reward 4, ending 1; two places of the queue of
    # starts; three scalars
    assert counted.replay == rows * (4 + 4 + 4 + 4 + 1 + 2 * 4) + 3 * 4
    assert counted.temporary > 4 * parameters  # a gradient at least
    one = fit.Bytes(state=6_000_000, replay=3_000_000, temporary=1_000_000)
    assert one.members(1.0) == 90  # 90% of 1e9 bytes, 1e7 a member


def test_the_image_has_a_panel_an_agent(tmp_path):
    row = {"precision": "float32", "formulation": "auto", "axis": "loop"}
    rates = ("gradient_steps_per_second", "bare_updates_per_second", "roofline_updates_per_second")
    rows = [
        {**row, "case": case, "members": members, **{name: 10.0 * members for name in rates}}
        for case in ("dqn_rr1", "sac_rr1")
        for members in (1, 2)
    ]
    draw_scaling(rows, "cpu", str(tmp_path / "image.png"))
    assert (tmp_path / "image.png").read_bytes()[1:4] == b"PNG"


def test_a_population_that_fails_is_one_line_of_the_table():
    rows = [
        {"case": "dqn_rr1", "members": 1, "gradient_steps_per_second": 12.3, "of_bare": 0.8},
        {"case": "dqn_rr1", "members": 2, "error": "RESOURCE_EXHAUSTED: out of memory"},
    ]
    lines = table(rows).splitlines()
    assert len(lines) == 3 and "80%" in lines[1]
    assert lines[2].endswith("RESOURCE_EXHAUSTED: out of memory")


def test_a_benchmark_of_only_errors_fails_and_says_why(tmp_path, capsys):
    command = ["population", "--agents", "dqn_rr1", "--game", "Pnog", "--out", str(tmp_path)]
    assert main(command) == 1
    captured = capsys.readouterr()
    assert captured.err == "dormant: nothing could be measured\n"
    assert "environment 'Pnog'" in captured.out
    (path,) = tmp_path.iterdir()
    (entry,) = json.loads(path.read_text()).values()
    assert [row["members"] for row in entry["rows"]] == [1]  # none after the failure
    assert "environment 'Pnog'" in entry["rows"][0]["error"]


@pytest.mark.slow
def test_no_window_meets_a_recycling_or_a_log(monkeypatch):
    """They are added to it; the first log would compile in its middle."""
    monkeypatch.setattr(sessions, "RECYCLING_PERIOD", 2)
    compiled = []

    def note(event, duration_secs, **_):
        compiled.append(event)

    setup = Setup(
        "sac_rr1", members=2, capacity=100, axis="vmap", small=True, game="probe/see_continuous"
    )
    with session(setup, "Protocol.log_period=7") as running:
        running.timers.on = True
        running.advance(agent_steps=1)
        jax.monitoring.register_event_duration_secs_listener(note)
        running.advance(agent_steps=8)
        assert not compiled and not {"recycling", "logging"} & set(running.timers.seconds)
        assert running.protocol.log_period == 7
        assert all(seconds > 0 for seconds in running.periodic().values())


@pytest.mark.slow
@pytest.mark.parametrize("saved", [False, True])
def test_only_a_measured_start_has_the_first_checkpoint(saved, monkeypatch):
    written = []
    monkeypatch.setattr(Store, "save", lambda store, tree, facts: written.append(facts))
    setup = Setup(
        "sac_rr1", members=2, capacity=100, axis="vmap", small=True, game="probe/see_continuous"
    )
    with session(setup, saved=saved) as running:
        assert running.advance(agent_steps=3) > 0
    assert len(written) == saved


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["loop", "vmap"])
def test_a_row_is_complete_and_its_shares_add_up(axis):
    row = measure(Setup("dqn_rr1", members=2, capacity=200, seconds=1.0, axis=axis, small=True))
    assert {key for key, _ in COLUMNS.values()} <= set(row) and row["axis"] == axis
    assert 0.99 < sum(share for name, share in row.items() if name.startswith("share_")) < 1.01
    assert 0 < row["gradient_steps_per_second"] < 1.2 * row["bare_updates_per_second"]
    assert row["gradient_steps_per_second"] == pytest.approx(row["agent_steps_per_second"], rel=0.3)
    assert row["compile_seconds"] > 0 and row["resident_gb"] > 0
    assert row["device_gb"] is None or jax.default_backend() != "cpu"
