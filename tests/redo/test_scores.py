"""Scores by hand: of signed values, of half precision, without a gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.redo import capture, dormant_fraction, feature_rank, layer_dormant_fractions, scores

PARAMS = {"a": np.eye(3, dtype=np.float32), "b": np.ones((3, 1), np.float32)}
observe = capture(lambda p, x: jnp.tanh(x @ p["a"]) @ p["b"])


def bound(values):
    """Activations of one layer of three neurons with these values."""
    return observe(PARAMS, jnp.ones((1, 3))).wiring.bind({"a": values})


def test_the_mean_of_the_magnitude_not_the_magnitude_of_the_mean():
    activations = bound(jnp.array([[1.0, -2, 0], [-1, -2, 3]]))
    # E|h| = (1, 2, 1.5), their mean 1.5; |E h| would be (0, 2, 1.5)
    np.testing.assert_allclose(scores(activations)["a"], [2 / 3, 4 / 3, 1], rtol=1e-6)
    assert float(layer_dormant_fractions(activations, 0.0)["a"]) == 0


def test_every_axis_but_the_last_is_averaged_over():
    values = jnp.arange(24.0).reshape(2, 2, 2, 3)
    each = np.arange(24.0).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(scores(bound(values))["a"], each / each.mean(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_scores_are_computed_in_float32(dtype):
    values = jnp.asarray(np.random.default_rng(0).standard_normal((999, 3)), dtype)
    found = scores(bound(values))["a"]
    each = np.abs(np.asarray(values, np.float64)).mean(0)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, each / each.mean(), rtol=1e-5)


def test_the_constant_is_added_to_the_mean():
    np.testing.assert_allclose(scores(bound(jnp.full((4, 3), 1e-9)))["a"], 0.5, rtol=1e-5)


def test_each_layer_is_scored_by_its_own_numbers():
    deep = capture(lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["c"]) @ p["b"])
    x = jnp.array([[0.1, -0.5, 2.0], [0.3, 0.5, 0.0]])
    activations = deep({**PARAMS, "c": np.diag([1, 2, 3]).astype(np.float32)}, x)
    for name, score in scores(activations).items():
        each = np.abs(np.asarray(activations[name])).mean(0)
        np.testing.assert_allclose(score, each / each.mean(), rtol=1e-5)
    assert list(activations) == ["a", "c"]


def test_the_fraction_is_of_all_neurons_not_of_layers():
    deep = capture(lambda p, x: jnp.tanh(jnp.tanh(x @ p["a"]) @ p["c"]) @ p["b"])
    params = {"a": np.diag([1, 1, 0]).astype(np.float32), "c": np.ones((3, 1), np.float32)}
    params["b"] = np.ones((1, 1), np.float32)
    activations = deep(params, jnp.ones((2, 3)))
    of_layers = layer_dormant_fractions(activations, 0.0)
    assert of_layers["a"] == pytest.approx(1 / 3) and of_layers["c"] == 0
    assert float(dormant_fraction(activations, 0.0)) == 1 / 4


def test_the_fraction_of_a_single_neuron():
    one = capture(lambda p, x: jax.nn.relu(x @ p["a"][:, :1]) @ p["b"][:1])
    assert float(dormant_fraction(one(PARAMS, -jnp.ones((2, 3))), 0.0)) == 1


def test_the_rank_of_features_is_free_of_their_scale():
    features = jnp.diag(jnp.array([3.0, 1, 1, 0]))
    assert int(feature_rank(0.01 * features, 0.3)) == 2


def test_the_rank_takes_every_place_of_an_image_for_a_sample():
    image = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    assert int(feature_rank(image)) == int(feature_rank(image.reshape(-1, 4))) == 4


def test_without_a_scored_layer_there_is_no_fraction():
    linear = capture(lambda p, x: x @ p["a"])
    assert np.isnan(dormant_fraction(linear(PARAMS, jnp.ones((2, 3))), 0.0))


def test_a_silent_layer_scores_0():
    assert scores(bound(jnp.zeros((4, 3))))["a"].tolist() == [0, 0, 0]


def test_captured_values_carry_no_gradient():
    x = jnp.array([[0.5, -1.0, 2.0]])
    loss = lambda params: jnp.sum(observe(params, x)["a"] ** 2) + jnp.sum(params["b"])
    slopes = jax.grad(loss)(PARAMS)
    assert not np.asarray(slopes["a"]).any() and (np.asarray(slopes["b"]) == 1).all()
