"""The two primitives that make and read neurons: ``dot_general`` and ``conv_general_dilated``."""

from typing import Any

import numpy as np

from dormant.redo.derivation import tags as T
from dormant.redo.derivation.ledger import Ledger
from dormant.redo.derivation.program import Equation
from dormant.redo.derivation.tags import CONST, INPUT, NEURON, Value


def _kernel_first(a: Value, b: Value) -> bool | None:
    """Whether ``a`` is the kernel and ``b`` the data; None where neither or both could be."""
    could = [_could_be_kernel(a, b), _could_be_kernel(b, a)]
    return could[0] if could[0] != could[1] else None


def _could_be_kernel(value: Value, other: Value) -> bool:
    """Made of parameters, and of the input (noise) only where the other is not constant.

    An input scaled by parameters is data, to a kernel as to a constant (an image that is resized).
    """
    top = INPUT if other.tags.max() > CONST else CONST
    return bool(value.origins) and bool(value.tags.max() <= top)


def _no_kernel(ledger: Ledger, eqn: Equation, values: list[Value]) -> list[Value]:
    """A contraction of two values from data (attention), or of two parameters (low rank)."""
    what = f"a '{eqn.primitive.name}' of no single kernel"
    for value in values:
        ledger.leak(value.tags, "read by " + what)
        ledger.lose(value, what)
    top = min(max(int(v.tags.max()) for v in values), INPUT)
    return [Value(np.full([1] * len(eqn.outvars[0].aval.shape), max(top, CONST)))]


def dot_general(ledger: Ledger, eqn: Equation, values: list[Value], reader: Any) -> list[Value]:
    (contract_a, contract_b), (batch_a, batch_b) = eqn.params["dimension_numbers"]
    first = _kernel_first(*values)
    if first is None:
        return _no_kernel(ledger, eqn, values)
    k, d = (0, 1) if first else (1, 0)
    kernel, data = values[k], values[d]
    k_contract, d_contract = ((contract_a, contract_b), (contract_b, contract_a))[k]
    k_batch, d_batch = ((batch_a, batch_b), (batch_b, batch_a))[k]
    k_shape, d_shape = eqn.invars[k].aval.shape, eqn.invars[d].aval.shape
    k_free = [a for a in range(len(k_shape)) if a not in (*k_contract, *k_batch)]
    d_free = [a for a in range(len(d_shape)) if a not in (*d_contract, *d_batch)]

    # One tag per row of the kernel, laid out over the kernel's axes.
    rows = ledger.reduce_rows(data.tags, d_free, ledger.kernel_names(kernel))
    rows = rows.transpose([*d_batch, *d_contract, *d_free])
    rows = rows.reshape(rows.shape[: len(d_batch) + len(d_contract)])
    rows = T.broadcast_in_dim(rows, len(k_shape), [*k_batch, *k_contract])
    ids = ledger.use(kernel, [*k_batch, *k_free], k_shape)
    ledger.read(kernel, rows, tuple(k_contract), data)
    ledger.lose(data._replace(tags=np.full([1] * data.tags.ndim, INPUT)), "dot_general")

    out = ids.transpose([*k_batch, *k_free, *k_contract])
    out = out.reshape(out.shape[: len(k_batch) + len(k_free)])
    ndim, batch, free = len(eqn.outvars[0].aval.shape), len(k_batch), len(k_free)
    # batch axes, then those of the left operand, then of the right
    start = batch if first else ndim - free
    out = T.broadcast_in_dim(out, ndim, [*range(batch), *range(start, start + free)])
    return [Value(NEURON + 2 * out, private=True)]


def conv_general_dilated(
    ledger: Ledger, eqn: Equation, values: list[Value], reader: Any
) -> list[Value]:
    data, kernel = values
    if _kernel_first(kernel, data) is not True or eqn.params["batch_group_count"] != 1:
        return _no_kernel(ledger, eqn, values)
    numbers, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"]
    shape = eqn.invars[1].aval.shape
    outputs, inputs = numbers.rhs_spec[:2]
    channel = numbers.lhs_spec[1]
    others = [a for a in range(data.tags.ndim) if a != channel]
    rows = ledger.reduce_rows(data.tags, others, ledger.kernel_names(kernel)).reshape(1, -1)
    if groups > 1:  # each output reads the channels of its group
        rows = np.broadcast_to(rows, [1, eqn.invars[0].aval.shape[channel]]).reshape(groups, -1)
        rows = np.repeat(rows, shape[outputs] // groups, axis=0)
    rows = T.squash(T.broadcast_in_dim(rows, len(shape), [outputs, inputs]))
    window = int(np.prod([n for a, n in enumerate(shape) if a not in (outputs, inputs)]))
    ids = ledger.use(kernel, [outputs], shape, window)
    ledger.read(kernel, rows, tuple(a for a in range(len(shape)) if a != outputs), data)
    ledger.lose(data._replace(tags=np.full([1] * data.tags.ndim, INPUT)), "conv_general_dilated")
    out = T.broadcast_in_dim(ids.ravel(), len(shape), [numbers.out_spec[1]])
    return [Value(NEURON + 2 * out, private=True)]
