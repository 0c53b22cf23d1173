"""``recycle``: Algorithm 1 of the paper, for any network whose wiring is known."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.masks import check_shape, element_mask, leaves_by_path, per_neuron_sum
from dormant.redo.optimizer import zero_moments
from dormant.redo.paths import OTHER_COLLECTION, leaf_paths
from dormant.redo.select import Selection, selected
from dormant.redo.wiring import Activations, Leaf, Wiring
from dormant.types import DormantError, check_name, nearest

INCOMING = ("init", "xavier", "rescaled")
OUTGOING = ("zero", "random")
COUNT = ("keep", "reset")


def recycle(
    params: Any,
    opt_state: Any,
    activations: Activations,
    tau: Any,
    key: Any,
    *,
    select: Selection | None = None,
    incoming: str = "init",
    outgoing: str = "zero",
    count: str = "keep",
    as_released: bool = False,
) -> tuple[Any, Any]:
    """(params, opt_state) with every tau-dormant neuron recycled. Pure; the trees keep their types.

    The incoming weights of a neuron (its column of every kernel, its bias, its normalisation's
    scale and bias) take fresh values from the layer's own initialiser; its outgoing weights become
    0; the optimiser's statistics of exactly these elements become 0. Where an element is both, zero
    wins. Output layers are never recycled. ``key`` must not be the one the network was initialised
    with: that would draw the same weights again.

    Left open by the paper: biases take their initialiser's value (0 unless said otherwise, as in
      the authors' code);
    statistics of biases are zeroed too (the code keeps them); Adam's count is kept (as in the code,
    so that the first step of a recycled weight is about 3 learning rates long); bias of the next
    layer is not compensated.

    Args:
      params: what ``observe`` was given. opt_state: any optax state of it.
      tau: () threshold on scores, may be traced.
      select: which neurons, see ``dormant.redo.select``; None = score <= tau.
      incoming: "init"; "xavier" = Glorot uniform for every kernel, as the authors' code; "rescaled"
        = init, each column scaled to the mean norm of the layer's neurons that stay (unscaled where
        none stays).
      outgoing: "zero", or "random" = redrawn like incoming weights (Figure 22).
      count: "keep" or "reset" the step count of Adam and its like.
      as_released: reproduces the authors' code where it differs: after a convolution the dense
        layer's rows are masked in channel-first order although they are channel-last, ties are all
        taken, moments of biases are kept.

    Raises:
      TypeError: activations that ``capture`` did not measure.
      DormantError: tau below 0, activations without a batch axis or not finite, parameters or an
        optimiser state that do not fit, no known initialiser, an unknown option.
    """
    for what, value, valid in (
        ("incoming", incoming, INCOMING),
        ("outgoing", outgoing, OUTGOING),
        ("count", count, COUNT),
    ):
        check_name(what, value, valid)
    masks = selected(activations, tau, key, select, params=params, as_released=as_released)
    wiring = activations.wiring
    neurons = jnp.concatenate(
        [*masks.values(), jnp.zeros(1, bool)]
    )  # in the order of the wiring's numbers
    weights = leaves_by_path(params, wiring)
    fresh = _fresh(wiring, weights, neurons, jax.random.split(key)[1], incoming)
    new, touched = {}, {}
    for leaf in wiring.leaves:
        into = element_mask(neurons, leaf.owner)
        out = element_mask(neurons, _released_rows(leaf) if as_released else leaf.feeder)
        old = weights[leaf.path]
        shape = jnp.shape(old)
        into, out = (
            jnp.broadcast_to(into, leaf.shape).reshape(shape),
            jnp.broadcast_to(out, leaf.shape).reshape(shape),
        )
        drawn = fresh.get(leaf.path, old)
        cut = jnp.zeros_like(old) if outgoing == "zero" else drawn
        new[leaf.path] = jnp.where(out, cut, jnp.where(into, drawn, old))
        touched[leaf.path] = (into | out) & (not (as_released and leaf.additive and not leaf.fans))
    return (
        _replace_leaves(params, new),
        zero_moments(opt_state, touched, count, jnp.any(neurons)),
    )


def reset(params: Any, opt_state: Any, fresh: Any, where: Callable[[str], bool]) -> tuple[Any, Any]:
    """(params, opt_state) with whole leaves replaced by those of ``fresh`` and their statistics at
    0.

    The primitive of the Reset baseline (Nikishin et al., 2022). where(path) -> whether to replace a
    leaf; paths are as in ``describe()``, e.g. "final_layer/kernel".

    Raises:
      DormantError: ``fresh`` has no such leaf, or one of another shape; ``where`` names no leaf.
    """
    named = {path: leaf for path, leaf in leaf_paths(params)[0] if path is not OTHER_COLLECTION}
    source = {path: leaf for path, leaf in leaf_paths(fresh)[0] if path is not OTHER_COLLECTION}
    chosen = [path for path in named if where(path)]
    if not chosen:
        raise DormantError(f"no parameter to reset; there are: {', '.join(named)}")
    for path in chosen:
        if path not in source:
            raise DormantError(
                f"the fresh parameters have no leaf {path!r}; {nearest(path, source)}"
            )
        check_shape(
            path, jnp.shape(source[path]), jnp.shape(named[path]) or (1,), "fresh parameter"
        )
    new = {path: source[path].astype(named[path].dtype) for path in chosen}
    touched = {path: jnp.full(jnp.shape(leaf) or (1,), path in new) for path, leaf in named.items()}
    return _replace_leaves(params, new), zero_moments(opt_state, touched)


def _fresh(wiring: Wiring, weights: dict, neurons: Any, key: Any, incoming: str) -> dict:
    """{path: freshly drawn leaf} for every leaf that has owners (or feeders, for random outgoing
    weights).
    """
    own = {}
    if wiring.initialiser is not None:
        own = {
            path: leaf
            for path, leaf in leaf_paths(wiring.initialiser(key))[0]
            if path is not OTHER_COLLECTION
        }
    drawn = {}
    for number, leaf in enumerate(wiring.leaves):
        if (leaf.owner < 0).all() and (leaf.feeder < 0).all():
            continue
        old = weights[leaf.path]
        if incoming == "xavier" and leaf.fans:
            bound = np.sqrt(6 / sum(leaf.fans))
            new = jax.random.uniform(
                jax.random.fold_in(key, number), jnp.shape(old), jnp.float32, -bound, bound
            )
        elif leaf.path in own:
            new = own[leaf.path]
            check_shape(leaf.path, jnp.shape(new), leaf.shape, "freshly initialised parameter")
        elif incoming == "xavier" and leaf.additive:
            new = jnp.zeros_like(old)
        else:
            raise DormantError(
                f"no initialiser for {leaf.path!r}; use capture(network, init=key -> params)"
            )
        if incoming == "rescaled" and leaf.fans:
            new = _rescaled(new, old, leaf, neurons, wiring)
        drawn[leaf.path] = new.astype(old.dtype)
    return drawn


def _rescaled(new: Any, old: Any, leaf: Leaf, neurons: Any, wiring: Wiring) -> Any:
    """Each column of ``new`` at the mean norm of those columns of ``old`` whose neurons stay, layer
    by layer.
    """
    norms = jnp.sqrt(per_neuron_sum(jnp.square(old.astype(jnp.float32)), leaf.owner, wiring.size))
    lengths = jnp.sqrt(per_neuron_sum(jnp.square(new.astype(jnp.float32)), leaf.owner, wiring.size))
    layer = np.concatenate([np.full(x.size, k) for k, x in enumerate(wiring.scored)])
    mine = np.isin(np.arange(wiring.size), leaf.owner)
    stays = mine & ~neurons[:-1]
    total = jax.ops.segment_sum(jnp.where(stays, norms, 0), layer, len(wiring.scored))
    number = jax.ops.segment_sum(stays.astype(jnp.float32), layer, len(wiring.scored))
    target = (total / jnp.maximum(number, 1))[layer]
    scale = jnp.where(
        (number[layer] > 0) & (lengths > 0), target / jnp.where(lengths > 0, lengths, 1), 1
    )
    return new * jnp.append(scale, 1)[leaf.owner].astype(new.dtype)


def _released_rows(leaf: Leaf) -> np.ndarray:
    """The rows that the authors' code takes for a neuron's where a picture is flattened:
    channel-first, not -last.
    """
    flattened = leaf.feeder.ndim == 2 and leaf.feeder.shape[1] == 1 and (leaf.feeder >= 0).all()
    return np.sort(leaf.feeder, axis=0) if flattened else leaf.feeder


def _replace_leaves(params: Any, new: dict) -> Any:
    named, structure = leaf_paths(params)
    return jax.tree.unflatten(structure, [new.get(path, leaf) for path, leaf in named])
