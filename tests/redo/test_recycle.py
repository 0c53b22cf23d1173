"""recycle and capture on plain stacks: the contract of design.md, at every layer boundary."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dormant
from dormant.nets import MLP, NatureCNN
from dormant.redo import Activations, capture, dormant_fraction, recycle, reset, scores, selected
from dormant.types import DormantError

HIDDEN = ("Conv_0", "Conv_1", "Conv_2", "Dense_0")
DEAD = np.array([1, 3])


def chain():
    return optax.chain(
        optax.add_decayed_weights(0.0), optax.scale_by_adam(), optax.scale_by_learning_rate(1e-3)
    )


def kill(params, layer, units):
    """The same parameters with all incoming weights of some units at 0."""
    module = params["params"][layer]
    dead = {name: leaf.at[..., units].set(0) for name, leaf in module.items()}
    return {"params": {**params["params"], layer: dead}}


@pytest.fixture(scope="module")
def nature():
    """A narrow Nature CNN on 36x36 images, in which no unit is silent by itself, and an Adam
    state of ones.
    """
    module = NatureCNN(3, width=0.125, formulation="xla")
    images = jax.random.randint(jax.random.key(1), (4, 36, 36, 4), 0, 255).astype(jnp.uint8)
    params = module.init(jax.random.key(0), images)
    params = jax.tree.map(lambda x: x + 0.05 if x.ndim == 1 else x, params)
    apply = jax.jit(lambda params, x: module.apply(params, x).q_values)
    observe = capture(
        lambda params, x: module.apply(params, x).q_values,
        init=lambda key: module.init(key, images),
    )
    opt_state = jax.tree.map(jnp.ones_like, chain().init(params))
    return apply, observe, params, opt_state, images, jax.jit(recycle)


def test_the_wiring_of_the_nature_network(nature):
    _, observe, params, _, images, _ = nature
    activations = observe(params, images)
    assert {name: x.shape for name, x in activations.items()} == {
        "Conv_0": (4, 9, 9, 4),
        "Conv_1": (4, 5, 5, 8),
        "Conv_2": (4, 5, 5, 8),
        "Dense_0": (4, 64),
    }
    table = activations.describe().splitlines()
    assert table[3].split() == "Conv_2 8 yes 8 8 Conv_2/bias Conv_2/kernel Dense_0/kernel".split()
    assert table[-1] == "final_layer: returned by the network"
    assert (
        repr(activations).startswith("Activations(Conv_0 (4, 9, 9, 4), ")
        and len(repr(activations)) < 120
    )


@pytest.mark.parametrize("layer", HIDDEN)
def test_outputs_stay_at_every_boundary(nature, layer):
    apply, observe, params, opt_state, images, jitted = nature
    params = kill(params, layer, DEAD)
    activations = observe(params, images)
    dead = selected(activations, 0.0)[layer]
    assert set(DEAD) <= set(np.flatnonzero(dead))
    new, _ = jitted(params, opt_state, activations, 0.0, jax.random.key(2))
    np.testing.assert_allclose(apply(new, images), apply(params, images), atol=1e-6)
    kernel = new["params"][layer]["kernel"]
    assert (
        float(jnp.min(jnp.std(kernel.reshape(-1, kernel.shape[-1]), axis=0))) > 0
    )  # they have weights again


def test_exactly_the_touched_entries_move(nature):
    _, observe, params, opt_state, images, jitted = nature
    params = kill(params, "Conv_2", DEAD)
    activations = observe(params, images)
    dead = {name: np.flatnonzero(mask) for name, mask in selected(activations, 0.0).items()}
    assert list(dead["Conv_2"]) == list(DEAD)
    new, new_state = jitted(params, opt_state, activations, 0.0, jax.random.key(2))
    touched = jax.tree.map(lambda x: np.zeros(x.shape, bool), params)["params"]
    zeroed = jax.tree.map(np.copy, touched)
    places = {"Conv_0": "Conv_1", "Conv_1": "Conv_2", "Dense_0": "final_layer"}
    for layer, units in dead.items():
        touched[layer]["kernel"][..., units] = touched[layer]["bias"][units] = True
        if layer == "Conv_2":
            for place in range(25):  # channel-last: row = place * 8 + channel
                zeroed["Dense_0"]["kernel"][place * 8 + units] = True
        elif layer == "Dense_0":
            zeroed[places[layer]]["kernel"][units] = True
        else:
            zeroed[places[layer]]["kernel"][:, :, units] = True
    for layer in touched:
        for name in ("kernel", "bias"):
            before, after = (
                np.asarray(params["params"][layer][name]),
                np.asarray(new["params"][layer][name]),
            )
            into, out = touched[layer][name] & ~zeroed[layer][name], zeroed[layer][name]
            assert (after[out] == 0).all()
            assert (after[~into & ~out] == before[~into & ~out]).all()
            assert name == "bias" or (after[into] != before[into]).all()
            for moment in (new_state[1].mu, new_state[1].nu):
                assert ((np.asarray(moment["params"][layer][name]) == 0) == (into | out)).all()
    assert int(new_state[1].count) == 1
    assert int(jitted_reset_count(params, opt_state, activations)[1][1].count) == 0


@jax.jit
def jitted_reset_count(params, opt_state, activations):
    return recycle(params, opt_state, activations, 0.0, jax.random.key(2), count="reset")


def test_nothing_dormant_changes_nothing(nature):
    _, observe, params, opt_state, images, jitted = nature
    activations = jax.tree.map(lambda x: x + 1, observe(params, images))
    new = jitted(params, opt_state, activations, 0.0, jax.random.key(2))
    jax.tree.map(np.testing.assert_array_equal, new, (params, opt_state))


@pytest.fixture(scope="module")
def mlp():
    module = MLP(2, sizes=(8, 6))
    x = jax.random.normal(jax.random.key(1), (16, 5))
    params = module.init(jax.random.key(0), x)
    observe = capture(
        lambda p, x: module.apply(p, x).q_values, init=lambda key: module.init(key, x)
    )
    return module, observe, params, chain().init(params), x


def test_members_keys_and_thresholds_vectorise(mlp):
    _, observe, params, opt_state, x = mlp
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf - 0.1, leaf]), params)
    states = jax.vmap(chain().init)(many)
    keys, taus = jax.random.split(jax.random.key(3), 3), jnp.array([0.0, 0.3, 0.9])
    step = lambda p, s, tau, key: recycle(p, s, observe(p, x), tau, key)
    together = jax.jit(jax.vmap(step))(many, states, taus, keys)
    counts = jax.vmap(lambda p, tau: dormant_fraction(observe(p, x), tau))(many, taus)
    assert counts[2] > counts[0]
    for k in range(3):
        one = jax.tree.map(lambda leaf: leaf[k], (many, states))
        alone = jax.jit(step)(*one, taus[k], keys[k])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[k], b, rtol=1e-6), together, alone)


def test_one_compilation_for_any_number_of_captures(mlp):
    module, _, params, opt_state, x = mlp
    traces = []

    @jax.jit
    def step(p, s, activations, tau, key):
        traces.append(1)
        return recycle(p, s, activations, tau, key)

    for seed in range(3):
        observe = capture(module)
        activations = observe(params, x[: 8 if seed else 16])
        assert isinstance(activations, Activations)
        # the module returns its features too, which makes the last hidden layer one of the outputs
        assert not activations.wiring.layer("Dense_1").recyclable.any()
        step(params, opt_state, activations, 0.1 * seed, jax.random.key(seed))
    assert len(traces) == 2  # one per batch size, none per capture


@pytest.mark.parametrize("beside", [lambda x: x, jnp.zeros_like])
def test_a_bias_over_neurons_and_inputs_is_the_neurons(beside):
    """relu([h, x] + b): the part of b that h has met is recycled with it."""

    def network(p, x):
        return jax.nn.relu(jnp.concatenate([x @ p["w"], beside(x)], axis=1) + p["b"][None]) @ p["v"]

    def init(key):
        random = jax.random.normal
        return {"w": random(key, (3, 4)), "b": jnp.zeros(7), "v": random(key, (7, 2))}

    params = init(jax.random.key(0))
    params["b"] = params["b"].at[1].set(-50.0)
    state = jax.tree.map(lambda leaf: leaf + 1, optax.adam(1e-3).init(params))
    x = jax.random.normal(jax.random.key(1), (8, 3))
    activations = capture(network, init=init)(params, x)
    new, state = recycle(params, state, activations, 0.0, jax.random.key(2))
    np.testing.assert_array_equal(new["b"], np.zeros(7))
    np.testing.assert_array_equal(state[0].mu["b"], [1, 0, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(state[0].mu["v"], np.arange(7)[:, None] != [1, 1])
    np.testing.assert_allclose(network(new, x), network(params, x), rtol=1e-6)
    assert "b: belongs to no neuron" not in activations.describe()


def test_scores_by_hand():
    wiring = capture(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"], init=None)
    params = {"a": jnp.eye(3), "b": jnp.ones((3, 1))}
    activations = wiring(params, jnp.array([[1.0, 0.0, 3.0], [1.0, -5.0, 0.0]]))
    # E|h| = (1, 0, 1.5), their mean 2.5 / 3
    np.testing.assert_allclose(scores(activations)["a"], [1.2, 0.0, 1.8], rtol=1e-6)
    assert dormant_fraction(activations, 1.2) == pytest.approx(2 / 3)


def test_reset_replaces_leaves_and_their_statistics(mlp):
    module, _, params, opt_state, x = mlp
    state = jax.tree.map(jnp.ones_like, opt_state)
    fresh = module.init(jax.random.key(9), x)
    new, new_state = reset(params, state, fresh, lambda path: path.startswith("final_layer/"))
    for layer in params["params"]:
        expected = fresh if layer == "final_layer" else params
        jax.tree.map(np.testing.assert_array_equal, new["params"][layer], expected["params"][layer])
        assert float(jnp.sum(new_state[1].nu["params"][layer]["kernel"])) == (
            0 if layer == "final_layer" else params["params"][layer]["kernel"].size
        )
    with pytest.raises(DormantError, match="there are: Dense_0/bias"):
        reset(params, state, fresh, lambda path: False)


def test_the_front_door_is_typed():
    """What editors and type checkers see is what there is."""
    folder = pathlib.Path(dormant.__file__).parent
    tree = ast.parse((folder / "__init__.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    seen = {alias.name for n in imports if n.module.startswith("dormant.") for alias in n.names}
    assert seen | {"__version__"} == set(dormant.__all__)
    assert (folder / "py.typed").exists()


def test_the_top_level_names_are_lazy():
    assert dormant.recycle is recycle and "capture" in dormant.__all__
    with pytest.raises(AttributeError, match="recicle"):
        getattr(dormant, "recicle")  # noqa: B009
