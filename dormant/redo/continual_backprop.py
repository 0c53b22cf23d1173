"""Continual backprop, a successor of ReDo: the least useful mature neurons are replaced, a few at a
time.

Source: Dohare et al., "Loss of plasticity in deep continual learning" (Nature, 2024), Algorithm 1
and equation 1. A neuron's utility is a running mean of |output| times the sum of its outgoing
weights' magnitudes; for a convolution, of the mean over the image.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import struct

from dormant.redo.masks import leaves_by_path, per_neuron_sum
from dormant.redo.recycle import recycle
from dormant.redo.released import lowest
from dormant.redo.scores import check_activations, mean_magnitude
from dormant.redo.wiring import Activations, Wiring
from dormant.types import DormantError, Key, OptState, Params


@struct.dataclass
class Units:
    """What continual backprop remembers of one layer."""

    utility: jax.Array  # (H,) float32 running mean
    age: jax.Array  # (H,) int32 gradient steps since the neuron was replaced, or the start
    owed: jax.Array  # () float32 neurons that are to be replaced; only whole ones are


def new_units(wiring: Wiring) -> dict[str, Units]:
    """{layer: Units} at the start: every utility and age is 0."""
    return {
        layer.name: Units(jnp.zeros(layer.size), jnp.zeros(layer.size, jnp.int32), jnp.float32(0))
        for layer in wiring.scored
    }


def continual_backprop(
    params: Params,
    opt_state: OptState,
    activations: Activations,
    units: Mapping[str, Units],
    key: Key,
    *,
    steps: int = 1,
    replacement_rate: float = 1e-4,
    maturity: int = 100,
    decay: float = 0.99,
) -> tuple[Params, OptState, dict[str, Units], dict[str, jax.Array]]:
    """(params, opt_state, units, {layer: (H,) bool what was replaced}) after one update. Pure.

    Per layer: ages grow, utilities are averaged in, the number of neurons owed grows by
    ``replacement_rate`` times the number of mature neurons (age above ``maturity``), and for each
    whole one owed the mature neuron of the lowest utility is recycled as by ``recycle``; its
    utility and age begin again at 0. Neurons that cannot be recycled never are.

    Args:
      units: of the call before, at first ``new_units(activations.wiring)``.
      steps: gradient steps since the call before. The paper makes a call after each one; with
        more, ages and the number owed grow as much faster and utilities are averaged over calls.
      replacement_rate: share of the mature neurons replaced in a gradient step.
      maturity: gradient steps.
      decay: of the running mean, in each call.

    Raises:
      TypeError, DormantError: as ``recycle``; rates or steps out of range; units of another
        network.
    """
    if not (0 <= replacement_rate <= 1 and 0 <= decay < 1):
        raise DormantError(
            f"replacement_rate is {replacement_rate} and decay {decay}; a share of the neurons, "
            "and a number from 0 to below 1, were expected"
        )
    if not steps >= 1:
        raise DormantError(f"steps is {steps} gradient steps; expected at least 1")
    check_activations(activations)
    wiring = activations.wiring
    _check_units(units, wiring)
    outgoing = _outgoing(params, wiring)
    now, masks = {}, {}
    for layer in wiring.scored:
        mine = slice(layer.start, layer.start + layer.size)
        contribution = mean_magnitude(activations[layer.name]) * outgoing[mine]
        before = units[layer.name]
        age = before.age + steps
        utility = decay * before.utility + (1 - decay) * contribution
        mature = (age > maturity) & layer.recyclable
        owed = before.owed + steps * replacement_rate * jnp.sum(mature)
        number = jnp.minimum(jnp.maximum(jnp.ceil(owed) - 1, 0), jnp.sum(mature)).astype(jnp.int32)
        mask = lowest(jnp.where(mature, utility, jnp.inf), number)
        masks[layer.name] = mask
        now[layer.name] = Units(
            jnp.where(mask, 0.0, utility), jnp.where(mask, 0, age), owed - number
        )
    params, opt_state = recycle(params, opt_state, activations, None, key, masks=masks)
    return params, opt_state, now, masks


def _check_units(units: Mapping[str, Units], wiring: Wiring) -> None:
    """Raises a DormantError unless there are as many of each layer as it has neurons."""
    for layer in wiring.scored:
        found = jnp.shape(units[layer.name].utility) if layer.name in units else "none"
        if found != (layer.size,):
            raise DormantError(
                f"units of {layer.name} have shape {found}, and it has {layer.size} neurons; at "
                "first units are new_units(activations.wiring)"
            )


def _outgoing(params: Params, wiring: Wiring) -> jax.Array:
    """(all neurons,) sums of the magnitudes of outgoing weights."""
    weights = leaves_by_path(params, wiring)
    total = jnp.zeros(wiring.size, jnp.float32)
    for leaf in wiring.leaves:
        if leaf.fans:
            magnitude = jnp.abs(weights[leaf.path].astype(jnp.float32))
            total += per_neuron_sum(magnitude, leaf.feeder, wiring.size)
    return total
