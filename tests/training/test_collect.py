"""What the collector vouches for, and what it is told of an environment's failure."""

import numpy as np
import pytest

from dormant.envs.vector import SequentialVectorEnv
from dormant.experiments.run import plan
from dormant.training.append import Extent
from dormant.training.checkpoint import ActionLog
from dormant.training.collect import Collector
from dormant.training.files import action_dtype
from dormant.types import EnvSpec
from tests.training.run_probe import BINDINGS, FILES


class Playing:
    """Answers of one environment: an observation, a reward, terminal, truncated."""

    def __init__(self, spec, answer):
        self.shape, self.answer = spec.observation_shape, answer

    def reset(self, seed):
        return np.zeros(self.shape, np.float32)

    def step(self, action):
        observation, reward, terminal, truncated = self.answer
        return np.full(self.shape, observation, np.float32), reward, terminal, truncated

    def close(self):
        pass


ANSWERS = [(0, 1.0, False, False), (1, 1.0, False, False), (0, 2.0, False, False)]
ANSWERS += [(0, 1.0, True, False), (0, 1.0, False, True)]


def test_the_digest_is_of_all_that_an_environment_answers():
    population = plan(FILES, [*BINDINGS, "Run.methods=('none',)"]).population
    spec, found = population.agent.spec, set()
    for answer in (*ANSWERS, ANSWERS[0]):
        collector = Collector(population, SequentialVectorEnv(spec, [Playing(spec, answer)]))
        collector.begin(np.zeros(1, np.int64))
        collector.send(np.zeros(1, np.uint8))
        collector.receive(last=False)
        found.add(collector.digest)
    assert len(found) == len(ANSWERS)


@pytest.mark.parametrize(
    "answer, last, row",
    [
        ((0, 2.0, False, False), False, (1.0, False, False)),
        ((0, 2.0, False, False), True, (1.0, False, True)),
        ((0, 2.0, True, False), True, (1.0, True, False)),
        ((0, 0.5, False, True), False, (0.5, False, True)),
    ],
)
def test_rows_are_of_rewards_as_learned_from_and_end_with_the_iteration(answer, last, row):
    population = plan(FILES, [*BINDINGS, "Run.methods=('none',)"]).population
    env = SequentialVectorEnv(population.agent.spec, [Playing(population.agent.spec, answer)])
    collector = Collector(population, env)
    collector.begin(np.zeros(1, np.int64))
    collector.send(np.zeros(1, np.uint8))
    episodes = collector.receive(last)
    found = collector.take_rows().row
    assert (found.reward.item(), found.terminal.item(), found.truncated.item()) == row
    ended = answer[2] or answer[3]
    assert [each.undiscounted_return for each in episodes] == [answer[1]] * ended  # raw


@pytest.mark.parametrize("game, stored", [("Pong", False), ("probe/see", True)])
def test_what_the_memory_does_not_keep_is_not_moved_to_it(game, stored):
    network = "mlp" if stored else "nature"
    bindings = [*BINDINGS, "Run.methods=('none',)", f"Run.game={game!r}"]
    bindings.append(f"DQN.network={network!r}")
    population = plan(FILES, bindings).population
    spec = population.agent.spec
    collector = Collector(population, SequentialVectorEnv(spec, [Playing(spec, ANSWERS[0])]))
    collector.begin(np.zeros(1, np.int64))
    collector.send(np.zeros(1, np.uint8))
    collector.receive(last=False)
    row = collector.take_rows().row
    assert population.memory.stores_next_observation == stored
    assert (row.next_observation is not None) == stored and row.observation.shape[:2] == (1, 1)


def test_the_log_holds_every_action(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    many = EnvSpec("Many", (3,), np.float32, 300, (), 1, 1, 100)
    assert action_dtype(many._replace(num_actions=256)) == np.uint8
    log = ActionLog(str(tmp_path), (2,), action_dtype(many))
    log.file.open(Extent())
    log.append(np.array([299, 1]))
    log.file.flush()
    assert log.read(0, 1).tolist() == [[299, 1]]
    log.file.close()


def test_a_failure_of_an_environment_is_not_one_of_the_disk():
    """An OSError would be reported as one of the run's own files, which no second try mends."""
    spec = EnvSpec("Remote", (3,), np.float32, 2, (), 1, 1, 100)
    env = SequentialVectorEnv(spec, [Playing(spec, None)])
    env._envs[0].step = lambda action: (_ for _ in ()).throw(ConnectionResetError("reset by peer"))
    with pytest.raises(RuntimeError, match="an environment of Remote failed: reset by peer"):
        env.send(np.zeros(1, int))
