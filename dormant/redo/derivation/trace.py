"""Prints how one network's wiring is found, step by step.

``python -m dormant.redo.derivation.trace`` prints what ``docs/how_wiring_is_found.md`` shows.
``trace`` does the same for a function of your own, for instance while you write a rule.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from dormant.redo.derivation import tags as T
from dormant.redo.derivation.derive import close, collect, read_program
from dormant.redo.derivation.ledger import Ledger
from dormant.redo.derivation.program import flat_program
from dormant.types import Params

WORDS = {T.ZERO: "0", T.CONST: "const", T.INPUT: "input"}
USERS = {T.UNUSED: ".", T.SHARED: "shared"}


def trace(function: Callable, params: dict[str, Params], *inputs: Any) -> dict[str, str]:
    """{"program", "tags", "ledger", "table": text} of function(params, *inputs)."""
    names = sorted(params)
    shapes = [jnp.shape(params[name]) for name in names]
    program = flat_program(function, params, *inputs)
    ledger = Ledger(names, shapes)
    leaves = [*zip(names, shapes), *[None] * len(jax.tree.leaves(inputs))]
    values = read_program(program, leaves, ledger)
    close(ledger)
    called = _called(program, names)
    return {
        "program": "\n".join(_equation(eqn, called) for eqn in program.jaxpr.eqns),
        "tags": "\n".join(f"{called[var]:<4}{_value(v, names)}" for var, v in values.items()),
        "ledger": _ledger(ledger),
        "table": collect(ledger, values, None).wiring.describe(),
    }


def _called(program: ClosedJaxpr, names: list[str]) -> dict:
    """A short name of every variable: the parameters', then x0, x1, ... and v0, v1, ..."""
    count = len(names)
    called: dict = {var: names[k] for k, var in enumerate(program.jaxpr.invars[:count])}
    called |= {var: f"x{k}" for k, var in enumerate(program.jaxpr.invars[count:])}
    called |= {var: f"c{k}" for k, var in enumerate(program.jaxpr.constvars)}
    made = [var for eqn in program.jaxpr.eqns for var in eqn.outvars]
    return called | {var: f"v{k}" for k, var in enumerate(made)}


def _equation(eqn: Any, called: dict) -> str:
    operands = [str(a.val) if isinstance(a, Literal) else called[a] for a in eqn.invars]
    results = [f"{called[v]} {v.aval.shape}" for v in eqn.outvars]
    return f"{', '.join(results)} = {eqn.primitive.name}({', '.join(operands)})"


def _value(value: T.Value, names: list[str]) -> str:
    parts = [_array(value.tags, _tag)]
    if value.origins:
        parts.append("from " + " ".join(names[origin.leaf] for origin in value.origins))
    if value.sites:
        parts.append("measured")
    return "  ".join(parts)


def _tag(tag: int) -> str:
    if tag >= T.NEURON:
        return f"h{(tag - T.NEURON) // 2}" + "*" * (tag % 2)
    return WORDS[tag] if tag in WORDS else f"statistic of layer {tag - T.STAT}"


def _user(user: int) -> str:
    return USERS[user] if user in USERS else f"h{user}"


def _array(array: np.ndarray, word: Callable[[int], str]) -> str:
    """A compact array, in rows of words."""
    if array.ndim == 0:
        return word(int(array))
    return "[" + " ".join(_array(part, word) for part in array) + "]"


def _ledger(ledger: Ledger) -> str:
    lines = []
    for k, name in enumerate(ledger.names):
        owner, feeder = (_array(t[k], _user) for t in (ledger.owner, ledger.feeder))
        lines.append(f"{name}: owner {owner}, feeder {feeder}")
    for ids, reason in ledger.refused:
        lines.append(f"refused: {' '.join(_user(i) for i in ids.tolist())}, {reason}")
    return "\n".join(lines)


def example(params: dict[str, Params], x: jax.Array) -> jax.Array:
    """The network of the page: two layers."""
    hidden = x @ params["w1"]
    hidden = hidden + jnp.broadcast_to(params["b1"], hidden.shape)
    return jax.nn.relu(hidden) @ params["w2"]


EXAMPLE = {
    "w1": np.ones((2, 3), np.float32),
    "b1": np.zeros(3, np.float32),
    "w2": np.ones((3, 1), np.float32),
}

if __name__ == "__main__":
    for title, text in trace(example, EXAMPLE, np.ones((4, 2), np.float32)).items():
        print(f"{title}\n\n{text}\n")
