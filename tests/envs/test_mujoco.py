"""MuJoCo through gymnasium against gymnasium itself."""

import os
import sys
import warnings

import gymnasium
import numpy as np
import pytest

from dormant.envs import env_spec, make_env
from dormant.envs.mujoco import TASKS, quiet
from dormant.types import DormantError


@pytest.mark.parametrize("name", sorted(TASKS))
def test_specs_are_those_of_gymnasium(name):
    with quiet():
        env = gymnasium.make(name)
    spec = env_spec(name)
    assert spec.observation_shape == env.observation_space.shape
    assert spec.action_shape == env.action_space.shape and spec.num_actions == 0
    assert spec.max_episode_steps == env.spec.max_episode_steps
    env.close()


def play(env, seeds, steps, actions_seed=0):
    rng = np.random.default_rng(actions_seed)
    stream = [env.reset(np.asarray(seeds))]
    for _ in range(steps):
        env.send(rng.uniform(-1, 1, (env.num_envs, *env.spec.action_shape)).astype(np.float32))
        stream.append(env.recv())
    return stream


def test_a_stream_equals_gymnasium_one_by_one_through_ends_and_resets():
    name, seeds = "Hopper-v5", [3, 2**40]
    first, *steps = play(make_env(name, 2), seeds, 120)
    assert first.dtype == np.float32 and steps[0].reward.dtype == np.float32
    rng = np.random.default_rng(0)
    actions = [rng.uniform(-1, 1, (2, 3)).astype(np.float32) for _ in range(120)]
    ends = 0
    for n in range(2):
        env = gymnasium.make(name)
        np.testing.assert_array_equal(first[n], env.reset(seed=seeds[n])[0].astype(np.float32))
        for action, step in zip(actions, steps, strict=True):
            observation, reward, terminal, truncated, _ = env.step(action[n])
            np.testing.assert_allclose(step.next_observation[n], observation, rtol=1e-6)
            np.testing.assert_allclose(step.reward[n], reward, rtol=1e-6)
            assert (step.terminal[n], step.truncated[n], step.episode_end[n]) == (
                terminal,
                False,
                terminal,
            )
            if terminal:
                ends += 1
                observation = env.reset()[0]
                assert (step.next_observation[n] != step.observation[n]).any()
            np.testing.assert_allclose(step.observation[n], observation, rtol=1e-6)
        env.close()
    assert ends >= 4


def test_half_cheetah_is_truncated_not_terminated_and_its_last_observation_kept():
    first, *steps = play(make_env("HalfCheetah-v4", 1), [0], 1001)
    ends = [t for t, step in enumerate(steps) if step.truncated[0]]
    assert ends == [999] and not any(step.terminal[0] for step in steps)
    end = steps[999]
    assert end.episode_end[0]
    assert (
        np.abs(end.observation).max() < 1 < np.abs(end.next_observation).max()
    )  # at rest, and in full run
    np.testing.assert_array_equal(steps[1000].observation, steps[1000].next_observation)


def test_actions_are_scaled_to_the_range_of_the_task():
    ours, theirs = make_env("Humanoid-v5", 1), gymnasium.make("Humanoid-v5")
    ours.reset(np.array([0]))
    theirs.reset(seed=0)
    ours.send(np.full((1, 17), 3.0, np.float32))  # beyond the range: as 1
    observation, reward, *_ = theirs.step(np.full(17, 0.4, np.float32))
    step = ours.recv()
    np.testing.assert_allclose(step.next_observation[0], observation, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(step.reward[0], reward, rtol=1e-5)
    ours.close()
    theirs.close()


def test_nothing_is_written_or_printed_where_it_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_env("HalfCheetah-v5", 1).close()
        make_env("HalfCheetah-v4", 1).close()
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


def test_missing_mujoco_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium.envs.mujoco", None)
    with pytest.raises(
        DormantError, match="Ant-v5 needs MuJoCo .*; install the 'mujoco' extra of dormant"
    ):
        make_env("Ant-v5", 1)
