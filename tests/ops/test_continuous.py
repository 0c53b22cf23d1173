import jax
import jax.numpy as jnp
import numpy as np

from dormant import ops

MEAN, LOG_STD = jnp.array([0.3, -1.0]), jnp.array([-0.5, 0.2])


def test_density_is_that_of_the_squashed_gaussian():
    keys = jax.random.split(jax.random.key(0), 50)
    actions, log_probs = jax.vmap(ops.tanh_gaussian_sample, in_axes=(None, None, 0))(
        MEAN, LOG_STD, keys
    )
    assert np.all(np.abs(actions) <= 1)
    mean, std = np.asarray(MEAN, np.float64), np.exp(np.asarray(LOG_STD, np.float64))
    u = np.arctanh(np.asarray(actions, np.float64))  # change of variables, by its definition
    gaussian = -((u - mean) ** 2) / (2 * std**2) - np.log(std * np.sqrt(2 * np.pi))
    expected = (gaussian - np.log(1 - np.tanh(u) ** 2)).sum(axis=1)
    np.testing.assert_allclose(log_probs, expected, rtol=1e-3, atol=1e-3)


def test_density_integrates_to_one():
    """One dimension: the mean of 1 / density over samples is the length of [-1, 1]."""
    keys = jax.random.split(jax.random.key(1), 20_000)
    sample = jax.vmap(ops.tanh_gaussian_sample, in_axes=(None, None, 0))
    _, log_probs = sample(jnp.array([0.2]), jnp.array([0.0]), keys)
    np.testing.assert_allclose(np.exp(-np.asarray(log_probs)).mean(), 2.0, rtol=0.05)


def test_saturated_actions_have_finite_densities_and_gradients():
    def log_prob(mean):
        return ops.tanh_gaussian_sample(mean, jnp.array([-5.0]), jax.random.key(0))[1]

    value, gradient = jax.value_and_grad(log_prob)(jnp.array([30.0]))
    assert np.isfinite(value) and np.all(np.isfinite(gradient))
    np.testing.assert_allclose(ops.tanh_gaussian_mode(MEAN), np.tanh([0.3, -1.0]), rtol=1e-6)


def test_td_errors():
    # target: 1 + 0.9 * (min(3, 5) - 0.2 * (-1.5)) = 3.97
    args = [jnp.array(x) for x in ([1.0, 2.0], 1.0, 0.9, [3.0, 5.0], -1.5, 0.2)]
    np.testing.assert_allclose(ops.sac_td_errors(*args), [2.97, 1.97], rtol=1e-6)
    gradient = jax.grad(
        lambda q_t: ops.sac_td_errors(args[0], args[1], args[2], q_t, args[4], args[5]).sum()
    )(args[3])
    np.testing.assert_array_equal(gradient, [0.0, 0.0])


def test_actor_loss():
    loss = ops.sac_actor_loss(jnp.array([3.0, 2.0]), jnp.array(-1.5), jnp.array(0.2))
    np.testing.assert_allclose(loss, 0.2 * -1.5 - 2.0, rtol=1e-6)


def test_temperature_rises_while_the_entropy_is_below_its_target():
    # entropy 1, target 3: d/d(log temperature) = -(-1 + 3) = -2, so descending raises it
    loss, slope = jax.value_and_grad(ops.sac_temperature_loss)(jnp.array(0.5), jnp.array(-1.0), 3.0)
    np.testing.assert_allclose([loss, slope], [-0.5 * 2.0, -2.0])


def test_the_temperature_loss_does_not_train_the_policy():
    loss = lambda log_prob: ops.sac_temperature_loss(jnp.array(0.5), log_prob, 3.0)
    assert jax.grad(loss)(jnp.array(-1.0)) == 0
