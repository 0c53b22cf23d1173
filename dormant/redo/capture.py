"""``capture``: one forward pass that measures every neuron and carries the network's wiring
along.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import nnx

from dormant.redo.derivation.derive import derive, values_of
from dormant.redo.derivation.program import evaluate, flat_program
from dormant.redo.paths import OTHER_COLLECTION, leaf_paths
from dormant.redo.wiring import Activations
from dormant.types import DormantError


def capture(network: Any, *, init: Callable | None = None) -> Callable[..., Activations]:
    """observe(params, *inputs) -> Activations, for a network of any shape.

    The wiring is read from the jaxpr of the forward pass when ``observe`` meets new shapes; after
    that, a call costs a forward pass without the output layer. It works inside ``jit`` and under
    ``vmap`` over members, and is no function to differentiate: activations carry no gradient.

    Args:
      network: a Linen module (``params``: its variables, or the collection "params" alone), an nnx
        module (``params``: the module, or ``nnx.state(module, nnx.Param)``, which is what
        ``recycle`` takes; its other state is then the one at the time of ``capture``), or a
        function of (params, *inputs). It must call every consumer of its features: trace a shared
        encoder with all its heads.
      init: key -> freshly initialised parameters (for nnx: a module, or its state), from which
        recycled weights are drawn. Linen modules know theirs.

    Raises:
      DormantError: not a network; (when called) the network does not accept the inputs.
    """
    if isinstance(network, nnx.Module):
        return _capture_nnx(network, init)
    if isinstance(network, nn.Module):
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
    return lambda params, *inputs: observe(params, (), *inputs)


def _observer(apply: Callable, init: Callable | None, module: Any = None) -> Callable:
    """The jitted observe(params, state, *inputs) of apply(params, state, *inputs); state is not
    trained.
    """

    @jax.jit
    def observe(params: Any, state: Any, *inputs: Any) -> Activations:
        fresh = (
            LinenInit(module, *_specification(inputs))
            if init is None and module is not None
            else init
        )
        leaves = [_role(path, leaf) for path, leaf in leaf_paths(params)[0]]
        leaves += ["state"] * len(jax.tree.leaves(state)) + [None] * len(jax.tree.leaves(inputs))
        program = _trace(apply, params, state, inputs)
        derived = derive(program, leaves, fresh)
        sites = list(
            dict.fromkeys(s for pieces in derived.pieces.values() for p in pieces for s in p.sites)
        )
        _, found = evaluate(program, jax.tree.leaves((params, state, inputs)), sites)
        return Activations(values_of(derived, dict(zip(sites, found))), derived.wiring)

    return observe


class LinenInit(NamedTuple):
    """A Linen module's own initialiser. Two are equal for inputs that differ in the batch size
    only.
    """

    module: Any
    structure: Any
    shapes: tuple  # of the inputs
    dtypes: tuple

    def __call__(self, key: Any) -> Any:
        inputs = jax.tree.unflatten(
            self.structure, [jnp.zeros(s, d) for s, d in zip(self.shapes, self.dtypes)]
        )
        return self.module.init(key, *inputs)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, LinenInit):
            return False
        beyond_batch = [tuple(s[1:] for s in record.shapes) for record in (self, other)]
        same = (self.structure, self.dtypes) == (other.structure, other.dtypes) and beyond_batch[
            0
        ] == beyond_batch[1]
        return same and self.module == other.module

    def __hash__(self) -> int:
        return hash((self.structure, self.dtypes))


class NnxInit(NamedTuple):
    """key -> the trained parameters of a new nnx module."""

    init: Callable

    def __call__(self, key: Any) -> Any:
        made = self.init(key)
        return nnx.state(made, nnx.Param) if isinstance(made, nnx.Module) else made


def _specification(inputs: tuple) -> tuple:
    leaves, structure = jax.tree.flatten(inputs)
    return structure, tuple(jnp.shape(x) for x in leaves), tuple(jnp.result_type(x) for x in leaves)


def _role(path: Any, leaf: Any) -> Any:
    """What ``derive`` is told of a leaf of the parameters."""
    trained = path is not OTHER_COLLECTION and jnp.issubdtype(leaf.dtype, jnp.floating)
    return (path, tuple(leaf.shape)) if trained else "state"


def _trace(apply: Callable, params: Any, state: Any, inputs: tuple) -> Any:
    try:
        return flat_program(apply, params, state, *inputs)
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        shapes = ", ".join(str(jnp.shape(x)) for x in jax.tree.leaves(inputs))
        reason = " ".join(str(error).split())
        raise DormantError(
            f"the network does not accept inputs of shape {shapes} (is the batch axis missing?): {reason}"
        ) from error


def _linen_apply(module: Any, params: Any, *inputs: Any) -> Any:
    boxed = isinstance(params, Mapping) and "params" in params
    return module.apply(params if boxed else {"params": params}, *inputs)


def _capture_nnx(module: Any, init: Callable | None) -> Callable:
    graph, _, state_now = _split(module)
    at_capture = jax.tree.map(lambda leaf: leaf, state_now)  # a copy: the module's own may change

    def apply(params: Any, state: Any, *inputs: Any) -> Any:
        return nnx.merge(graph, params, state)(*inputs)

    fresh: Any = NnxInit(init) if init else None
    observe = _observer(apply, fresh)

    def observe_nnx(params: Any, *inputs: Any) -> Activations:
        state = at_capture
        if isinstance(params, nnx.Module):
            _, params, state = _split(params)
        return observe(params, state, *inputs)

    return observe_nnx


def _split(module: Any) -> Any:
    """An nnx module's structure, trained parameters and other state."""
    filters: tuple = (nnx.Param, ...)
    return nnx.split(module, *filters)
