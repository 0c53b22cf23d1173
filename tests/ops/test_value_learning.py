"""Expected numbers are worked out next to each assertion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import ops

Q_TM1, Q_T, SELECTOR = jnp.array([1.0, 2.0]), jnp.array([0.5, 4.0, 1.0]), jnp.array([0.0, 1.0, 3.0])


@pytest.mark.parametrize(
    "action, reward, discount, expected",
    [
        (0, 1.0, 0.9, 1.0 + 0.9 * 4.0 - 1.0),
        (1, 1.0, 0.9, 1.0 + 0.9 * 4.0 - 2.0),
        (1, -0.5, 0.0, -0.5 - 2.0),  # terminated
    ],
)
def test_q_learning(action, reward, discount, expected):
    error = ops.q_learning_td_error(
        Q_TM1, jnp.array(action), jnp.array(reward), jnp.array(discount), Q_T
    )
    np.testing.assert_allclose(error, expected, rtol=1e-6)


def test_double_q_learning_chooses_with_one_network_and_values_with_the_other():
    error = ops.double_q_learning_td_error(
        Q_TM1, jnp.array(0), jnp.array(1.0), jnp.array(0.9), Q_T, SELECTOR
    )
    np.testing.assert_allclose(
        error, 1.0 + 0.9 * 1.0 - 1.0, rtol=1e-6
    )  # SELECTOR prefers action 2, worth 1


def test_no_gradient_flows_into_the_target():
    def squared(q):  # the same network on both sides
        return (
            ops.double_q_learning_td_error(q, jnp.array(0), jnp.array(1.0), jnp.array(0.5), q, q)
            ** 2
        )

    # error = 1 + 0.5 * 2 - 1 = 1, its derivative by q[0] alone is -2 * 1
    np.testing.assert_allclose(jax.grad(squared)(Q_TM1), [-2.0, 0.0])


@pytest.mark.parametrize(
    "x, delta, expected", [(0.5, 1.0, 0.125), (-3.0, 1.0, 2.5), (3.0, 2.0, 4.0), (1.0, 1.0, 0.5)]
)
def test_huber(x, delta, expected):
    np.testing.assert_allclose(ops.huber(jnp.array(x), delta), expected)


@pytest.mark.parametrize(
    "x, slope", [(0.5, 0.5), (-0.25, -0.25), (7.0, 1.0), (-7.0, -1.0), (0.0, 0.0)]
)
def test_huber_gradient_is_the_error_clipped_to_delta(x, slope):
    np.testing.assert_allclose(jax.grad(ops.huber)(x), slope)


def test_a_forgotten_vmap_is_an_error_that_names_the_argument():
    with pytest.raises(TypeError, match=r"q_tm1 has shape \(2, 3\), expected 1 axes"):
        ops.q_learning_td_error(np.zeros((2, 3)), 0, 0.0, 0.0, np.zeros(3))
    with pytest.raises(TypeError, match=r"r_t has shape \(2,\), expected 0 axes"):
        ops.q_learning_td_error(np.zeros(3), 0, np.zeros(2), 0.0, np.zeros(3))


def test_rewards_are_clipped_to_one_and_numpy_stays_numpy():
    clipped = ops.clip_reward(np.array([-7.0, 0.25, 3.0], np.float32))
    assert isinstance(clipped, np.ndarray) and clipped.dtype == np.float32
    np.testing.assert_array_equal(clipped, [-1.0, 0.25, 1.0])
    np.testing.assert_array_equal(ops.clip_reward(jnp.array([-7.0, 0.25])), [-1.0, 0.25])


@pytest.mark.parametrize(
    "agent_steps, expected",
    [
        (0, 1.0),
        (20_000, 1.0),
        (145_000, 0.505),
        (270_000, 0.01),
        (10**9, 0.01),
    ],  # half-way: 0.01 + 0.99 / 2
)
def test_epsilon_decays_after_the_warmup(agent_steps, expected):
    epsilon = ops.linearly_decaying_epsilon(250_000, jnp.array(agent_steps), 20_000, 0.01)
    np.testing.assert_allclose(epsilon, expected, rtol=1e-5)


def test_no_decay_period_is_a_step():
    values = [ops.linearly_decaying_epsilon(0, jnp.array(steps), 10, 0.25) for steps in (9, 10, 11)]
    np.testing.assert_allclose(values, [1.0, 0.25, 0.25])


def test_epsilon_greedy_frequencies():
    keys = jax.random.split(jax.random.key(0), 4000)
    q_values = jnp.array([0.0, 2.0, 1.0, 2.0])
    actions = jax.vmap(ops.epsilon_greedy, in_axes=(None, None, 0))(q_values, 0.4, keys)
    assert actions.dtype == jnp.int32
    # each action 0.4 / 4, and the first of the two best 0.6 more; four standard deviations are 0.03
    np.testing.assert_allclose(
        np.bincount(actions, minlength=4) / 4000, [0.1, 0.7, 0.1, 0.1], atol=0.03
    )
    greedy = jax.vmap(ops.epsilon_greedy, in_axes=(None, None, 0))(q_values, 0.0, keys[:100])
    assert np.all(greedy == 1)
