"""Which neurons are taken, and how they are redrawn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.redo import (
    Periodic,
    capture,
    cosine_share,
    feature_rank,
    fraction,
    layer_dormant_fractions,
    overlap_coefficient,
    recycle,
    scores,
    selected,
    size_matched_random,
)
from dormant.redo.released import FAULTS
from dormant.types import DormantError
from tests.redo.architectures import make


def bound(values):
    """Activations of one layer of ten neurons with given values, and their parameters."""
    params = {"a": jnp.eye(10) + 0.1, "b": jnp.ones((10, 2))}
    observe = capture(lambda p, x: jax.nn.relu(x @ p["a"]) @ p["b"])
    wiring = observe(params, jnp.ones((1, 10))).wiring
    return wiring.bind({"a": jnp.asarray(values, jnp.float32)}), params


TIED = [[0, 0, 0, 0, 0, 4, 3, 2, 1, 5.0]]


def taken(select, values=TIED, tau=0.0, **more):
    return np.flatnonzero(
        selected(bound(values)[0], tau, jax.random.key(0), select, **more)["a"]
    ).tolist()


def test_exactly_k_neurons_under_ties():
    assert taken(None) == [0, 1, 2, 3, 4]
    assert taken(fraction(0.2)) == [0, 1]
    assert taken(fraction(0.7)) == [0, 1, 2, 3, 4, 7, 8]
    assert taken(fraction(0.2, by="inverse")) == [5, 9]
    assert taken(fraction(0.0)) == []
    assert len(taken(fraction(0.3, by="random"))) == 3
    assert len(taken(size_matched_random)) == 5 and taken(size_matched_random) != taken(None)


def test_ties_as_released():
    assert taken(fraction(0.2), as_released=True) == [0, 1, 2, 3, 4]
    assert taken(fraction(0.2, by="inverse"), as_released=True) == [5, 9]
    assert len(taken(fraction(0.2, by="random"), as_released=True)) == 5
    assert (
        len(taken(fraction(0.0, by="inverse"), as_released=True)) == 1
    )  # at least one neuron a layer


@pytest.mark.parametrize("fault", FAULTS)
def test_only_ties_as_released_concern_the_choice(fault):
    for share, by in ((0.2, "score"), (0.0, "inverse"), (0.2, "random")):
        select = fraction(share, by=by)
        whole = taken(select, as_released=True)
        expected = whole if fault == "ties" else taken(select)
        assert taken(select, as_released=fault) == expected
        assert whole != taken(select)


def test_utility_by_hand():
    activations, params = bound(
        [[1, 1, 1, 1, 1, 1, 1, 1, 1, 1.0], [3, 1, 1, 1, 1, 1, 1, 1, 1, 2.0]]
    )
    params["b"] = params["b"].at[9].set(10.0)
    # mean |a - mean a| is 1, 0, ..., 0, 0.5; sum |w_in| is 2 for every neuron, sum |w_out| 2 and
    # 20: utilities 1, 0, ..., 0, 5
    pick = lambda share: selected(
        activations, 0, None, fraction(share, by="utility"), params=params
    )["a"]
    assert np.flatnonzero(~pick(0.8)).tolist() == [0, 9] and np.flatnonzero(
        ~pick(0.9)
    ).tolist() == [9]
    with pytest.raises(DormantError, match="params=params"):
        selected(activations, 0, None, fraction(0.5, by="utility"))


def test_scheduled_share_is_traced_and_falls_to_nothing():
    activations, _ = bound(np.arange(10.0)[None])
    count = jax.jit(
        lambda step: selected(activations, 0, None, fraction(cosine_share(0.4, step, 100)))[
            "a"
        ].sum()
    )
    assert [int(count(step)) for step in (0, 50, 100, 200)] == [4, 3, 0, 0]  # 4 cos(pi/4) = 2.8
    with pytest.raises(DormantError, match="did you mean 'score'"):
        fraction(0.1, by="scores")
    with pytest.raises(DormantError, match="needs a key"):
        selected(activations, 0, None, fraction(0.1, by="random"))


def test_a_selection_of_ones_own_and_what_cannot_be_recycled():
    network, params, inputs, _ = make("several_outputs")
    activations = capture(network)(params, *inputs)
    everything = lambda c: {name: score >= 0 for name, score in c.scores.items()}
    masks = selected(activations, 0.0, select=everything)
    assert masks["Dense_0"].all() and np.flatnonzero(masks["Dense_1"]).tolist() == [0, 1]
    assert (
        int(selected(activations, 0, select=fraction(0.5))["Dense_1"].sum()) == 1
    )  # of the two it can


@pytest.fixture(scope="module")
def stack():
    network, params, inputs, _ = make("conv_valid")
    activations = capture(network)(params, *inputs)
    return network, params, optax.adam(1e-3).init(params), activations, inputs


def test_redrawing_from_the_own_initialiser_xavier_and_rescaled(stack):
    network, params, state, activations, inputs = stack
    key, kernel = jax.random.key(4), lambda tree: np.asarray(tree["params"]["Conv_1"]["kernel"])
    last = lambda c: {name: jnp.arange(s.size) > 1 for name, s in c.scores.items()}
    run = lambda select, **more: jax.jit(lambda *a: recycle(*a, 0.0, key, select=select, **more)[0])
    redraw = lambda select=last, **more: kernel(run(select, **more)(params, state, activations))
    fresh = kernel(network.init(jax.random.split(key)[1], *inputs))
    np.testing.assert_allclose(redraw()[:, :, :2, 2:], fresh[:, :, :2, 2:], rtol=1e-6)
    limit = np.sqrt(
        6 / (2 * 3 * 4 + 2 * 3 * 5)
    )  # Glorot: places times inputs, places times outputs
    xavier = redraw(incoming="xavier")[:, :, :2, 2:]
    assert 0.8 * limit < np.abs(xavier).max() <= limit
    norms = lambda k: np.sqrt((k**2).sum(axis=(0, 1, 2)))
    scaled = redraw(incoming="rescaled", outgoing="random")
    np.testing.assert_allclose(norms(scaled)[2:], norms(kernel(params))[:2].mean(), rtol=1e-5)
    everything = lambda c: {name: s >= 0 for name, s in c.scores.items()}
    np.testing.assert_allclose(
        redraw(everything, incoming="rescaled", outgoing="random"), fresh, rtol=1e-6
    )


def test_a_kernel_that_sees_one_number_is_a_kernel():
    network = nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)])
    inputs = jnp.linspace(-1.0, 1.0, 5)[:, None]
    params = network.init(jax.random.key(0), inputs)
    activations = capture(network)(params, inputs)
    fans = {leaf.path.removeprefix("params/"): leaf.fans for leaf in activations.wiring.leaves}
    assert fans["layers_0/kernel"] == (1, 8) and fans["layers_2/kernel"] == (8, 2)
    assert fans["layers_0/bias"] is fans["layers_2/bias"] is None
    last = lambda c: {name: jnp.arange(s.size) == 7 for name, s in c.scores.items()}
    key, kernel = jax.random.key(1), lambda tree: tree["params"]["layers_0"]["kernel"][0]
    new = recycle(params, None, activations, 0.0, key, select=last, incoming="rescaled")[0]
    assert abs(kernel(new)[7]) == pytest.approx(float(jnp.abs(kernel(params)[:7]).mean()), rel=1e-5)
    new = recycle(params, None, activations, 0.0, key, select=last, incoming="xavier")[0]
    assert abs(kernel(new)[7]) <= np.sqrt(6 / (1 + 8))


def test_random_outgoing_weights(stack):
    _, params, state, activations, _ = stack
    new = recycle(params, state, activations, 9.0, jax.random.key(0), outgoing="random")[0][
        "params"
    ]
    assert (np.asarray(new["Dense_1"]["kernel"]) != 0).all()
    zero = recycle(params, state, activations, 9.0, jax.random.key(0))[0]["params"]
    assert (np.asarray(zero["Dense_1"]["kernel"]) == 0).all()


def test_as_released_masks_rows_in_channel_first_order_and_keeps_moments_of_biases(stack):
    _, params, state, activations, _ = stack
    state = jax.tree.map(jnp.ones_like, state)
    one = lambda c: {
        name: (jnp.arange(s.size) == 1) & (name == "Conv_1") for name, s in c.scores.items()
    }
    new, new_state = recycle(
        params, state, activations, 0.0, jax.random.key(0), select=one, as_released=True
    )
    places = params["params"]["Dense_0"]["kernel"].shape[0] // 5
    rows = np.flatnonzero((np.asarray(new["params"]["Dense_0"]["kernel"]) == 0).all(axis=1))
    assert rows.tolist() == list(range(places, 2 * places))  # jnp.repeat where jnp.tile is right
    assert (np.asarray(new_state[0].mu["params"]["Conv_1"]["bias"]) == 1).all()
    assert (np.asarray(new_state[0].mu["params"]["Conv_1"]["kernel"])[..., 1] == 0).all()
    right, right_state = recycle(params, state, activations, 0.0, jax.random.key(0), select=one)
    rows = np.flatnonzero((np.asarray(right["params"]["Dense_0"]["kernel"]) == 0).all(axis=1))
    assert rows.tolist() == list(range(1, 5 * places, 5))
    assert np.asarray(right_state[0].mu["params"]["Conv_1"]["bias"]).tolist() == [1, 0, 1, 1, 1]


def test_each_fault_of_the_release_alone(stack):
    """The rows, the statistics of biases, or (as none is scheduled and there is no ResNet) nothing
    is the release's; the rest is as it should be.
    """
    _, params, state, activations, _ = stack
    state = jax.tree.map(jnp.ones_like, state)
    one = lambda c: {
        name: (jnp.arange(s.size) == 1) & (name == "Conv_1") for name, s in c.scores.items()
    }

    def parts(as_released):
        new, new_state = recycle(
            *(params, state, activations, 0.0, jax.random.key(0)),
            select=one,
            as_released=as_released,
        )
        moments = new_state[0].mu["params"]
        return {
            "channel_order": (new["params"]["Dense_0"]["kernel"], moments["Dense_0"]["kernel"]),
            "bias_moments": [moments[layer]["bias"] for layer in ("Conv_1", "Dense_0")],
            "rest": (new["params"]["Conv_1"], moments["Conv_1"]["kernel"]),
        }

    right, wrong = parts(False), parts(True)
    differs = lambda a, b: any(jax.tree.leaves(jax.tree.map(lambda x, y: (x != y).any(), a, b)))
    assert differs(right["channel_order"], wrong["channel_order"])
    assert differs(right["bias_moments"], wrong["bias_moments"])
    for fault in FAULTS:
        expected = {name: wrong[name] if name == fault else right[name] for name in right}
        assert not differs(parts(fault), expected), fault


def test_a_fault_that_the_release_does_not_have(stack):
    _, params, state, activations, _ = stack
    for as_released, message in (("tie", "did you mean 'ties'"), (1, "expected True, False or")):
        with pytest.raises(DormantError, match=message):
            recycle(params, state, activations, 0.0, None, as_released=as_released)
        with pytest.raises(DormantError, match=message):
            selected(activations, 0.0, as_released=as_released)


def test_members_of_an_ensemble_are_scored_alone():
    for name, axis in (("critics", 0), ("critics_last_axis", -1)):
        network, params, inputs, _ = make(name)
        sizes = jnp.array([1.0, 2, 9])
        scale = lambda x: jnp.moveaxis(sizes.reshape(3, *[1] * (x.ndim - 1)), 0, axis)
        params = jax.tree.map(lambda x: x * scale(x), params)
        activations = capture(network)(params, *inputs)
        layer = activations.wiring.layer("VmapCritic_0/Dense_0")
        assert len(layer.members) == 3 and "3 x 6" in activations.describe()
        critic, alone, _, _ = make("critic")
        observe = capture(critic)
        for m in range(3):
            one = {
                "params": {
                    "Critic_0": jax.tree.map(
                        lambda x: x.take(m, axis), params["params"]["VmapCritic_0"]
                    )
                }
            }
            expected = scores(observe(one, *inputs))["Critic_0/Dense_0"]
            found = scores(activations)["VmapCritic_0/Dense_0"][
                np.array(layer.members[m]) - layer.start
            ]
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        fans = {leaf.path: leaf.fans for leaf in activations.wiring.leaves}
        assert (
            fans["VmapCritic_0/Dense_0/kernel"] == (7, 6)
            and fans["VmapCritic_0/Dense_0/bias"] is None
        )


def test_fractions_overlap_and_rank_by_hand():
    activations, _ = bound(TIED)
    assert float(layer_dormant_fractions(activations, 0.0)["a"]) == 0.5
    sets = [jnp.array(s, bool) for s in ([1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0])]
    assert (
        float(overlap_coefficient(sets[0], sets[1])) == 0.5
        and float(overlap_coefficient(sets[0], sets[2])) == 0
    )
    # singular values 3, 1, 1: 3/5 < 0.7 <= 4/5
    features = jnp.diag(jnp.array([3.0, 1, 1, 0]))
    assert int(feature_rank(features, 0.3)) == 2 and int(feature_rank(features)) == 3
    assert jax.jit(jax.vmap(feature_rank))(jnp.stack([features, 0 * features])).tolist() == [3, 0]


def test_periods():
    periodic = Periodic(period=3, start=4, end=10)
    assert [step for step in range(15) if periodic.due(step)] == [6, 9]
    assert [step for step in range(15) if Periodic(5).due(step)] == [5, 10]
    for period in (0, 2.5, float("nan"), float("inf")):
        with pytest.raises(DormantError, match="a whole number, at least 1"):
            Periodic(period)
