"""Precision: what is rounded and what is not, what products are asked for, and that recycling
understands the casts.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.interface import Settings
from dormant.benchmarks.roofline import inner_programs
from dormant.envs import env_spec
from dormant.nets import NatureCNN, RainbowNetwork, ResNet, compute_dtype
from dormant.nets.sac import Actor, Critic
from dormant.redo import capture, recycle
from dormant.types import DormantError, Transition

HALF = 2.0**-8  # the largest relative error of one rounding to bfloat16
IMAGES = (np.random.default_rng(0).integers(0, 256, (4, 20, 20, 4)).astype(np.uint8),)
VECTORS = (np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32),)
NETWORKS = {
    "nature": (lambda dtype: NatureCNN(3, 0.25, formulation="xla", dtype=dtype), IMAGES),
    "resnet": (lambda dtype: ResNet(3, 0.25, dtype=dtype), IMAGES),
    "rainbow": (
        lambda dtype: RainbowNetwork(3, width=0.25, num_atoms=1, dtype=dtype),
        (*IMAGES, jax.random.key(0)),
    ),
    "actor": (lambda dtype: Actor(2, (16, 16), dtype=dtype), VECTORS),
    "critic": (lambda dtype: Critic((16, 16), dtype=dtype), (*VECTORS, VECTORS[0][:, :2])),
}


def parameters(network, inputs, scale=0.1):
    """Random parameters, without compiling an initialiser."""
    random = np.random.default_rng(1)
    leaves = jax.eval_shape(network.init, jax.random.key(0), *inputs)
    return jax.tree.map(lambda leaf: random.normal(0, scale, leaf.shape).astype(leaf.dtype), leaves)


@pytest.mark.parametrize("name", NETWORKS)
def test_hidden_layers_are_rounded_and_nothing_else(name):
    make, inputs = NETWORKS[name]
    exact, rounded = make(jnp.float32), make(jnp.bfloat16)
    params = parameters(rounded, inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    for one, other in zip(exact.apply(params, *inputs), rounded.apply(params, *inputs)):
        assert one.dtype == other.dtype == jnp.float32
        difference = np.abs(one - other).max() / np.abs(one).max()
        # some roundings a layer, at random: below the sum of their bounds, above nothing at all
        assert 1e-5 < difference < 10 * HALF


def dots(jaxpr):
    """The precisions and operand types of all products of matrices in a program."""
    found = set()
    for eqn in jaxpr.eqns:
        if eqn.primitive.name in ("dot_general", "conv_general_dilated"):
            asked = eqn.params["precision"]
            found.add(
                (
                    str(asked[0] if isinstance(asked, tuple) else asked),
                    str(eqn.invars[0].aval.dtype),
                )
            )
        for inner in inner_programs(eqn):
            found |= dots(inner)
    return found


@pytest.mark.parametrize(
    "precision, expected",
    [("float32", {("HIGHEST", "float32")}), ("tf32", {("HIGH", "float32")})],
)
def test_learning_asks_for_the_products_that_are_set(precision, expected):
    spec = env_spec("probe/see")
    agent = make_dqn(DQN(network="mlp", precision=precision), spec)
    state = jax.eval_shape(agent.init, jax.random.key(0), agent.default_settings)
    state_t = jax.ShapeDtypeStruct((8, *spec.observation_shape), spec.observation_dtype)
    scalar = jax.ShapeDtypeStruct((8,), jnp.float32)
    batch = Transition(state_t, jax.ShapeDtypeStruct((8,), jnp.int32), scalar, scalar, state_t)
    settings = jax.tree.map(
        lambda value: jax.ShapeDtypeStruct((), jnp.float32), agent.default_settings
    )
    program = jax.make_jaxpr(agent.learn)(state, batch, jax.random.key(0), settings)
    assert {
        (name.removeprefix("Precision."), dtype) for name, dtype in dots(program.jaxpr)
    } == expected


def test_recycling_sees_through_the_casts():
    """The wiring is float32's, and awakened neurons change no output."""
    make, inputs = NETWORKS["nature"]
    params = parameters(make(jnp.bfloat16), inputs)
    dead = {"Conv_0": 2, "Conv_2": 5, "Dense_0": 1}
    for layer, unit in dead.items():
        for leaf in params["params"][layer].values():
            leaf[..., unit] = 0.0

    def activations_in(dtype):
        network = make(dtype)
        apply = lambda params, images: network.apply(params, images).q_values
        return apply, capture(apply, init=lambda key: network.init(key, *inputs))(params, *inputs)

    apply, activations = activations_in(jnp.bfloat16)
    assert activations.describe() == activations_in(jnp.float32)[1].describe()
    opt_state = optax.adam(1e-3).init(params)
    changed, _ = jax.jit(lambda *args: recycle(*args, 0.0, jax.random.key(3)))(
        params, opt_state, activations
    )
    for layer, unit in dead.items():
        assert np.abs(np.asarray(changed["params"][layer]["kernel"])[..., unit]).max() > 0
        assert np.asarray(activations[layer]).dtype == jnp.bfloat16
    np.testing.assert_array_equal(apply(params, *inputs), apply(changed, *inputs))


@pytest.mark.parametrize("precision", ["tf32", "bfloat16"])
def test_it_learns_in_the_lower_precisions(precision):
    """A choice of two that depends on the sign of what is seen: rewards 1 and 0, episodes of one
    step.
    """
    spec = env_spec("probe/see")
    config = DQN(network="mlp", precision=precision)
    agent = make_dqn(config, spec)
    settings = Settings(jnp.float32(3e-3), jnp.float32(0.0))
    state = agent.init(jax.random.key(0), settings)

    def step(state, key):
        key_state, key_action = jax.random.split(key)
        seen = jax.random.uniform(key_state, (32, *spec.observation_shape), minval=-1.0)
        action = jax.random.randint(key_action, (32,), 0, spec.num_actions)
        reward = (action == (seen[:, 0] > 0)).astype(jnp.float32)
        batch = Transition(seen, action, reward, jnp.zeros(32), seen)
        state, metrics, _ = agent.learn(state, batch, key, settings)
        return state, metrics["loss"]

    state, losses = jax.jit(lambda state, keys: jax.lax.scan(step, state, keys))(
        state, jax.random.split(jax.random.key(1), 400)
    )
    assert np.mean(losses[-20:]) < 0.1 * np.mean(losses[:20])
    act = jax.vmap(lambda seen: agent.act(state, seen, jax.random.key(0), 0, True))
    seen = np.array([[-0.8], [-0.3], [0.3], [0.8]], np.float32)
    np.testing.assert_array_equal(act(seen), [0, 0, 1, 1])
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.float32.dtype}


def test_an_unknown_precision_names_the_nearest():
    with pytest.raises(DormantError, match="unknown precision 'bfloat'; did you mean 'bfloat16'"):
        compute_dtype("bfloat")
