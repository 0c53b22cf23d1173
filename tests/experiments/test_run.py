"""What a user can get wrong, and what a run leaves behind."""

import csv
import pathlib

import pytest

from dormant import results
from dormant.experiments.run import plan
from dormant.train import main
from dormant.types import DormantError
from tests.training.run_probe import BINDINGS, FILES, train

CONFIGS = sorted((pathlib.Path(__file__).parent.parent.parent / "configs").glob("*.gin"))

WRONG = {
    "Run.game='DemonAtack'": "did you mean 'DemonAttack'",
    "Run.agent='dqm'": "did you mean 'dqn'",
    "Run.methods=('reddo',)": "did you mean 'redo'",
    "Run.seeds=0": "at least one member",
    "Run.members=[{'sead': 1}]": "did you mean 'seed'",
    "ReDoo.tau=0.1": "did you mean 'ReDo'",
    "ReDo.tua=0.1": "did you mean 'tau'",
    "ReDo.tau=-0.1": "ReDo.tau is -0.1",
    "ReDo.tau='high'": "ReDo.tau is 'high'",
    "ReDo.period=0": "period",
    "ReDo.networks=('offline',)": "did you mean 'online'",
    "DQN.network='natur'": "unknown network 'natur'",
    "DQN.batch_size=0": "batch_size is 0",
    "DQN.learning_rate=-1": "DQN.learning_rate is -1",
    "replay_ratio=0.3": "positive whole number",
    "Protocol.training_steps=401": "multiple of the agent's update_period",
    "Protocol.iterations=-3": "Protocol.iterations is -3",
    "Protocol.iterations=2.5": "whole number",
    "Run.axis='vamp'": "valid: auto, loop, vmap",
    "this is not gin": "gin",
}


@pytest.mark.parametrize("binding", WRONG)
def test_wrong_input_is_one_line_exit_code_2_and_nothing_written(binding, tmp_path, capsys):
    base_dir = tmp_path / "run"
    arguments = [
        "--base_dir",
        str(base_dir),
        "--gin_files",
        *FILES,
        "--gin_bindings",
        *BINDINGS,
        binding,
    ]
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert WRONG[binding] in message and "\n" not in message and message.startswith("dormant: ")
    assert not base_dir.exists()


def test_a_missing_file_and_a_replay_memory_too_large_for_the_machine():
    with pytest.raises(DormantError, match="no gin file .*dqm.gin.*did you mean .*dqn.gin"):
        plan([FILES[0].replace("dqn.gin", "dqm.gin")], [])
    with pytest.raises(DormantError, match="no game given: add --game"):
        plan(FILES, [])
    huge = ["Run.game='Pong'", "Run.seeds=4000", "Run.methods=('none',)"]
    with pytest.raises(DormantError, match="replay memories need .* GB .*lower replay_capacity"):
        plan(FILES, huge)


def test_what_a_run_leaves_behind(tmp_path):
    train(tmp_path / "run")
    run = results.read_run(str(tmp_path / "run"))
    assert run["status"] == "finished" and run["replay_ratio"] == 0.5
    assert [member["method"] for member in run["members"]] == ["none", "redo"]
    rows = results.read_measurements(str(tmp_path / "run" / results.METRICS_FILE))
    names = {row.metric for row in rows}
    for expected in (
        "learn/loss",
        "learn/mean_q",
        "learn/gradient_norm",
        "feature_rank",
        "train/average_return",
    ):
        assert expected in names
    assert {
        "dormant_fraction/tau=0/all",
        "dormant_fraction/tau=0.025/online/Dense_0",
        "eval/average_return",
    } <= names
    assert {row.member for row in rows if row.metric.startswith("recycled_neurons/")} == {1}
    # 3 iterations of 400 agent steps, 2 gradient steps every 4 from the first call after 100 agent
    # steps on.
    last = max(rows, key=lambda row: row.agent_steps)
    assert last.agent_steps == 1200 and last.gradient_steps == 2 * (1200 - 104) // 4
    lengths = [row.value for row in rows if row.metric == "episode/length" and row.member == 0]
    assert sum(lengths) <= 1200
    with open(tmp_path / "run" / results.TIMING_FILE) as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {
            "time/agent_steps_per_second",
            "time/gradient_steps_per_second",
        }
    assert list((tmp_path / "run" / "tensorboard").rglob("events.*"))


def test_the_stored_configuration_runs_the_same_again(tmp_path):
    planned = train(tmp_path / "first")
    again = plan([str(tmp_path / "first" / results.CONFIG_FILE)], [])
    assert again.config == planned.config
    assert again.facts["members"] == planned.facts["members"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_file_parses_and_builds(path, monkeypatch):
    monkeypatch.chdir(path.parent.parent)
    agent, game = ("sac", "Hopper-v5") if path.name.startswith("sac") else ("dqn", "Pong")
    agent = "drq_eps" if path.name.startswith("drq_eps") else agent
    base = [] if "Run.agent" in path.read_text() else [f"configs/{agent}.gin"]
    small = [
        f"Run.game='{game}'",
        *(f"{agent}.replay_capacity=1000" for agent in ("DQN", "Rainbow", "SAC")),
    ]
    planned = plan([*base, f"configs/{path.name}"], small)
    assert planned.facts["game"] == game and planned.population.members


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--gin_bindings" in capsys.readouterr().out
