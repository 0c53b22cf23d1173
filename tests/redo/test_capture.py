"""What ``capture`` runs is the network as it is now: its scans, its state, its types."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import lax

from dormant.redo import capture, recycle
from dormant.redo.derivation.program import evaluate, flat_program


@pytest.mark.parametrize("reverse", [False, True])
def test_an_unrolled_scan_runs_in_its_order(reverse):
    random = np.random.default_rng(0)
    weights = random.standard_normal((3, 4, 4)).astype(np.float32)
    x = random.standard_normal((2, 4)).astype(np.float32)

    def network(weights, x):
        def layer(h, w):
            h = jax.nn.relu(h @ w)
            return h, h.sum(axis=1)

        return lax.scan(layer, x, weights, reverse=reverse)

    program = flat_program(network, weights, x)
    assert not any(eqn.primitive.name == "scan" for eqn in program.jaxpr.eqns)
    outputs = evaluate(program, [weights, x])[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), outputs, [*network(weights, x)]
    )
    first = capture(lambda w, x: network(w, x)[0] @ np.ones((4, 1), np.float32))(weights, x)
    expected = jax.nn.relu(x @ weights[2 if reverse else 0])
    measured = [np.asarray(values) for values in first.values()]
    assert any(v.shape == expected.shape and np.allclose(v, expected, atol=1e-5) for v in measured)


class Scaled(nnx.Module):
    """A hidden layer whose values are scaled by a variable that is not trained."""

    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 1, rngs=rngs)
        self.scale = nnx.Variable(jnp.ones(()))

    def __call__(self, x):
        return self.out(nnx.relu(self.scale * self.hidden(x)))


def test_the_state_of_an_nnx_module_is_the_one_it_has_now():
    model, x = Scaled(nnx.Rngs(0)), jax.random.normal(jax.random.key(1), (5, 3))
    observe = capture(model, init=lambda key: Scaled(nnx.Rngs(key)))
    before = observe(model, x)["hidden"]
    model.scale[...] = jnp.array(2.0)
    np.testing.assert_allclose(observe(model, x)["hidden"], 2 * before, rtol=1e-6)
    # parameters alone know of no other state than the one at the time of capture
    np.testing.assert_allclose(observe(nnx.state(model, nnx.Param), x)["hidden"], before, rtol=1e-6)


class Normalised(nnx.Module):
    def __init__(self, rngs):
        self.hidden, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.relu(self.norm(self.hidden(x))))


def test_an_nnx_module_is_measured_in_its_present_mode():
    model, x = Normalised(nnx.Rngs(0)), jax.random.normal(jax.random.key(1), (5, 3))
    observe = capture(model)
    (name,) = observe(model, x)
    model.eval()
    values = np.asarray(nnx.relu(model.norm(model.hidden(x))))
    np.testing.assert_allclose(observe(model, x)[name], values, rtol=1e-5)


def test_an_nnx_state_outlives_a_donated_module():
    model, x = Scaled(nnx.Rngs(0)), jnp.ones((5, 3))
    observe, params = capture(model), jax.tree.map(jnp.copy, nnx.state(model, nnx.Param))
    before = observe(params, x)["hidden"]
    model.scale[...].delete()
    np.testing.assert_array_equal(observe(params, x)["hidden"], before)


def test_a_kernel_and_its_transpose_are_two_wirings():
    """Their owners and feeders have the same bytes."""

    def wiring(middle):
        def network(p, x):
            hidden = jax.nn.relu(jax.nn.relu(x @ p["a"]) @ middle(p["w"]))
            return hidden @ p["b"]

        params = {"a": jnp.ones((3, 4)), "w": jnp.ones((4, 4)), "b": jnp.ones((4, 1))}
        return capture(network)(params, jnp.ones((2, 3))).wiring

    assert wiring(lambda w: w) == wiring(lambda w: w) != wiring(lambda w: w.T)


@pytest.mark.parametrize("features_first", [True, False])
def test_a_product_of_two_layers_is_scored_once_as_the_later_one(features_first):
    """IQN's: the hidden layer reads features times embedded quantiles, (B, quantiles, H)."""
    relu, random = jax.nn.relu, np.random.default_rng(0)
    shapes = {"state": (3, 4), "cosine": (2, 4), "hidden": (4, 5), "out": (5, 1)}
    params = {name: random.standard_normal(shape) for name, shape in shapes.items()}

    def network(p, x, cosines):
        layers = [lambda: relu(x @ p["state"])[:, None], lambda: relu(cosines @ p["cosine"])]
        a, b = (layer() for layer in (layers if features_first else layers[::-1]))
        return relu(a * b @ p["hidden"]) @ p["out"]

    x, cosines = random.standard_normal((6, 3)), random.standard_normal((6, 7, 2))
    activations = capture(network)(params, x, cosines)
    later = "cosine" if features_first else "state"
    assert set(activations) == {later, "hidden"}
    product = relu(x @ params["state"])[:, None] * relu(cosines @ params["cosine"])
    np.testing.assert_allclose(activations[later], product, rtol=1e-4)
    layers = {layer.name: layer for layer in activations.wiring.layers}
    for name in ("state", "cosine"):
        assert not layers[name].recyclable.any()
        assert layers[name].reasons == (("multiplied by other neurons (a gate)", 4),)
    assert layers["hidden"].recyclable.all()


@pytest.mark.parametrize("incoming", ["init", "xavier", "rescaled"])
def test_fresh_values_take_the_parameters_type(incoming):
    init = lambda key: {
        "a": jax.random.normal(key, (3, 4)),
        "bias": jnp.zeros(4),
        "b": jax.random.normal(key, (4, 1)),
    }
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), init(jax.random.key(0)))
    network = lambda p, x: jax.nn.relu(x @ p["a"] + p["bias"][None]) @ p["b"]
    activations = capture(network, init=init)(params, jnp.ones((2, 3), jnp.bfloat16))
    state = optax.trace(0.9).init(params)
    for outgoing in ("zero", "random"):
        new, moments = recycle(
            params, state, activations, 9.0, jax.random.key(1), incoming=incoming, outgoing=outgoing
        )
        same = lambda a, b: a.dtype == b.dtype and a.shape == b.shape
        assert jax.tree.all(jax.tree.map(same, (new, moments), (params, state)))
        assert (np.asarray(new["a"] != params["a"])).all()
