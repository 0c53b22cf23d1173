"""Categorical distributional Q-learning, C51 (Bellemare, Dabney, Munos, 2017)."""

import jax
import jax.numpy as jnp

from dormant.ops.checks import assert_rank
from dormant.types import Scalar


def categorical_projection(
    atoms_p: jax.Array, probabilities: jax.Array, atoms: jax.Array
) -> jax.Array:
    """Projects a distribution on atoms_p (N,) onto evenly spaced, increasing atoms (M,).

    Algorithm 1: each atom's probability is split between its two neighbours in proportion to
    nearness; what lies outside the support moves to its ends. The mean is kept where nothing lies
    outside. probabilities (N,) -> (M,).
    """
    assert_rank(1, atoms_p=atoms_p, probabilities=probabilities, atoms=atoms)
    distance = jnp.abs(jnp.clip(atoms_p, atoms[0], atoms[-1])[None, :] - atoms[:, None])  # (M, N)
    share = jnp.clip(1.0 - distance / (atoms[1] - atoms[0]), 0.0, 1.0)
    return share @ probabilities


def cross_entropy(probabilities: jax.Array, logits: jax.Array) -> jax.Array:
    """-sum p log softmax(logits), both (N,) -> ()."""
    assert_rank(1, probabilities=probabilities, logits=logits)
    return -jnp.sum(probabilities * jax.nn.log_softmax(logits))


def categorical_q_learning(
    atoms: jax.Array,
    logits_tm1: jax.Array,
    a_tm1: Scalar,
    r_t: Scalar,
    discount_t: Scalar,
    logits_t: jax.Array,
    q_t_selector: jax.Array,
) -> jax.Array:
    """The loss of C51.

    The cross entropy between the projected target distribution and that of the action taken.

    atoms (N,); logits_tm1, logits_t (A, N); a_tm1 () int; r_t, discount_t (); q_t_selector (A,) the
    action values that choose the next action: the target network's own (C51) or the online
    network's (double). No gradient flows into the target. -> ()
    """
    assert_rank(2, logits_tm1=logits_tm1, logits_t=logits_t)
    assert_rank(1, atoms=atoms, q_t_selector=q_t_selector)
    assert_rank(0, a_tm1=a_tm1, r_t=r_t, discount_t=discount_t)
    next_probabilities = jax.nn.softmax(logits_t[jnp.argmax(q_t_selector)])
    target = categorical_projection(r_t + discount_t * atoms, next_probabilities, atoms)
    return cross_entropy(jax.lax.stop_gradient(target), logits_tm1[a_tm1])
