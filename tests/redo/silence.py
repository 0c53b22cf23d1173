"""An oracle on outputs: recycling what was measured silent leaves the network's outputs alone.

It knows nothing of tags: it takes the units that are called recyclable and exact and whose captured
values are 0 everywhere, recycles them at tau 0 with large fresh weights, and compares outputs.
"""

import jax
import numpy as np
import optax

from dormant.redo import Activations, recycle
from dormant.redo.derivation.derive import derive, values_of
from dormant.redo.derivation.program import evaluate, flat_program

FRESH = 7.0  # scale of the fresh weights: a unit that is not cut off is seen


def observe(function, params, x):
    """Activations without a compilation: the program is run equation by equation."""
    names = sorted(params)
    fresh = lambda key: {
        name: FRESH * jax.random.normal(jax.random.fold_in(key, k), params[name].shape)
        for k, name in enumerate(names)
    }
    program = flat_program(function, params, x)
    leaves = [(name, params[name].shape) for name in names]
    derived = derive(program, [*leaves, None], fresh)
    pieces = [piece for pieces in derived.pieces.values() for piece in pieces]
    sites = list(dict.fromkeys(site for piece in pieces for site in piece.sites))
    found = evaluate(program, [*(params[name] for name in names), x], sites)[1]
    values = values_of(derived, dict(zip(sites, found)))
    return Activations({name: values[name] for name in derived.pieces}, derived.wiring)


def silent(activations):
    """{layer: (H,) bool} exact units of which every captured value is 0."""
    masks = {}
    for layer in activations.wiring.scored:
        values = np.asarray(activations[layer.name])
        dark = ~values.any(axis=tuple(range(values.ndim - 1)))
        masks[layer.name] = dark & layer.recyclable & layer.exact
    return masks


def check_silent_units(function, params, batches, seed=0):
    """Recycles what is silent on every batch; returns how many units that were."""
    observed = [observe(function, params, x) for x in batches]
    wiring = observed[0].wiring
    masks = [silent(activations) for activations in observed]
    chosen = {layer.name: np.all([m[layer.name] for m in masks], 0) for layer in wiring.scored}
    count = int(sum(mask.sum() for mask in chosen.values()))
    if not count:
        return 0
    key, state = jax.random.key(seed), optax.EmptyState()
    new, _ = recycle(params, state, observed[0], 0.0, key, select=lambda _: chosen)
    for x in batches:
        before, after = function(params, x), function(new, x)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), before, after
        )
    return count


def without(params, wiring, neurons):
    """params with every incoming weight of some neurons, numbered as in the wiring, at 0."""
    into = {leaf.path: np.isin(leaf.owner, neurons) for leaf in wiring.leaves}
    shapes = {leaf.path: leaf.shape for leaf in wiring.leaves}
    mask = {n: np.broadcast_to(m, shapes[n]).reshape(params[n].shape) for n, m in into.items()}
    return {name: np.where(mask[name], 0, w).astype(w.dtype) for name, w in params.items()}
