"""From activations to scores, dormant neurons and fractions (paper.md, section 1).

H neurons of a layer, all members of an ensemble together; scores are normalised within a member.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.wiring import Activations, Layer
from dormant.types import DormantError

# added to the layer's mean, as in the authors' code: in a layer that is all silent every score is 0
EPSILON = 1e-9


def scores(activations: Activations) -> dict[str, Any]:
    """{layer: (H,) float32} neuron scores: E|h_i| over the layer's mean of E|h_k|, of mean 1
    (Definition 3.1, eq. 1).

    E runs over the batch and, for a convolution, over the picture. The paper's text has scores sum
    to 1; its equation and code divide by the mean, which stands.

    Raises:
      TypeError: not activations that ``capture`` measured.
      DormantError: no batch axis, or values that are not finite (seen outside ``jit`` only; inside,
        a score that is not a number is never dormant).
    """
    check_activations(activations)
    out = {}
    for layer in activations.wiring.scored:
        mean = mean_magnitude(activations[layer.name])
        groups = (
            np.array(layer.members or [range(layer.start, layer.start + layer.size)]) - layer.start
        )  # (M, H / M)
        each = mean[groups]
        each = each / (jnp.mean(each, axis=1, keepdims=True) + EPSILON)
        out[layer.name] = jnp.zeros_like(mean).at[groups].set(each)
    return out


def mean_magnitude(values: Any) -> Any:
    """E|h_i|: (..., H) -> (H,) float32."""
    return jnp.mean(jnp.abs(values.astype(jnp.float32)), axis=tuple(range(values.ndim - 1)))


def dormant_neurons(activations: Activations, tau: Any) -> dict[str, Any]:
    """{layer: (H,) bool} tau-dormant neurons, score <= tau, of every scored layer, recyclable or
    not.

    Raises:
      DormantError: tau below 0 or not a number.
    """
    check_tau(tau)
    return {name: score <= tau for name, score in scores(activations).items()}


def dormant_fraction(activations: Activations, tau: Any) -> Any:
    """() float32: tau-dormant neurons of all scored layers over all their neurons, as the paper
    reports it.
    """
    masks = dormant_neurons(activations, tau)
    count = sum(jnp.sum(mask) for mask in masks.values())
    return jnp.asarray(count, jnp.float32) / max(activations.wiring.size, 1)


def layer_dormant_fractions(activations: Activations, tau: Any) -> dict[str, Any]:
    """{layer: () float32}"""
    return {
        name: jnp.mean(mask.astype(jnp.float32))
        for name, mask in dormant_neurons(activations, tau).items()
    }


def overlap_coefficient(mask: Any, historical: Any) -> Any:
    """|X and Y| / min(|X|, |Y|) of two sets of neurons, as masks (footnote 1 of the paper). 0 where
    either is empty.
    """
    both = jnp.sum(mask & historical)
    smaller = jnp.minimum(jnp.sum(mask), jnp.sum(historical))
    return both / jnp.maximum(smaller, 1)


def feature_rank(features: Any, delta: float = 0.01) -> Any:
    """srank of features (N, H): () int32, the smallest k whose k largest singular values hold 1 -
    delta of their sum.

    Kumar et al. (2021), "Implicit under-parameterization inhibits data-efficient deep RL". 0 for
    features that are 0.
    """
    singular = jnp.linalg.svd(features.astype(jnp.float32), compute_uv=False)
    share = jnp.cumsum(singular)
    reached = share >= (1 - delta) * share[-1]
    return jnp.where(share[-1] > 0, jnp.argmax(reached) + 1, 0).astype(jnp.int32)


def check_activations(activations: Any) -> None:
    """What ``scores`` raises."""
    if not isinstance(activations, Activations):
        raise TypeError(
            f"expected the activations that observe = capture(network) returns, not {type(activations).__name__}: "
            "the wiring travels with them (or use wiring.bind(mapping))"
        )
    for layer in activations.wiring.scored:
        _check_values(layer, activations[layer.name])


def _check_values(layer: Layer, values: Any) -> None:
    if values.ndim < 2:
        raise DormantError(
            f"activations of {layer.name} have shape {values.shape}: no batch axis; observe a batch"
        )
    if not isinstance(values, jax.core.Tracer) and not np.isfinite(
        np.sum(np.asarray(values, np.float32))
    ):
        raise DormantError(f"activations of {layer.name} are not finite; the network has diverged")


def check_tau(tau: Any) -> None:
    """Raises DormantError for a threshold below 0 or not a number (a traced one cannot be
    checked).
    """
    if not isinstance(tau, jax.core.Tracer) and not np.all(np.asarray(tau) >= 0):
        raise DormantError(f"tau is {tau}; a threshold on scores is at least 0")
