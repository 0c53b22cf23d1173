"""Per-weight statistics inside any optax state: found by the class of the state that holds them,
never guessed.

No optimiser object is needed. A class that is not in MOMENTS and holds arrays of floats is an error
that names it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dormant.redo.paths import path_string
from dormant.types import DormantError

# class of the state: its fields that hold one number a parameter element, 0 at the start
MOMENTS = {
    "ScaleByAdamState": ("mu", "nu"),
    "ScaleByAmsgradState": ("mu", "nu", "nu_max"),
    "ScaleByBeliefState": ("mu", "nu"),
    "ScaleByLionState": ("mu",),
    "ScaleByNovogradState": ("mu",),
    "ScaleByRmsState": ("nu",),
    "ScaleByRmsWithCountState": ("nu",),
    "ScaleByRStdDevState": ("mu", "nu"),
    "ScaleByRStdDevWithCountState": ("mu", "nu"),
    "TraceState": ("trace",),
    "EmaState": ("ema",),
    "MultiStepsState": ("acc_grads",),
}
PER_LEAF = {"ScaleByNovogradState": ("nu",)}  # one number a leaf: shared by its neurons, kept


def zero_moments(
    opt_state: Any, touched: dict[str, Any], count: str = "keep", any_touched: Any = True
) -> Any:
    """The state with the statistics of touched elements at 0; everything else as it was.

    Args:
      touched: {path of a parameter: bool mask that broadcasts to it}.
      count: "keep" the step counts of adaptive moments, as the authors' code does, or "reset" them
        where any element was touched (they are shared by all elements; step counts of schedules are
        never reset).

    Raises:
      DormantError: a state that is not known, or statistics that fit no parameter.
    """

    covered: set[str] = set()

    def walk(node: Any, where: str) -> Any:
        kind = type(node).__name__
        if node is None or isinstance(node, optax.MaskedNode):
            return node
        if isinstance(node, tuple) and hasattr(node, "_fields"):
            fields = {}
            for name, value in zip(node._fields, node):
                if name in MOMENTS.get(kind, ()):
                    fields[name] = _zero_tree(value, touched, f"{kind}.{name}", covered)
                elif name in PER_LEAF.get(kind, ()):
                    fields[name] = value
                elif name == "count" and kind in MOMENTS and count == "reset":
                    fields[name] = jax.tree.map(
                        lambda c: jnp.where(any_touched, jnp.zeros_like(c), c), value
                    )
                else:
                    fields[name] = walk(value, f"{kind}.{name}")
            return type(node)(**fields)
        if isinstance(node, (tuple, list)):
            return type(node)(walk(value, where) for value in node)
        if isinstance(node, Mapping):
            rebuilt: Any = type(node)
            return rebuilt(
                {name: walk(value, f"{where}[{name!r}]") for name, value in node.items()}
            )
        for leaf in jax.tree.leaves(node):
            if jnp.ndim(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise DormantError(
                    f"unknown optimiser state {where} of shape {jnp.shape(leaf)}: recycling cannot tell which of its "
                    f"entries belong to a neuron; known: {', '.join(sorted(MOMENTS))}"
                )
        return node

    new = walk(opt_state, type(opt_state).__name__)
    missing = [path for path in touched if path not in covered]
    if covered and missing:
        raise DormantError(
            f"the optimiser state has no statistics of {missing[0]!r}: made for other parameters?"
        )
    return new


def _zero_tree(tree: Any, touched: dict[str, Any], where: str, covered: set) -> Any:
    """Zeroes masked entries of a tree that mirrors the parameters, or a part of them; adds their
    paths to covered.
    """

    def zero(path: tuple, moment: Any) -> Any:
        name = _parameter(path_string(path), touched, where)
        covered.add(name)
        if isinstance(moment, optax.MaskedNode):  # left to another optimiser
            return moment
        mask = touched[name]
        try:
            full = jnp.broadcast_to(
                mask.reshape(jnp.shape(moment)) if jnp.ndim(moment) == 0 else mask, moment.shape
            )
        except ValueError as error:
            raise DormantError(
                f"{where} of {path_string(path)!r} has shape {jnp.shape(moment)}, unlike the parameter"
            ) from error
        return jnp.where(full, jnp.zeros_like(moment), moment)

    return jax.tree_util.tree_map_with_path(
        zero, tree, is_leaf=lambda x: isinstance(x, optax.MaskedNode)
    )


def _parameter(path: str, touched: dict[str, Any], where: str) -> str:
    """The parameter that a path inside a state mirrors: the same path, or the one that ends with
    it.
    """
    path = path.removeprefix("params/")
    fits = [name for name in touched if name == path] or [
        name for name in touched if name.endswith("/" + path)
    ]
    if len(fits) != 1:
        raise DormantError(
            f"{where} has an entry {path!r} that fits {'no' if not fits else 'more than one'} parameter"
        )
    return fits[0]
