"""Ranks of features as continuous numbers. ``scores.feature_rank`` is the paper's whole number."""

import jax
import jax.numpy as jnp


def stable_rank(features: jax.Array) -> jax.Array:
    """() float32 sum of the squared singular values over the largest one, of features (N, H).

    Between 1 and H; 0 where all features are 0. Source: Rudelson and Vershynin, "Sampling from
    large matrices" (2007).
    """
    squares = jnp.square(_singular(features))
    return jnp.where(squares[0] > 0, jnp.sum(squares) / jnp.maximum(squares[0], _TINY), 0.0)


def effective_rank(features: jax.Array) -> jax.Array:
    """() float32 exponential of the entropy of the normalised singular values, of features (N, H).

    Between 1 and H; 0 where all features are 0. Source: Roy and Vetterli, "The effective rank"
    (2007).
    """
    singular = _singular(features)
    total = jnp.sum(singular)
    share = singular / jnp.maximum(total, _TINY)
    entropy = -jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.maximum(share, _TINY)), 0.0))
    return jnp.where(total > 0, jnp.exp(entropy), 0.0)


_TINY = float(jnp.finfo(jnp.float32).tiny)


def _singular(features: jax.Array) -> jax.Array:
    """In decreasing order."""
    flat = features.astype(jnp.float32).reshape(-1, features.shape[-1])
    return jnp.linalg.svd(flat, compute_uv=False)
