"""Reading trees of runs."""

import numpy as np
import pytest

from dormant import results
from dormant.analysis.load import load
from dormant.types import DormantError

ROWS = [
    (0, 0, 50, 40, "dormant_fraction/tau=0.1/all", 0.25),
    (0, 0, 100, 90, "eval/average_return", 10.5),
    (1, 0, 50, 40, "dormant_fraction/tau=0.1/all", 0.125),
    (1, 0, 100, 90, "eval/average_return", float("nan")),
]


def append(folder, text):
    with open(folder / "metrics.csv", "a") as file:
        file.write(text)


def test_columns_and_facts(write_run, two_members, tmp_path):
    write_run("a", two_members, ROWS)
    write_run(
        "deep/b",
        two_members[:1],
        ROWS[:1],
        game="Asterix",
        replay_ratio=0.25,
        network="resnet",
        title="C51",
    )
    table = load(str(tmp_path))
    assert len(table.rows) == 5 and len(table.members) == 3 and table.problems == ()
    row = table.rows.iloc[2]
    assert (row["member"], row["label"], row["game"], row["run"]) == (
        1,
        "DQN+ReDo",
        "DemonAttack",
        "runs/a",
    )
    assert (row["agent_steps"], row["frames"], row["gradient_steps"], row["value"]) == (
        50,
        200,
        40,
        0.125,
    )
    other = table.rows[table.rows["game"] == "Asterix"].iloc[0]
    assert (other["replay_ratio"], other["label"], other["run"]) == (0.25, "DQN", "runs/deep/b")
    facts = table.members.set_index(["run", "member"])
    assert facts.loc[("runs/a", 1), "tau"] == 0.1 and np.isnan(facts.loc[("runs/a", 0), "tau"])
    assert (
        facts.loc[("runs/deep/b", 0), "network"] == "resnet"
        and facts.loc[("runs/a", 0), "network"] == "nature"
    )
    assert facts.loc[("runs/a", 0), "training_steps"] == 100
    assert (
        facts.loc[("runs/a", 0), "title"] == "DQN"
        and facts.loc[("runs/deep/b", 0), "title"] == "C51"
    )
    assert np.isnan(table.metric("eval/average_return")["value"].iloc[1])


def test_only_wanted_metrics_are_read(write_run, two_members, tmp_path):
    write_run("a", two_members, ROWS)
    assert (
        load(str(tmp_path), ("eval/",)).rows["metric"].astype(str).tolist()
        == ["eval/average_return"] * 2
    )
    assert load(str(tmp_path), ("nothing",)).rows.empty


def test_a_growing_table_is_read_to_its_last_whole_line(write_run, two_members, tmp_path):
    folder = write_run("a", two_members, ROWS, status="running")
    append(folder, "1,1,200,190,eval/average_ret")
    table = load(str(tmp_path))
    assert len(table.rows) == 4
    assert table.problems == (
        "runs/a: not finished (status 'running'); what it has so far is used",
    )


@pytest.mark.parametrize(
    "damage, reason",
    [
        (
            lambda folder: (folder / "run.json").write_text('{"schema": 1, '),
            "no run that can be read",
        ),
        (lambda folder: (folder / "run.json").write_text('{"schema": 7}'), "schema 7"),
        (lambda folder: (folder / "run.json").write_text('{"schema": 1}'), "lists no members"),
        (lambda folder: (folder / "metrics.csv").unlink(), "cannot be read"),
        (lambda folder: (folder / "metrics.csv").write_text("a,b\n1,2\n"), "does not begin with"),
        (lambda folder: append(folder, "x,1,1,1,eval/a,1\n"), "damaged"),
        (lambda folder: append(folder, "1,1,1,1,,1\n"), "a line without a metric"),
        (lambda folder: append(folder, "9,1,1,1,eval/a,1\n"), "member 9"),
    ],
)
def test_a_damaged_run_is_one_line_and_its_peers_are_read(
    write_run, two_members, tmp_path, damage, reason
):
    write_run("good", two_members, ROWS)
    damage(write_run("bad", two_members, ROWS))
    table = load(str(tmp_path))
    assert set(table.members["run"]) == {"runs/good"} and len(table.rows) == 4
    (problem,) = table.problems
    assert problem.startswith("runs/bad: left out") and reason in problem and "\n" not in problem


@pytest.mark.parametrize(
    "keys, member, reason",
    [
        ({"protocol": None}, {}, "protocol or its settings are no dictionary"),
        ({"settings": [1]}, {}, "protocol or its settings are no dictionary"),
        ({"protocol": {"iterations": "2"}}, {}, "iterations of member 0 is '2'"),
        ({"frames_per_agent_step": "4"}, {}, "frames_per_agent_step of member 0 is '4'"),
        ({"replay_ratio": {"a": 1}}, {}, "replay_ratio of member 0 is {'a': 1}"),
        ({}, {"member": 0.0}, "member of member 0.0 is 0.0; int is wanted"),
        ({}, {"seed": None}, "seed of member 0 is None; int is wanted"),
        ({}, {"label": 3}, "label of member 0 is 3; str is wanted"),
        ({}, {"method": {"a": 1}}, "method of member 0 is {'a': 1}"),
    ],
)
def test_a_run_whose_facts_are_of_another_kind_is_one_line(
    write_run, two_members, tmp_path, keys, member, reason
):
    write_run("good", two_members, ROWS)
    write_run("bad", [{**two_members[0], **member}, two_members[1]], ROWS, **keys)
    table = load(str(tmp_path))
    assert set(table.members["run"]) == {"runs/good"} and len(table.rows) == 4
    (problem,) = table.problems
    assert problem.startswith("runs/bad: left out: run.json") and reason in problem


def test_no_run_at_all(tmp_path):
    with pytest.raises(DormantError, match="holds no run"):
        load(str(tmp_path))
    with pytest.raises(DormantError, match="holds no run"):
        load(str(tmp_path / "missing"))


def test_rows_have_the_settings_by_which_runs_differ(write_run, two_members, tmp_path):
    write_run("a", two_members, ROWS)
    rows = results.load(str(tmp_path))
    redo = rows[rows["method"] == "redo"]
    assert redo["tau"].notna().all() and rows.loc[rows["method"] == "none", "tau"].isna().all()
    assert {"width", "learning_rate", "period"} <= set(rows.columns) and "id" not in rows
    with pytest.raises(DormantError, match="no run in .* has a metric that begins with 'evl/'"):
        results.load(str(tmp_path), ["evl/"])
