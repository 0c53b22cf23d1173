"""Stacks on the device: the twin's, whether asked for at every step or only sometimes; frames move
once, as bytes.
"""

import jax
import numpy as np
import pytest

from dormant.envs import env_spec
from dormant.experiments.run import plan
from dormant.training.loop import Loop
from dormant.training.members import loop_axis, vmap_axis
from dormant.training.stack import Stacks
from tests.reference.stack import FrameStack
from tests.training.run_probe import FILES

SPEC = env_spec("probe/see_image")._replace(observation_shape=(3, 2))


@pytest.mark.parametrize("make_axis", [loop_axis, lambda: vmap_axis(3)], ids=["loop", "vmap"])
@pytest.mark.parametrize("asked_every", [1, 3])
def test_stacks_are_the_twins(make_axis, asked_every):
    axis, random = make_axis(), np.random.default_rng(0)
    stacks, twin = Stacks(axis, SPEC, 3), FrameStack(SPEC, 3)
    for step in range(20):
        frames = random.integers(1, 256, (3, 3, 2)).astype(np.uint8)
        first = random.random(3) < 0.2 if step else np.ones(3, bool)
        expected = twin.push(frames, first)
        stacks.note(frames, first)
        assert stacks.newest is None
        if step % asked_every == 0:
            found = np.stack([np.asarray(each) for each in axis.separate(stacks.collection())])
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.uint8
            np.testing.assert_array_equal(np.stack(axis.separate(stacks.newest)), frames)


def test_every_frame_is_moved_once_as_bytes(tmp_path):
    """32 agent steps of 2 members after the warm-up: what is spread, by its type and size."""
    bindings = [
        "Run.game='probe/see_image'",
        "Run.seeds=2",
        "Run.axis='vmap'",
        "DQN.width=0.03125",
        "DQN.batch_size=2",
        "DQN.min_replay_history=8",
        "DQN.replay_capacity=200",
        "Protocol.iterations=1",
        "Protocol.training_steps=100",
        "Protocol.evaluation_steps=0",
    ]
    planned = plan(FILES[:1], bindings)
    moved = []

    def spread(tree):
        moved.extend(jax.tree.leaves(tree))
        return planned.population.axis.spread(tree)

    population = planned.population._replace(axis=planned.population.axis._replace(spread=spread))
    rows = []
    add = population.add
    population = population._replace(
        add=lambda memories, row: rows.append(row) or add(memories, row)
    )
    loop = Loop(population, planned.protocol, planned.make_env, str(tmp_path))
    state = loop.start()
    while state.agent_steps < 12:
        state = loop.advance(state)
    moved.clear(), rows.clear()
    while state.agent_steps < 12 + 32:
        state = loop.advance(state)
    loop.close()
    pictures = [leaf for leaf in moved if leaf[0].size >= 84 * 84]
    assert sum(leaf[0].size for leaf in pictures) == 32 * 84 * 84  # a member
    assert {leaf.dtype for leaf in pictures} == {np.dtype(np.uint8)}
    assert all(isinstance(row.observation, list) and len(row.observation) == 4 for row in rows)
    memory, axis = planned.population.memory, planned.population.axis
    storage = axis.separate(
        axis.lift(lambda state: state.storage.observation, (memory.axes,))(state.memories)
    )[0]
    assert storage.dtype == np.uint8 and storage[:44].any(axis=1).all()
