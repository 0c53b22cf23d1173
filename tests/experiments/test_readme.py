"""What the README says that can be checked: every combination of shipped files that its table names
is a run.
"""

import itertools
import pathlib
import re
import shlex

import pytest

from dormant import export_replay, figures, play, report, reproduce, sweep, train
from dormant.experiments import estimates
from dormant.experiments import sweep as sweeps
from dormant.experiments.run import plan

ROOT = pathlib.Path(__file__).parent.parent.parent
LINES = (ROOT / "README.md").read_text().splitlines()
ROWS = [line for line in LINES if re.match(r"\| `(dqn|drq|minatar|rainbow|der|sac)", line)]
TABLE = [[re.findall(r"`([^`]+\.gin)`", cell) for cell in row.split("|")[1:4]] for row in ROWS]
COMBINATIONS = [
    [name for name in names if name]
    for agents, modifiers, methods in TABLE
    for names in itertools.product(agents, ["", *modifiers], ["", *methods])
]


def test_the_table_is_read():
    assert [len(cells) for row in TABLE for cells in row] == [
        1,
        5,
        4,
        1,
        3,
        3,
        1,
        4,
        3,
        3,
        4,
        3,
        1,
        1,
        3,
        1,
        3,
        3,
    ]


@pytest.mark.parametrize("files", COMBINATIONS, ids="+".join)
def test_a_combination_builds(files):
    """And is quiet, but where a run is shorter than Reset's period."""
    games = {"sac.gin": "Hopper-v4", "minatar.gin": "MinAtar/Breakout"}
    game = games.get(files[0], "Pong")
    planned = plan(files, [f"Run.game={game!r}"], fits=False)
    assert planned.facts["game"] == game
    never = files[-1] == "reset.gin" and planned.gradient_steps < 100_000
    assert ["never intervenes" in line for line in planned.facts["warnings"]] == [True] * never
    method = re.search("redo|reset|weight_decay", files[-1])
    if method:
        assert {member.method for member in planned.population.members} == {method.group()}
    ratio = next(
        (float(name.split("_")[-1][:-4]) for name in files if "replay_ratio" in name), None
    )
    assert ratio is None or planned.facts["replay_ratio"] == ratio


PAGES = {
    "README": (ROOT / "README.md").read_text(),
    **{
        name: (ROOT / "docs" / f"{name}.md").read_text()
        for name in ("sweeps", "population", "evidence", "studies")
    },
    "quickstart": (ROOT / "scripts" / "quickstart.sh").read_text().replace("\\\\", "\\"),
    "train --help": train.EXAMPLES,
    "sweep --help": sweep.EXAMPLES,
    "reproduce --help": reproduce.EXAMPLES,
    "figures --help": figures.EXAMPLES,
    "report --help": report.EXAMPLES,
    "play --help": play.EXAMPLES,
}
MODULES = {"train": train, "sweep": sweep, "reproduce": reproduce}
MODULES |= {"figures": figures, "report": report, "play": play, "export_replay": export_replay}
GIGABYTES = 14  # of a machine with 16


def commands(page):
    """(command, flags) of every command in a page, lines continued and prompts left out."""
    text = re.sub(r"\\\n\s*", " ", PAGES[page]).replace("```", "").replace('"$base_dir"', "runs/q")
    text = re.sub(r"`[^`]*`", lambda inline: inline[0].replace("\n", " "), text)
    found = re.findall(r"python -m dormant\.(\w+) (--[^\n`]*)", text)
    return [(name, shlex.split(line.split("  #")[0])) for name, line in found if "..." not in line]


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_are_commands_that_16_gb_hold(page, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    found = commands(page)
    assert found
    for name, flags in found:
        arguments = MODULES[name].parser().parse_args([each for each in flags if each != "&"])
        files = getattr(arguments, "gin_files", [])
        if name == "train" and not any("DIR/" in path for path in files):
            if all("/" not in path for path in files):
                planned = plan(files, train.bindings_of(arguments), fits=False)
                assert planned.replay_bytes < GIGABYTES * 1e9, flags
        if name == "sweep":
            swept = sweep.sweep_of(arguments)
            runs = sweeps.plan_here([swept], str(tmp_path), fits=False)
            together = estimates.largest_together(runs, arguments.workers or 1)
            assert 0 < together < GIGABYTES * 1e9, flags
