"""Two successors of ReDo that act on all weights: shrink and perturb, and L2 towards the initial
weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dormant.redo.optimizer import zero_moments
from dormant.redo.paths import leaf_paths, named_leaves
from dormant.types import DormantError, Key, OptState, Params, Scalar


def shrink_and_perturb(
    params: Params, opt_state: OptState, key: Key, shrink: float = 0.6, noise: float = 0.01
) -> tuple[Params, OptState]:
    """(params, opt_state): every weight shrunk and disturbed, theta <- shrink * theta + noise * z.

    z is standard normal. Source: Ash and Adams, "On warm-starting neural network training"
    (NeurIPS, 2020), section 4, with the shrinkage and the standard deviation of its experiments.
    They train on with a new optimiser, so all statistics become 0 and step counts begin again. What
    is no weight is left alone: whole numbers, masks, numbers without an axis (a temperature).

    Raises:
      DormantError: shrink not within 0 and 1, or noise below 0; an unknown optimiser state.
    """
    if not 0 <= shrink <= 1 or not noise >= 0:
        raise DormantError(
            f"shrink is {shrink} and noise {noise}; expected a factor from 0 to 1 and a standard "
            "deviation of 0 or larger"
        )
    named, structure = leaf_paths(params)
    leaves = [
        _disturbed(leaf, jax.random.fold_in(key, number), shrink, noise)
        if path is not None and _is_weight(leaf)
        else leaf
        for number, (path, leaf) in enumerate(named)
    ]
    touched = {  # those of a number without an axis too: step counts are shared
        path: jnp.ones(jnp.shape(leaf), bool)
        for path, leaf in named_leaves(params).items()
        if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    }
    return jax.tree.unflatten(structure, leaves), zero_moments(opt_state, touched, "reset")


def _is_weight(leaf: jax.Array) -> bool:
    """Not a count or a mask, nor a number without an axis (a temperature)."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating) and jnp.ndim(leaf) > 0


def _disturbed(leaf: jax.Array, key: Key, shrink: float, noise: float) -> jax.Array:
    return (shrink * leaf + noise * jax.random.normal(key, leaf.shape)).astype(leaf.dtype)


class TowardsInitialState(NamedTuple):
    """The weights that ``towards_initial`` pulls to."""

    initial: Params


def towards_initial(coefficient: Scalar) -> optax.GradientTransformation:
    """Adds the gradient of coefficient * ||theta - theta_0||^2 to the gradient of the loss.

    theta_0 are the parameters that the optimiser was initialised with. It stands before Adam in a
    chain: the penalty is a part of the loss. Source: Kumar et al., "Maintaining plasticity in
    continual learning via regenerative regularization" (2023), section 3 ("L2 Init"). Numbers
    without an axis (a temperature) are no weights and are left alone.

    Args:
      coefficient: () may be traced. The paper chooses it for each problem from 1e-2 to 1e-5.
    """

    def init(params: Params) -> TowardsInitialState:
        return TowardsInitialState(jax.tree.map(jnp.copy, params))

    def update(
        gradient: Params, state: TowardsInitialState, params: Params | None = None
    ) -> tuple[Params, TowardsInitialState]:
        if params is None:
            raise DormantError(
                "towards_initial needs the parameters: update(gradient, state, params)"
            )

        def pulled(gradient: jax.Array, now: jax.Array, initial: jax.Array) -> jax.Array:
            return gradient + 2 * coefficient * (now - initial) if jnp.ndim(now) else gradient

        return jax.tree.map(pulled, gradient, params, state.initial), state

    return optax.GradientTransformation(init, update)
