"""A sum tree with a wide fan-out: priorities below, sums above, drawing in proportion to priority.

A binary tree of a million leaves has 20 levels, each a gather that waits for the one before. With
128 children a node there are 3, and a node's children are one contiguous row. Sums are taken anew
from all children, so they never drift.

A tree is a tuple of levels (leaves first), each (nodes * FAN_OUT,) float32: unused places hold 0.
Sums of the last level's entries are not stored. Priorities are not negative; what has priority 0 is
never drawn.
"""

import jax
import jax.numpy as jnp

FAN_OUT = 128

Tree = tuple[jax.Array, ...]


def empty(capacity: int) -> Tree:
    """A tree of ``capacity`` leaves, all 0."""
    levels = []
    while True:
        nodes = -(-capacity // FAN_OUT)
        levels.append(jnp.zeros((nodes * FAN_OUT,), jnp.float32))
        if nodes == 1:
            return tuple(levels)
        capacity = nodes


def total(tree: Tree) -> jax.Array:
    """Sum of all priorities, ()."""
    return jnp.sum(tree[-1])


def assign(tree: Tree, index: jax.Array, priorities: jax.Array) -> Tree:
    """Gives the leaves ``index`` (K,) new priorities (K,).

    Of a leaf that comes twice the largest holds.
    """
    leaves = tree[0].at[index].set(0.0).at[index].max(priorities)
    levels = [leaves]
    for level in tree[1:]:
        index = index // FAN_OUT
        sums = jnp.sum(levels[-1].reshape(-1, FAN_OUT)[index], axis=1)
        levels.append(level.at[index].set(sums))  # equal indices write equal sums
    return tuple(levels)


def find(tree: Tree, target: jax.Array) -> jax.Array:
    """The leaves (B,) in which the running sum of priorities passes the targets (B,).

    Targets lie in [0, total).
    """
    node = jnp.zeros(target.shape, jnp.int32)
    for level in reversed(tree):
        children = level.reshape(-1, FAN_OUT)[node]  # (B, FAN_OUT)
        running = jnp.cumsum(children, axis=1)
        # Rounding may carry a target past the last sum, or let the running sum step back: only
        # children that hold something are chosen, the last of them where none passes the target.
        passes = (running > target[:, None]) & (children > 0)
        last = FAN_OUT - 1 - jnp.argmax(children[:, ::-1] > 0, axis=1)
        child = jnp.where(jnp.any(passes, axis=1), jnp.argmax(passes, axis=1), last)
        before = jnp.take_along_axis(running - children, child[:, None], axis=1)[:, 0]
        target = jnp.maximum(target - before, 0.0)
        node = node * FAN_OUT + child
    return node
