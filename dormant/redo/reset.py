"""``reset``: whole parameter arrays are replaced, the primitive of the Reset baseline."""

from collections.abc import Callable

import jax.numpy as jnp

from dormant.redo.masks import check_shape
from dormant.redo.optimizer import zero_moments
from dormant.redo.paths import named_leaves, replace_leaves
from dormant.types import DormantError, OptState, Params, nearest


def reset(
    params: Params, opt_state: OptState, fresh: Params, where: Callable[[str], bool]
) -> tuple[Params, OptState]:
    """(params, opt_state) with whole leaves replaced by those of ``fresh``.

    The optimiser's statistics of these leaves become 0 (Reset baseline: Nikishin et al., 2022).

    Args:
      params: any tree of parameters. opt_state: any optax state of it.
      fresh: a tree of the same structure, newly initialised.
      where: path -> whether to replace that leaf; paths are as in ``describe()``, such as
        "final_layer/kernel".

    Raises:
      DormantError: ``fresh`` has no such leaf, or one of another shape; ``where`` names no leaf.
    """
    named, source = named_leaves(params), named_leaves(fresh)
    chosen = [path for path in named if where(path)]
    if not chosen:
        raise DormantError(f"no parameter to reset; there are: {', '.join(named)}")
    for path in chosen:
        if path not in source:
            raise DormantError(
                f"the fresh parameters have no leaf {path!r}; {nearest(path, source)}"
            )
        expected = jnp.shape(named[path]) or (1,)
        check_shape(path, jnp.shape(source[path]), expected, "fresh parameter")
    new = {path: source[path].astype(named[path].dtype) for path in chosen}
    touched = {path: jnp.full(jnp.shape(leaf) or (1,), path in new) for path, leaf in named.items()}
    return replace_leaves(params, new), zero_moments(opt_state, touched)
