"""Scores and recycling of a plain stack against a NumPy twin."""

import jax
import numpy as np
import optax
import pytest

from dormant.redo import capture, recycle, scores, selected
from dormant.redo.capture import LinenInit
from tests.redo.architectures import make
from tests.reference import redo_twin

LAYERS = ("Conv_0", "Conv_1", "Dense_0", "Dense_1")


@pytest.mark.parametrize("tau", [0.0, 0.6, 1.1, 9.0])
def test_recycle_equals_the_twin(tau):
    network, params, inputs, _ = make("conv_valid")
    activations = capture(network)(params, *inputs)
    for name, score in scores(activations).items():
        np.testing.assert_allclose(
            score, redo_twin.scores(np.asarray(activations[name])), rtol=1e-5
        )
    state = optax.adam(1e-3).init(params)
    state = jax.tree.map(lambda x: x + 1, state)
    key = jax.random.key(5)
    new, new_state = jax.jit(recycle)(params, state, activations, tau, key)
    assert isinstance(activations.wiring.initialiser, LinenInit)
    fresh = network.init(jax.random.split(key)[1], *inputs)
    layers = lambda tree: [jax.tree.map(np.asarray, tree["params"][name]) for name in LAYERS]
    dead = [np.flatnonzero(selected(activations, tau)[name]) for name in LAYERS[:-1]]
    assert (sum(map(len, dead)) > 0) == (tau > 0) and (tau < 9 or sum(map(len, dead)) == 15)
    expected, moments = redo_twin.recycle(layers(params), layers(fresh), layers(state[0].nu), dead)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), layers(new), expected)
    jax.tree.map(np.testing.assert_array_equal, layers(new_state[0].nu), moments)
