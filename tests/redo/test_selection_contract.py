"""One contract for every selection: shape, type, number, ties, what it asks of tau, key and params;
and masks that are handed on.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.redo import capture, fraction, recycle, selected, size_matched_random
from dormant.redo.select import ORDERS
from dormant.types import DormantError
from tests.redo.architectures import make

SHARE = 0.5


class Contract(NamedTuple):
    """What a selection promises besides its mask's shape."""

    select: object
    uses_tau: bool
    needs_key: bool = False
    needs_params: bool = False


CONTRACTS = {
    "threshold": Contract(None, True),
    "size_matched_random": Contract(size_matched_random, True, needs_key=True),
    **{
        by: Contract(
            fraction(SHARE, by), False, needs_key=by == "random", needs_params=by == "utility"
        )
        for by in ORDERS
    },
}


@pytest.fixture(scope="module")
def network():
    """Two hidden layers of which the second has units that are outputs as well, all in ties."""
    network, params, inputs, _ = make("several_outputs")
    activations = capture(network)(params, *inputs)
    tied = activations.wiring.bind(
        {name: jnp.round(jnp.abs(values) * 2) / 2 for name, values in activations.items()}
    )
    return tied, params


@pytest.fixture(params=CONTRACTS)
def contract(request):
    return CONTRACTS[request.param]


def masks(network, contract, tau=0.7, key=0, **more):
    activations, params = network
    return selected(activations, tau, jax.random.key(key), contract.select, params=params, **more)


def expected_count(network, contract, layer, tau):
    if not contract.uses_tau:
        return round(SHARE * int(layer.recyclable.sum()))
    return int((selected(network[0], tau)[layer.name] & layer.recyclable).sum())


def test_a_mask_of_every_scored_layer(network, contract):
    found = masks(network, contract)
    layers = network[0].wiring.scored
    assert list(found) == [layer.name for layer in layers]
    for layer in layers:
        mask = found[layer.name]
        assert mask.shape == (layer.size,) and mask.dtype == bool
        assert not (np.asarray(mask) & ~layer.recyclable).any()
    assert any(not layer.recyclable.all() for layer in layers)


@pytest.mark.parametrize("tau", [0.0, 0.7, 9.0])
def test_exactly_as_many_as_promised_under_ties(network, contract, tau):
    found = masks(network, contract, tau)
    for layer in network[0].wiring.scored:
        assert int(found[layer.name].sum()) == expected_count(network, contract, layer, tau)


def test_tau_is_used_or_ignored(network, contract):
    few, many = (masks(network, contract, tau) for tau in (0.0, 9.0))
    same = all(bool((few[name] == many[name]).all()) for name in few)
    assert same is not contract.uses_tau


def test_the_key_decides_where_it_is_drawn(network, contract):
    draws = [np.concatenate([*masks(network, contract, key=key).values()]) for key in range(8)]
    assert any((draw != draws[0]).any() for draw in draws) is contract.needs_key
    again = np.concatenate([*masks(network, contract, key=0).values()])
    np.testing.assert_array_equal(again, draws[0])


def test_what_it_needs_is_asked_for(network, contract):
    activations, params = network
    for needed, key, given in (
        (contract.needs_key, None, params),
        (contract.needs_params, jax.random.key(0), None),
    ):
        if needed:
            with pytest.raises(DormantError, match="needs a key|params=params"):
                selected(activations, 0.7, key, contract.select, params=given)
        else:
            selected(activations, 0.7, key, contract.select, params=given)


def test_as_released_takes_ties_and_at_least_one(network, contract):
    found, exact = masks(network, contract, as_released=True), masks(network, contract)
    for layer in network[0].wiring.scored:
        count = int(found[layer.name].sum())
        assert count >= int(exact[layer.name].sum())
        assert count == int(exact[layer.name].sum()) or not contract.uses_tau


def test_jit_and_vmap_give_the_same(network, contract):
    activations, params = network
    taus, keys = jnp.array([0.0, 0.7, 9.0]), jax.random.split(jax.random.key(3), 3)
    one = lambda tau, key: selected(activations, tau, key, contract.select, params=params)
    together = jax.jit(jax.vmap(one))(taus, keys)
    for k in range(3):
        for name, mask in one(taus[k], keys[k]).items():
            np.testing.assert_array_equal(together[name][k], mask)


def test_masks_are_handed_on(network, contract):
    """recycle(masks=selected(...)) is recycle with the same arguments, whatever tau it is given."""
    activations, params = network
    state, key = optax.trace(0.9).init({"params": params["params"]}), jax.random.key(5)
    direct = recycle(params, state, activations, 0.7, key, select=contract.select)
    chosen = selected(activations, 0.7, key, contract.select, params=params)
    for tau in (None, 9.0):
        handed = recycle(params, state, activations, tau, key, masks=chosen)
        jax.tree.map(np.testing.assert_array_equal, direct, handed)


def test_masks_that_do_not_fit(network):
    activations, params = network
    state, key, good = optax.EmptyState(), jax.random.key(0), selected(activations, 0.7)
    everything = {name: jnp.ones_like(mask) for name, mask in good.items()}
    go = lambda masks, tau=None: recycle(params, state, activations, tau, key, masks=masks)
    jax.tree.map(
        np.testing.assert_array_equal,
        go(everything),  # what cannot be recycled is taken out
        recycle(params, state, activations, np.inf, key),
    )
    name = list(good)[0]
    for bad, message in (
        ({**good, "Dense_7": good[name]}, "no scored layer 'Dense_7'; did you mean"),
        ({n: m for n, m in good.items() if n != name}, f"no mask of layer {name}"),
        ({**good, name: good[name][1:]}, "expected bool of shape"),
        ({**good, name: good[name].astype(int)}, "is int32 of shape"),
    ):
        with pytest.raises(DormantError, match=message):
            go(bad)
        with pytest.raises(DormantError, match=message):
            selected(activations, 0.7, select=lambda _, bad=bad: bad)
    with pytest.raises(DormantError, match="a threshold tau, or masks="):
        go(None)
