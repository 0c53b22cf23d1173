"""Sequences of kills and stops at every kind of moment end with the bytes of a whole run."""

import random
from dataclasses import replace

import pytest

from dormant import results
from dormant.experiments.run import plan
from dormant.training.checkpoint import FOLDER
from dormant.training.files import REPLAY_FOLDER
from tests.training.fate import KILLS, STOPS, Fate, run
from tests.training.run_probe import BINDINGS, FILES

SHORT = [
    "Run.methods=('none', 'redo')",
    "ReDo.period=60",
    "replay_ratio=0.5",
    "Protocol.iterations=2",
    "Protocol.training_steps=240",
    "Protocol.evaluation_steps=0",
    "Protocol.evaluation_episodes=5",
    "Protocol.log_period=20",
]
RAINBOW = [
    "Run.game='probe/see'",
    "Rainbow.network='mlp'",
    "Rainbow.min_replay_history=60",
    "Rainbow.replay_capacity=200",
    "Rainbow.update_period=4",
]
SAC = [
    "Run.game='probe/see_continuous'",
    "SAC.num_hidden_units=16",
    "SAC.min_replay_history=60",
    "SAC.replay_capacity=200",
    "SAC.batch_size=16",
    "SAC.update_period=2",
]
RUNS = {
    "dqn": (FILES, [*BINDINGS, "DQN.min_replay_history=60", "DQN.replay_capacity=200", *SHORT]),
    "rainbow": (["full_rainbow.gin", "redo.gin"], [*RAINBOW, *SHORT]),
    "sac": (["sac.gin", "sac_redo.gin"], [*SAC, *SHORT]),
}


class Whole:
    """A run that was never interrupted, and what is needed to make it again."""

    def __init__(self, agent, folder):
        files, bindings = RUNS[agent]
        self.planned = plan(files, bindings)
        assert run(self.planned, folder)
        self.metrics = (folder / results.METRICS_FILE).read_bytes()

    def saving(self, **fields):
        """The same with other settings of the checkpoints."""
        return self.planned._replace(protocol=replace(self.planned.protocol, **fields))


@pytest.fixture(scope="module")
def whole(request, tmp_path_factory):
    return Whole(request.param, tmp_path_factory.mktemp(request.param))


def check_tables(whole, folder):
    assert (folder / results.METRICS_FILE).read_bytes() == whole.metrics
    timing = results.read_measurements(str(folder / results.TIMING_FILE))
    rows = results.read_measurements(str(folder / results.METRICS_FILE))
    assert timing and rows
    assert {row.metric for row in rows + timing if not results.is_metric(row.metric)} == set()


SEQUENCES = {
    # a kill leaves rows behind the checkpoint; a stop before the next row saves where they were
    "rows behind a checkpoint": [("kill", "row", 30), ("stop", "step", 1), ("kill", "row", 9)],
    "before the first row": [("kill", "row", 1), ("kill", "row", 3), ("stop", "step", 1)],
    "in saves": [("kill", "before a save", 1), ("kill", "after a save", 1), ("stop", "step", 50)]
    + [("kill", "before a save", 2), ("stop", "step", 1)],
    "in the memory's rows": [("stop", "step", 70), ("kill", "replay", 1), ("stop", "step", 300)]
    + [("kill", "replay", 1)],
    "in evaluations": [("kill", "evaluation", 2), ("stop", "evaluation", 1), ("stop", "step", 2)]
    + [("kill", "evaluation", 4), ("stop", "evaluation", 3)],
}


@pytest.mark.parametrize("whole", ["dqn"], indirect=True)
@pytest.mark.parametrize(
    "name, gigabytes", [*((name, 2.0) for name in SEQUENCES), ("in saves", 0.0)]
)
def test_a_sequence(whole, name, gigabytes, tmp_path):
    planned = whole.saving(checkpoint_replay_gb=gigabytes)
    for how, moment, count in SEQUENCES[name]:
        assert not run(planned, tmp_path, Fate(how, moment, count))
    assert run(planned, tmp_path)
    check_tables(whole, tmp_path)
    assert bool(list((tmp_path / REPLAY_FOLDER).glob("*.bin"))) == bool(gigabytes)


@pytest.mark.slow
@pytest.mark.parametrize("whole", RUNS, indirect=True)
@pytest.mark.parametrize("number", range(7))
def test_random_sequences(whole, number, tmp_path):
    """21 of them, other ones every time; the printed seed repeats one."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(draw.randint(2, 6)):
        how = draw.choice(("kill", "stop"))
        moment = draw.choice(KILLS if how == "kill" else STOPS)
        fate = Fate(how, moment, draw.choice((1, 2, draw.randint(1, 60))))
        fields = {"checkpoint_minutes": draw.choice((0.0, 0.002, 10.0))}
        fields["checkpoint_replay_gb"] = draw.choice((0.0, 2.0))
        print(how, moment, fate.left, fields)
        if run(whole.saving(**fields), tmp_path, fate):
            break
    assert run(whole.planned, tmp_path)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir() if path.name.isdigit())
    check_tables(whole, tmp_path)
