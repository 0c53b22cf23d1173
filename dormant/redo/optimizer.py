"""Per-weight statistics inside any optax state, found by the class that holds them, never guessed.

No optimiser object is needed. A class that is not in MOMENTS and holds arrays of floats is an error
that names it.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from dormant.redo.paths import path_string
from dormant.types import DormantError, OptState

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
# kept as they are: one number a leaf, shared by its neurons; what weights are pulled to
KEPT = {"ScaleByNovogradState": ("nu",), "TowardsInitialState": ("initial",)}


def zero_moments(
    opt_state: OptState,
    touched: dict[str, jax.Array],
    count: str = "keep",
    any_touched: jax.Array | bool = True,
) -> OptState:
    """The state with the statistics of touched elements at 0; everything else as it was.

    Args:
      opt_state: any optax state, or one for each network: {name: state}, by the names that stand
        at the top of the parameters.
      touched: {path of a parameter: bool mask that broadcasts to it}.
      count: "keep" the step counts of adaptive moments, as the authors' code does, or "reset" them
        where any element was touched (they are shared by all elements, and of several networks all
        are reset; step counts of schedules are never reset).
      any_touched: () whether any element was.

    Raises:
      DormantError: a state that is not known, or statistics that fit no parameter.
    """
    # nnx.Optimizer, TrainState; states of optax are tuples, and SAM's has a field of that name
    if hasattr(opt_state, "opt_state") and not isinstance(opt_state, tuple):
        raise DormantError(f"{type(opt_state).__name__} is no optimiser state: pass its .opt_state")
    if isinstance(opt_state, Mapping) and _one_each(opt_state, touched):
        rebuilt: Any = type(opt_state)
        return rebuilt(
            {
                name: _of_network(str(name), state, touched, count, any_touched)
                for name, state in opt_state.items()
            }
        )
    zeroing = _Zeroing(touched, any_touched if count == "reset" else None)
    new = zeroing.walk(opt_state, type(opt_state).__name__)
    missing = [path for path in touched if path not in zeroing.covered]
    if zeroing.covered and missing:
        raise DormantError(
            f"the optimiser state has no statistics of {missing[0]!r}: made for other parameters?"
        )
    return new


def _one_each(opt_state: Mapping[Any, Any], touched: dict[str, jax.Array]) -> bool:
    """Whether these are the states of several networks, by the names of their parameters."""
    return {str(name) for name in opt_state} == {path.partition("/")[0] for path in touched}


def _of_network(
    name: str,
    opt_state: OptState,
    touched: dict[str, jax.Array],
    count: str,
    any_touched: jax.Array | bool,
) -> OptState:
    """The state of the network of that name, which knows of no other parameters."""
    inside = {path: mask for path, mask in touched.items() if path.partition("/")[0] == name}
    own = {path.partition("/")[2]: mask for path, mask in inside.items()}
    try:
        return zero_moments(opt_state, own, count, any_touched)
    except DormantError as error:
        raise DormantError(f"optimiser of {name!r}: {error}") from error


class _Zeroing:
    """One walk through an optimiser's state."""

    def __init__(self, touched: dict[str, jax.Array], reset_counts: Any) -> None:
        self.touched = touched
        self.reset_counts = reset_counts  # () bool, or None = never
        self.covered: set[str] = set()  # paths of the parameters whose statistics were found

    def walk(self, node: Any, where: str) -> Any:
        """The node of a state, with everything below it."""
        if node is None or isinstance(node, optax.MaskedNode):
            return node
        if isinstance(node, tuple) and hasattr(node, "_fields"):
            kind = type(node).__name__
            return type(node)(
                *(self.field(kind, name, value) for name, value in zip(node._fields, node))
            )
        if isinstance(node, (tuple, list)):
            return type(node)(self.walk(value, where) for value in node)
        if isinstance(node, Mapping):
            rebuilt: Any = type(node)
            return rebuilt(
                {name: self.walk(value, f"{where}[{name!r}]") for name, value in node.items()}
            )
        _refuse_arrays(node, where)
        return node

    def field(self, kind: str, name: str, value: Any) -> Any:
        """A field of a record of the class ``kind``."""
        if name in MOMENTS.get(kind, ()):
            return self.moments(value, f"{kind}.{name}")
        if name in KEPT.get(kind, ()):
            return value
        if name == "count" and kind in MOMENTS and self.reset_counts is not None:
            zero = lambda leaf: jnp.where(self.reset_counts, jnp.zeros_like(leaf), leaf)
            return jax.tree.map(zero, value)  # in its box, if it has one (nnx)
        return self.walk(value, f"{kind}.{name}")

    def moments(self, tree: Any, where: str) -> Any:
        """A tree that mirrors the parameters, or a part of them."""
        entries, structure = jax.tree_util.tree_flatten_with_path(
            tree, is_leaf=lambda x: isinstance(x, optax.MaskedNode)
        )
        paths = _names([path_string(path) for path, _ in entries], self.touched)
        return jax.tree.unflatten(
            structure,
            [self.moment(path, entry, where) for path, (_, entry) in zip(paths, entries)],
        )

    def moment(self, path: str, moment: Any, where: str) -> Any:
        """One entry of such a tree."""
        if isinstance(moment, optax.MaskedNode):  # left to another optimiser, or not trained
            self.covered.update(_below(path, self.touched))
            return moment
        if not path and path not in self.touched and jnp.ndim(moment) == 1:
            raise DormantError(
                f"{where} is one flat array: optax.flatten hides which element belongs to which "
                "parameter; leave it out, or recycle with moments='keep'"
            )
        name = _parameter(path, self.touched, where)
        self.covered.add(name)
        return _zeroed(moment, self.touched[name], f"{where} of {path!r}")


def _zeroed(moment: jax.Array, mask: jax.Array, what: str) -> jax.Array:
    """The statistics of one parameter with those of touched elements at 0."""
    if jnp.ndim(moment) == 0:
        mask = mask.reshape(())
    try:
        full = jnp.broadcast_to(mask, moment.shape)
    except ValueError as error:
        raise DormantError(f"{what} has shape {jnp.shape(moment)}, unlike the parameter") from error
    return jnp.where(full, jnp.zeros_like(moment), moment)


def _refuse_arrays(node: Any, where: str) -> None:
    """Raises DormantError for arrays of floats whose meaning is not known."""
    for leaf in jax.tree.leaves(node):
        if jnp.ndim(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise DormantError(
                f"unknown optimiser state {where} of shape {jnp.shape(leaf)}: recycling cannot "
                "tell which of its entries belong to a neuron; "
                f"known: {', '.join(sorted(MOMENTS))}; moments='keep' leaves any state as it is"
            )


def _names(paths: list[str], touched: dict[str, jax.Array]) -> list[str]:
    """The paths of a state's entries without the collection "params" of Linen variables.

    A module may have that name too: what accounts for all parameters as it is stays as it is.
    """
    if {name for path in paths for name in _below(path, touched)} == set(touched):
        return paths
    return ["" if path == "params" else path.removeprefix("params/") for path in paths]


def _below(path: str, touched: dict[str, jax.Array]) -> list[str]:
    """The parameters of a subtree: masks and labels of optax may name one as a whole."""
    inside = f"/{path}/" if path else "/"
    return [name for name in touched if inside in f"/{name}/"]


def _parameter(path: str, touched: dict[str, jax.Array], where: str) -> str:
    """The parameter that a path inside a state mirrors: the same path, or one that ends with it."""
    fits = [name for name in touched if name == path] or [
        name for name in touched if name.endswith("/" + path)
    ]
    if not fits:
        raise DormantError(f"{where} has an entry {path!r} that fits no parameter")
    if len(fits) > 1:
        raise DormantError(
            f"{where} has an entry {path!r} that fits more than one parameter; where each network "
            "has its own optimiser, give a dict of their states, by the networks' names in params"
        )
    return fits[0]
