"""What every network promises, in one table: shapes, types, widths, activations, wiring."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import register
from dormant.nets import MLP, MinAtarNetwork, NatureCNN, RainbowNetwork, ResNet
from dormant.nets.sac import Actor, Critic
from dormant.redo import capture
from dormant.types import DormantError

ACTIONS, BATCH = 3, 4
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (BATCH, 20, 20, 4)).astype(np.uint8)
CHANNELS = RANDOM.random((BATCH, 10, 10, 4)) < 0.2
VECTORS = RANDOM.normal(size=(BATCH, 5)).astype(np.float32)
CONVOLUTIONS = {"Conv_0", "Conv_1", "Conv_2"}


class Entry(NamedTuple):
    """One network of the table."""

    make: Any  # (width, activation) -> module
    inputs: tuple
    outputs: dict  # {field: shape}
    hidden: dict  # {scored layer: neurons at width 1}
    fixed: frozenset = frozenset()  # scored, but not recyclable
    penultimate: str = "Dense_0"


def rainbow(torso, atoms=1, **switches):
    return lambda width, activation: RainbowNetwork(
        ACTIONS, torso, width, activation, num_atoms=atoms, **switches
    )


Q_VALUES = {"q_values": (BATCH, ACTIONS)}
NATURE = {"Conv_0": 32, "Conv_1": 64, "Conv_2": 64, "Dense_0": 512}
SMALL = {"Conv_0": 16, "Dense_0": 128}
BLOCKS = {f"Stack_{i}/Conv_{k}": (32, 64, 64)[i] for i in range(3) for k in range(5)}
RESIDUAL = frozenset(name for name in BLOCKS if name[-1] in "024")  # on the residual stream
NETWORKS = {
    "nature": Entry(lambda w, a: NatureCNN(ACTIONS, w, a, "xla"), (IMAGES,), Q_VALUES, NATURE),
    "mlp": Entry(
        lambda w, a: MLP(ACTIONS, width=w, activation=a),
        (VECTORS,),
        Q_VALUES,
        {"Dense_0": 64, "Dense_1": 64},
        penultimate="Dense_1",
    ),
    "resnet": Entry(
        lambda w, a: ResNet(ACTIONS, w, a, "xla"),
        (IMAGES,),
        Q_VALUES,
        {**BLOCKS, "Dense_0": 512},
        RESIDUAL,
    ),
    "minatar": Entry(lambda w, a: MinAtarNetwork(ACTIONS, w, a), (CHANNELS,), Q_VALUES, SMALL),
    "minatar_layer_norm": Entry(
        lambda w, a: MinAtarNetwork(ACTIONS, w, a, torso="minatar_layer_norm"),
        (CHANNELS,),
        Q_VALUES,
        SMALL,
    ),
    "minatar_resnet": Entry(
        lambda w, a: MinAtarNetwork(ACTIONS, w, a, torso="minatar_resnet"),
        (CHANNELS,),
        Q_VALUES,
        {"Conv_0": 16, "Conv_1": 16, "Conv_2": 16, "Dense_0": 128},
        frozenset({"Conv_0", "Conv_2"}),
    ),
    "full rainbow": Entry(
        rainbow("nature", 11, formulation="xla"),
        (IMAGES, jax.random.key(0)),
        {**Q_VALUES, "logits": (BATCH, ACTIONS, 11)},
        NATURE,
    ),
    "drq": Entry(
        rainbow("nature", formulation="xla", noisy=False),
        (IMAGES,),
        {**Q_VALUES, "logits": (BATCH, ACTIONS, 1)},
        NATURE,
    ),
    "rainbow of vectors": Entry(
        rainbow("mlp", 11, dueling=False),
        (VECTORS, jax.random.key(0)),
        {**Q_VALUES, "logits": (BATCH, ACTIONS, 11)},
        {"Dense_0": 64, "Dense_1": 64},
        penultimate="Dense_1",
    ),
    "actor": Entry(
        lambda w, a: Actor(2, (64, 64), w, a),
        (VECTORS,),
        {"mean": (BATCH, 2), "log_std": (BATCH, 2)},
        {"Dense_0": 64, "Dense_1": 64},
        penultimate="Dense_1",
    ),
    "critic": Entry(
        lambda w, a: Critic((64, 64), w, a),
        (VECTORS, VECTORS[:, :2]),
        {"q": (BATCH,)},
        {"Dense_0": 64, "Dense_1": 64},
        penultimate="Dense_1",
    ),
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def test_every_network_that_a_configuration_can_name_is_in_the_table():
    assert {*register.NETWORKS, *register.RAINBOW_NETWORKS} <= set(NETWORKS)


def parameters(network, inputs):
    """Random parameters without compiling an initialiser."""
    random = np.random.default_rng(1)
    leaves = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: random.normal(0, 0.1, leaf.shape).astype(leaf.dtype), leaves)


@each_network
@pytest.mark.parametrize("width", [0.25, 1.0, 2.0])
def test_shapes_types_and_width(name, width):
    entry = NETWORKS[name]
    network = entry.make(width, "relu")
    outputs, variables = jax.eval_shape(
        lambda key: network.init_with_output(key, *entry.inputs), jax.random.key(0)
    )
    expected = {
        **entry.outputs,
        "features": (BATCH, round(width * entry.hidden[entry.penultimate])),
    }
    found = {field: value.shape for field, value in outputs._asdict().items()}
    assert found == expected
    leaves = jax.tree.leaves((outputs, variables))
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float32)}
    for layer, neurons in entry.hidden.items():
        params = variables["params"]
        for part in layer.split("/"):
            params = params[part]
        assert {leaf.shape[-1] for leaf in params.values()} == {round(width * neurons)}


@each_network
@pytest.mark.parametrize("width", [0.0, 1e-4, 0.7, 1.01])
def test_a_width_without_whole_neurons_is_named(name, width):
    entry = NETWORKS[name]
    network = entry.make(width, "relu")
    with pytest.raises(DormantError, match=f"width {width:g} makes .* a whole number, such as "):
        jax.eval_shape(network.init, jax.random.key(0), *entry.inputs)


@each_network
def test_every_neuron_is_scored_and_all_but_the_declared_are_recyclable(name):
    """With leaky ReLUs too, which have no zeros of their own."""
    entry = NETWORKS[name]
    for activation in ("relu", "leaky_relu"):
        network = entry.make(0.25, activation)
        params = parameters(network, entry.inputs)
        observe = capture(
            lambda params, *inputs: network.apply(params, *inputs)[: len(entry.outputs)],
            init=lambda key: network.init(key, *entry.inputs),
        )
        activations = observe(params, *entry.inputs)
        sizes = {layer: values.shape[-1] for layer, values in activations.items()}
        recyclable = {one.name for one in activations.wiring.layers if one.recyclable.all()}
        assert recyclable == set(entry.hidden) - entry.fixed
        assert recyclable <= set(sizes)
        assert all(sizes[layer] == entry.hidden[layer] / 4 for layer in recyclable)
        hidden = np.concatenate([np.ravel(activations[layer]) for layer in recyclable])
        assert (hidden.min() < 0) == (activation == "leaky_relu")
        features = network.apply(params, *entry.inputs).features
        np.testing.assert_allclose(activations[entry.penultimate], features, rtol=1e-5, atol=1e-5)
        assert jnp.isfinite(features).all() and np.std(features) > 0
