"""One contract for every architecture of the table: what is recycled, and that it is exactly
right.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dormant.redo import capture, recycle, selected
from tests.redo.architectures import CASES, make

# at most, of the oracle's weights: a downstream ReLU may be dark on the whole batch for one of them
DRAWS = 16


def planted(activations):
    """{layer: (H,) bool}: the first and the last recyclable neuron of each layer."""
    masks = {}
    for layer in activations.wiring.scored:
        masks[layer.name] = np.zeros(layer.size, bool)
        masks[layer.name][
            np.flatnonzero(layer.recyclable)[[0, -1] if layer.recyclable.any() else []]
        ] = True
    return masks


def masks_of(wiring, neurons):
    """{path: (incoming, outgoing)} full masks of the elements of some neurons, numbered as in the
    wiring.
    """
    full = lambda users, shape: np.broadcast_to(np.isin(users, neurons), shape)
    return {
        leaf.path: (full(leaf.owner, leaf.shape), full(leaf.feeder, leaf.shape))
        for leaf in wiring.leaves
    }


def named(params):
    leaves = jax.tree_util.tree_flatten_with_path(params["params"])[0]
    return {"/".join(k.key for k in path): np.asarray(leaf) for path, leaf in leaves}


def edited(params, edit):
    """params with edit(path, array) for every leaf."""
    change = lambda path, leaf: edit("/".join(k.key for k in path), leaf).reshape(leaf.shape)
    return {**params, "params": jax.tree_util.tree_map_with_path(change, params["params"])}


@pytest.fixture(scope="module", params=list(CASES))
def subject(request):
    network, params, inputs, others = make(request.param)
    observe, apply = capture(network), jax.jit(network.apply)
    return CASES[request.param], apply, observe, params, inputs, others


def test_the_wiring_is_the_tables(subject):
    case, _, observe, params, inputs, _ = subject
    wiring = observe(params, *inputs).wiring
    found = {
        x.name: (x.size, int(x.recyclable.sum()), int((x.recyclable & x.exact).sum()))
        for x in wiring.layers
    }
    assert found == case.layers
    assert tuple(x.name for x in wiring.scored if not x.recyclable.any()) == case.scored
    lines = wiring.describe().splitlines()
    for name, words in case.reasons.items():
        assert any(line.startswith(name + ": ") and words in line for line in lines), (
            wiring.describe()
        )
    for layer in wiring.scored:  # a plain layer's neurons are the last axis of its kernel and bias
        for leaf in wiring.leaves:
            if leaf.path.rpartition("/")[0] == layer.name and leaf.shape[-1] == layer.size:
                numbers = np.where(layer.recyclable, layer.start + np.arange(layer.size), -1)
                np.testing.assert_array_equal(*np.broadcast_arrays(leaf.owner, numbers))


def test_recycling_planted_dead_neurons(subject):
    case, apply, observe, params, inputs, others = subject
    first = observe(params, *inputs)
    dead = planted(first)
    numbers = np.flatnonzero(np.concatenate([*dead.values(), [False]]))
    if not numbers.size:
        pytest.fail("no neuron to recycle in this network") if any(
            n for _, n, _ in case.layers.values()
        ) else None
        return
    masks = masks_of(first.wiring, numbers)
    params = edited(
        params, lambda path, leaf: jnp.where(masks[path][0], 0, leaf).astype(leaf.dtype)
    )
    activations = observe(params, *inputs)
    chosen = selected(activations, 0.0)
    for layer, units in dead.items():
        assert not np.asarray(activations[layer])[..., units].any()
        assert np.asarray(chosen[layer])[units].all()
        assert not np.asarray(observe(params, *others)[layer])[..., units].any()

    numbers = np.flatnonzero(
        np.concatenate([*chosen.values(), [False]])
    )  # maybe some dark by chance as well
    masks = masks_of(first.wiring, numbers)
    state = jax.tree.map(jnp.ones_like, optax.trace(0.9).init({"params": params["params"]}))
    new, new_state = jax.jit(recycle)(params, state, activations, 0.0, jax.random.key(7))
    before, after, moments = named(params), named(new), named(new_state.trace)
    for path, (into, out) in masks.items():
        assert (after[path].reshape(out.shape)[out] == 0).all()
        assert (after[path] == before[path]).reshape(out.shape)[~into & ~out].all()
        assert ((moments[path].reshape(out.shape) == 0) == (into | out)).all()
    if all(layer.exact[layer.recyclable].all() for layer in first.wiring.scored):
        close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, apply(new, *inputs), apply(params, *inputs))
        if sum(mask.sum() for mask in dead.values()) == numbers.size:
            jax.tree.map(close, apply(new, *others), apply(params, *others))
    seen = {
        name: np.asarray(x).any(axis=tuple(range(x.ndim - 1)))
        for name, x in observe(new, *others).items()
    }
    awake = [seen[name][units] for name, units in dead.items()]
    assert np.concatenate(awake).mean() > 0.6


def test_the_outgoing_weights_are_the_ones_an_oracle_finds(subject):
    """No jaxpr here: with the derived rows at 0, the outputs do not depend on a neuron's incoming
    weights, and the elements whose gradient does are exactly these rows.
    """
    _, apply, observe, params, inputs, _ = subject
    wiring = observe(params, *inputs).wiring
    random = np.random.default_rng(0)
    loss = lambda p: sum(
        jnp.sum(jnp.sin(3.0 * x.astype(jnp.float32) + 1))
        for x in jax.tree.leaves(apply(p, *inputs))
    )
    gradient = jax.jit(jax.grad(lambda p, state: loss({**state, "params": p})))
    state = {name: value for name, value in params.items() if name != "params"}
    for layer in wiring.scored:
        exact = np.flatnonzero(layer.recyclable & layer.exact)
        for unit in exact[[0, -1]] if exact.size else ():
            masks = masks_of(wiring, [layer.start + unit])
            seen = {path: np.zeros(into.shape, bool) for path, (into, _) in masks.items()}
            for _ in range(DRAWS):
                if all(
                    (seen[path] | into).sum() >= (out | into).sum()
                    for path, (into, out) in masks.items()
                ):
                    break
                draw = lambda leaf: jnp.asarray(
                    random.standard_normal(leaf.shape) * 0.7, leaf.dtype
                )
                cut = edited(
                    params,
                    lambda path, x: jnp.where(masks[path][1], 0, x + draw(x) / 3).astype(x.dtype),
                )
                changed = lambda path, x: jnp.where(
                    masks[path][0] & ~masks[path][1], draw(x), x
                ).astype(x.dtype)
                one, two = edited(cut, changed), edited(cut, changed)
                equal = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
                jax.tree.map(equal, apply(one, *inputs), apply(two, *inputs))
                slopes = [named({"params": gradient(p["params"], state)}) for p in (one, two)]
                for path in seen:
                    a, b = (
                        np.asarray(s[path], np.float32).reshape(seen[path].shape) for s in slopes
                    )
                    seen[path] |= np.abs(a - b) > 1e-4 * (1e-3 + np.abs(a).max())
            for path, (into, out) in masks.items():
                where = f"{path} of {layer.name}[{unit}]"
                np.testing.assert_array_equal(seen[path] & ~into, out & ~into, err_msg=where)
