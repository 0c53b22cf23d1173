"""What every environment on the device has around its rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import register
from dormant.envs import env_spec
from dormant.envs import make_device_env as make_by_name
from dormant.envs.device import Game, make_device_env
from dormant.types import DormantError, EnvSpec

LIMIT = 7


def counting(ends_at=10**6):
    """The state counts agent steps and shows the last action; each step is worth the action."""
    spec = EnvSpec("counting", (2,), np.float32, 6, (), 1, 1, LIMIT, True)

    def step(state, action, key):
        state = jnp.stack([state[0] + 1, action])
        return state, action.astype(jnp.float32), state[0] >= ends_at

    reset = lambda key: jnp.stack([jnp.int32(0), jnp.int32(-1)])
    return Game(spec, reset, step, lambda state: state.astype(jnp.float32))


def played(env, actions):
    def body(state, number):
        key = jax.random.fold_in(jax.random.key(1), number)
        after, step = env.step(state, jnp.asarray(actions)[number], key)
        return after, (step, env.observe(after), after)

    return jax.device_get(
        jax.lax.scan(body, env.init(jax.random.key(0)), jnp.arange(len(actions)))[1]
    )


def test_the_limit_truncates_and_the_next_episode_begins_in_the_same_step():
    step, observation, _ = played(make_device_env(counting()), np.arange(16) % 6)
    assert np.flatnonzero(step.truncated).tolist() == [6, 13] and not step.terminal.any()
    assert step.next_observation[6].tolist() == [7, 0]  # what the action led to
    assert observation[6].tolist() == [0, -1]  # what is acted on next
    assert step.episode_length.tolist() == [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1, 2]
    assert step.episode_return[6] == 0 + 1 + 2 + 3 + 4 + 5 + 0 and step.episode_return[7] == 1


def test_an_end_at_the_limit_is_terminal_and_no_truncation():
    step, _, _ = played(make_device_env(counting(ends_at=LIMIT)), np.zeros(8, int))
    assert np.flatnonzero(step.terminal).tolist() == [6] and not step.truncated.any()


def test_sticky_actions_repeat_what_was_done_across_episodes():
    env, count = make_device_env(counting(), sticky_actions=0.1), 4000
    actions = np.random.default_rng(0).integers(6, size=count)
    step, _, after = played(env, actions)
    done = after.last_action
    np.testing.assert_array_equal(step.reward, done)
    before = np.concatenate([[0], done[:-1]])
    stuck = done != actions
    np.testing.assert_array_equal(done[stuck], before[stuck])
    # One in six random actions is the one before anyway.
    expected = 0.1 * 5 / 6
    assert abs(stuck.mean() - expected) < 4 * np.sqrt(expected / count)
    first = np.flatnonzero(step.truncated)[:-1] + 1  # of an episode
    assert stuck[first].any()


def test_without_sticky_actions_every_action_is_done():
    step, _, _ = played(make_device_env(counting()), np.arange(60) % 6)
    np.testing.assert_array_equal(step.reward, np.arange(60) % 6)


def test_continuous_actions_arrive_as_they_are():
    """Of their own shape and dtype; terminal may be Python's False."""
    spec = EnvSpec("moving", (2,), np.float32, 0, (2,), 1, 1, LIMIT, True)
    step = lambda state, action, key: (state + action, jnp.sum(action), False)
    env = make_device_env(Game(spec, lambda key: jnp.zeros(2), step, lambda state: state))
    actions = np.array([[0.25, -0.5], [0.125, 1.0]], np.float32)
    made, observation, after = played(env, actions)
    np.testing.assert_array_equal(observation, actions.cumsum(0))
    np.testing.assert_array_equal(after.last_action, actions)
    np.testing.assert_array_equal(made.reward, actions.sum(1))
    assert made.truncated.dtype == made.terminal.dtype == bool


# What a registered game may get wrong: changes of its rules and of its registration.
WRONG = {
    "stack": ({}, {"stack_size": 4}, "has stack_size 4; on the device it must be 1"),
    "key": ({"reset": lambda key: key}, {}, "typed PRNG key in its state"),
    "shape": ({}, {"observation_shape": (3,)}, r"observe is float32 of shape \(2,\); expected "),
    "dtype": ({}, {"observation_dtype": bool}, "observe is float32 .* expected bool"),
    "two": ({"step": lambda s, a, k: (s, 0.0)}, {}, "should return state, reward, terminal"),
    "reward": ({"step": lambda s, a, k: (s, s, False)}, {}, "step's reward is .*float32 of shape"),
    "terminal": ({"step": lambda s, a, k: (s, 0.0, 1)}, {}, "step's terminal is int32"),
    "after": ({"step": lambda s, a, k: (s + 0.5, 0.0, False)}, {}, "state after step is float32"),
    "tree": ({"step": lambda s, a, k: ((s, s), 0.0, False)}, {}, "state after step is PyTreeDef"),
    "raises": ({"reset": lambda key: jnp.zeros(2) @ jnp.zeros(3)}, {}, "reset raises TypeError"),
}


@pytest.mark.parametrize("which", WRONG)
def test_a_game_that_does_not_do_what_it_says_is_one_line(which, monkeypatch):
    """By its specification and when it is made, before anything is compiled."""
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))
    rules, facts, message = WRONG[which]
    usual = {"observation_shape": (2,), "num_actions": 6, "max_episode_steps": LIMIT}
    make = lambda spec: counting()._replace(spec=spec, **rules)
    register.environment("Wrong/device", **{**usual, **facts}, on_device=True)(make)
    for asked in (env_spec, make_by_name):
        with pytest.raises(DormantError, match=f"^Wrong/device.*{message}") as caught:
            asked("Wrong/device")
        assert "\n" not in str(caught.value)


def test_a_game_that_does_is_checked_once(monkeypatch):
    monkeypatch.setattr(register, "ENVIRONMENTS", dict(register.ENVIRONMENTS))
    made = []
    register.environment(
        "Right/device", observation_shape=(2,), num_actions=6, max_episode_steps=3, on_device=True
    )(lambda spec: made.append(spec) or counting()._replace(spec=spec))
    assert env_spec("Right/device") == env_spec("Right/device") == make_by_name("Right/device").spec
    assert len(made) == 1
