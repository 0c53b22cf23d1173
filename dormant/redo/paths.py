"""Parameter leaves by name."""

from collections.abc import Mapping
from typing import Any

import jax
from jax.tree_util import DictKey, GetAttrKey

OTHER_COLLECTION = (
    None  # in the place of a path: a leaf of Linen variables outside the collection "params"
)


def path_string(path: tuple) -> str:
    """("params",) and the box around an nnx or partitioned variable left out:
    "torso/Conv_0/kernel".
    """
    if path and path[-1] == GetAttrKey("value"):
        path = path[:-1]
    names = [
        str(next(getattr(k, a) for a in ("key", "idx", "name") if hasattr(k, a))) for k in path
    ]
    return "/".join(names)


def leaf_paths(params: Any) -> tuple[list[tuple[Any, Any]], Any]:
    """[(path or OTHER_COLLECTION, leaf)] and the tree's structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    boxed = isinstance(params, Mapping) and "params" in params
    out: list[tuple[Any, Any]] = []
    for path, leaf in leaves:
        if not boxed:
            out.append((path_string(path), leaf))
        elif path[0] == DictKey("params"):
            out.append((path_string(path[1:]), leaf))
        else:
            out.append((OTHER_COLLECTION, leaf))
    return out, structure
