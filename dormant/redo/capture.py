"""``capture``: one forward pass that measures every neuron and carries the wiring along."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import ClosedJaxpr

from dormant.redo.derivation.derive import Derived, Role, derive, values_of
from dormant.redo.derivation.program import evaluate, flat_program
from dormant.redo.paths import in_collections, leaf_paths, other_collections
from dormant.redo.wiring import Activations, same
from dormant.types import DormantError, Key, Params

Initialiser = Callable[[Key], Any]  # key -> parameters, or an nnx module


def capture(
    network: nn.Module | nnx.Module | Callable[..., Any],
    *,
    init: Initialiser | None = None,
) -> Callable[..., Activations]:
    """observe(params, *inputs) -> Activations, for a network of any shape.

    The wiring is read from the jaxpr of the forward pass when ``observe`` meets new shapes; after
    that, a call costs a forward pass without the output layer. It works inside ``jit`` and under
    ``vmap`` over members, and is no function to differentiate: activations carry no gradient.

    Args:
      network: a Linen module (``params``: its variables, or the collection "params" alone), an nnx
        module (``params``: the module as it is now, in train or eval mode, or
        ``nnx.state(module, nnx.Param)``, which is what ``recycle`` takes; its mode and other state
        are then those at the time of ``capture``), or a function of (params, *inputs). It must call
        every consumer of its features: trace a shared encoder with all its heads. A module that
        needs flags, rngs or mutable collections: a function that calls it with them.
      init: key -> freshly initialised parameters (for nnx: a module, or its state), from which
        recycled weights are drawn. Linen modules know theirs.

    Raises:
      DormantError: not a network; (when called) the network does not accept the inputs, or an
        input was given by keyword.
    """
    if isinstance(network, nnx.Module):
        return _positional(_capture_nnx(network, init), "nnx.merge(graphdef, params)(x, {})")
    call = "network(params, x, {})"
    if isinstance(network, nn.Module):
        call = "network.apply(params, x, {})"
        observe = _observer(
            lambda params, _, *inputs: _linen_apply(network, params, *inputs), init, network
        )
    elif callable(network):
        observe = _observer(lambda params, _, *inputs: network(params, *inputs), init)
    else:
        kind = type(network).__name__
        raise DormantError(
            f"capture takes a Flax module or a function of (params, *inputs), not {kind}"
        )
    return _positional(lambda params, *inputs: observe(params, (), *inputs), call)


def _positional(observe: Callable[..., Activations], call: str) -> Callable[..., Activations]:
    """``observe`` that says of keywords how to give them: in a ``call`` of the network."""

    def positional(params: Params, *inputs: Any, **keywords: Any) -> Activations:
        if keywords:
            name, value = next(iter(keywords.items()))
            plain = isinstance(value, (bool, int, float, str, type(None)))
            given = call.format(f"{name}={value!r}" if plain else f"{name}=...")
            raise DormantError(
                f"observe takes params and inputs by position, not {name!r}; capture a function "
                f"that gives it: capture(lambda params, x: {given}, init=...)"
            )
        return observe(params, *inputs)

    return positional


def _observer(
    apply: Callable[..., Any], init: Initialiser | None, module: nn.Module | None = None
) -> Callable[..., Activations]:
    """The jitted observe(params, state, *inputs) of apply(params, state, *inputs).

    ``state`` is what is not trained.
    """

    @jax.jit
    def observe(params: Params, state: Any, *inputs: Any) -> Activations:
        fresh: Any = init
        if fresh is None and module is not None:
            fresh = LinenInit(module, *_specification(inputs))
        leaves: list[Role] = [_role(path, leaf) for path, leaf in leaf_paths(params)[0]]
        leaves += ["state"] * len(jax.tree.leaves(state)) + [None] * len(jax.tree.leaves(inputs))
        program = _trace(apply, params, state, inputs)
        derived = derive(program, leaves, fresh)
        if module is None:
            derived = _with_collections(derived, other_collections(params))
        sites = list(
            dict.fromkeys(s for pieces in derived.pieces.values() for p in pieces for s in p.sites)
        )
        _, found = evaluate(program, jax.tree.leaves((params, state, inputs)), sites)
        return Activations(values_of(derived, dict(zip(sites, found))), derived.wiring)

    return observe


class LinenInit(NamedTuple):
    """A Linen module's own initialiser. Equal for inputs that differ only in the batch size."""

    module: nn.Module
    structure: jax.tree_util.PyTreeDef  # of the inputs, as are the following
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]

    def __call__(self, key: Key) -> Params:
        inputs = jax.tree.unflatten(
            self.structure, [jnp.zeros(s, d) for s, d in zip(self.shapes, self.dtypes)]
        )
        return self.module.init(key, *inputs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LinenInit):
            return False
        mine, theirs = (
            (record.structure, record.dtypes, [s[1:] for s in record.shapes])
            for record in (self, other)
        )
        return mine == theirs and same(self.module, other.module)

    def __hash__(self) -> int:
        return hash((self.structure, self.dtypes))


class NnxInit(NamedTuple):
    """key -> the trained parameters of a new nnx module."""

    init: Initialiser

    def __call__(self, key: Key) -> Params:
        made = self.init(key)
        return nnx.state(made, nnx.Param) if isinstance(made, nnx.Module) else made


def _specification(inputs: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], tuple[Any, ...]]:
    """The inputs' tree structure, shapes and dtypes."""
    leaves, structure = jax.tree.flatten(inputs)
    return structure, tuple(jnp.shape(x) for x in leaves), tuple(jnp.result_type(x) for x in leaves)


def _with_collections(derived: Derived, names: Sequence[str]) -> Derived:
    """Says of a function's parameters what is taken for Linen's other collections."""
    why = "since it stands beside 'params': taken for another collection of Linen's"
    without = (*derived.wiring.without_owner, *((name, why) for name in names))
    return derived._replace(wiring=replace(derived.wiring, without_owner=without))


def _role(path: str | None, leaf: jax.Array) -> Role:
    """What ``derive`` is told of a leaf of the parameters."""
    trained = jnp.issubdtype(leaf.dtype, jnp.floating)
    return (path, tuple(leaf.shape)) if trained and path is not None else "state"


def _trace(
    apply: Callable[..., Any], params: Params, state: Any, inputs: tuple[Any, ...]
) -> ClosedJaxpr:
    try:
        return flat_program(apply, params, state, *inputs)
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        shapes = ", ".join(str(jnp.shape(x)) for x in jax.tree.leaves(inputs))
        reason = " ".join(str(error).split())
        raise DormantError(
            f"the network does not accept inputs of shape {shapes} (is the batch axis missing? "
            f"does it need flags or rngs? capture a function that gives them): {reason}"
        ) from error


def _linen_apply(module: nn.Module, params: Params, *inputs: Any) -> Any:
    return module.apply(params if in_collections(params) else {"params": params}, *inputs)


def _capture_nnx(module: nnx.Module, init: Initialiser | None) -> Callable[..., Activations]:
    graph_then, _, state_then = _split(module)
    state_then = jax.tree.map(jnp.copy, state_then)  # the module's own may change, or be donated
    fresh: Any = NnxInit(init) if init else None
    observers: dict[Any, Callable[..., Activations]] = {}  # by structure: train() and eval() differ

    def observer(graph: Any) -> Callable[..., Activations]:
        if graph not in observers:
            observers[graph] = _observer(
                lambda params, state, *inputs: nnx.merge(graph, params, state)(*inputs), fresh
            )
        return observers[graph]

    def observe_nnx(params: Params, *inputs: Any) -> Activations:
        graph, state = graph_then, state_then
        if isinstance(params, nnx.Module):
            graph, params, state = _split(params)
        return observer(graph)(params, state, *inputs)

    return observe_nnx


def _split(module: nnx.Module) -> Any:
    """An nnx module's structure, trained parameters and other state."""
    filters: tuple[Any, ...] = (nnx.Param, ...)
    return nnx.split(module, *filters)
