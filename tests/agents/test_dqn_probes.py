"""DQN learns on environments whose answers are known (one compilation each, seconds)."""

import pytest

from dormant import results
from tests.training.run_probe import train

LEARN = [
    "Run.methods=('none',)",
    "DQN.learning_rate=3e-3",
    "DQN.target_update_period=50",
    "DQN.epsilon_decay_period=500",
    "Protocol.training_steps=1000",
    "Protocol.iterations=2",
    "replay_ratio=1",
    "Protocol.log_period=100",
]


def last(folder, metric):
    rows = [
        row
        for row in results.read_measurements(str(folder / results.METRICS_FILE))
        if row.metric == metric
    ]
    return rows[-1].value


@pytest.mark.parametrize("probe", ["probe/see"])
def test_it_acts_on_what_it_sees(probe, tmp_path):
    train(tmp_path, *LEARN, f"Run.game='{probe}'")
    assert last(tmp_path, "eval/average_return") > 0.95
