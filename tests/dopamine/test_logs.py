"""Dopamine's logs as runs of ours. Needs no Dopamine: the files are written here as it does."""

import collections
import functools
import json
import os
import pickle

import pytest

from dormant.analysis.load import load
from dormant.dopamine import logs
from dormant.types import DormantError

LOG = {
    f"iteration_{i}": {
        "train_average_return": [10.0 + i],
        "train_episode_returns": [9.0 + i, 11.0 + i],
        "train_episode_lengths": [100, 120],
        "train_average_steps_per_second": [77.0],
        "eval_average_return": [20.0 + i],
    }
    for i in range(2)
}


def dopamine_run(folder):
    """A run's folder with the files of Dopamine's logger and of its collector."""
    (folder / "logs").mkdir(parents=True)
    (folder / "metrics" / "pickle").mkdir(parents=True)
    with open(folder / "logs" / "log_0", "wb") as file:
        pickle.dump({"iteration_0": LOG["iteration_0"]}, file)
    with open(folder / "logs" / "log_1", "wb") as file:
        pickle.dump(LOG, file)
    return folder


def run(*arguments):
    return logs.main([str(each) for each in arguments])


def test_a_run_is_read_into_our_table(tmp_path, capsys):
    theirs, out = dopamine_run(tmp_path / "theirs"), tmp_path / "ours"
    assert run(theirs, "--game", "Pong", "--out", out, "--trust", "--method", "redo") == 0
    assert "can execute code" in capsys.readouterr().err
    table = load(str(out))
    assert list(table.members["game"]) == ["Pong"] and list(table.members["method"]) == ["redo"]
    assert list(table.members["iterations"]) == [2]
    evaluated = table.metric("eval/average_return")
    assert list(evaluated["value"]) == [20.0, 21.0]
    assert list(evaluated["frames"]) == [1_000_000, 2_000_000]
    assert list(evaluated["gradient_steps"]) == [57_500, 120_000]
    assert list(table.metric("episode/return")["value"]) == [9.0, 11.0, 10.0, 12.0]
    assert run(theirs, "--game", "Pong", "--out", out, "--trust") == 2  # nothing is overwritten
    assert "is there already" in capsys.readouterr().err


def test_the_collectors_pickle_is_read(tmp_path):
    listed = functools.partial(collections.defaultdict, list)
    data = collections.defaultdict(listed)
    data["iteration_0"]["Eval/AverageReturns"].append(3.0)
    data["iteration_0"]["Train/NumEpisodes"].append(7)
    path = tmp_path / "pickle_0.pkl"
    path.write_bytes(pickle.dumps(data))
    _, rows = logs.read_run(str(path), logs.Facts("Pong"), trusted=True)
    assert {(row.metric, row.value) for row in rows} == {
        ("eval/average_return", 3.0),
        ("train/episodes", 7.0),
    }


def test_the_pickles_of_a_resumed_run_are_read_together(tmp_path):
    """Dopamine's collector begins anew in each process: at number 0, with nothing from before."""
    folder = tmp_path / "metrics" / "pickle"
    folder.mkdir(parents=True)
    clock = 0
    for iterations in ((0, 1, 2, 3), (3, 4)):  # stopped after the pickle, before the checkpoint
        data = {}
        for number, i in enumerate(iterations):
            clock += 1
            data[f"iteration_{i}"] = {"Train/AverageReturns": [float(clock)]}
            path = folder / f"pickle_{number}.pkl"
            path.write_bytes(pickle.dumps(data))
            os.utime(path, (clock, clock))
    _, rows = logs.read_run(str(tmp_path), logs.Facts("Pong"), trusted=True)
    assert [(row.iteration, row.value) for row in rows] == [
        *((i, i + 1.0) for i in range(3)),
        (3, 5.0),
        (4, 6.0),
    ]


def test_a_published_baseline_has_a_member_for_each_seed(tmp_path):
    entries = [
        {"Iteration": i, "Value": 100.0 * seed + i, "Agent": agent}
        for agent in ("DQN", "IQN")
        for seed in range(3)
        for i in range(2)
    ]
    (tmp_path / "demonattack_CNN.json").write_text(json.dumps(entries))
    assert run(tmp_path / "demonattack_CNN.json", "--out", tmp_path / "out") == 0
    table = load(str(tmp_path / "out"))
    assert set(table.members["game"]) == {"DemonAttack"}
    assert list(table.members["agent"]) == ["DQN"] * 3 + ["IQN"] * 3
    assert set(table.members["origin"]) == {"dopamine"}
    rows = table.metric("train/average_return")
    third = rows[(rows["seed"] == 2) & (rows["agent"] == "DQN")]
    assert list(third["value"]) == [200.0, 201.0]


def test_a_pickle_is_not_read_unless_the_user_says_so(tmp_path, capsys):
    theirs = dopamine_run(tmp_path / "theirs")
    trap = tmp_path / "trap"
    (theirs / "logs" / "log_2").write_bytes(
        pickle.dumps(type("Trap", (), {"__reduce__": lambda self: (open, (str(trap), "w"))})())
    )
    assert run(theirs, "--game", "Pong", "--out", tmp_path / "out") == 2
    assert "--trust reads it" in capsys.readouterr().err
    assert not trap.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("log_0", b"no pickle", "is no pickle that can be read"),
        ("log_0", pickle.dumps([1, 2]), "is no log of Dopamine's"),
        ("log_0", pickle.dumps({"iteration_0": {"x": [1]}}), "none of the statistics"),
        ("a.json", b"{", "cannot be read as JSON"),
        ("a.json", b"[]", "is no baseline of Dopamine's"),
        ("a.json", b'[{"Iteration": 0}]', "an entry lacks Agent, Iteration, Value"),
    ],
)
def test_wrong_files_are_one_line(tmp_path, capsys, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert run(tmp_path / name, "--game", "Pong", "--out", tmp_path / "out", "--trust") == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert not (tmp_path / "out").exists()


def test_what_is_missing_is_said(tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ([tmp_path / "nothing", "--out", out], "there is no "),
        ([tmp_path / "empty", "--out", out], "--game is missing"),
        ([tmp_path / "empty", "--out", out, "--game", "Pong"], "holds no logs of Dopamine's"),
        ([tmp_path / "empty", "--out", out, "--agent", "DQM"], "unknown agent 'DQM'"),
    ):
        assert run(*arguments) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(DormantError):
        logs.read_run(str(tmp_path / "empty"), trusted=True)
