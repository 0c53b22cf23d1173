"""The work of a gradient step, counted from the program's shapes, against counts made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.sac import SAC, make_sac
from dormant.benchmarks.roofline import Roofline, Work, count_flops, measure_roofline, work
from dormant.envs import env_spec
from dormant.replay import make_uniform

PONG = env_spec("probe/see_image")._replace(num_actions=6)


def memory(spec, batch):
    return make_uniform(spec, 100, batch, 1, 0.99)


def test_dqns_work_is_the_hand_count():
    """Multiply-adds an example of the Nature CNN: 21x21x32 outputs of 8x8x4, 11x11x64 of 4x4x32,
    and so on.
    """
    layers = [21 * 21 * 32 * 256, 11 * 11 * 64 * 512, 11 * 11 * 64 * 576, 7744 * 512, 512 * 6]
    forward = sum(layers)
    backward = 2 * forward - layers[0]  # by weights and by inputs, but not by the image
    agent = make_dqn(DQN(formulation="xla"), PONG)
    found = work(agent, memory(PONG, 32))
    # online and target network forward, the online one backward
    np.testing.assert_allclose(found.flops, 2 * 32 * (2 * forward + backward), rtol=0.02)
    kernels = 8 * 8 * 4 * 32 + 4 * 4 * 32 * 64 + 3 * 3 * 64 * 64 + 7744 * 512 + 512 * 6
    parameters = 4 * (kernels + 32 + 64 + 64 + 512 + 6)
    # read: parameters, target, two moments; written: parameters and moments; and Adam's count,
    # twice
    assert found.bytes == 7 * parameters + 2 * 4


def test_sacs_work_is_the_hand_count():
    spec = env_spec("HalfCheetah-v5")
    agent, (seen, acted) = make_sac(SAC(), spec), (17, 6)
    critic, actor = (seen + acted) * 256 + 256 * 256 + 256, seen * 256 + 256 * 256 + 256 * 2 * acted
    # forward: the policy at s_t and s_tm1, two critics in the target, the critics' and the actor's
    # loss
    forward = 2 * actor + 6 * critic
    # backward by weights: actor and two critics; by inputs: not into observations; in the actor's
    # loss back to actions
    weights = actor + 2 * critic
    inputs = (actor - seen * 256) + 2 * (critic - (seen + acted) * 256) + 2 * critic
    np.testing.assert_allclose(
        work(agent, memory(spec, 256)).flops, 2 * 256 * (forward + weights + inputs), rtol=0.02
    )


def test_inner_programs_count_as_often_as_they_run():
    matrix = jnp.ones((4, 5))

    def body(x, _):
        return jax.jit(lambda y: (y @ matrix) @ matrix.T)(x), None

    program = jax.make_jaxpr(lambda x: jax.lax.scan(body, x, None, length=3)[0])(jnp.ones((2, 4)))
    assert count_flops(program.jaxpr) == 3 * 2 * (2 * 5 * 4 + 2 * 4 * 5)


def test_the_slower_of_the_two_sets_the_roofline():
    roofline = Roofline(bytes_per_second=100.0, flops_per_second=1000.0)
    assert roofline.updates_per_second(Work(flops=10.0, bytes=10.0)) == pytest.approx(10.0)
    assert roofline.updates_per_second(Work(flops=500.0, bytes=10.0)) == pytest.approx(2.0)
    measured = measure_roofline("float32", 64)
    assert 1e7 < measured.bytes_per_second < 1e14 and 1e6 < measured.flops_per_second < 1e16
