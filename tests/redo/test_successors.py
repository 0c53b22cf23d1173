"""ReDo's successors beside slow references: loops over neurons and samples, by their papers."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.redo import (
    capture,
    continual_backprop,
    effective_rank,
    gradient_dormant,
    gradient_scores,
    new_units,
    recycle,
    selected,
    shrink_and_perturb,
    stable_rank,
    towards_initial,
)
from dormant.types import DormantError
from tests.redo.architectures import make

HIDDEN = (6, 5)
RATE = 0.0371  # of replacement: no sum of it is a whole number, where rounding would decide


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        for size in HIDDEN:
            x = nn.relu(nn.Dense(size, bias_init=nn.initializers.normal(0.3))(x))
        return nn.Dense(2)(x)


@pytest.fixture(scope="module")
def network():
    """(network, params, inputs, observe)."""
    x = jax.random.normal(jax.random.key(1), (7, 4))
    params = MLP().init(jax.random.key(0), x)
    return MLP(), params, x, capture(MLP())


def layers(params):
    found = jax.tree.map(np.asarray, params["params"])
    return [(found[f"Dense_{k}"]["kernel"], found[f"Dense_{k}"]["bias"]) for k in range(3)]


# Continual backprop
# ------------------------------------------------------------------------------------------------


def slow_bookkeeping(x, params, units, steps, rate, maturity, decay):
    """Algorithm 1 of Dohare et al., neuron by neuron: the units afterwards, what is replaced."""
    replaced, weights = {}, layers(params)
    for number, size in enumerate(HIDDEN):
        kernel, bias = weights[number]
        x = np.maximum(x @ kernel + bias, 0)
        state = units[f"Dense_{number}"]
        for i in range(size):
            contribution = np.mean(np.abs(x[:, i])) * np.abs(weights[number + 1][0][i]).sum()
            state["utility"][i] = decay * state["utility"][i] + (1 - decay) * contribution
            state["age"][i] += steps
        state["owed"] += steps * rate * sum(age > maturity for age in state["age"])
        replaced[f"Dense_{number}"] = []
        while state["owed"] > 1 and any(age > maturity for age in state["age"]):
            mature = [i for i in range(size) if state["age"][i] > maturity]
            worst = min(mature, key=lambda i, state=state: state["utility"][i])
            state["utility"][worst], state["age"][worst] = 0.0, 0
            state["owed"] -= 1
            replaced[f"Dense_{number}"].append(worst)
    return replaced


@pytest.mark.parametrize("steps", [1, 4])
def test_continual_backprop(network, steps):
    _, params, x, observe = network
    optimiser = optax.adam(1e-2)
    opt_state = optimiser.init(params)
    opt_state = jax.tree.map(lambda leaf: leaf + 1, opt_state)  # statistics that are not 0
    options = dict(replacement_rate=RATE, maturity=6, decay=0.8)
    units = new_units(observe(params, x).wiring)
    slow = {
        f"Dense_{k}": {"utility": [0.0] * size, "age": [0] * size, "owed": 0.0}
        for k, size in enumerate(HIDDEN)
    }
    step = jax.jit(
        lambda params, opt_state, activations, units, key: continual_backprop(
            params, opt_state, activations, units, key, steps=steps, **options
        )
    )
    total = 0
    for number in range(24):
        before, activations = params, observe(params, x)
        expected = slow_bookkeeping(np.asarray(x), params, slow, steps, RATE, 6, 0.8)
        key = jax.random.key(number)
        params, opt_state, units, masks = step(params, opt_state, activations, units, key)
        for layer, own in slow.items():
            assert sorted(np.flatnonzero(masks[layer])) == sorted(expected[layer])
            np.testing.assert_allclose(units[layer].utility, own["utility"], rtol=1e-5)
            np.testing.assert_array_equal(units[layer].age, own["age"])
            np.testing.assert_allclose(units[layer].owed, own["owed"], atol=1e-5)
            total += len(expected[layer])
        again = recycle(before, optax.EmptyState(), activations, None, key, masks=masks)[0]
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        jax.tree.map(close, params, again)
    assert total > 4
    assert (np.asarray(opt_state[0].mu["params"]["Dense_0"]["kernel"]) == 0).any()


def test_continual_backprop_replaces_and_counts_what_can_be_recycled_only():
    """Four neurons, two of which are outputs too: of the two, one is owed whole and replaced."""
    module, params, inputs, _ = make("several_outputs")
    activations = capture(module)(params, *inputs)
    given = (params, optax.EmptyState(), activations, new_units(activations.wiring))
    replace = functools.partial(continual_backprop, replacement_rate=1.0, maturity=0)
    units, masks = jax.jit(replace)(*given, jax.random.key(0))[2:]
    recyclable = activations.wiring.layer("Dense_1").recyclable
    assert recyclable.sum() == 2 == recyclable.size - 2
    assert masks["Dense_1"].sum() == 1 and masks["Dense_1"][recyclable].any()
    assert float(units["Dense_1"].owed) == 1 and (units["Dense_1"].age[~recyclable] == 1).all()


def test_continual_backprop_refuses_units_of_another_network_and_no_steps(network):
    _, params, x, observe = network
    activations, key = observe(params, x), jax.random.key(0)
    units = new_units(activations.wiring)
    wrong = jax.tree.map(lambda leaf: leaf[:1] if leaf.ndim else leaf, units)
    for other in ({}, wrong):
        with pytest.raises(DormantError, match="units of Dense_0 have shape"):
            continual_backprop(params, (), activations, other, key)
    for steps in (0, -5):
        with pytest.raises(DormantError, match=f"steps is {steps} gradient steps"):
            continual_backprop(params, (), activations, units, key, steps=steps)


def test_continual_backprop_refuses_rates_out_of_range(network):
    _, params, x, observe = network
    activations = observe(params, x)
    with pytest.raises(DormantError, match="replacement_rate is 2 and decay 0.99"):
        continual_backprop(
            params,
            optax.EmptyState(),
            activations,
            new_units(activations.wiring),
            jax.random.key(0),
            replacement_rate=2,
        )


# Gradients
# ------------------------------------------------------------------------------------------------


def test_gradient_scores_are_means_of_the_gradients_at_the_pre_activations(network):
    _, params, x, observe = network
    weights = layers(params)

    def loss(added, sample):
        """With something added to every pre-activation."""
        for k, extra in enumerate(added):
            sample = jax.nn.relu(sample @ weights[k][0] + weights[k][1] + extra)
        return jnp.sum(jnp.square(sample @ weights[2][0] + weights[2][1] - 1))

    nothing = [jnp.zeros(size) for size in HIDDEN]
    slow = [np.zeros(size) for size in HIDDEN]
    for sample in x:
        for total, each in zip(slow, jax.grad(loss)(nothing, sample)):
            total += np.abs(each) / len(x)
    whole = lambda params, sample: jnp.sum(jnp.square(MLP().apply(params, sample[None])[0] - 1))
    by_sample = jax.vmap(jax.grad(whole), (None, 0))(params, x)
    activations = observe(params, x)
    found = gradient_scores(by_sample, activations.wiring)
    for k, each in enumerate(slow):
        np.testing.assert_allclose(found[f"Dense_{k}"], each / each.mean(), rtol=1e-4)
    tau = float(np.median(found["Dense_0"]))
    masks = selected(activations, tau, None, gradient_dormant, gradients=by_sample)
    np.testing.assert_array_equal(masks["Dense_0"], np.asarray(found["Dense_0"]) <= tau)
    with pytest.raises(DormantError, match="gradients=gradients"):
        selected(activations, tau, None, gradient_dormant)


@pytest.mark.parametrize("ensemble", [False, True])
def test_the_gradient_is_that_of_what_is_added_last(ensemble):
    """A bias of any rank, and a normalisation's before that of the layer it normalises."""

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.LayerNorm(use_scale=False)(nn.Dense(4)(x))
            probe = self.variable("added", "to", jnp.zeros, (1, 4)).value
            return nn.Dense(1)(nn.relu(x + probe))

    kind = nn.vmap(Net, {"params": 0, "added": 0}, {"params": True}, None, 0, 2)
    net = kind() if ensemble else Net()
    x = jax.random.normal(jax.random.key(0), (6, 3))
    variables = net.init(jax.random.key(1), x)
    given = lambda params: {"params": params, "added": variables["added"]}
    activations = capture(lambda params, x: net.apply(given(params), x))(variables["params"], x)

    def loss(params, added, sample):
        out = net.apply({"params": params, "added": added}, sample[None])
        return jnp.sum(jnp.square(out - 1))

    slopes = jax.vmap(jax.grad(loss, argnums=(0, 1)), (None, None, 0))
    by_sample, at_values = slopes(variables["params"], variables["added"], x)
    (right,) = (np.abs(each).mean(0) for each in jax.tree.leaves(at_values))
    (found,) = gradient_scores(by_sample, activations.wiring).values()
    np.testing.assert_allclose(
        found, (right / right.mean(-1, keepdims=True)).ravel(), rtol=1e-4, atol=1e-6
    )


def test_what_is_added_twice_is_added_last():
    def network(p, x):
        first = x @ p["w"] + p["a"] + p["b"] + p["a"]
        return jax.nn.relu(first + p["c"]) @ p["out"]

    params = {"w": jnp.ones((3, 4)), "out": jnp.ones((4, 1))}
    params |= {name: jnp.ones((1, 4)) for name in "abc"}
    leaves = capture(network)(params, jnp.ones((1, 3))).wiring.leaves
    met = {leaf.path: leaf.met for leaf in leaves}
    assert met["b"] < met["a"] < met["c"] and met["w"] == met["out"] == -1


def test_what_is_added_after_the_nonlinearity_is_no_bias():
    """Dense, ReLU, then a normalisation's scale and offset: the gradient is still that before the
    ReLU, and a neuron that is always silent has none.
    """
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"w": jax.random.normal(keys[0], (5, 6)), "b": jnp.zeros((1, 6)).at[0, 0].set(-50.0)}
    params |= {"scale": jnp.ones((1, 6)), "offset": jax.random.normal(keys[1], (1, 6))}
    params["v"] = jax.random.normal(keys[2], (6, 2))
    x = jax.random.normal(keys[3], (8, 5))

    def network(p, x, probe=0.0):
        h = jax.nn.relu(x @ p["w"] + p["b"] + probe) * p["scale"] + p["offset"]
        return h @ p["v"]

    loss = lambda p, probe, sample: jnp.sum((network(p, sample[None], probe) - 1) ** 2)
    slopes = jax.vmap(jax.grad(loss, argnums=(0, 1)), (None, None, 0))
    by_sample, at_values = slopes(params, jnp.zeros((1, 6)), x)
    right = np.abs(at_values).mean((0, 1))
    (found,) = gradient_scores(by_sample, capture(network)(params, x).wiring).values()
    np.testing.assert_allclose(found, right / right.mean(), rtol=1e-4)
    assert found[0] == 0 < found[1]


def test_a_gradient_that_is_not_of_each_sample_is_refused(network):
    module, params, x, observe = network
    wiring = observe(params, x).wiring
    whole = jax.grad(lambda p: jnp.mean(module.apply(p, x)))(params)
    with pytest.raises(DormantError, match=r"has shape \(.*expected \(B, .*jax.vmap\(jax.grad"):
        gradient_scores(whole, wiring)
    with pytest.raises(DormantError, match="there are no gradients"):
        gradient_scores({}, wiring)


def test_a_gradient_that_cannot_be_read_is_refused():
    net = nn.Sequential([nn.Dense(4, use_bias=False), nn.relu, nn.Dense(1)])
    params = net.init(jax.random.key(0), jnp.ones((2, 3)))
    wiring = capture(net)(params, jnp.ones((2, 3))).wiring
    gradients = jax.tree.map(lambda leaf: leaf[None], params)
    with pytest.raises(DormantError, match="layers_0 has neurons without a bias"):
        gradient_scores(gradients, wiring)


# All weights
# ------------------------------------------------------------------------------------------------


def test_shrink_and_perturb(network):
    _, params, _, _ = network
    opt_state = jax.tree.map(lambda leaf: leaf + 1, optax.adam(1e-3).init(params))
    key = jax.random.key(3)
    shrunk, fresh = shrink_and_perturb(params, opt_state, key, 0.25, 0.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, 0.25 * b, rtol=1e-6), shrunk, params)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(fresh))  # as a new optimiser
    noisy = shrink_and_perturb({"params": jnp.full((200, 200), 2.0)}, (), key)[0]["params"]
    assert np.mean(noisy) == pytest.approx(1.2, abs=1e-3)
    assert np.std(noisy) == pytest.approx(0.01, rel=0.02)
    equal = {"a": jnp.zeros((3, 3)), "b": jnp.zeros((3, 3))}
    drawn = shrink_and_perturb(equal, (), key)[0]
    assert (drawn["a"] != drawn["b"]).all()
    others = {"steps": jnp.array([10, 20]), "mask": jnp.array([True, False])}
    others["temperature"] = jnp.float32(0.3)
    kept, _ = shrink_and_perturb({**others, "w": jnp.ones((2, 2))}, (), key)
    assert all(np.array_equal(kept[name], leaf) for name, leaf in others.items())
    trained = {"temperature": others["temperature"], "w": jnp.ones((2, 2))}
    opt_state = jax.tree.map(lambda leaf: leaf + 1, optax.adam(1e-3).init(trained))
    kept, fresh = shrink_and_perturb(trained, opt_state, key)
    assert float(kept["temperature"]) == float(trained["temperature"])
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(fresh))
    with pytest.raises(DormantError, match="shrink is 1.5"):
        shrink_and_perturb(params, opt_state, key, 1.5)


def test_l2_towards_initial_weights_is_a_part_of_the_loss(network):
    module, params, x, _ = network
    loss = lambda params: jnp.mean(jnp.square(module.apply(params, x)))
    penalty = lambda now: sum(
        jnp.sum(jnp.square(a - b)) for a, b in zip(jax.tree.leaves(now), jax.tree.leaves(params))
    )
    pulled, plain = optax.chain(towards_initial(0.1), optax.adam(0.05)), optax.adam(0.05)
    ours, theirs = params, params
    our_state, their_state = pulled.init(params), plain.init(params)
    for _ in range(5):
        updates, our_state = pulled.update(jax.grad(loss)(ours), our_state, ours)
        ours = optax.apply_updates(ours, updates)
        gradient = jax.grad(lambda now: loss(now) + 0.1 * penalty(now))(theirs)
        updates, their_state = plain.update(gradient, their_state)
        theirs = optax.apply_updates(theirs, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), ours, theirs)
    with pytest.raises(DormantError, match="needs the parameters"):
        pulled.update(params, our_state)


def test_recycling_leaves_the_initial_weights_and_can_keep_the_moments(network):
    _, params, x, observe = network
    optimiser = optax.chain(towards_initial(0.1), optax.adam(1e-2))
    state = jax.tree.map(lambda leaf: leaf + 1, optimiser.init(params))
    for moments, kept in (("zero", False), ("keep", True)):
        new = recycle(params, state, observe(params, x), 0.9, jax.random.key(0), moments=moments)[1]
        jax.tree.map(np.testing.assert_array_equal, new[0], state[0])
        same = jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), new[1], state[1]))
        assert all(same) is kept
    with pytest.raises(DormantError, match="unknown moments 'kept'; did you mean 'keep'"):
        recycle(params, state, observe(params, x), 0.9, jax.random.key(0), moments="kept")


def test_ranks():
    values = np.array([4.0, 2.0, 1.0, 0.0])
    left = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 4)))[0]
    share = values[:3] / 7
    expected = np.exp(-np.sum(share * np.log(share)))
    q = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0]
    features = jnp.asarray(left @ np.diag(values) @ q, jnp.float32)
    assert float(stable_rank(features)) == pytest.approx(21 / 16, rel=1e-5)
    assert float(effective_rank(features)) == pytest.approx(expected, rel=1e-4)
    assert float(stable_rank(0 * features)) == float(effective_rank(0 * features)) == 0
