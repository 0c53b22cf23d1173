"""The MinAtar network: its size, its formulations, its wiring."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import capture, recycle
from dormant.agents.dqn import DQN
from dormant.agents.interface import Settings
from dormant.agents.parts import adam
from dormant.agents.rainbow import Rainbow
from dormant.envs import env_spec
from dormant.nets import MinAtarNetwork, make_q_network, make_rainbow_network
from dormant.nets.minatar import ValidConv
from dormant.types import DormantError

SPEC = env_spec("MinAtar/Breakout")
IMAGES = jax.random.bernoulli(jax.random.key(1), 0.2, (8, 10, 10, 4))


def parameters(network):
    return network.init(jax.random.key(0), IMAGES)["params"]


def test_the_parameters_are_young_and_tians():
    shapes_of = lambda network: jax.eval_shape(lambda: parameters(network))
    params = shapes_of(make_q_network(DQN(network="minatar"), SPEC))
    shapes = {name: layer["kernel"].shape for name, layer in params.items()}
    assert shapes == {"Conv_0": (3, 3, 4, 16), "Dense_0": (1024, 128), "final_layer": (128, 6)}
    wide = shapes_of(make_q_network(DQN(network="minatar", width=2.0), SPEC))
    assert wide["Dense_0"]["kernel"].shape == (2048, 256)
    normed = shapes_of(make_q_network(DQN(network="minatar_layer_norm"), SPEC))
    assert set(normed) == {*params, "LayerNorm_0", "LayerNorm_1"}
    rainbow = shapes_of(make_rainbow_network(Rainbow(network="minatar", noisy=False), SPEC))
    assert rainbow["Dense_0"]["kernel"].shape == (1024, 128)


def test_both_formulations_are_flaxs_convolution():
    convolution = nn.Conv(16, (3, 3), padding="VALID")
    params = convolution.init(jax.random.key(2), IMAGES.astype(jnp.float32))
    expected = convolution.apply(params, IMAGES.astype(jnp.float32))
    for formulation in ("xla", "matmul"):
        found = ValidConv(16, formulation).apply(params, IMAGES)
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("formulation", ["xla", "matmul"])
def test_every_hidden_neuron_is_recyclable_and_dead_ones_leave_the_outputs(formulation):
    network = MinAtarNetwork(6, formulation=formulation)
    params = parameters(network)
    dead = np.array([1, 3, 4])
    for layer in ("Conv_0", "Dense_0"):
        params[layer]["bias"] = params[layer]["bias"].at[dead].set(-100.0)
    q_values = lambda params: network.apply({"params": params}, IMAGES).q_values
    observe = capture(
        lambda params, images: network.apply({"params": params}, images).q_values,
        init=lambda key: network.init(key, IMAGES)["params"],
    )
    activations = observe(params, IMAGES)
    described = activations.describe().splitlines()
    counts = {line.split()[0]: line.split()[1:5] for line in described[1:3]}
    assert counts == {"Conv_0": ["16", "yes", "16", "16"], "Dense_0": ["128", "yes", "128", "128"]}
    opt_state = adam(DQN(), Settings(1e-3, 0.0)).init(params)
    after, _ = recycle(params, opt_state, activations, 0.0, jax.random.key(3))
    np.testing.assert_allclose(q_values(after), q_values(params), atol=1e-5)
    for layer, following in (("Conv_0", "Dense_0"), ("Dense_0", "final_layer")):
        assert not np.any(after[layer]["bias"][dead])
        outgoing = np.asarray(after[following]["kernel"])
        outgoing = outgoing.reshape(-1, after[layer]["bias"].shape[0], outgoing.shape[-1])
        assert outgoing.any() and not outgoing[:, dead].any()


def test_a_layer_norm_couples_the_neurons_of_a_layer():
    network = make_q_network(DQN(network="minatar_layer_norm"), SPEC)
    observe = capture(
        lambda params, images: network.apply(params, images).q_values,
        init=lambda key: network.init(key, IMAGES),
    )
    text = observe(network.init(jax.random.key(0), IMAGES), IMAGES).describe()
    assert "Conv_0: coupled" in text and "Dense_0: coupled" in text


def test_networks_and_observations_must_fit():
    with pytest.raises(DormantError, match="'nature' takes images; MinAtar/Breakout"):
        make_q_network(DQN(), SPEC)
    with pytest.raises(DormantError, match="'minatar' takes images with channels; probe/see"):
        make_rainbow_network(Rainbow(network="minatar"), env_spec("probe/see_image"))
    with pytest.raises(DormantError, match="did you mean 'minatar'"):
        make_q_network(DQN(network="minata"), SPEC)
