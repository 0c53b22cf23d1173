"""Which neurons to recycle. The default is Algorithm 1: every neuron with score <= tau.

A selection is a function of ``Candidates`` -> {layer: (H,) bool}; neurons that cannot be recycled
are taken out afterwards. The others here are the paper's controls (Figures 15 and 25) and one that
it lacks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dormant.redo.masks import leaves_by_path, per_neuron_sum
from dormant.redo.scores import check_activations, check_tau, scores
from dormant.redo.wiring import Activations
from dormant.types import DormantError, check_name

ORDERS = ("score", "inverse", "random", "utility")


class Candidates(NamedTuple):
    """What a selection may look at."""

    activations: Activations
    scores: dict  # {layer: (H,) float32}
    tau: Any  # ()
    key: Any  # for selections that draw; None where the caller gave none
    params: Any  # for selections that look at weights; None likewise
    as_released: bool


Selection = Callable[[Candidates], dict]


def selected(
    activations: Activations,
    tau: Any,
    key: Any = None,
    select: Selection | None = None,
    *,
    params: Any = None,
    as_released: bool = False,
) -> dict[str, Any]:
    """{layer: (H,) bool} the neurons that ``recycle`` with the same arguments takes.

    Raises:
      TypeError, DormantError: as ``scores`` and ``dormant_neurons``.
    """
    check_activations(activations)
    check_tau(tau)
    draw = None if key is None else jax.random.split(key)[0]
    candidates = Candidates(activations, scores(activations), tau, draw, params, as_released)
    masks = (select or tau_dormant)(candidates)
    return {layer.name: masks[layer.name] & layer.recyclable for layer in activations.wiring.scored}


def tau_dormant(candidates: Candidates) -> dict:
    """ReDo: score <= tau."""
    return {name: score <= candidates.tau for name, score in candidates.scores.items()}


def fraction(share: Any, by: str = "score") -> Selection:
    """A share (0 to 1, may be traced) of each layer's recyclable neurons, rounded, whatever tau is.

    by: "score" takes the lowest scores, "inverse" the highest, "random" any, "utility" the lowest
      utility of continual backprop (Dohare et al., 2021) as the authors have it: mean |a - mean a|
      * sum |w_out| / sum |w_in|.
    Ties are broken by index, so the number is exact. As released, everything tied with the last one
    taken is taken too, at least one neuron a layer goes, and "random" shuffles the scores.

    Raises:
      DormantError: unknown order; (when used) no key for "random", no params for "utility".
    """
    check_name("order", by, ORDERS)

    def select(candidates: Candidates) -> dict:
        values = _order(candidates, by)
        masks = {}
        for layer in candidates.activations.wiring.scored:
            value = jnp.where(layer.recyclable, values[layer.name], jnp.inf)
            number = jnp.round(share * int(layer.recyclable.sum())).astype(int)
            if candidates.as_released:
                last = jnp.sort(value)[jnp.maximum(number, 1) - 1]
                masks[layer.name] = value <= last
            else:
                masks[layer.name] = _lowest(value, number)
        return masks

    return select


def size_matched_random(candidates: Candidates) -> dict:
    """As many neurons of each layer as ReDo would take, but any of them."""
    dormant, masks = tau_dormant(candidates), {}
    draws = _order(candidates._replace(as_released=False), "random")
    for layer in candidates.activations.wiring.scored:
        number = jnp.sum(dormant[layer.name] & layer.recyclable)
        masks[layer.name] = _lowest(jnp.where(layer.recyclable, draws[layer.name], jnp.inf), number)
    return masks


def cosine_share(start: float, gradient_steps: Any, end: int) -> Any:
    """The share of the scheduled selections: start * cos(pi/2 * gradient_steps / end), from start
    to 0 (Figure 15).
    """
    return start * jnp.cos(jnp.pi / 2 * jnp.clip(gradient_steps / end, 0, 1))


def _lowest(values: Any, number: Any) -> Any:
    """(H,) bool: the ``number`` lowest, ties broken by index."""
    return jnp.argsort(jnp.argsort(values, stable=True), stable=True) < number


def _order(candidates: Candidates, by: str) -> dict:
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
    if candidates.as_released:
        return {
            n: jax.random.permutation(k, s) for k, (n, s) in zip(keys, candidates.scores.items())
        }
    return {n: jax.random.uniform(k, s.shape) for k, (n, s) in zip(keys, candidates.scores.items())}


def _utility(candidates: Candidates) -> dict:
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
        spread = jnp.mean(jnp.abs(values - jnp.mean(values, axes, keepdims=True)), axes)
        mine = slice(layer.start, layer.start + layer.size)
        utilities[layer.name] = (
            spread * out[mine] / jnp.maximum(into[mine], jnp.finfo(jnp.float32).tiny)
        )
    return utilities
