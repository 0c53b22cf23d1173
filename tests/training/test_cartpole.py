"""DQN on CartPole-v1, an environment by its gymnasium id: it learns, and resumes exactly."""

import pytest

from dormant import results
from dormant.experiments.run import execute, plan
from tests.training.fate import Fate, run

SHORT = [
    "Protocol.iterations=2",
    "Protocol.training_steps=200",
    "Protocol.evaluation_episodes=1",
    "Protocol.log_period=20",
    "DQN.min_replay_history=40",
    "DQN.width=0.25",
    "ReDo.period=25",
]


@pytest.mark.slow  # a minute of training on a quiet machine
def test_learns(tmp_path):
    """A random policy's episodes have 22 steps, the longest 500."""
    execute(plan(["cartpole.gin"], ["Run.seeds=3"]), str(tmp_path))
    rows = results.load(str(tmp_path), ["eval/average_return"])
    late = rows[rows["agent_steps"] > 10_000].groupby("member")["value"].mean()
    assert len(late) == 3 and late.min() > 200


@pytest.mark.slow  # three runs, each with programs of its own
@pytest.mark.parametrize("moment, count", [("step", 130), ("evaluation", 3), ("before a save", 3)])
def test_killed_and_resumed_it_ends_the_same(moment, count, tmp_path):
    planned = plan(["cartpole.gin", "redo.gin"], SHORT)
    tables = []
    for name, fate in (("whole", None), ("killed", Fate("kill", moment, count))):
        folder = tmp_path / name
        folder.mkdir()
        assert run(planned, folder, fate) == (fate is None)
        if fate is not None:
            assert run(plan(["cartpole.gin", "redo.gin"], SHORT), folder)
        tables.append((folder / results.METRICS_FILE).read_bytes())
    assert tables[0] == tables[1] and tables[0].count(b"\n") > 40
