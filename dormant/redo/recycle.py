"""``recycle``: Algorithm 1 of the paper, for any network whose wiring is known."""

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.masks import (
    Masks,
    check_shape,
    element_mask,
    leaves_by_path,
    per_neuron_sum,
    recyclable,
)
from dormant.redo.optimizer import zero_moments
from dormant.redo.paths import named_leaves, replace_leaves
from dormant.redo.released import glorot_uniform, variant
from dormant.redo.scores import check_activations
from dormant.redo.select import Selection, selected
from dormant.redo.wiring import Activations, Leaf, Wiring
from dormant.types import DormantError, Key, OptState, Params, Scalar, check_name

INCOMING = ("init", "xavier", "rescaled")
OUTGOING = ("zero", "random")
COUNT = ("keep", "reset")
STATISTICS = ("zero", "keep")


def recycle(
    params: Params,
    opt_state: OptState,
    activations: Activations,
    tau: Scalar | None,
    key: Key,
    *,
    masks: Masks | None = None,
    select: Selection | None = None,
    incoming: str = "init",
    outgoing: str = "zero",
    count: str = "keep",
    moments: str = "zero",
    as_released: bool | str = False,
) -> tuple[Params, OptState]:
    """(params, opt_state) with every tau-dormant neuron recycled. Pure; the trees keep their types.

    The incoming weights of a neuron (its column of every kernel, its bias, its normalisation's
    scale and bias) take fresh values from the layer's own initialiser; its outgoing weights become
    0; the optimiser's statistics of exactly these elements become 0. Where an element is both, zero
    wins. Output layers are never recycled.

    The paper leaves some points open. Biases take their initialiser's value (0 by
    default, as in the authors' code). Statistics of biases become 0 too (the code keeps them).
    Adam's count is kept (as in the code, so the first step of a recycled weight is about 3 learning
    rates long). The next layer's bias is not compensated.

    To know what was recycled, compute the masks first and hand them on:
    ``masks = selected(activations, tau, key)``, then ``recycle(..., masks=masks)``; a layer's count
    is ``masks[layer].sum()``.

    Args:
      params: what ``observe`` was given; of an nnx module ``nnx.state(module, nnx.Param)``.
      opt_state: any optax state of ``params``, or {network: state} where ``params`` are {network:
        parameters} and each network has its own optimiser.
      activations: what ``observe`` returned.
      tau: () threshold on scores, may be traced. Not used where ``masks`` are given.
      key: for the fresh weights, and for selections that draw.
      masks: {layer: (H,) bool} the neurons to recycle, from ``selected``; ``tau`` and ``select``
        are then not used. Neurons that are not recyclable are taken out.
      select: which neurons, see ``dormant.redo.select``; None = score <= tau.
      incoming: "init"; "xavier" = Glorot uniform for every kernel, as the authors' code; "rescaled"
        = init, each column scaled to the mean norm of the layer's neurons that stay (unscaled where
        none stays).
      outgoing: "zero", or "random" = redrawn like incoming weights (Figure 22).
      count: "keep" or "reset" the step count of Adam and its like.
      moments: "zero" or "keep" the optimiser's statistics of the elements that change. With "keep"
        for both, ``opt_state`` may be any state and returns as it is.
      as_released: reproduces the authors' code where it differs: after a convolution the dense
        layer's rows are masked in channel-first order although they are channel-last, the second
        blocks of the ResNet are cut off from the wrong reader, ties are all taken, statistics of
        biases are kept. Or one of these faults alone, by its name in
        ``dormant.redo.released.FAULTS``.

    Raises:
      TypeError: activations that ``capture`` did not measure.
      DormantError: tau below 0, activations without a batch axis or not finite, parameters, masks
        or an optimiser state that do not fit, no known initialiser, an unknown option.
    """
    for what, value, valid in (
        ("incoming", incoming, INCOMING),
        ("outgoing", outgoing, OUTGOING),
        ("count", count, COUNT),
        ("moments", moments, STATISTICS),
    ):
        check_name(what, value, valid)
    if masks is None:
        if tau is None:
            raise DormantError("recycle needs a threshold tau, or masks=")
        masks = selected(activations, tau, key, select, params=params, as_released=as_released)
    else:
        check_activations(activations)
        masks = recyclable(masks, activations.wiring)
    differs, wiring = variant(as_released), activations.wiring
    neurons = jnp.concatenate([*masks.values(), jnp.zeros(1, bool)])  # by their numbers, and none
    weights = leaves_by_path(params, wiring)
    fresh = _fresh(wiring, weights, neurons, jax.random.split(key)[1], incoming)
    feeders, new, touched = differs.feeders(wiring), {}, {}
    for leaf in wiring.leaves:
        old = weights[leaf.path]
        into = element_mask(neurons, leaf.owner, leaf.shape).reshape(jnp.shape(old))
        out = element_mask(neurons, feeders[leaf.path], leaf.shape).reshape(jnp.shape(old))
        drawn = fresh.get(leaf.path, old)
        cut = jnp.zeros_like(old) if outgoing == "zero" else drawn
        new[leaf.path] = jnp.where(out, cut, jnp.where(into, drawn, old))
        zeroed = moments == "zero" and not differs.keeps_statistics(leaf)
        touched[leaf.path] = (into | out) & zeroed
    if (moments, count) != ("keep", "keep"):
        opt_state = zero_moments(opt_state, touched, count, jnp.any(neurons))
    return replace_leaves(params, new), opt_state


def _fresh(
    wiring: Wiring, weights: dict[str, jax.Array], neurons: jax.Array, key: Key, incoming: str
) -> dict[str, jax.Array]:
    """{path: freshly drawn leaf} for every leaf with elements that belong to neurons."""
    own = named_leaves(wiring.initialiser(key)) if wiring.initialiser is not None else {}
    drawn = {}
    for number, leaf in enumerate(wiring.leaves):
        if (leaf.owner < 0).all() and (leaf.feeder < 0).all():
            continue
        old = weights[leaf.path]
        if incoming == "xavier" and leaf.fans:
            new = glorot_uniform(jax.random.fold_in(key, number), jnp.shape(old), leaf.fans)
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


def _rescaled(
    new: jax.Array, old: jax.Array, leaf: Leaf, neurons: jax.Array, wiring: Wiring
) -> jax.Array:
    """``new``, each column at the mean norm of those columns of ``old`` whose neurons stay.

    The mean is taken layer by layer; a layer of which none stays is not scaled.
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
