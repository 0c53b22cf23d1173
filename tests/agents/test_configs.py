"""What each shipped gin file may change in the run that it follows."""

import dataclasses
import functools
import itertools
import pathlib

import pytest

from dormant.experiments.gin_text import parse
from dormant.experiments.records import configured
from dormant.register import AGENTS

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "dormant" / "configs"
RECORDS = ("Run", "Protocol", "AtariProtocol", "ReDo", "Reset", "WeightDecay", "Prune")
AGENT_FILES = ("dqn", "c51", "rainbow", "full_rainbow", "der", "drq_eps", "sac")
RATIO_FILES = sorted(path.stem for path in CONFIGS.glob("*replay_ratio_*.gin"))
METHODS = {
    "redo": {"ReDo"},
    "redo_default_setting": {"ReDo"},
    "sac_redo": {"ReDo"},
    "reset": {"Reset"},
    "sac_reset": {"Reset"},
    "weight_decay": {"WeightDecay"},
    "prune": {"Prune"},
    "sac_prune": {"Prune"},
}


@functools.cache
def settings(*names):
    """{"Record.field": value} of a run with these files."""
    parse([str(CONFIGS / f"{name}.gin") for name in names], [])
    agent = AGENTS[configured("Run").agent].record
    return {
        f"{record}.{name}": value
        for record in (agent, *RECORDS)
        for name, value in dataclasses.asdict(configured(record)).items()
    }


def changes(agent_file, *others):
    """{setting: new value} of what the other files change in the agent's run."""
    before, after = settings(agent_file), settings(agent_file, *others)
    return {name: value for name, value in after.items() if value != before[name]}


def agent_steps(found):
    return found["Protocol.iterations"] * found["Protocol.training_steps"]


# DrQ(eps) takes whole gradient steps an agent step.
PAIRS = set(itertools.product(AGENT_FILES, RATIO_FILES)) - {
    ("drq_eps", "replay_ratio_0.5"),
    ("drq_eps", "minatar_replay_ratio_0.5"),
}


@pytest.mark.parametrize("agent_file, ratio_file", sorted(PAIRS))
def test_a_replay_ratio_changes_nothing_else_but_the_length_of_long_runs(agent_file, ratio_file):
    changed, after = changes(agent_file, ratio_file), settings(agent_file, ratio_file)
    agent = {"dqn": "DQN", "sac": "SAC"}.get(agent_file, "Rainbow")
    allowed = {f"{agent}.replay_ratio"}
    assert after[f"{agent}.replay_ratio"] == float(ratio_file.split("_")[-1])
    if agent_file == "drq_eps":
        allowed |= {"Rainbow.target_update_period"}
    if settings(agent_file)["Protocol.training_steps"] == 250_000 and ratio_file[0] == "r":
        allowed |= {"Protocol.iterations"}
        assert agent_steps(after) == 2_500_000  # 10M frames, Figures 1 and 10
    else:
        assert agent_steps(after) == agent_steps(settings(agent_file))
    assert set(changed) <= allowed


@pytest.mark.parametrize("replay_ratio", [1, 2, 4, 8])
def test_drq_eps_synchronises_once_an_agent_step(replay_ratio):
    files = [f"drq_eps_replay_ratio_{replay_ratio}"] if replay_ratio > 1 else []
    found = settings("drq_eps", *files)
    assert found["Rainbow.target_update_period"] == replay_ratio * found["Rainbow.update_period"]


@pytest.mark.parametrize("agent_file", ["der", "drq_eps"])
def test_atari_100k_games_begin_with_random_no_ops_in_training_too(agent_file):
    assert settings(agent_file)["AtariProtocol.noop_max"] == 30


@pytest.mark.parametrize("agent_file, method_file", itertools.product(AGENT_FILES, METHODS))
def test_a_method_changes_nothing_of_the_agent(agent_file, method_file):
    changed = changes(agent_file, method_file)
    assert changed["Run.methods"]
    assert {name.split(".")[0] for name in changed} <= METHODS[method_file] | {"Run"}
    assert {name for name in changed if name.startswith("Run.")} == {"Run.methods"}


def test_the_resnet_is_dqn_with_another_network():
    assert changes("dqn", "resnet") == {"DQN.network": "resnet"}
