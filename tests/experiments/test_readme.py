"""What the README says that can be checked: every combination of shipped files that its table names
is a run.
"""

import itertools
import pathlib
import re

import pytest

from dormant.experiments.run import plan

ROOT = pathlib.Path(__file__).parent.parent.parent
LINES = (ROOT / "README.md").read_text().splitlines()
ROWS = [line for line in LINES if re.match(r"\| `(dqn|drq|rainbow|der|sac)", line)]
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
    game = "Hopper-v5" if files[0] == "sac.gin" else "Pong"
    small = [f"{agent}.replay_capacity=2000" for agent in ("DQN", "Rainbow", "SAC")]
    planned = plan([str(ROOT / "configs" / name) for name in files], [f"Run.game={game!r}", *small])
    assert planned.facts["game"] == game
    method = re.search("redo|reset|weight_decay", files[-1])
    if method:
        assert {member.method for member in planned.population.members} == {method.group()}
    ratio = next(
        (float(name.split("_")[-1][:-4]) for name in files if "replay_ratio" in name), None
    )
    assert ratio is None or planned.facts["replay_ratio"] == ratio
