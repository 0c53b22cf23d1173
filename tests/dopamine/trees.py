"""Gradients that Adam has seen, and trees compared entry by entry."""

import jax
import numpy as np
import optax


def gradient(opt_state):
    """What Adam has seen in its first step: mu = (1 - b1) * gradient."""
    mu = optax.tree_utils.tree_get(opt_state, "mu")
    return jax.tree.map(lambda leaf: np.asarray(leaf) / 0.1, mu)


def assert_same_tree(ours, theirs, share=1e-5):
    """Entry by entry, up to a share of each array's largest entry."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(theirs):
        mine = ours
        for key in path:
            mine = mine[key.key]
        assert np.max(np.abs(leaf)) > 0, path
        np.testing.assert_allclose(mine, leaf, rtol=0, atol=share * np.max(np.abs(leaf)))
