"""Indexing: ``gather`` and ``dynamic_slice`` on compact arrays."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import lax

from dormant.redo.derivation import tags as T
from dormant.redo.derivation.program import Equation
from dormant.redo.derivation.tags import Value


def gather_tags(eqn: Equation, value: Value, reader: Any) -> Callable | None:
    """function(array, fill) -> indexed array; None where it depends on places not known here."""
    if eqn.params.get("fill_value"):  # another constant than 0 in the place of a neuron
        return None
    shape, sizes = eqn.invars[0].aval.shape, eqn.params["slice_sizes"]
    arrays = [value.tags, *(c for o in value.origins for c in o.coords)]
    varying = [a for a, n in enumerate(shape) if any(x.shape[a] > 1 for x in arrays)]
    cut = {a for a, n in enumerate(shape) if sizes[a] < n}
    places = [reader.constant(atom) if cut & set(varying) else None for atom in eqn.invars[1:]]
    if cut & set(varying) and any(p is None for p in places):
        return None
    places = [
        np.zeros(a.aval.shape, np.int32) if p is None else p for a, p in zip(eqn.invars[1:], places)
    ]
    batching = getattr(eqn.params.get("dimension_numbers"), "operand_batching_dims", ())
    kept = [n if a in varying or a in batching else 1 for a, n in enumerate(shape)]
    params = {**eqn.params, "slice_sizes": tuple(min(s, n) for s, n in zip(sizes, kept))}
    if eqn.primitive.name == "gather":
        params["mode"] = lax.GatherScatterMode.CLIP
    # Axes on which nothing varies are gathered at size 1, whatever the index says.
    with jax.ensure_compile_time_eval():
        at = np.arange(int(np.prod(kept)), dtype=np.int32).reshape(kept)
        source = np.asarray(eqn.primitive.bind(at, *places, **params))

    def function(array: np.ndarray, fill: int) -> np.ndarray:
        return T.squash(np.broadcast_to(array, kept).ravel()[source])

    return function
