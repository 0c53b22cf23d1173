"""The probes do what their table says."""

import numpy as np
import pytest

from dormant.envs import env_names, env_spec, make_env
from dormant.envs.probes import image_side
from dormant.types import DormantError, nearest
from tests.reference.stack import FrameStack


def rollout(name, policy, steps, num_envs=2, seeds=(0, 1)):
    """(observation before, action, step) triples."""
    env = make_env(name, num_envs)
    observation = env.reset(np.asarray(seeds))
    out = []
    for _ in range(steps):
        action = policy(observation)
        env.send(action)
        step = env.recv()
        out.append((observation, action, step))
        observation = step.observation
    env.close()
    return out


def test_constant():
    for _, _, step in rollout("probe/constant", lambda o: np.array([0, 1]), 3):
        np.testing.assert_array_equal(step.reward, [1, 1])
        assert step.terminal.all() and not step.truncated.any() and step.episode_end.all()


def test_two_step_rewards_the_first_action_one_step_later():
    (_, _, start), (before, _, end), (again, _, _) = rollout(
        "probe/two_step", lambda o: np.array([0, 1]), 3
    )
    np.testing.assert_array_equal(start.reward, [0, 0])
    np.testing.assert_array_equal(before, [[0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(end.reward, [0, 1])
    assert end.terminal.all() and not start.terminal.any()
    np.testing.assert_array_equal(again, [[1, 0, 0], [1, 0, 0]])
    np.testing.assert_array_equal(end.next_observation, before)


def test_see_rewards_the_sign():
    steps = rollout("probe/see", lambda o: np.ones(2, int), 100)
    seen = np.array([o[:, 0] for o, _, _ in steps])
    np.testing.assert_array_equal(np.array([s.reward for _, _, s in steps]), seen > 0)
    assert 0.3 < (seen > 0).mean() < 0.7


@pytest.mark.parametrize("name", ["probe/endless", "probe/endless_continuous"])
def test_endless_is_only_truncated(name):
    shape = (2, *env_spec(name).action_shape)
    steps = rollout(name, lambda o: np.zeros(shape), 11)
    assert [t for t, (_, _, s) in enumerate(steps) if s.truncated.all()] == [4, 9]
    assert all((s.reward == 1).all() and not s.terminal.any() for _, _, s in steps)


def test_see_continuous_is_best_at_half_of_what_is_seen():
    for _, _, step in rollout("probe/see_continuous", lambda o: o / 2 + 0.5, 20):
        np.testing.assert_allclose(step.reward, 0.75, rtol=1e-6)  # 1 - 0.5^2
        assert step.terminal.all()


def test_see_image_through_the_stack():
    env, stack = make_env("probe/see_image", 3), FrameStack(env_spec("probe/see_image"), 3)
    stacked = stack.reset(env.reset(np.arange(3)))
    returns = np.zeros(3)
    for t in range(40):
        env.send(np.array([image_side(s[..., -1]) for s in stacked]))
        step = env.recv()
        returns += step.reward
        assert step.terminal.all() == (t % 4 == 3)
        stacked = stack.push(step.observation, step.terminal | step.truncated)
        assert (stacked[..., 0].any() or t % 4 != 2) and (
            stacked[..., 2].any() != step.terminal.all()
        )
    np.testing.assert_array_equal(returns, 40)
    env.close()


def test_unknown_names_get_the_nearest():
    with pytest.raises(
        DormantError, match="unknown environment 'DemonAtack'; did you mean 'DemonAttack'"
    ):
        env_spec("DemonAtack")
    with pytest.raises(DormantError, match="did you mean 'HalfCheetah-v"):
        make_env("HalfCheetah-v2", 1)
    with pytest.raises(DormantError, match="did you mean 'probe/two_step'"):
        env_spec("probe/twostep")
    assert nearest("?", ["b", "a", "b", "a"]) == "valid: a, b"
    with pytest.raises(DormantError, match="num_envs is 0"):
        make_env("Pong", 0)
    assert {"Pong", "Ant-v5", "probe/see"} <= set(env_names())
