"""What the README says that can be checked: every combination of shipped files that its table names is a run."""
import itertools
import pathlib
import re

import pytest

from dormant.experiments.run import plan

ROOT = pathlib.Path(__file__).parent.parent.parent
ROWS = [line for line in (ROOT / "README.md").read_text().splitlines() if re.match(r"\| `(dqn|drq|rainbow|sac)", line)]
TABLE = [[re.findall(r"`(?:configs/)?([^`]+\.gin)`", cell) for cell in row.split("|")[1:4]] for row in ROWS]
# Every method after every agent, and every modifier with all methods together: what a modifier and a method bind is
# theirs alone, so no other combination can differ.
COMBINATIONS = sorted(
    {
        combination
        for agents, modifiers, methods in TABLE
        for combination in (
            *itertools.product(agents[:1], methods),
            *((agent, *methods) for agent in agents),
            *((agents[0], modifier, *methods) for modifier in modifiers),
        )
    }
)


def test_the_table_is_read():
    assert [len(cells) for row in TABLE for cells in row] == [1, 5, 4, 1, 3, 3, 4, 4, 3, 1, 3, 3]


@pytest.mark.parametrize("files", COMBINATIONS, ids="+".join)
def test_a_combination_builds(files):
    game = "Hopper-v5" if files[0] == "sac.gin" else "Pong"
    small = [f"{agent}.replay_capacity=2000" for agent in ("DQN", "Rainbow", "SAC")]
    planned = plan([str(ROOT / "configs" / name) for name in files], [f"Run.game={game!r}", *small])
    member = planned.population.members[-1]
    last = files[-1].removesuffix(".gin")
    method = "redo" if "redo" in last else "reset" if "reset" in last else last
    assert member.method == method and planned.facts["game"] == game
    ratio = next((float(name.split("_")[-1][:-4]) for name in files if "replay_ratio" in name), None)
    assert ratio is None or planned.facts["replay_ratio"] == ratio
