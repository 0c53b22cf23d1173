"""What each primitive of the program does to tags and to parameters.

A primitive without a rule is never guessed at: the neurons that enter it are not recyclable, and
the reason names it. ``docs/how_wiring_is_found.md`` shows how to add a rule.

A rule is rule(ledger, eqn, values, reader) -> [Value]; ``reader`` knows how often a variable is
read and evaluates constants.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import Literal, Var

from dormant.redo.derivation import tags as T
from dormant.redo.derivation.contraction import conv_general_dilated, dot_general
from dormant.redo.derivation.indexing import gather_tags
from dormant.redo.derivation.ledger import Ledger
from dormant.redo.derivation.program import Equation
from dormant.redo.derivation.tags import (
    CONST,
    INPUT,
    NEURON,
    ZERO,
    Value,
    is_active,
    is_early,
    is_neuron,
)

Atom = Var | Literal


class Reader(NamedTuple):
    """Facts about the whole program that a rule may ask for."""

    uses: dict[Var, int]  # {variable: number of equations (and outputs) that read it}
    constant: Callable[[Atom], Any]  # its numpy value, or None where it is not a constant


# linear, zero at zero, of one operand
COPIES = """copy copy_p reduce_precision name stop_gradient sharding_constraint layout_constraint
    pvary pcast neg real""".split()
SUMS = ("add", "sub", "add_any")
ZERO_AT_ZERO = """abs sign floor ceil round sqrt cbrt square sin tan asin atan sinh tanh asinh atanh
    erf expm1 log1p convert_element_type max min""".split()
OTHERS = """exp exp2 log log2 cos cosh acos acosh logistic rsqrt integer_pow pow erfc erf_inv rem
    nextafter clamp is_finite not and or xor eq ne lt le gt ge lgamma digamma atan2 mul div
    select_n""".split()


def elementwise(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    """Any function of its operands' elements at one place."""
    name, ndim = eqn.primitive.name, len(eqn.outvars[0].aval.shape)
    values = [
        v.move(lambda a, fill: a if a.ndim == ndim else a.reshape([1] * ndim)) for v in values
    ]
    holding = [k for k, v in enumerate(values) if is_neuron(v.tags).any()]
    private = bool(holding) and all(_read_once(eqn.invars[k], values[k], reader) for k in holding)
    kind = _kind(eqn, values, holding)
    if kind == "sum":
        _check_skip(ledger, values)
    tags = values[0].tags
    for v in values[1:]:
        tags = ledger.combine(
            tags, v.tags, name, mergeable=kind == "sum" and private and len(holding) == len(values)
        )
    both = len(holding) > 1 and _overlap([values[k].tags for k in holding])
    if name == "select_n" and kind == "linear":
        early = np.logical_or.reduce(np.broadcast_arrays(*[is_early(v.tags) for v in values[1:]]))
        tags = T.mixed(tags, early)
    if kind == "nonlinear":
        tags = np.where(is_neuron(tags), tags | 1, tags)
        if name not in (*ZERO_AT_ZERO, "mul", "div", "select_n"):
            tags = np.maximum(tags, CONST)
    new_site = is_active(tags).any() and (kind == "nonlinear" or (kind == "sum" and both))
    sites = (eqn.outvars[0],) if new_site else _union(values, holding)
    offset = not new_site and any(values[k].offset for k in holding)
    if kind == "sum" and not new_site:
        offset = offset or _constant_added(values)
    origins = tuple(o for v in values for o in v.origins)
    ledger.meet(origins, tags, kind == "sum" or name in (*COPIES, "convert_element_type"))
    private = private and kind != "nonlinear"
    if is_neuron(tags).all():  # no parameters of its own are left
        return [Value(tags, (), None, sites, offset, private)]
    left = T.elsewhere(origins, is_neuron(tags))
    return [Value(tags, left, _zeroers(eqn, values), sites, offset, private)]


def _kind(eqn: Equation, values: list[Value], holding: list) -> str:
    """What it is in the neurons it holds: "linear" (and zero at zero), "sum" or "nonlinear"."""
    name = eqn.primitive.name
    if name in SUMS:
        return "sum"
    if name in COPIES:
        return "linear"
    if name == "convert_element_type":
        return (
            "linear"
            if np.issubdtype(eqn.outvars[0].aval.dtype, np.inexact) or _is_float(eqn)
            else "nonlinear"
        )
    if name == "mul":
        return "linear" if len(holding) < 2 else "nonlinear"
    if name == "div":
        return "linear" if 1 not in holding else "nonlinear"
    if name == "select_n" and 0 not in holding:
        cases = np.broadcast_arrays(*[v.tags for v in values[1:]])
        anywhere = np.logical_or.reduce([is_neuron(c) for c in cases])
        plain = [anywhere & (c > ZERO) & (c < NEURON) for c in cases]
        return "nonlinear" if np.any(plain) else "linear"
    return "nonlinear"


def _is_float(eqn: Equation) -> bool:
    """bfloat16 and its like are no numpy floats."""
    return str(eqn.outvars[0].aval.dtype).startswith(("bfloat", "float"))


def _check_skip(ledger: Ledger, values: list[Value]) -> None:
    """Adding an input to an active neuron makes a residual stream of it."""
    for v in values:
        for w in values:
            active, other = np.broadcast_arrays(v.tags, w.tags)
            ledger.leak(
                np.where(is_active(active) & (other == INPUT), active, ZERO),
                "added to the network's input",
            )


def _constant_added(values: list[Value]) -> bool:
    """Whether an active neuron is added to something that is neither a neuron nor 0."""
    tags = np.broadcast_arrays(*[v.tags for v in values])
    active = np.logical_or.reduce([is_active(t) for t in tags])
    return bool((active & np.logical_or.reduce([(t != ZERO) & ~is_neuron(t) for t in tags])).any())


def _overlap(tags: list) -> bool:
    return bool((np.sum([is_neuron(t) for t in np.broadcast_arrays(*tags)], axis=0) > 1).any())


def _union(values: list[Value], holding: Sequence[int]) -> tuple:
    return tuple(dict.fromkeys(site for k in holding for site in values[k].sites))


def _read_once(atom: Atom, value: Value, reader: Reader) -> bool:
    return value.private and not isinstance(atom, Literal) and reader.uses[atom] == 1


def _zeroers(eqn: Equation, values: list[Value]) -> frozenset[int] | None:
    """Which origins must be 0 for the result to be 0, numbered along the operands."""
    name, start = eqn.primitive.name, 0
    shifted: list[frozenset[int] | None] = []
    for v in values:
        shifted.append(None if v.zeroers is None else frozenset(k + start for k in v.zeroers))
        start += len(v.origins)
    if name == "mul":
        sizes = [sum(c.size for o in v.origins for c in o.coords) for v in values]
        known = [pair for pair in zip(sizes, shifted) if pair[1] is not None]
        # the kernel itself rather than its scale
        return max(known, key=lambda pair: pair[0])[1] if known else None
    if name == "div":
        return shifted[0]
    if name in ("select_n", "clamp"):
        shifted = shifted[1:] if name == "select_n" else shifted
    if (
        name in (*SUMS, *COPIES, *ZERO_AT_ZERO, "select_n", "concatenate", "stack")
        and None not in shifted
    ):
        return frozenset().union(*(known for known in shifted if known is not None))
    if name == "integer_pow" and eqn.params["y"] > 0:
        return shifted[0]
    return None


def moved(function: Callable) -> Callable:
    """A rule for data movement from function(eqn, array, shape of the operand, fill) -> array."""

    def rule(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
        shape = eqn.invars[0].aval.shape
        value = values[0].move(lambda array, fill: T.squash(function(eqn, array, shape, fill)))
        return [value._replace(private=_read_once(eqn.invars[0], values[0], reader))]

    return rule


def _reshape(eqn: Equation, array: np.ndarray, shape: Sequence[int], fill: int) -> np.ndarray:
    order = eqn.params["dimensions"]
    if order is not None:
        array, shape = array.transpose(order), [shape[a] for a in order]
    return T.reshape(array, shape, eqn.outvars[0].aval.shape)


def _slice(eqn: Equation, array: np.ndarray, shape: Sequence[int], fill: int) -> np.ndarray:
    p = eqn.params
    cuts = zip(p["start_indices"], p["limit_indices"], p["strides"] or [1] * len(shape))
    return array[tuple(slice(*cut) if n > 1 else slice(None) for cut, n in zip(cuts, array.shape))]


def _broadcast_in_dim(
    eqn: Equation, array: np.ndarray, shape: Sequence[int], fill: int
) -> np.ndarray:
    return T.broadcast_in_dim(array, len(eqn.params["shape"]), eqn.params["broadcast_dimensions"])


def _pad(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    fill = int(values[1].tags.max())
    if fill > INPUT:
        return deny(ledger, eqn, values, reader)
    old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    config = eqn.params["padding_config"]

    def function(array: np.ndarray, code: int) -> np.ndarray:
        return T.pad(array, old, new, config, fill if code == CONST else code)

    value = values[0].move(function)
    zeroers = value.zeroers if fill == ZERO else None
    return [value._replace(zeroers=zeroers, private=_read_once(eqn.invars[0], values[0], reader))]


def _concatenate(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    return _side_by_side(
        eqn, values, [a.aval.shape for a in eqn.invars], eqn.params["dimension"], reader
    )


def _stack(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    axis = eqn.params["axis"]
    values = [v.move(lambda a, fill: np.expand_dims(a, axis)) for v in values]
    shapes = [(*a.aval.shape[:axis], 1, *a.aval.shape[axis:]) for a in eqn.invars]
    return _side_by_side(eqn, values, shapes, axis, reader)


def _side_by_side(
    eqn: Equation, values: list[Value], shapes: list, axis: int, reader: Reader
) -> list[Value]:
    tags = T.concatenate([v.tags for v in values], shapes, axis)
    origins = []
    for k, value in enumerate(values):
        for leaf, coords in value.origins:
            empty = np.full([1] * tags.ndim, -1)
            coords = tuple(
                T.concatenate([c if j == k else empty for j in range(len(values))], shapes, axis)
                for c in coords
            )
            origins.append(T.Origin(leaf, coords))
    holding = [k for k, v in enumerate(values) if is_neuron(v.tags).any()]
    private = bool(holding) and all(_read_once(eqn.invars[k], values[k], reader) for k in holding)
    offset = any(values[k].offset for k in holding)
    return [
        Value(tags, tuple(origins), _zeroers(eqn, values), _union(values, holding), offset, private)
    ]


def _split(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    axis, ends = eqn.params["axis"], np.cumsum(eqn.params["sizes"])
    out = []
    for end, size in zip(ends, eqn.params["sizes"]):
        part = slice(int(end - size), int(end))

        def function(array: np.ndarray, fill: int, part: slice = part) -> np.ndarray:
            return (
                array
                if array.shape[axis] == 1
                else T.squash(array[(slice(None),) * axis + (part,)])
            )

        out.append(values[0].move(function)._replace(private=False))
    return out


def _reduction(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    value, axes = values[0], tuple(eqn.params["axes"])
    ledger.lose(value, eqn.primitive.name)
    tags = np.squeeze(ledger.reduce(value.tags, axes, eqn.primitive.name), axes)
    private = _read_once(eqn.invars[0], value, reader) and eqn.primitive.name == "reduce_sum"
    return [Value(T.squash(tags), (), None, value.sites, value.offset, private)]


def _along(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    """Windows and running sums: fine along axes on which nothing varies."""
    value, p = values[0], eqn.params
    if "axis" in p:
        axes = [p["axis"]]
    else:
        still = (1, 1, 1, (0, 0))
        settings = zip(
            p["window_dimensions"], p["window_strides"], p["base_dilation"], p["padding"]
        )
        axes = [
            a for a, setting in enumerate(settings) if (*setting[:3], tuple(setting[3])) != still
        ]
    if any(value.tags.shape[a] > 1 for a in axes):
        return deny(ledger, eqn, values, reader)
    ledger.lose(value, eqn.primitive.name)
    return [Value(value.tags, (), None, value.sites, value.offset)]


def _gather(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    """Indexing: at constant places, or along axes on which nothing varies."""
    function = gather_tags(eqn, values[0], reader)
    if function is None or any(
        is_neuron(v.tags).any() or T.is_stat(v.tags).any() for v in values[1:]
    ):
        return deny(ledger, eqn, values, reader)
    return [values[0].move(function)._replace(private=False)]


def _barrier(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    """Each operand as it is."""
    return [value._replace(private=False) for value in values]


def deny(ledger: Ledger, eqn: Equation, values: list[Value], reader: Reader) -> list[Value]:
    """The rule for everything else."""
    name = eqn.primitive.name
    for value in values:
        ledger.leak(value.tags, f"read by '{name}'")
        ledger.lose(value, name)
    top = INPUT if any((v.tags > CONST).any() for v in values) else CONST
    return [Value(np.full([1] * len(getattr(v.aval, "shape", ())), top)) for v in eqn.outvars]


RULES: dict[str, Callable] = {
    **{name: elementwise for name in (*COPIES, *SUMS, *ZERO_AT_ZERO, *OTHERS)},
    "reshape": moved(_reshape),
    "transpose": moved(lambda eqn, a, shape, fill: a.transpose(eqn.params["permutation"])),
    "squeeze": moved(lambda eqn, a, shape, fill: a.squeeze(tuple(eqn.params["dimensions"]))),
    "expand_dims": moved(
        lambda eqn, a, shape, fill: np.expand_dims(a, tuple(eqn.params["dimensions"]))
    ),
    "broadcast_in_dim": moved(_broadcast_in_dim),
    "slice": moved(_slice),
    "rev": moved(lambda eqn, a, shape, fill: np.flip(a, eqn.params["dimensions"])),
    "pad": _pad,
    "concatenate": _concatenate,
    "split": _split,
    "stack": _stack,
    "optimization_barrier": _barrier,
    "gather": _gather,
    "dynamic_slice": _gather,
    **{f"reduce_{kind}": _reduction for kind in ("sum", "max", "min")},
    **{f"reduce_window_{kind}": _along for kind in ("sum", "max", "min")},
    **{f"cum{kind}": _along for kind in ("sum", "max", "min")},
    "dot_general": dot_general,
    "conv_general_dilated": conv_general_dilated,
}
