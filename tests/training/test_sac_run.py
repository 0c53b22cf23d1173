"""SAC through the whole training loop: acts on what it sees after a short run on the continuous
probe.
"""

from dormant import results
from dormant.experiments.run import execute, plan

BINDINGS = [
    "Run.game='probe/see_continuous'",
    "Run.methods=('none', 'redo')",
    "SAC.num_hidden_units=16",
    "SAC.min_replay_history=100",
    "SAC.replay_capacity=1000",
    "SAC.batch_size=32",
    "SAC.learning_rate=1e-2",
    "SAC.reward_scale_factor=1.0",
    "ReDo.period=300",
    "Protocol.iterations=2",
    "Protocol.training_steps=400",
    "Protocol.evaluation_episodes=20",
    "Protocol.log_period=200",
]


def test_learns_the_probe_and_records_its_networks(tmp_path):
    files = ["sac.gin", "sac_redo.gin"]
    execute(plan(files, [*BINDINGS, "replay_ratio=2"]), str(tmp_path))
    rows = results.read_measurements(str(tmp_path / results.METRICS_FILE))
    last = {(row.member, row.metric): row.value for row in rows}
    assert max(row.gradient_steps for row in rows) == 2 * (800 - 101)
    for member in (0, 1):
        # A random action in [-1, 1] earns 1 - 1/3 - 1/12 = 0.58 on average, the best one 1.
        assert last[member, "eval/average_return"] > 0.95
        assert last[member, "eval/episodes"] >= 20
        assert last[member, "learn/temperature"] < 0.2
    names = {row.metric for row in rows}
    for network in ("actor", "critic_1", "critic_2"):
        assert {f"dormant_fraction/tau=0.025/{network}/Dense_{layer}" for layer in (0, 1)} <= names
    assert {row.member for row in rows if row.metric.startswith("recycled_neurons/actor/")} == {1}
