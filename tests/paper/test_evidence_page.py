"""docs/evidence.md and the runs that the repository keeps (scripts/evidence.py)."""

import importlib.util
import json
import pathlib

import pandas as pd
import pytest

from dormant import results
from dormant.analysis.load import FACTS, Table
from dormant.types import DormantError

ROOT = pathlib.Path(__file__).resolve().parents[2]
KEPT = ROOT / "results" / "minatar" / "runs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("evidence", ROOT / "scripts" / "evidence.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_of_the_page_is_what_the_kept_runs_say(script):
    """No number in a table that no command here printed. Mend with scripts/evidence.py tables."""
    page = script.PAGE.read_text()
    tables = [line for line in page.split("\n") if line.startswith("|---")]
    assert len(tables) == len(script.MARK.findall(page)) > 4  # none is written by hand
    assert script.with_tables(page) == page


def test_a_table_that_is_wrong_is_written_again_and_nothing_else_is(script):
    mark = "<!-- claims of results/minatar/runs: 24 -->"
    right = script.with_tables(f"Above.\n{mark}\n\nBelow | it.\n")
    assert right.startswith(f"Above.\n{mark}\n| figure | claim |") and "| undecided |" in right
    assert right.endswith("|\n\nBelow | it.\n") and "not asked" not in right
    wrong = right.replace("| SpaceInvaders | 10 |", "| SpaceInvaders | 11 |")
    assert wrong != right and script.with_tables(wrong) == right
    with pytest.raises(DormantError, match="unknown figure '99'"):
        script.with_tables("<!-- claims of results/minatar/runs: 99 -->\n")


def test_a_tenth_of_a_long_run_is_more_than_an_iteration(script):
    """20 iterations: the first two and the last two are a tenth."""
    names = [script.RETURN, *script.DORMANT.values(), f"{script.RECYCLED}online/Dense_0"]
    values = {names[0]: 1.0, names[1]: 0.01, names[2]: 0.02, names[3]: 1.0}
    rows = pd.DataFrame(
        [(0, each, name, each * values[name]) for each in range(20) for name in names],
        columns=["member", "iteration", "metric", "value"],
    )
    assert script._ended(rows) == ["1", "18.5", "18.5%", "37.0%", "1", "37", "190"]
    assert script._ended(rows[rows["iteration"] < 4])[1:2] == ["3.0"]


def test_what_is_kept_of_a_run(script, tmp_path):
    """Rows and configuration are the run's own bytes; a run that has not finished is left out."""
    (source,) = KEPT.glob("MinAtar_Breakout/*,prune")
    runs, out = tmp_path / "runs", tmp_path / "out"
    for name, status in (("a", "finished"), ("b", "running")):
        folder = runs / "game" / name
        folder.mkdir(parents=True)
        for file in ("run.json", "config.gin", "metrics.csv"):
            (folder / file).write_bytes((source / file).read_bytes())
        run = results.read_run(str(folder))
        run = {**run, "status": status, "machine": {**run["machine"], "platform": "secret"}}
        results.write_run(str(folder), run)
        with open(folder / "metrics.csv", "a") as file:
            file.write("0,9,500000,124000,episode/return,3\n")
    assert script.keep(str(runs), str(out)) == ["game/a"]
    copy = out / "game" / "a"
    for file in ("config.gin", "metrics.csv", "run.json"):
        assert (copy / file).read_bytes() == (source / file).read_bytes()
    assert "platform" not in json.loads((copy / "run.json").read_text())["machine"]
    with pytest.raises(DormantError, match="holds no finished run"):
        script.keep(str(runs / "game" / "b"), str(out))


def test_agents_trained_again_take_the_first_ones_place_or_are_averaged_with_them(script):
    """Member 2 is member 0 again; 1 is another seed, 3 another game that was trained once."""
    games, metrics = ["a", "a", "a", "b"], ["", "", "overlap", "overlap"]
    facts = {"game": games, "metrics": metrics, "seed": [0, 1, 0, 0]}
    members = pd.DataFrame({**{fact: [value] * 4 for fact, value in FACTS.items()}, **facts})
    rows = pd.DataFrame({"id": range(4), "metric": "return", "value": [1.0, 2.0, 5.0, 7.0]})
    rows = rows.assign(iteration=9, agent_steps=10, gradient_steps=5)
    table = Table(rows, members, (), members.iloc[:0])
    second, both = script._second(table)
    assert [*second.members.index] == [1, 2, 3] and [*second.rows["value"]] == [1, 2, 5, 7]
    assert [*both.members.index] == [0, 1, 3]
    assert [*zip(both.rows["id"], both.rows["value"])] == [(0, 3), (1, 2), (3, 7)]
