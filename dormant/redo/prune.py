"""``prune``: neurons silenced for good, the control of Figures 6 and 19.

The masks are the caller's to keep: an optimiser moves silenced weights again (by its momentum, or
where a gradient reaches them through a normalisation), so ``silenced`` is applied after every step.
"""

import jax
import jax.numpy as jnp

from dormant.redo.masks import Masks, element_mask, leaves_by_path, recyclable
from dormant.redo.optimizer import zero_moments
from dormant.redo.paths import replace_leaves
from dormant.redo.wiring import Wiring
from dormant.types import OptState, Params


def silenced(params: Params, wiring: Wiring, masks: Masks) -> Params:
    """The parameters with every incoming and outgoing weight of the marked neurons at 0. Pure.

    The network computes what it would without these neurons: nothing reads them. In a layer with a
    normalisation over its neurons they still count there, as neurons whose input is 0.

    Args:
      masks: {layer: (H,) bool} of every scored layer. Neurons that cannot be recycled (whose
        weights are not their own) are left as they are.

    Raises:
      DormantError: parameters or masks that do not fit the wiring.
    """
    weights = leaves_by_path(params, wiring)
    new = {
        path: jnp.where(mask, jnp.zeros_like(weights[path]), weights[path])
        for path, mask in _elements(weights, wiring, masks).items()
    }
    return replace_leaves(params, new)


def prune(
    params: Params, opt_state: OptState, wiring: Wiring, masks: Masks
) -> tuple[Params, OptState]:
    """(``silenced`` parameters, the optimiser's state with their statistics at 0). Pure.

    Raises:
      DormantError: parameters, masks or an optimiser state that do not fit.
    """
    elements = _elements(leaves_by_path(params, wiring), wiring, masks)
    return silenced(params, wiring, masks), zero_moments(opt_state, elements)


def _elements(weights: dict[str, jax.Array], wiring: Wiring, masks: Masks) -> dict[str, jax.Array]:
    """{path: bool, of the leaf's shape} the weights into and out of the marked neurons."""
    marked = recyclable(masks, wiring)
    neurons = jnp.concatenate([*marked.values(), jnp.zeros(1, bool)])  # by their numbers, and none
    found = {}
    for leaf in wiring.leaves:
        either = element_mask(neurons, leaf.owner, leaf.shape)
        either |= element_mask(neurons, leaf.feeder, leaf.shape)
        found[leaf.path] = either.reshape(jnp.shape(weights[leaf.path]))
    return found
