"""Mistakes a user can make: one line that names the thing and what was expected."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dormant.redo import capture, dormant_neurons, recycle, scores
from dormant.types import DormantError
from tests.redo.architectures import make


@pytest.fixture(scope="module")
def good():
    network, params, inputs, _ = make("mlp")
    return (
        params,
        optax.adam(1e-3).init(params),
        capture(network)(params, *inputs),
        jax.random.key(0),
    )


def refuses(match, *arguments, error=DormantError, **options):
    with pytest.raises(error, match=match):
        recycle(*arguments, **options)


@pytest.mark.parametrize("tau", [-0.1, float("nan"), np.array([0.1, 0.2]), {"Dense_0": 0.1}, "0.1"])
def test_tau(good, tau):
    params, state, activations, key = good
    refuses("tau is .*at least 0", params, state, activations, tau, key)
    with pytest.raises(DormantError, match="tau"):
        dormant_neurons(activations, tau)


def test_options(good):
    params, state, activations, key = good
    refuses(
        "unknown incoming 'initt'; did you mean 'init'",
        params,
        state,
        activations,
        0.1,
        key,
        incoming="initt",
    )
    refuses(
        "unknown outgoing 'ones'; valid: random, zero",
        params,
        state,
        activations,
        0.1,
        key,
        outgoing="ones",
    )
    refuses(
        "unknown count 'rest'; did you mean 'reset'",
        params,
        state,
        activations,
        0.1,
        key,
        count="rest",
    )


def test_a_plain_mapping_names_capture(good):
    params, state, activations, key = good
    refuses("capture", params, state, dict(activations), 0.1, key, error=TypeError)
    wiring = activations.wiring
    bound = wiring.bind(dict(activations))
    jax.tree.map(np.testing.assert_array_equal, scores(bound), scores(activations))
    for mapping, words in (
        ({"Dense_0": activations["Dense_0"]}, "no activations of layer Dense_1"),
        ({"Dense0": activations["Dense_0"]}, "no scored layer 'Dense0'; did you mean 'Dense_0'"),
        ({"Dense_0": activations["Dense_1"]}, r"Dense_0 have shape \(12, 6\); expected \(..., 7\)"),
    ):
        with pytest.raises(DormantError, match=words):
            wiring.bind(mapping)
    with pytest.raises(KeyError, match="did you mean 'Dense_0'"):
        activations["Dense0"]


def test_parameters_of_another_network(good):
    params, state, activations, key = good
    other = {
        "params": {**params["params"], "Dense_1": {"kernel": jnp.ones((7, 9)), "bias": jnp.ones(9)}}
    }
    refuses(
        r"parameter 'Dense_1/bias' has shape \(9,\); .* has \(6,\)",
        other,
        state,
        activations,
        0.1,
        key,
    )
    missing = {
        "params": {name: leaf for name, leaf in params["params"].items() if name != "Dense_1"}
    }
    refuses("no leaf 'Dense_1/bias'", missing, state, activations, 0.1, key)
    extra = {"params": {**params["params"], "head": {"kernel": jnp.ones((2, 2))}}}
    refuses("'head/kernel'", extra, state, activations, 0.1, key)


def test_activations_that_cannot_be_scored(good):
    params, state, activations, key = good
    nan = jax.tree.map(lambda x: x.at[0].set(jnp.nan), activations)
    refuses("Dense_0 are not finite", params, state, nan, 0.1, key)
    assert not any(mask.any() for mask in jax.jit(dormant_neurons)(nan, 0.5).values())
    single = jax.tree.map(lambda x: x[0], activations)
    refuses("no batch axis", params, state, single, 0.1, key)
    none = jax.tree.map(lambda x: x[:0], activations)
    refuses("Dense_0 are of an empty batch", params, state, none, 0.1, key)


def test_an_infinite_neuron_does_not_make_the_others_dormant():
    """Beside it their scores would be 0; inside jit nothing can be refused."""
    values = jnp.ones((4, 3)).at[0, 0].set(jnp.inf)
    observe = capture(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"])
    wiring = observe({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 1))}, jnp.ones((1, 2))).wiring
    masks = jax.jit(lambda values: dormant_neurons(wiring.bind({"a": values}), 0.0))(values)
    assert not masks["a"].any()


def test_a_threshold_of_any_number_type(good):
    for tau in (1, 1.0, np.float32(1), jnp.float32(1), jnp.bfloat16(1)):
        masks = dormant_neurons(good[2], tau)
        np.testing.assert_array_equal(masks["Dense_0"], scores(good[2])["Dense_0"] <= 1)


def test_an_empty_batch_is_measured():
    observe = capture(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"])
    activations = observe({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 1))}, jnp.ones((0, 2)))
    assert activations["a"].shape == (0, 3)
    with pytest.raises(DormantError, match="activations of a are of an empty batch"):
        scores(activations)


def test_modules_with_an_array_as_a_field_are_captured_again_and_again():
    """CleanRL's actors have one. Such modules cannot be compared."""

    class Actor(nn.Module):
        scale: jax.Array

        @nn.compact
        def __call__(self, x):
            return nn.tanh(nn.Dense(2)(nn.relu(nn.Dense(4)(x)))) * self.scale[None]

    for seed in range(2):
        actor, x = Actor(jnp.array([1.0, 2.0])), jnp.ones((3, 2))
        params = actor.init(jax.random.key(seed), x)
        activations = capture(actor)(params, x)
        state = optax.adam(1e-3).init(params)
        recycle(params, state, activations, 0.1, jax.random.key(0))


def test_parameters_named_params():
    """Of an nnx module they are all trained; of a function, what stands beside them is said."""

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.params, self.out = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

        def __call__(self, x):
            return self.out(nnx.relu(self.params(x)))

    net, x = Net(nnx.Rngs(0)), jnp.ones((2, 3))
    (layer,) = capture(net)(nnx.state(net, nnx.Param), x).wiring.scored
    assert layer.name == "params" and layer.recyclable.all()
    given = {"params": {"w": jnp.ones((3, 4))}, "head": jnp.ones((4, 2))}
    head = capture(lambda p, x: jax.nn.relu(x @ p["params"]["w"]) @ p["head"])(given, x)
    assert "head: belongs to no neuron, since it stands beside 'params'" in head.describe()


def test_a_network_that_does_not_take_the_input():
    network, params, inputs, _ = make("conv_valid")
    with pytest.raises(DormantError, match=r"shape \(8, 2\) \(is the batch axis missing\? does it"):
        capture(network)(params, inputs[0][0, 0])
    with pytest.raises(DormantError, match="not int"):
        capture(3)


@pytest.mark.parametrize(
    "network, value, call",
    [
        (nn.Dense(2), False, r"network.apply\(params, x, train=False\)"),
        (lambda params, x, train: x @ params, None, r"network\(params, x, train=None\)"),
        (
            nnx.Linear(3, 2, rngs=nnx.Rngs(0)),
            np.ones(3),
            r"nnx.merge\(graphdef, params\)\(x, train=...\)",
        ),
    ],
    ids=["Linen", "function", "nnx"],
)
def test_a_flag_by_keyword(network, value, call):
    given = rf"not 'train'; capture a function .*capture\(lambda params, x: {call}, init=...\)"
    with pytest.raises(DormantError, match=given):
        capture(network)(jnp.ones((3, 2)), jnp.ones((4, 3)), train=value)


def test_no_known_initialiser(good):
    params, inputs = (
        {"a": jnp.ones((3, 4)), "g": jnp.ones(4), "b": jnp.ones((4, 2))},
        jnp.ones((2, 3)),
    )
    forward = lambda p, x: jax.nn.relu((x @ p["a"]) * p["g"][None]) @ p["b"]
    activations = capture(forward)(params, inputs)
    arguments = (params, optax.EmptyState(), activations, 2.0, jax.random.key(0))
    refuses(r"no initialiser for 'a'; use capture\(network, init=key -> params\)", *arguments)
    refuses("no initialiser for 'g'", *arguments, incoming="xavier")
    wrong = capture(forward, init=lambda key: {**params, "a": jnp.ones((3, 5))})(params, inputs)
    refuses(
        r"freshly initialised parameter 'a' has shape \(3, 5\)",
        *arguments[:2],
        wrong,
        2.0,
        jax.random.key(0),
    )


def test_neurons_that_no_kernel_reads_are_left_out_and_said():
    params = {"a": jnp.ones((3, 5)), "b": jnp.ones((2, 1))}

    def forward(p, x):
        h = x @ p["a"]
        return jax.nn.relu(h[:, :2]) @ p["b"], h[:, 2:4]

    activations = capture(forward)(params, jnp.ones((2, 3)))
    assert activations["a"].shape == (2, 2) and activations.wiring.layer("a").recyclable.all()
    table = activations.describe()
    assert "a: left out, as no kernel reads it: returned by the network\n" in table
    assert "a: left out, as no kernel reads it: used by nothing (1 neuron)" in table


def test_what_the_function_never_uses_is_said():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2)), "value": jnp.ones((4, 1))}
    activations = capture(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"])(params, jnp.ones((2, 3)))
    assert "value: belongs to no neuron, not used by the function" in activations.describe()


def test_what_several_neurons_share_is_said():
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2)), "scale": jnp.ones(())}
    network = lambda p, x: jax.nn.relu(p["scale"] * (x @ p["a"])) @ p["b"]
    table = capture(network)(params, jnp.ones((2, 3))).describe()
    assert table.endswith("\nscale: belongs to no neuron, shared by several neurons")
