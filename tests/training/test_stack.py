"""Stacks on the device: the twin's, whether moved at every step or only sometimes."""

import jax
import numpy as np
import pytest

from dormant import register
from dormant.envs import env_spec
from dormant.experiments.run import plan
from dormant.training.loop import Loop
from dormant.training.members import AXES
from dormant.training.stack import Stacks
from dormant.types import DormantError
from tests.reference.stack import FrameStack
from tests.training.run_probe import FILES

SPEC = env_spec("probe/see_image")._replace(observation_shape=(3, 2))


@pytest.mark.parametrize("name", AXES)
@pytest.mark.parametrize("asked_every", [1, 3])
def test_stacks_are_the_twins(name, asked_every):
    axis, random = AXES[name](3), np.random.default_rng(0)
    stacks, twin = Stacks(axis, SPEC, 3), FrameStack(SPEC, 3)
    for step in range(20):
        frames = random.integers(1, 256, (3, 3, 2)).astype(np.uint8)
        first = random.random(3) < 0.2 if step else np.ones(3, bool)
        expected = twin.push(frames, first)
        stacks.note(frames, first)
        if step % asked_every == 0:
            seen = stacks.move()
            found = np.stack(axis.unstack(seen.observations))
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(np.stack(axis.unstack(seen.frames)), frames)


def test_every_frame_is_moved_once_as_bytes(tmp_path):
    """32 agent steps of 2 members after the warm-up: what is moved, by its type and size."""
    bindings = [
        "Run.game='probe/see_image'",
        "Run.seeds=2",
        "Run.axis='vmap'",
        "DQN.width=0.03125",
        "DQN.batch_size=2",
        "DQN.min_replay_history=10",
        "DQN.replay_capacity=200",
        "Protocol.iterations=1",
        "Protocol.training_steps=100",
        "Protocol.evaluation_steps=0",
    ]
    planned = plan(FILES[:1], bindings)
    moved, added = [], []

    def device_put(tree):
        moved.extend(jax.tree.leaves(tree))
        return planned.population.axis.device_put(tree)

    def add(memories, row, frames=()):
        added.append((row, frames))
        return planned.population.add(memories, row, frames)

    axis = planned.population.axis._replace(device_put=device_put)
    population = planned.population._replace(axis=axis, add=add)
    loop = Loop(population, planned.protocol, planned.make_env, str(tmp_path))
    state = loop.start()
    while state.agent_steps < 12:
        state = loop.advance(state)
    moved.clear(), added.clear()
    while state.agent_steps < 12 + 32:
        state = loop.advance(state)
    loop.close()
    images = [leaf for leaf in moved if leaf[0].size >= 84 * 84]
    assert sum(leaf[0].size for leaf in images) == 32 * 84 * 84  # of each member
    assert {leaf.dtype for leaf in images} == {np.dtype(np.uint8)}
    assert all(row.observation is None and len(frames) == 4 for row, frames in added)
    memory, axis = planned.population.memory, planned.population.axis
    storage = axis.unstack(
        axis.map(lambda state: state.storage.observation, (memory.axes,))(state.memories)
    )[0]
    assert storage.dtype == np.uint8 and storage[:44].any(axis=1).all()


class Flash:
    """One image an episode."""

    def reset(self, seed):
        return np.zeros((3, 2), np.uint8)

    def step(self, action):
        return self.reset(None), 1.0, False, False

    def close(self):
        pass


def test_nothing_is_learned_from_an_empty_memory(tmp_path, monkeypatch):
    """Stacked frames of episodes that are all truncated at once hold no transition."""
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))
    image = {"observation_shape": (3, 2), "observation_dtype": np.uint8, "stack_size": 4}
    register.environment("Flash", **image, num_actions=2, max_episode_steps=1)(lambda spec: Flash())
    bindings = [
        "Run.game='Flash'",
        "DQN.width=0.03125",
        "DQN.min_replay_history=8",
        "DQN.replay_capacity=64",
        "Protocol.iterations=1",
        "Protocol.training_steps=40",
    ]
    planned = plan(FILES[:1], bindings)
    loop = Loop(planned.population, planned.protocol, planned.make_env, str(tmp_path))
    try:
        with pytest.raises(DormantError, match="Flash: nothing to learn from after 12 agent steps"):
            loop.run()
    finally:
        loop.close()
