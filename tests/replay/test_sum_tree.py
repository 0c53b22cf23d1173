import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant.replay import sum_tree
from tests.reference.replay import NaiveSumTree

assign, find = jax.jit(sum_tree.assign), jax.jit(sum_tree.find)


@pytest.mark.parametrize("capacity, levels", [(5, 1), (128, 1), (129, 2), (3000, 2), (20_000, 3)])
def test_equals_its_twin_under_random_assignments(capacity, levels):
    tree, twin = sum_tree.empty(capacity), NaiveSumTree(capacity)
    assert len(tree) == levels
    random = np.random.default_rng(capacity)
    for _ in range(15):
        index = random.integers(capacity, size=16)
        # Multiples of 1/8: sums of float32 are exact, so that the twins agree to the leaf.
        priorities = random.integers(0, 40, size=16) / 8
        tree = assign(tree, jnp.asarray(index), jnp.asarray(priorities, jnp.float32))
        twin.assign(index, priorities)
        np.testing.assert_array_equal(tree[0][:capacity], twin.leaves)
        assert float(sum_tree.total(tree)) == twin.leaves.sum()
        targets = random.integers(0, int(8 * twin.leaves.sum()), size=16) / 8
        np.testing.assert_array_equal(
            find(tree, jnp.asarray(targets, jnp.float32)), [twin.find(t) for t in targets]
        )


def test_what_has_no_priority_is_never_found_whatever_the_rounding():
    random = np.random.default_rng(0)
    priorities = np.where(random.random(2000) < 0.01, random.lognormal(0, 8, 2000), 0.0)
    tree = assign(sum_tree.empty(2000), jnp.arange(2000), jnp.asarray(priorities, jnp.float32))
    total = sum_tree.total(tree)
    targets = jnp.concatenate(
        [jnp.linspace(0, 1, 999) * total, jnp.nextafter(total, jnp.inf)[None]]
    )
    assert np.all(priorities[find(tree, targets)] > 0)


def test_sums_do_not_drift():
    """A thousand small changes beside a huge priority that then vanishes: the sum is that of what
    is left.
    """
    tree = sum_tree.empty(300)
    tree = assign(tree, jnp.arange(4), jnp.array([1e8, 0.1, 0.2, 0.3]))
    for i in range(50):
        tree = assign(tree, jnp.array([1, 1, 2, 3]), jnp.array([0.0, 0.1 + i, 0.2, 0.3]))
    tree = assign(tree, jnp.array([0, 1, 0, 1]), jnp.array([0.0, 0.1, 0.0, 0.0]))
    np.testing.assert_allclose(sum_tree.total(tree), 0.6, rtol=1e-6)
