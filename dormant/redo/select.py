"""Which neurons to recycle. The default is Algorithm 1: every neuron with score <= tau.

A selection is a function of ``Candidates`` -> {layer: (H,) bool}; neurons that cannot be recycled
are taken out afterwards. The others here are the paper's controls (Figures 15 and 25) and one that
it lacks.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dormant.redo.masks import Masks, leaves_by_path, per_neuron_sum, recyclable
from dormant.redo.released import PAPER, Variant, lowest, variant
from dormant.redo.scores import check_activations, check_tau, gradient_scores, scores
from dormant.redo.wiring import Activations
from dormant.register import selection
from dormant.types import DormantError, Key, Params, Scalar, check_name

ORDERS = ("score", "inverse", "random", "utility")


class Candidates(NamedTuple):
    """What a selection may look at."""

    activations: Activations
    scores: dict[str, jax.Array]  # {layer: (H,) float32}
    tau: Scalar  # ()
    key: Key | None  # for selections that draw; None where the caller gave none
    params: Params | None  # for selections that look at weights; None likewise
    variant: Variant = PAPER  # how ties are broken and random orders drawn
    # per-sample gradients, for selections that look at them (scores.gradient_scores); None likewise
    gradients: Params | None = None


Selection = Callable[[Candidates], Masks]


def selected(
    activations: Activations,
    tau: Scalar,
    key: Key | None = None,
    select: Selection | None = None,
    *,
    params: Params | None = None,
    gradients: Params | None = None,
    as_released: bool | str = False,
) -> dict[str, jax.Array]:
    """{layer: (H,) bool} the neurons that ``recycle`` with the same arguments takes.

    ``recycle(..., masks=...)`` takes these, so that nothing is computed twice.

    Raises:
      TypeError, DormantError: as ``scores`` and ``dormant_neurons``; a selection whose masks do not
        fit the network.
    """
    check_activations(activations)
    check_tau(tau)
    draw = None if key is None else jax.random.split(key)[0]
    differs = variant(as_released)
    candidates = Candidates(activations, scores(activations), tau, draw, params, differs, gradients)
    return recyclable((select or tau_dormant)(candidates), activations.wiring)


@selection("threshold")
def tau_dormant(candidates: Candidates) -> dict[str, jax.Array]:
    """ReDo: score <= tau."""
    return {name: score <= candidates.tau for name, score in candidates.scores.items()}


@selection("gradient")
def gradient_dormant(candidates: Candidates) -> dict[str, jax.Array]:
    """ReGraMa (Liu et al., 2025): gradient score <= tau. Their tau is 0.01.

    Raises:
      DormantError: no gradients were given.
    """
    if candidates.gradients is None:
        raise DormantError(
            "selection by gradient looks at gradients: selected(..., gradients=gradients)"
        )
    found = gradient_scores(candidates.gradients, candidates.activations.wiring)
    return {name: score <= candidates.tau for name, score in found.items()}


def fraction(share: Scalar, by: str = "score") -> Selection:
    """A share of each layer's recyclable neurons, rounded, whatever tau is.

    Ties are broken by index, so the number is exact. As released, everything tied with the last one
    taken is taken too, at least one neuron a layer goes, and "random" shuffles the scores.

    Args:
      share: () 0 to 1, may be traced.
      by: "score" takes the lowest scores, "inverse" the highest, "random" any, "utility" the lowest
        utility of continual backprop (Dohare et al., 2021) as its authors have it: mean |a - mean
        a| * sum |w_out| / sum |w_in|.

    Raises:
      DormantError: unknown order; (when used) no key for "random", no params for "utility".
    """
    check_name("order", by, ORDERS)

    def select(candidates: Candidates) -> dict[str, jax.Array]:
        values = _order(candidates, by)
        masks = {}
        for layer in candidates.activations.wiring.scored:
            value = jnp.where(layer.recyclable, values[layer.name], jnp.inf)
            number = jnp.round(share * int(layer.recyclable.sum())).astype(int)
            masks[layer.name] = candidates.variant.lowest(value, number)
        return masks

    return select


@selection("size_matched_random")
def size_matched_random(candidates: Candidates) -> dict[str, jax.Array]:
    """As many neurons of each layer as ReDo would take, but any of them."""
    dormant, masks = tau_dormant(candidates), {}
    draws = _order(candidates._replace(variant=PAPER), "random")
    for layer in candidates.activations.wiring.scored:
        number = jnp.sum(dormant[layer.name] & layer.recyclable)
        masks[layer.name] = lowest(jnp.where(layer.recyclable, draws[layer.name], jnp.inf), number)
    return masks


def cosine_share(start: float, gradient_steps: Scalar, end: int) -> jax.Array:
    """() share of the scheduled selections, from ``start`` to 0 (Figure 15).

    It is start * cos(pi/2 * gradient_steps / end).
    """
    return start * jnp.cos(jnp.pi / 2 * jnp.clip(gradient_steps / end, 0, 1))


def _order(candidates: Candidates, by: str) -> dict[str, jax.Array]:
    """{layer: (H,) float32} whose lowest are taken."""
    if by == "score":
        return candidates.scores
    if by == "inverse":
        return {name: -score for name, score in candidates.scores.items()}
    if by == "utility":
        return _utility(candidates)
    if candidates.key is None:
        raise DormantError("a random selection needs a key: selected(activations, tau, key, ...)")
    keys = jax.random.split(candidates.key, max(len(candidates.scores), 1))
    shuffled = candidates.variant.shuffled
    return {name: shuffled(k, s) for k, (name, s) in zip(keys, candidates.scores.items())}


def _utility(candidates: Candidates) -> dict[str, jax.Array]:
    if candidates.params is None:
        raise DormantError(
            "selection by utility looks at the weights: selected(..., params=params)"
        )
    wiring = candidates.activations.wiring
    weights = leaves_by_path(candidates.params, wiring)
    into = out = jnp.zeros(wiring.size, jnp.float32)
    for leaf in wiring.leaves:
        if leaf.fans:
            magnitude = jnp.abs(weights[leaf.path].astype(jnp.float32))
            into += per_neuron_sum(magnitude, leaf.owner, wiring.size)
            out += per_neuron_sum(magnitude, leaf.feeder, wiring.size)
    utilities = {}
    for layer in wiring.scored:
        values = candidates.activations[layer.name].astype(jnp.float32)
        axes = tuple(range(values.ndim - 1))
        deviation = jnp.mean(jnp.abs(values - jnp.mean(values, axes, keepdims=True)), axes)
        mine = slice(layer.start, layer.start + layer.size)
        utilities[layer.name] = (
            deviation * out[mine] / jnp.maximum(into[mine], jnp.finfo(jnp.float32).tiny)
        )
    return utilities
