"""Parameter leaves by name."""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx
from jax.tree_util import DictKey, GetAttrKey

from dormant.types import Params

# in the place of a path: a leaf of Linen variables (of one network, or of several by their names)
# outside the collection "params"
OTHER_COLLECTION = None


def path_string(path: tuple[Any, ...]) -> str:
    """A leaf's path as one string, such as "torso/Conv_0/kernel".

    ("params",) and the box around an nnx or partitioned variable are left out.
    """
    if path and path[-1] == GetAttrKey("value"):
        path = path[:-1]
    names = [
        str(next(getattr(k, a) for a in ("key", "idx", "name") if hasattr(k, a))) for k in path
    ]
    return "/".join(names)


def leaf_paths(
    params: Params,
) -> tuple[list[tuple[str | None, jax.Array]], jax.tree_util.PyTreeDef]:
    """[(path or OTHER_COLLECTION, leaf)] and the tree's structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    boxed = in_collections(params)
    out: list[tuple[str | None, jax.Array]] = []
    for path, leaf in leaves:
        if _beside_params(params, path):
            out.append((OTHER_COLLECTION, leaf))
        else:
            out.append((path_string(path[1:] if boxed else path), leaf))
    return out, structure


def _beside_params(params: Params, path: tuple[Any, ...]) -> bool:
    """Whether a leaf is in another collection than "params", of its network's Linen variables."""
    if in_collections(params):
        return bool(path[0] != DictKey("params"))
    if not isinstance(params, Mapping) or not isinstance(path[0], DictKey):
        return False
    return in_collections(params[path[0].key]) and bool(path[1] != DictKey("params"))


def in_collections(params: Params) -> bool:
    """Whether these are Linen variables: a mapping of collections, "params" one of them."""
    return isinstance(params, Mapping) and not isinstance(params, nnx.State) and "params" in params


def other_collections(params: Params) -> list[str]:
    """What stands beside the collection "params": "batch_stats", or "encoder/batch_stats" where
    ``params`` are {network: variables}.
    """
    depth = 1 if in_collections(params) else 2
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    beside = [path_string(path[:depth]) for path in paths if _beside_params(params, path)]
    return list(dict.fromkeys(beside))


def named_leaves(params: Params) -> dict[str, jax.Array]:
    """{path: leaf} of the parameters proper: other collections are left out."""
    return {path: leaf for path, leaf in leaf_paths(params)[0] if path is not None}


def replace_leaves(params: Params, new: dict[str, jax.Array]) -> Params:
    """The same tree with the leaves of some paths replaced."""
    named, structure = leaf_paths(params)
    leaves = [leaf if path is None else new.get(path, leaf) for path, leaf in named]
    return jax.tree.unflatten(structure, leaves)
