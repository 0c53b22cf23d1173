"""Optimiser states: touched entries at 0, the others bit-identical, unknown states refused by
name.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from dormant.redo import capture, recycle, reset
from dormant.redo.optimizer import zero_moments
from dormant.types import DormantError

PARAMS = {
    "params": {
        "a": {"kernel": jnp.full((3, 4), 2.0), "bias": jnp.ones(4)},
        "b": {"kernel": jnp.ones((4, 2))},
    }
}
TOUCHED = {
    "a/kernel": np.eye(3, 4, dtype=bool),
    "a/bias": np.eye(4, dtype=bool)[0],
    "b/kernel": np.zeros((1, 1), bool),
}
LABELS = {"params": {"a": {"kernel": "x", "bias": "y"}, "b": {"kernel": "y"}}}
ONLY_A = {"params": {"a": {"kernel": True, "bias": True}, "b": {"kernel": False}}}

OPTIMISERS = {  # name: (optimiser, number of statistics it keeps of an element of a/kernel)
    "adam": (optax.adam(1e-2), 2),
    "adamw": (optax.adamw(1e-2), 2),
    "amsgrad": (optax.amsgrad(1e-2), 3),
    "nadam": (optax.nadam(1e-2), 2),
    "rmsprop": (optax.rmsprop(1e-2), 1),
    "centred rmsprop": (optax.rmsprop(1e-2, centered=True, momentum=0.9), 3),
    "momentum": (optax.sgd(1e-2, momentum=0.9), 1),
    "sgd": (optax.sgd(1e-2), 0),
    "lion": (optax.lion(1e-2), 1),
    "adabelief": (optax.adabelief(1e-2), 2),
    "novograd": (optax.novograd(1e-2), 1),
    "clipped": (
        optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.linear_schedule(1e-2, 0, 9))),
        2,
    ),
    "masked": (optax.masked(optax.adam(1e-2), ONLY_A), 2),
    "multi_transform": (
        optax.multi_transform({"x": optax.adam(1e-2), "y": optax.sgd(1e-2, 0.9)}, LABELS),
        2,
    ),
    "inject_hyperparams": (optax.inject_hyperparams(optax.adam)(learning_rate=1e-2), 2),
    "MultiSteps": (optax.MultiSteps(optax.adam(1e-2), 2), 3),
    "apply_if_finite": (optax.apply_if_finite(optax.adam(1e-2), 3), 2),
    "lamb": (optax.lamb(1e-2), 2),
}


def grown(state):
    """The state with no statistic at 0."""
    return jax.tree.map(lambda leaf: leaf + 1, state)


def trained(optimiser):
    """A state after three steps, none of whose statistics is 0."""
    state, params = optimiser.init(PARAMS), PARAMS
    for k in range(3):
        gradient = jax.tree.map(
            lambda x, k=k: jnp.sin(jnp.arange(x.size) + k + 0.5).reshape(x.shape) + 2, params
        )
        updates, state = optimiser.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return state


@pytest.mark.parametrize("name", OPTIMISERS)
def test_touched_statistics_are_zero_and_the_others_identical(name):
    optimiser, kept = OPTIMISERS[name]
    before = trained(optimiser)
    after = zero_moments(before, TOUCHED)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    count = 0
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(before)):
        a, b = np.asarray(a), np.asarray(b)
        mask = {(3, 4): TOUCHED["a/kernel"], (4,): TOUCHED["a/bias"]}.get(
            b.shape, np.zeros(b.shape, bool)
        )
        count += b.shape == (3, 4)
        assert (a[mask] == 0).all() and (a[~mask] == b[~mask]).all() and a.dtype == b.dtype
    assert count == kept
    optimiser.update(PARAMS, after, PARAMS)  # it still works


def test_counts_of_moments_are_reset_on_demand_and_schedules_keep_theirs():
    optimiser, _ = OPTIMISERS["clipped"]
    state = trained(optimiser)
    for any_touched, expected in ((True, 0), (False, 3)):
        new = zero_moments(state, TOUCHED, "reset", any_touched)
        assert int(new[1][0].count) == expected and int(new[1][1].count) == 3
    assert int(zero_moments(state, TOUCHED)[1][0].count) == 3


@pytest.mark.parametrize("any_touched, expected", [(True, 0), (False, 1)])
def test_the_count_of_an_nnx_optimizer_stays_in_its_box(any_touched, expected):
    model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    optimiser = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    gradient = jax.tree.map(jnp.ones_like, nnx.state(model, nnx.Param))
    optimiser.update(model, gradient)
    touched = {"kernel": jnp.eye(3, 4, dtype=bool), "bias": jnp.zeros(4, bool)}
    with pytest.raises(DormantError, match="Optimizer is no optimiser state: pass its .opt_state"):
        zero_moments(optimiser, touched)
    optimiser.opt_state = zero_moments(optimiser.opt_state, touched, "reset", any_touched)
    assert int(optimiser.opt_state[0].count[...]) == expected
    optimiser.update(model, gradient)  # it still works


@pytest.mark.parametrize(
    "optimiser, name",
    [
        (optax.adagrad(1e-2), "ScaleByRssState.sum_of_squares"),
        (optax.contrib.schedule_free_adamw(), "ScheduleFreeState"),
        (optax.contrib.sam(optax.sgd(1e-2), optax.sgd(1e-2)), "SAMState.cache"),
    ],
)
def test_an_unknown_state_is_named(optimiser, name):
    with pytest.raises(DormantError, match=name):
        zero_moments(optimiser.init(PARAMS), TOUCHED)


def test_an_unknown_state_is_left_alone_where_nothing_of_it_changes():
    network = lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"]
    params = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 1))}
    activations = capture(network, init=lambda key: params)(params, jnp.ones((2, 3)))
    state = optax.adagrad(1e-2).init(params)
    given = (params, state, activations, 9.0, jax.random.key(0))
    assert recycle(*given, moments="keep")[1] is state
    with pytest.raises(DormantError, match="moments='keep' leaves any state as it is"):
        recycle(*given)


@pytest.mark.parametrize("prefix", [{"a": False, "b": True}, {"params": {"a": False, "b": True}}])
def test_a_mask_may_name_a_subtree(prefix):
    """As optax's masks and labels may."""
    params = {"a": {"c": {"kernel": jnp.ones((2, 3))}, "bias": jnp.ones(3)}, "b": jnp.ones(3)}
    boxed = {"params": params} if "params" in prefix else params
    state = grown(optax.masked(optax.scale_by_adam(), prefix).init(boxed))
    touched = {"a/c/kernel": jnp.ones((1, 3), bool), "a/bias": jnp.ones(3, bool)}
    new = zero_moments(state, {**touched, "b": jnp.array([True, False, True])})
    (left,) = jax.tree.leaves(new.inner_state.mu)
    assert left.tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "stats", [False, {"norm": {"mean": False}}], ids=["as a whole", "leaf by leaf"]
)
def test_batch_statistics_that_are_masked_stay_as_they_are(stats):
    variables = {"params": {"w": jnp.ones(3)}, "batch_stats": {"norm": {"mean": jnp.ones(3)}}}
    mask = {"params": True, "batch_stats": stats}
    labels = jax.tree.map(lambda trained: "adam" if trained else "none", mask)
    for optimiser in (
        optax.masked(optax.adam(1e-2), mask),
        optax.multi_transform({"adam": optax.adam(1e-2), "none": optax.set_to_zero()}, labels),
    ):
        before = grown(optimiser.init(variables))
        after = zero_moments(before, {"w": jnp.array([True, False, True])})
        assert jax.tree.structure(after) == jax.tree.structure(before)
        moments = [leaf.tolist() for leaf in jax.tree.leaves(after) if leaf.ndim]
        assert moments == [[0, 1, 0], [0, 1, 0]]


W, V = jnp.ones((2, 3)), jnp.ones((3, 3))


@pytest.mark.parametrize(
    "tree, mask",
    [
        ({"params": {"kernel": W}, "out": {"kernel": W}}, True),
        ({"params": {"params": {"kernel": W}, "out": {"kernel": W}}}, True),
        ({"params": {"kernel": W}, "kernel": W}, True),
        ({"params": {"params": {"kernel": W}, "kernel": W}}, True),
        (
            {"params": {"params": {"kernel": W}, "kernel": W}},
            {"params": {"params": True, "kernel": False}},
        ),
    ],
)
def test_a_module_named_params(tree, mask):
    """With and without the collection of that name around it."""
    inner = tree["params"] if "params" in tree["params"] else tree
    touched = {"params/kernel": jnp.ones((1, 1), bool)}
    touched["out/kernel" if "out" in inner else "kernel"] = jnp.zeros((1, 1), bool)
    after = zero_moments(grown(optax.masked(optax.trace(0.9), mask).init(tree)), touched)
    trace = after.inner_state.trace
    trace = trace["params"] if inner is not tree else trace
    assert (trace.pop("params")["kernel"] == 0).all()
    assert all((leaf == 1).all() for leaf in jax.tree.leaves(trace))


def test_each_network_may_have_its_own_optimiser():
    networks = {"encoder": {"kernel": W, "head": {"kernel": W}}, "head": {"kernel": W}}
    touched = {"encoder/kernel": False, "encoder/head/kernel": True, "head/kernel": False}
    touched = {path: jnp.full((1, 1), value) for path, value in touched.items()}
    states = {
        "encoder": optax.adam(1e-2).init({"params": networks["encoder"]}),
        "head": optax.chain(optax.clip(1.0), optax.trace(0.9)).init(networks["head"]),
    }
    after = zero_moments(grown(states), touched, "reset", jnp.array(True))
    mu = after["encoder"][0].mu["params"]
    assert (mu["head"]["kernel"] == 0).all() and (mu["kernel"] == 1).all()
    assert (after["head"][1].trace["kernel"] == 1).all() and after["encoder"][0].count == 0
    with pytest.raises(DormantError, match="optimiser of 'head': .* no parameter"):
        zero_moments({**states, "head": optax.trace(0.9).init({"other": W})}, touched)
    with pytest.raises(DormantError, match="'kernel' .* a dict of their states, by the networks'"):
        zero_moments(tuple(states.values()), touched)


def test_recycling_with_an_optimiser_for_each_network():
    params = {"encoder": {"kernel": W}, "head": {"kernel": V}}
    network = lambda p, x: jax.nn.relu(x @ p["encoder"]["kernel"]) @ p["head"]["kernel"]
    activations = capture(network, init=lambda key: params)(params, jnp.ones((4, 2)))
    states = {name: grown(optax.adam(1e-2).init(params[name])) for name in params}
    masks = {"encoder": jnp.array([True, False, False])}
    new, after = recycle(params, states, activations, None, jax.random.key(0), masks=masks)
    assert after["encoder"][0].mu["kernel"].tolist() == [[0, 1, 1]] * 2
    assert after["head"][0].nu["kernel"].tolist() == [[0] * 3, [1] * 3, [1] * 3]
    assert new["head"]["kernel"].tolist() == after["head"][0].nu["kernel"].tolist()


def test_running_statistics_of_one_of_several_networks_are_left_alone():
    encoder = {"params": {"kernel": W}, "batch_stats": {"mean": 5 * jnp.ones(3)}}
    params = {"encoder": encoder, "head": {"params": {"kernel": V}}}

    def network(p, x):
        h = x @ p["encoder"]["params"]["kernel"] - p["encoder"]["batch_stats"]["mean"][None]
        return jax.nn.relu(h) @ p["head"]["params"]["kernel"]

    fresh = lambda key: jax.tree.map(jnp.zeros_like, params)
    activations = capture(network, init=fresh)(params, jnp.ones((4, 2)))
    assert "encoder/batch_stats: belongs to no neuron" in activations.describe()
    states = {name: optax.adam(1e-2).init(own["params"]) for name, own in params.items()}
    new, _ = recycle(params, states, activations, 0.0, jax.random.key(0))
    assert (new["encoder"]["batch_stats"]["mean"] == 5).all()
    assert not new["encoder"]["params"]["kernel"].any()


@pytest.mark.parametrize("dormant, expected", [([False] * 3, 7), ([False, True, False], 0)])
def test_the_count_is_reset_only_where_a_neuron_is_recycled(dormant, expected):
    params = {"a": W, "b": V}
    network = lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"]
    activations = capture(network, init=lambda key: params)(params, jnp.ones((4, 2)))
    state = optax.scale_by_adam().init(params)._replace(count=jnp.int32(7))
    masks = {"a": jnp.array(dormant)}
    given = (params, state, activations, None, jax.random.key(0))
    assert int(recycle(*given, masks=masks, count="reset")[1].count) == expected


def test_one_flat_array_for_all_parameters_is_said():
    state = optax.flatten(optax.adam(1e-2)).init(PARAMS)
    with pytest.raises(DormantError, match="optax.flatten hides .* moments='keep'"):
        zero_moments(state, TOUCHED)


def test_a_state_of_other_parameters_is_named():
    with pytest.raises(DormantError, match="'c/kernel' that fits no parameter"):
        zero_moments(optax.adam(1e-2).init({"c": {"kernel": jnp.ones(2)}}), TOUCHED)
    with pytest.raises(DormantError, match=r"'a/bias' has shape \(5,\)"):
        zero_moments(optax.adam(1e-2).init({"a": {"bias": jnp.ones(5)}}), TOUCHED)
    with pytest.raises(DormantError, match="no statistics of 'a/kernel'"):
        zero_moments(optax.adam(1e-2).init({"a": {"bias": jnp.ones(4)}}), TOUCHED)


def test_trees_with_and_without_params_and_frozen_come_out_as_they_went_in():
    from flax.core import freeze

    from tests.redo.architectures import make

    network, params, inputs, _ = make("mlp")
    observe, results = capture(network), []
    for tree in (params, params["params"], freeze(params)):
        state = jax.tree.map(lambda x: x + 1, optax.adam(1e-2).init(tree))
        new, new_state = recycle(tree, state, observe(tree, *inputs), 0.5, jax.random.key(0))
        assert jax.tree.structure((new, new_state)) == jax.tree.structure((tree, state))
        results.append(jax.tree.leaves((new, new_state)))
        reset(tree, state, params, lambda path: path == "Dense_2/bias")
    for other in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], other)
