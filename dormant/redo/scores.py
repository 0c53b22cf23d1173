"""From activations to scores, dormant neurons and fractions (paper.md, section 1).

H neurons of a layer, all members of an ensemble together; scores are normalised within a member.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dormant.redo.masks import per_neuron_sum
from dormant.redo.paths import named_leaves
from dormant.redo.wiring import Activations, Layer, Wiring
from dormant.types import DormantError, Params, Scalar

# added to the layer's mean, as in the authors' code: in a layer that is all silent every score is 0
EPSILON = 1e-9


def scores(activations: Activations) -> dict[str, jax.Array]:
    """{layer: (H,) float32} neuron scores, of mean 1 (Definition 3.1, eq. 1).

    A score is E|h_i| divided by the layer's mean of E|h_k|. E runs over the batch and, for a
    convolution, over the image. The paper's text has scores sum to 1; its equation and its code
    divide by the mean, and so do we.

    Raises:
      TypeError: not activations that ``capture`` measured.
      DormantError: no batch axis, an empty batch, or values that are not finite (seen outside
        ``jit`` only; inside, the layer's scores are not numbers, and none of them is dormant).
    """
    check_activations(activations)
    out = {}
    for layer in activations.wiring.scored:
        out[layer.name] = _normalised(mean_magnitude(activations[layer.name]), layer)
    return out


def _normalised(mean: jax.Array, layer: Layer) -> jax.Array:
    """(H,) divided by the layer's mean, within each member of an ensemble."""
    groups = (
        np.array(layer.members or [range(layer.start, layer.start + layer.size)]) - layer.start
    )  # (M, H / M)
    each = mean[groups]
    scale = jnp.mean(each, axis=1, keepdims=True)
    # Beside an infinite neuron the others would have the score 0.
    each = jnp.where(jnp.isfinite(scale), each / (scale + EPSILON), jnp.nan)
    return jnp.zeros_like(mean).at[groups].set(each)


def mean_magnitude(values: jax.Array) -> jax.Array:
    """E|h_i|: (..., H) -> (H,) float32."""
    return jnp.mean(jnp.abs(values.astype(jnp.float32)), axis=tuple(range(values.ndim - 1)))


def gradient_scores(gradients: Params, wiring: Wiring) -> dict[str, jax.Array]:
    """{layer: (H,) float32} neuron scores by gradient, of mean 1 (GraMa).

    The mean over samples of |dL/dz_i|, z_i the neuron's pre-activation, divided by the layer's mean
    of it. Source: Liu et al., "Measure gradients, not activations!" (2025). dL/dz_i is read from
    the gradient of what is added to z_i last, the neuron's bias or its normalisation's; for a
    convolution it is the sum over the image. A neuron whose pre-activation goes to several
    nonlinearities is seen through the one that comes after the last bias.

    Args:
      gradients: of the loss of each sample alone, as the parameters, each leaf with a first axis
        (B,).

    Raises:
      DormantError: neurons without a bias before their nonlinearity, or gradients that are not as
        described.
    """
    found = named_leaves(gradients)
    samples = _samples(found, wiring)
    total = jnp.zeros((samples, wiring.size), jnp.float32)
    read = np.zeros(wiring.size, bool)
    biases = [leaf for leaf in wiring.leaves if leaf.additive and leaf.met >= 0]
    for leaf in sorted(biases, key=lambda leaf: leaf.met):
        mine = np.unique(leaf.owner[leaf.owner >= 0])
        each = jax.vmap(lambda g, leaf=leaf: per_neuron_sum(g, leaf.owner, wiring.size))
        total = total.at[:, mine].set(each(found[leaf.path].astype(jnp.float32))[:, mine])
        read[mine] = True
    for layer in wiring.scored:
        if not read[layer.start : layer.start + layer.size].all():
            raise DormantError(
                f"{layer.name} has neurons without a bias before their nonlinearity: their score "
                "by gradient is read from it"
            )
    mean = jnp.mean(jnp.abs(total), axis=0)
    return {
        layer.name: _normalised(mean[layer.start : layer.start + layer.size], layer)
        for layer in wiring.scored
    }


def _samples(gradients: Mapping[str, jax.Array], wiring: Wiring) -> int:
    """B, the first axis of every leaf."""
    if not gradients:
        raise DormantError("there are no gradients")
    shapes = {path: jnp.shape(gradient) for path, gradient in gradients.items()}
    samples = next(iter(shapes.values()))[:1]
    for leaf in wiring.leaves:
        wanted = [(*samples, *leaf.shape)]
        wanted += [samples] if leaf.shape == (1,) else []  # which may be a number without an axis
        if not samples or shapes.get(leaf.path) not in wanted:
            raise DormantError(
                f"the gradient of {leaf.path} has shape {shapes.get(leaf.path, 'none')}; expected "
                f"(B, {', '.join(map(str, leaf.shape))}): that of each sample's own loss, as "
                "jax.vmap(jax.grad(loss), (None, 0)) gives it"
            )
    return samples[0]


def dormant_neurons(activations: Activations, tau: Scalar) -> dict[str, jax.Array]:
    """{layer: (H,) bool} tau-dormant neurons (score <= tau), recyclable or not.

    Raises:
      DormantError: tau below 0 or not a number.
    """
    check_tau(tau)
    return {name: score <= tau for name, score in scores(activations).items()}


def dormant_fraction(activations: Activations, tau: Scalar) -> jax.Array:
    """() float32: the tau-dormant share of the neurons of all scored layers, as in the paper.

    NaN where the network has no scored layer.
    """
    masks = dormant_neurons(activations, tau)
    count = sum(jnp.sum(mask) for mask in masks.values())
    size = activations.wiring.size
    return jnp.asarray(count, jnp.float32) / size if size else jnp.asarray(jnp.nan, jnp.float32)


def layer_dormant_fractions(activations: Activations, tau: Scalar) -> dict[str, jax.Array]:
    """{layer: () float32} the tau-dormant share of each layer's neurons."""
    return {
        name: jnp.mean(mask.astype(jnp.float32))
        for name, mask in dormant_neurons(activations, tau).items()
    }


def overlap_coefficient(mask: jax.Array, historical: jax.Array) -> jax.Array:
    """() |X and Y| / min(|X|, |Y|) of two sets of neurons, given as masks (H,); 0 if one is empty.

    Footnote 1 of the paper.
    """
    both = jnp.sum(mask & historical)
    smaller = jnp.minimum(jnp.sum(mask), jnp.sum(historical))
    return both / jnp.maximum(smaller, 1)


def feature_rank(features: jax.Array, delta: float = 0.01) -> jax.Array:
    """() int32 srank of features (..., H); 0 where all of them are 0.

    At most the number of samples (all axes but the last) and H. The smallest k whose k largest
    singular values hold 1 - delta of the sum of all (Kumar et al., 2021, "Implicit
    under-parameterization inhibits data-efficient deep RL").
    """
    rows = features.astype(jnp.float32).reshape(-1, features.shape[-1])
    singular = jnp.linalg.svd(rows, compute_uv=False)
    share = jnp.cumsum(singular)
    reached = share >= (1 - delta) * share[-1]
    return jnp.where(share[-1] > 0, jnp.argmax(reached) + 1, 0).astype(jnp.int32)


def check_activations(activations: object) -> None:
    """What ``scores`` raises."""
    if not isinstance(activations, Activations):
        raise TypeError(
            "expected the activations that observe = capture(network) returns, not "
            f"{type(activations).__name__}: the wiring travels with them "
            "(or use wiring.bind(mapping))"
        )
    for layer in activations.wiring.scored:
        _check_values(layer, activations[layer.name])


def _check_values(layer: Layer, values: jax.Array) -> None:
    if not values.size:
        raise DormantError(f"activations of {layer.name} are of an empty batch")
    if values.ndim < 2:
        raise DormantError(
            f"activations of {layer.name} have shape {values.shape}: no batch axis; observe a batch"
        )
    if not isinstance(values, jax.core.Tracer) and not np.isfinite(
        np.sum(np.asarray(values, np.float32))
    ):
        raise DormantError(f"activations of {layer.name} are not finite; the network has diverged")


def check_tau(tau: Scalar) -> None:
    """Raises DormantError for a threshold below 0 or that is no number; a traced one's value is not
    checked.
    """
    if isinstance(tau, jax.core.Tracer):
        right = tau.ndim == 0
    else:
        found = np.asarray(tau)
        number = jnp.issubdtype(found.dtype, jnp.number) or found.dtype == bool
        right = found.ndim == 0 and number and bool(found >= 0)
    if not right:
        raise DormantError(f"tau is {tau!r}; one threshold of at least 0 is wanted")
