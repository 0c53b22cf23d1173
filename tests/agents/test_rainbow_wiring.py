"""ReDo on the networks of the family and on the ResNet: true consumers, both heads, mu and
sigma.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.nets import make_q_network, make_rainbow_network
from dormant.redo import recycle
from dormant.types import EnvSpec, Transition

SPEC = EnvSpec("Images", (36, 36), np.uint8, 3, (), 4, 4, 100)
SETTINGS = Settings(jnp.float32(1e-3), jnp.float32(0.0))
DEAD = np.array([1, 3])
CONFIGS = {
    "rainbow": (make_rainbow, make_rainbow_network, Rainbow(width=0.125, num_atoms=5)),
    "drq": (
        make_rainbow,
        make_rainbow_network,
        Rainbow(width=0.125, noisy=False, distributional=False),
    ),
    "resnet": (make_dqn, make_q_network, DQN(network="resnet", width=0.125)),
}
# Recyclable layer -> the layers that read it.
CONSUMERS = {
    "rainbow": {
        "Conv_0": ["Conv_1"],
        "Conv_1": ["Conv_2"],
        "Conv_2": ["Dense_0"],
        "Dense_0": ["advantage", "value"],
    },
    "drq": {
        "Conv_0": ["Conv_1"],
        "Conv_1": ["Conv_2"],
        "Conv_2": ["Dense_0"],
        "Dense_0": ["advantage", "value"],
    },
    "resnet": {
        **{f"Stack_{i}/Conv_{k}": [f"Stack_{i}/Conv_{k + 1}"] for i in range(3) for k in (1, 3)},
        "Dense_0": ["final_layer"],
    },
}


def leaves(tree):
    """{"params/Conv_0/kernel": array}"""
    flat = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in flat
    }


@pytest.mark.parametrize("name", ["rainbow", pytest.param("drq", marks=pytest.mark.slow), "resnet"])
def test_dead_neurons_are_recycled_without_changing_the_outputs(name):
    make, make_network, config = CONFIGS[name]
    agent, network = make(config, SPEC), make_network(config, SPEC)
    images = jnp.asarray(np.random.default_rng(0).integers(0, 255, (4, 36, 36, 4), dtype=np.uint8))
    shapes = jax.eval_shape(agent.init, jax.random.key(0), SETTINGS)
    params = make_params(shapes.params, tuple(f"params/{layer}/" for layer in CONSUMERS[name]))
    opt_state = jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes.opt_state)
    state = shapes.replace(params=params, opt_state=opt_state)
    activations = agent.observe(
        state, Transition(images, None, None, None, None), jax.random.key(3)
    )["online"]
    new, new_opt_state = jax.jit(recycle)(params, opt_state, activations, 0.0, jax.random.key(1))
    assert_same_outputs(network, params, new, images)

    before, after = leaves(params), leaves(new)
    changed = {
        path.split("/", 1)[1].rsplit("/", 1)[0]
        for path in before
        if np.any(before[path] != after[path])
    }
    assert changed == set(CONSUMERS[name]) | {
        reader for readers in CONSUMERS[name].values() for reader in readers
    }
    if name == "resnet":
        check_as_released(params, opt_state, activations)
    moments = leaves(new_opt_state)
    for _layer, readers in CONSUMERS[name].items():
        for reader in readers:
            check_outgoing(reader, before, after, moments)


def check_as_released(params, opt_state, activations):
    """Fault B2: a stack's last convolution keeps the weights that it reads recycled neurons with,
    and another reader loses its own.
    """

    def recycled(as_released):
        options = functools.partial(recycle, as_released=as_released)
        return leaves(jax.jit(options)(params, opt_state, activations, 0.0, jax.random.key(1))[0])

    before, after = leaves(params), recycled(True)
    kept = [f"params/Stack_{k}/Conv_4/kernel" for k in range(3)]
    lost = [f"params/Stack_{k}/Conv_0/kernel" for k in (1, 2)]
    assert all(np.array_equal(before[path], after[path]) for path in kept)
    assert all(not np.any(after[path][:, :, DEAD]) for path in lost)
    dense = after["params/Dense_0/kernel"].reshape(8, -1, 64)  # (channel, place, neuron): fault B1
    alive = np.delete(np.arange(64), DEAD)
    assert not np.any(dense[DEAD]) and np.all(np.delete(dense, DEAD, 0)[..., alive])
    alone = recycled("resnet_readers")
    assert all(np.array_equal(alone[path], after[path]) for path in kept + lost)
    dense = alone["params/Dense_0/kernel"].reshape(-1, 8, 64)  # (place, channel, neuron)
    assert not np.any(dense[:, DEAD]) and np.all(np.delete(dense, DEAD, 1)[..., alive])


def make_params(shapes, recyclable):
    """Positive weights: no neuron is silent by itself, whatever its noise. Two of each recyclable
    layer are made so.
    """
    random = np.random.default_rng(1)

    def make(path, leaf):
        path = jax.tree_util.keystr(path, simple=True, separator="/")
        made = random.uniform(0.5, 1.5, leaf.shape) / max(np.prod(leaf.shape[:-1]), 10)
        made *= 0.1 if "sigma" in path else 1.0
        if path.startswith(recyclable):
            made[..., DEAD] = 0.0
        return made.astype(np.float32)

    return jax.tree_util.tree_map_with_path(make, shapes)


def assert_same_outputs(network, old, new, images):
    keys = (
        [jax.random.key(5)] if getattr(network, "noisy", False) else []
    )  # not the key that scoring uses
    apply = jax.jit(lambda params: network.apply(params, images, *keys).q_values)
    assert np.std(apply(old)) > 1e-4
    np.testing.assert_allclose(apply(old), apply(new), atol=1e-6)


def check_outgoing(reader, before, after, moments):
    """The reader's rows of the dead neurons are 0 in every kernel (mu and sigma), and so are their
    moments.
    """
    kernels = [path for path in before if path.startswith(f"params/{reader}/kernel")]
    assert len(kernels) == (2 if any("sigma" in path for path in before if reader in path) else 1)
    for path in kernels:
        kernel = after[path]
        inputs = kernel.shape[-2]
        # After a flatten the channel is the fastest index, so a dead channel has every C-th row. C
        # from the producer.
        channels = next(c for c in (8, 4, 64) if c <= inputs) if reader == "Dense_0" else inputs
        rows = np.isin(np.arange(inputs) % channels, DEAD)
        assert not np.any(kernel[..., rows, :]), path
        touched = [moment for moment in moments if moment.endswith(path) and moments[moment].ndim]
        assert len(touched) == 2, path
        for moment in touched:
            assert not np.any(moments[moment][..., rows, :]), moment
            assert np.any(moments[moment][..., ~rows, :] == 1.0), moment
