"""``capture``: one forward pass that measures every neuron and carries the network's wiring along."""
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Optional

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from dormant.redo.derive import derive, values_of
from dormant.redo.paths import OTHER_COLLECTION, leaf_paths
from dormant.redo.program import evaluate, flat_program
from dormant.redo.wiring import Activations
from dormant.types import DormantError


def capture(network: Any, *, init: Optional[Callable] = None) -> Callable:
    """observe(params, *inputs) -> Activations, for a network of any shape.

    The wiring is read from the jaxpr of the forward pass when ``observe`` meets new shapes; after that, a call costs a
    forward pass without the output layer. It works inside ``jit`` and under ``vmap`` over members, and is no function
    to differentiate: activations carry no gradient.

    Args:
      network: a Linen module (``params``: its variables, or the collection "params" alone), an nnx module
        (``params``: ``nnx.state(network, nnx.Param)``; its other state is a constant), or a function of
        (params, *inputs). It must call every consumer of its features: trace a shared encoder with all its heads.
      init: key -> freshly initialised parameters (for nnx: a module, or its state), from which recycled weights
        are drawn. Linen modules know theirs.

    Raises:
      DormantError: (when called) the network does not accept the inputs, or has no kernels.
    """
    if isinstance(network, nnx.Module):
        apply, init = _nnx_functions(network, init)
    elif isinstance(network, nn.Module):
        apply = _linen_apply(network)
    elif callable(network):
        apply = network
    else:
        kind = type(network).__name__
        raise DormantError(f"capture takes a Flax module or a function of (params, *inputs), not {kind}")

    @jax.jit
    def observe(params: Any, *inputs: Any) -> Activations:
        fresh = init
        if fresh is None and isinstance(network, nn.Module):
            fresh = LinenInit(network, *_specification(inputs))
        named = leaf_paths(params)[0]
        leaves = [_role(path, leaf) for path, leaf in named] + [None] * len(jax.tree.leaves(inputs))
        program, _ = _trace(apply, params, inputs)
        derived = derive(program, leaves, fresh)
        sites = list(dict.fromkeys(s for pieces in derived.pieces.values() for p in pieces for s in p.sites))
        _, found = evaluate(program, jax.tree.leaves((params, inputs)), sites)
        return Activations(values_of(derived, dict(zip(sites, found))), derived.wiring)

    return observe


class LinenInit(NamedTuple):
    """A Linen module's own initialiser. Two are equal for inputs that differ in the batch size only."""

    module: Any
    structure: Any
    shapes: tuple  # of the inputs
    dtypes: tuple

    def __call__(self, key: Any) -> Any:
        inputs = jax.tree.unflatten(self.structure, [jnp.zeros(s, d) for s, d in zip(self.shapes, self.dtypes)])
        return self.module.init(key, *inputs)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, LinenInit):
            return False
        beyond_batch = [tuple(s[1:] for s in record.shapes) for record in (self, other)]
        same = (self.structure, self.dtypes) == (other.structure, other.dtypes) and beyond_batch[0] == beyond_batch[1]
        return same and self.module == other.module

    def __hash__(self) -> int:
        return hash((self.structure, self.dtypes))


def _specification(inputs: tuple) -> tuple:
    leaves, structure = jax.tree.flatten(inputs)
    return structure, tuple(jnp.shape(x) for x in leaves), tuple(jnp.result_type(x) for x in leaves)


def _role(path: Any, leaf: Any) -> Any:
    """What ``derive`` is told of a leaf of the parameters."""
    trained = path is not OTHER_COLLECTION and jnp.issubdtype(leaf.dtype, jnp.floating)
    return (path, tuple(leaf.shape)) if trained else "state"


def _trace(apply: Callable, params: Any, inputs: tuple) -> tuple:
    try:
        return flat_program(apply, params, *inputs)
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        shapes = ", ".join(str(jnp.shape(x)) for x in jax.tree.leaves(inputs))
        raise DormantError(
            f"the network does not accept inputs of shape {shapes} (is the batch axis missing?): {str(error).strip()}"
        ) from error


def _linen_apply(module: Any) -> Callable:
    def apply(params: Any, *inputs: Any) -> Any:
        boxed = isinstance(params, Mapping) and "params" in params
        return module.apply(params if boxed else {"params": params}, *inputs)

    return apply


def _nnx_functions(module: Any, init: Optional[Callable]) -> tuple:
    graph, _, rest = nnx.split(module, nnx.Param, ...)

    def apply(params: Any, *inputs: Any) -> Any:
        return nnx.merge(graph, params, rest)(*inputs)

    def fresh(key: Any) -> Any:
        made = init(key)
        return nnx.state(made, nnx.Param) if isinstance(made, nnx.Module) else made

    return apply, None if init is None else fresh
