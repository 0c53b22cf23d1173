"""The network's program: its jaxpr with calls inlined and short scans over layers unrolled."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

Equation = Any  # a JaxprEqn of jax, whose types know neither shapes nor dtypes of variables

CALLS = {  # primitives that only wrap a program, and the parameter that holds it
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
}
CONTRACTIONS = ("dot_general", "conv_general_dilated")
LONGEST_SCAN = 64  # steps; a longer scan is left whole, and what goes through it is not recyclable


def flat_program(function: Callable, *args: Any) -> ClosedJaxpr:
    """The program of function(*args), without calls."""
    closed = jax.make_jaxpr(function)(*args)
    avals = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in closed.jaxpr.invars]
    return jax.make_jaxpr(lambda *flat: evaluate(closed, flat)[0])(*avals)


def evaluate(closed: Any, args: Sequence, wanted: Sequence = ()) -> tuple[list, list]:
    """Runs a program: (its outputs, the values of the variables in ``wanted``); inlines calls."""
    jaxpr, consts = (
        (closed.jaxpr, closed.consts) if isinstance(closed, ClosedJaxpr) else (closed, ())
    )
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args]))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        if eqn.primitive.name in CALLS:
            results = evaluate(eqn.params[CALLS[eqn.primitive.name]], operands)[0]
        elif eqn.primitive.name == "scan" and _worth_unrolling(eqn.params):
            results = _unrolled(operands, eqn.params)
        else:
            results = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
        values.update(zip(eqn.outvars, results if eqn.primitive.multiple_results else [results]))
    return [read(atom) for atom in jaxpr.outvars], [values[v] for v in wanted]


def _worth_unrolling(params: dict) -> bool:
    return params["length"] <= LONGEST_SCAN and _contracts(params["jaxpr"].jaxpr)


def _contracts(jaxpr: Jaxpr) -> bool:
    """Whether a program has a contraction in it, at any depth."""
    for eqn in jaxpr.eqns:
        inner = [
            getattr(p, "jaxpr", p)
            for p in jax.tree.leaves(list(eqn.params.values()), is_leaf=_is_program)
        ]
        if eqn.primitive.name in CONTRACTIONS or any(
            _contracts(p) for p in inner if isinstance(p, Jaxpr)
        ):
            return True
    return False


def _is_program(x: Any) -> bool:
    return isinstance(x, (Jaxpr, ClosedJaxpr))


def _unrolled(operands: list, params: dict) -> list:
    """The scan primitive as a loop in Python."""
    if "ft_in" in params:  # jax 0.12
        num_consts, num_carry = (len(list(part)) for part in params["ft_in"].unpack()[:2])
    else:
        num_consts, num_carry = params["num_consts"], params["num_carry"]
    length, reverse = params["length"], params["reverse"]
    consts, carry = operands[:num_consts], operands[num_consts : num_consts + num_carry]
    xs, steps = operands[num_consts + num_carry :], []
    for t in reversed(range(length)) if reverse else range(length):
        step = [lax.index_in_dim(x, t, keepdims=False) for x in xs]
        out = evaluate(params["jaxpr"], [*consts, *carry, *step])[0]
        carry = out[:num_carry]
        steps.append(out[num_carry:])
    if reverse:
        steps.reverse()
    return [
        *carry,
        *(lax.concatenate([lax.expand_dims(y, [0]) for y in ys], 0) for ys in zip(*steps)),
    ]
