"""What every environment on the device has around its rules."""

import jax
import jax.numpy as jnp
import numpy as np

from dormant.envs.device import Game, make_device_env
from dormant.types import EnvSpec

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
