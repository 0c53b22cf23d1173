import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN
from dormant.nets import ResNet, make_q_network
from dormant.nets.resnet import STACKS
from dormant.types import DormantError, EnvSpec

PICTURES = jnp.asarray(np.random.default_rng(0).integers(0, 255, (2, 12, 12, 4), dtype=np.uint8))


def shapes(network, size):
    observation = jax.ShapeDtypeStruct((1, size, size, 4), jnp.uint8)
    return jax.eval_shape(network.init, jax.random.key(0), observation)["params"]


def conv(inputs, outputs):
    return 9 * inputs * outputs + outputs


def test_parameters_are_the_papers():
    """84 -> 42 -> 21 -> 11 pixels; five convolutions a stack, 7744 inputs of the dense layer, 4.36M in all."""
    expected, inputs = 11 * 11 * 64 * 512 + 512 + 512 * 6 + 6, 4
    for channels in STACKS:
        expected += conv(inputs, channels) + 4 * conv(channels, channels)
        inputs = channels
    params = shapes(ResNet(6), 84)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected == 4_357_542
    assert set(params) == {"Stack_0", "Stack_1", "Stack_2", "Dense_0", "final_layer"}
    assert all(set(params[f"Stack_{i}"]) == {f"Conv_{k}" for k in range(5)} for i in range(3))


@pytest.mark.parametrize("width, channels, dense", [(0.25, (8, 16, 16), 128), (2.0, (64, 128, 128), 1024)])
def test_width_scales_every_hidden_layer(width, channels, dense):
    params = shapes(ResNet(6, width), 84)
    for index, size in enumerate(channels):
        assert all(layer["kernel"].shape[-1] == size for layer in params[f"Stack_{index}"].values())
    assert params["Dense_0"]["kernel"].shape == (121 * channels[2], dense)


def test_initialisers():
    params = jax.jit(ResNet(6).init)(jax.random.key(0), PICTURES)["params"]
    kernel = params["Stack_1"]["Conv_0"]["kernel"]  # xavier_uniform: bound sqrt(6 / (fan_in + fan_out))
    bound = np.sqrt(6 / (9 * 32 + 9 * 64))
    assert 0.98 * bound < np.abs(kernel).max() <= bound
    kernel = params["Stack_1"]["Conv_1"]["kernel"]  # lecun_normal: deviation sqrt(1 / fan_in), cut at two of them
    deviation = np.sqrt(1 / (9 * 64))
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.02)
    assert np.abs(kernel).max() > bound
    assert all(not np.any(layer["bias"]) for layer in params["Stack_2"].values())


def test_formulations_are_the_same_function():
    networks = [ResNet(3, 0.125, formulation=formulation) for formulation in ("matmul", "xla")]
    params = jax.jit(networks[0].init)(jax.random.key(1), PICTURES)
    outputs = [jax.jit(network.apply)(params, PICTURES) for network in networks]
    np.testing.assert_allclose(outputs[0].q_values, outputs[1].q_values, atol=1e-5)
    assert outputs[0].features.shape == (2, 64) and np.any(outputs[0].q_values != 0)


def test_blocks_are_residual():
    """With the blocks' second convolutions silent a stack is its first convolution, pooled."""
    network = ResNet(3, 0.125, formulation="xla")
    params = jax.jit(network.init)(jax.random.key(1), PICTURES)["params"]
    apply = jax.jit(network.apply)
    outputs = []
    for scale in (1.0, 3.0):  # of the blocks' first convolutions, which nothing reads any more
        changed = {name: dict(layers) for name, layers in params.items()}
        for stack in ("Stack_0", "Stack_1", "Stack_2"):
            for name, factor in (("Conv_1", scale), ("Conv_2", 0.0), ("Conv_3", scale), ("Conv_4", 0.0)):
                changed[stack][name] = jax.tree.map(lambda leaf, f=factor: f * leaf, changed[stack][name])
        outputs.append(apply({"params": changed}, PICTURES).q_values)
    np.testing.assert_array_equal(*outputs)
    assert np.any(apply({"params": params}, PICTURES).q_values != outputs[0])


def test_agents_name_it():
    spec = EnvSpec("Pong", (84, 84), np.uint8, 6, (), 4, 4, 27_000)
    assert make_q_network(DQN(network="resnet", width=2.0, formulation="matmul"), spec) == ResNet(6, 2.0)
    with pytest.raises(DormantError, match="unknown network 'resnt'; did you mean 'resnet'"):
        make_q_network(DQN(network="resnt"), spec)
