import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN
from dormant.nets import ResNet, make_q_network
from dormant.nets.resnet import STACKS, Stack
from dormant.types import DormantError, EnvSpec


def shapes(network, size):
    observation = jax.ShapeDtypeStruct((1, size, size, 4), jnp.uint8)
    return jax.eval_shape(network.init, jax.random.key(0), observation)["params"]


def conv(inputs, outputs):
    return 9 * inputs * outputs + outputs


def test_parameters_are_the_papers():
    """84 -> 42 -> 21 -> 11 pixels; five convolutions a stack, 7744 inputs of the dense layer, 4.36M
    in all.
    """
    expected, inputs = 11 * 11 * 64 * 512 + 512 + 512 * 6 + 6, 4
    for channels in STACKS:
        expected += conv(inputs, channels) + 4 * conv(channels, channels)
        inputs = channels
    params = shapes(ResNet(6), 84)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected == 4_357_542
    assert set(params) == {"Stack_0", "Stack_1", "Stack_2", "Dense_0", "final_layer"}
    assert all(set(params[f"Stack_{i}"]) == {f"Conv_{k}" for k in range(5)} for i in range(3))


def test_initialisers():
    params = jax.jit(Stack(64, "relu", "xla").init)(jax.random.key(0), jnp.zeros((1, 4, 4, 32)))[
        "params"
    ]
    kernel = params["Conv_0"]["kernel"]  # xavier_uniform: bound sqrt(6 / (fan_in + fan_out))
    bound = np.sqrt(6 / (9 * 32 + 9 * 64))
    assert 0.98 * bound < np.abs(kernel).max() <= bound
    kernel = params["Conv_1"][
        "kernel"
    ]  # lecun_normal: deviation sqrt(1 / fan_in), cut at two of them
    np.testing.assert_allclose(np.std(kernel), np.sqrt(1 / (9 * 64)), rtol=0.02)
    assert np.abs(kernel).max() > bound
    assert all(not np.any(layer["bias"]) for layer in params.values())


def random_params(network, *inputs):
    """Parameters without compiling an initialiser."""
    random = np.random.default_rng(1)
    leaves = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: random.normal(0, 0.1, leaf.shape).astype(np.float32), leaves)


def test_formulations_are_the_same_function():
    image = np.random.default_rng(0).normal(size=(2, 7, 7, 4)).astype(np.float32)
    stacks = [Stack(8, "relu", formulation) for formulation in ("matmul", "xla")]
    params = random_params(stacks[0], image)
    outputs = [jax.jit(stack.apply)(params, image) for stack in stacks]
    assert outputs[0].shape == (2, 4, 4, 8) and np.std(outputs[0]) > 0.01
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)


def test_blocks_are_residual():
    """With the blocks' second convolutions silent a stack is its first convolution, pooled."""
    image = np.random.default_rng(0).normal(size=(2, 8, 8, 4)).astype(np.float32)
    stack = Stack(8, "relu", "xla")
    params = random_params(stack, image)["params"]
    silent = {name: 0 * layer["kernel"] for name, layer in params.items()}
    params.update(
        {
            name: {"kernel": silent[name], "bias": 0 * params[name]["bias"]}
            for name in ("Conv_2", "Conv_4")
        }
    )
    first = nn.Conv(8, (3, 3)).apply({"params": params["Conv_0"]}, image)
    # 'SAME' pooling of 8 pixels by two adds one pixel at the end: windows start at 0, 2, 4, 6
    expected = np.full((2, 4, 4, 8), -np.inf)
    for i, j in np.ndindex(4, 4):
        expected[:, i, j] = np.asarray(first)[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max(
            axis=(1, 2)
        )
    np.testing.assert_allclose(stack.apply({"params": params}, image), expected, atol=1e-5)


def test_agents_name_it():
    spec = EnvSpec("Pong", (84, 84), np.uint8, 6, (), 4, 4, 27_000)
    assert make_q_network(DQN(network="resnet", width=2.0, formulation="matmul"), spec) == ResNet(
        6, 2.0
    )
    with pytest.raises(DormantError, match="unknown network 'resnt'; did you mean 'resnet'"):
        make_q_network(DQN(network="resnt"), spec)
