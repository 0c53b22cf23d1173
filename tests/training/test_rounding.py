"""A member keeps its own course among others, in programs compiled as users run them."""

import jax
import numpy as np
import pytest

from dormant.agents.dqn import make_dqn
from dormant.training.members import loop_axis, vmap_axis
from tests.training import test_device as device
from tests.training import test_population as host
from tests.training.test_one_program import image_population

pytestmark = pytest.mark.usefixtures("optimised")


# On the host
# ------------------------------------------------------------------------------------------------


def test_loop_and_vmap_and_sharded_vmap_agree():
    agent = make_dqn(host.CONFIG, host.SPEC)
    chosen = host.members(agent, seeds=range(8))
    assert len(jax.devices()) == 8
    expected = host.learned(chosen, agent, loop_axis())
    for axis in (vmap_axis(8, jax.devices()[:1]), vmap_axis(8)):
        for one, other in zip(expected, host.learned(chosen, agent, axis)):
            np.testing.assert_allclose(host.flat(one), host.flat(other), rtol=2e-4, atol=1e-5)


def courses(built, memories, steps):
    """[member's parameters as one vector] after gradient steps in calls of 4."""
    states, metrics = built.init()
    for step in range(0, steps, 4):
        states, metrics, memories = built.learn(states, metrics, memories, step, 4)
    trees = built.axis.unstack(states)
    return [
        np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree.params)]) for tree in trees
    ]


def distance(alone, among, start):
    """How far apart two courses have come, as a share of the way from the start."""
    return np.linalg.norm(alone - among) / np.linalg.norm(alone - start)


def test_a_member_among_sixteen_goes_the_way_it_goes_alone():
    """100 gradient steps; after them the members' own ways are a hundred times longer than the
    difference.
    """
    steps = 100
    among = image_population(vmap_axis(16, jax.devices()[:1]), tuple(range(16)))
    start, end = courses(*among, 0), courses(*among, steps)
    alone = courses(*image_population(vmap_axis(1), (11,)), steps)[0]
    assert distance(alone, end[11], start[11]) < 1e-2
    assert min(distance(alone, end[other], start[11]) for other in (0, 10, 12)) > 0.5


@pytest.mark.slow
def test_a_nature_cnn_among_sixteen_goes_the_way_it_goes_alone():
    """The same of the paper's network, in both formulations that a population can have, for 20
    gradient steps.
    """
    for formulation in ("matmul", "xla"):
        built, memories = image_population(
            vmap_axis(16, jax.devices()[:1]),
            tuple(range(16)),
            "nature",
            formulation=formulation,
            width=0.5,
        )
        start, end = courses(built, memories, 0)[5], courses(built, memories, 20)[5]
        alone = courses(
            *image_population(vmap_axis(1), (5,), "nature", formulation=formulation, width=0.5),
            20,
        )[0]
        assert distance(alone, end, start) < 1e-2


# On the device
# ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sixteen():
    return device.trained(
        make_dqn(device.CONFIG, device.SPEC), range(16), vmap_axis(16, jax.devices()[:1])
    )


@pytest.mark.parametrize("axis", [loop_axis(), vmap_axis(1)], ids=["loop", "vmap"])
def test_a_member_among_sixteen_is_as_alone_up_to_rounding(sixteen, axis):
    alone, among = device.trained(make_dqn(device.CONFIG, device.SPEC), [7], axis)[0], sixteen[7]
    assert alone["gradient_steps"] == among["gradient_steps"] == 84
    np.testing.assert_array_equal(alone["lengths"], among["lengths"])
    np.testing.assert_array_equal(alone["observations"], among["observations"])
    np.testing.assert_array_equal(alone["rewards"], among["rewards"])
    for one, other in zip(alone["params"], among["params"]):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    assert alone["loss"] == pytest.approx(among["loss"], rel=1e-4)


def test_members_play_and_learn_each_on_their_own(sixteen):
    assert len({each["observations"].tobytes() for each in sixteen}) == 16
    assert len({each["params"][0].tobytes() for each in sixteen}) == 16
    assert all(each["episodes"] == (each["lengths"] > 0).sum() > 0 for each in sixteen)
    # 128 agent steps were made: as many rows were written, and the episodes fill them.
    assert all(each["observations"][:128].any(1).all() for each in sixteen)
    assert not any(each["observations"][128:].any() for each in sixteen)
    assert all(96 <= each["lengths"].sum() <= 128 for each in sixteen)
