"""Reads a network's program once, from the first equation to the last, and derives its wiring."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Literal, Var

from dormant.redo.derivation import tags as T
from dormant.redo.derivation.ledger import Ledger, Read
from dormant.redo.derivation.program import Equation
from dormant.redo.derivation.rules import RULES, Atom, Reader, deny
from dormant.redo.derivation.tags import (
    CONST,
    INPUT,
    SHARED,
    UNUSED,
    ZERO,
    Origin,
    Value,
    is_active,
    neuron_ids,
)
from dormant.redo.wiring import Layer, Leaf, Wiring
from dormant.types import Key, Params

# What an input variable of the program is: (path, shape) of a parameter, "state" for a constant of
# the network that is not trained (running statistics), None for an input.
Role = tuple[str, tuple[int, ...]] | str | None


class Piece(NamedTuple):
    """Some of the values of a layer: which elements of which variables of the program."""

    sites: tuple  # variables of equal sample shape
    axes: tuple[tuple[int, ...], ...]  # per site: the axes along which the neuron changes
    columns: np.ndarray  # (k, H) places among the sites' neurons, laid end to end


class Derived(NamedTuple):
    wiring: Wiring
    pieces: dict[str, list[Piece]]  # per scored layer


def derive(
    program: ClosedJaxpr,
    leaves: Sequence[Role],
    initialiser: Callable[[Key], Params] | None = None,
) -> Derived:
    """The wiring of a flat program; ``leaves`` says what its input variables are."""
    named = [leaf for leaf in leaves if isinstance(leaf, tuple)]
    ledger = Ledger([path for path, _ in named], [shape for _, shape in named])
    values = read_program(program, leaves, ledger)
    close(ledger)
    return collect(ledger, values, initialiser)


def read_program(program: ClosedJaxpr, leaves: Sequence[Role], ledger: Ledger) -> dict[Var, Value]:
    """Applies the rules, equation by equation. Returns {variable: Value}."""
    jaxpr, values, number = program.jaxpr, {}, 0
    for var in jaxpr.constvars:
        values[var] = Value(np.full([1] * len(var.aval.shape), CONST))
    for var, leaf in zip(jaxpr.invars, leaves):
        ndim = len(getattr(var.aval, "shape", ()))
        if isinstance(leaf, tuple):
            values[var], number = _parameter(number, var.aval.shape), number + 1
        else:
            values[var] = Value(np.full([1] * ndim, CONST if leaf == "state" else INPUT))
    reader = Reader(
        Counter(a for eqn in jaxpr.eqns for a in eqn.invars if not isinstance(a, Literal)),
        _constants(program),
    )
    reader.uses.update(a for a in jaxpr.outvars if not isinstance(a, Literal))
    for eqn in jaxpr.eqns:
        operands = [_literal(a) if isinstance(a, Literal) else values[a] for a in eqn.invars]
        simple = not any(v.origins or v.tags.max(initial=0) > INPUT for v in operands)
        top = max([CONST, *(int(v.tags.max(initial=0)) for v in operands)])
        if simple and not _all_zero(eqn, operands):
            results = [
                Value(np.full([1] * len(getattr(v.aval, "shape", ())), top)) for v in eqn.outvars
            ]
        else:
            results = RULES.get(eqn.primitive.name, deny)(ledger, eqn, operands, reader)
        values.update(zip(eqn.outvars, results))
    for var in jaxpr.outvars:
        if not isinstance(var, Literal):
            ledger.leak(values[var].tags, "returned by the network")
            ledger.lose(values[var], "the network's output")
    return values


def _all_zero(eqn: Equation, operands: list) -> bool:
    """Whether zeros enter: then the rule says whether zeros come out."""
    return any((v.tags == ZERO).any() for v in operands) and eqn.primitive.name in RULES


def _parameter(leaf: int, shape: tuple) -> Value:
    ndim = len(shape)
    coords = tuple(
        np.arange(n).reshape([n if a == axis else 1 for a in range(ndim)])
        for axis, n in enumerate(shape)
    )
    origin = Origin(leaf, coords or (np.zeros((), int),))
    return Value(np.full([1] * ndim, CONST), (origin,), frozenset([0]))


def _literal(atom: Literal) -> Value:
    zero = not np.any(np.asarray(atom.val) != 0)
    ndim = len(getattr(atom.aval, "shape", ()))
    return Value(
        np.full([1] * ndim, ZERO if zero else CONST), zeroers=frozenset() if zero else None
    )


def _constants(program: ClosedJaxpr) -> Callable[[Atom], Any]:
    """atom -> numpy value, where it depends on neither parameters nor inputs."""
    made = {v: eqn for eqn in program.jaxpr.eqns for v in eqn.outvars}
    known: dict = {}
    for var, value in zip(program.jaxpr.constvars, program.consts):
        known[var] = None if isinstance(value, jax.core.Tracer) else value

    def constant(atom: Atom) -> Any:
        if isinstance(atom, Literal):
            return atom.val
        if atom not in known:
            known[atom], eqn = None, made.get(atom)
            operands = [constant(a) for a in eqn.invars] if eqn else [None]
            if eqn and all(x is not None for x in operands):
                with jax.ensure_compile_time_eval():
                    out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
                known.update(zip(eqn.outvars, out if eqn.primitive.multiple_results else [out]))
        return known[atom]

    return constant


def close(ledger: Ledger) -> None:
    """Refusals that only the whole program shows: shared columns and shared rows."""
    for use in ledger.uses:
        for origin in use.origins:
            owner = T.gather(origin, ledger.owner[origin.leaf])
            ids = np.broadcast_to(
                ledger.find(use.columns), np.broadcast_shapes(owner.shape, use.columns.shape)
            )
            inside = T.gather(origin, np.zeros([1] * len(origin.coords), int)) == 0
            why = ledger.lost.get(origin.leaf)
            reason = f"{ledger.names[origin.leaf]} is " + (
                f"read by '{why}' as well" if why else "shared"
            )
            ledger.refuse(ids[np.broadcast_to((owner != ids) & inside, ids.shape)], reason)
    for read in ledger.reads:
        for origin in read.origins:
            feeder = T.gather(origin, ledger.feeder[origin.leaf])
            ids = np.broadcast_to(
                ledger.find(read.feeders), np.broadcast_shapes(feeder.shape, read.feeders.shape)
            )
            lost = (feeder != ids) & (ids >= 0) & (feeder != UNUSED)
            ledger.refuse(
                ids[lost], f"a row of {ledger.names[origin.leaf]} reads something else as well"
            )


def collect(
    ledger: Ledger, values: dict[Var, Value], initialiser: Callable[[Key], Params] | None
) -> Derived:
    """The wiring from what the ledger holds."""
    count = ledger.parent.size
    roots = ledger.find(np.arange(count))
    reasons: dict[int, str] = {}
    for ids, reason in ledger.refused:
        for i in np.unique(ledger.find(ids)).tolist():
            reasons.setdefault(i, reason)
    offset = np.zeros(count, bool)
    np.logical_or.at(offset, roots, ledger.offset)

    # of every recyclable neuron, in the wiring; the last entry stands for UNUSED
    number = np.full(count + 1, -1)
    layers, pieces, counts, start = [], {}, {}, 0
    for block, name in enumerate(_names(ledger, roots)):
        ids = np.unique(roots[(ledger.block == block) & (roots == np.arange(count))])
        if not ids.size:
            continue
        every = ids
        measured, ids, trouble = _measure(ledger, values, every)
        ids_reasons = [trouble or reasons.get(i) for i in ids.tolist()]
        able = np.array([r is None for r in ids_reasons]) & bool(measured)
        coupled = block in ledger.coupled
        notes = Counter(r for r in ids_reasons if r)
        unread = np.setdiff1d(every, ids).tolist()
        notes.update(
            f"left out, as no kernel reads it: {reasons.get(i, 'used by nothing')}" for i in unread
        )
        if coupled and able.any():
            notes[
                "coupled: a normalisation over the layer lies between kernel and nonlinearity"
            ] = int(able.sum())
        if (offset[ids] & able).any():
            notes["offset: a constant is added after the nonlinearity"] = int(
                (offset[ids] & able).sum()
            )
        members = _members(ledger, block, ids, start) if measured else ()
        counts.update(
            {origin.leaf: max(len(members), 1) for origin in ledger.blocks[block].origins}
        )
        exact = able & ~offset[ids] & (not coupled)
        layers.append(
            Layer(name, start, ids.size, members, able, exact, tuple(notes.items()), bool(measured))
        )
        if measured:
            pieces[name] = measured
            number[ids[able]] = start + np.flatnonzero(able)
            start += ids.size
    number[:count] = number[roots]
    leaves = tuple(_leaf(ledger, k, number, counts.get(k, 1)) for k in range(len(ledger.names)))
    return Derived(Wiring(tuple(layers), leaves, _without_owner(ledger), initialiser), pieces)


def _without_owner(ledger: Ledger) -> tuple:
    """((path, why)) of the leaves that were neither a kernel nor any neuron's own."""
    kernels = {origin.leaf for use in ledger.uses for origin in use.origins}
    out = []
    for k, name in enumerate(ledger.names):
        if k not in kernels and not (ledger.owner[k] >= 0).any():
            unused = (ledger.owner[k] == UNUSED).all() and k not in ledger.lost
            # combined with neurons element by element, but each element with several
            why = "shared by several neurons"
            if unused:
                why = "not used by the function"
            elif k in ledger.lost:
                why = f"read by '{ledger.lost[k]}'"
            out.append((name, why))
    return tuple(out)


def _names(ledger: Ledger, roots: np.ndarray) -> list[str]:
    """A layer's name: the path of the module that holds its kernel."""
    paths = [ledger.names[use.origins[0].leaf] for use in ledger.blocks]
    modules = [path.rpartition("/")[0] or path for path in paths]
    taken = Counter(dict.fromkeys(zip(modules, paths)).keys())
    several = Counter(module for module, _ in taken)
    names = [path if several[module] > 1 else module for module, path in zip(modules, paths)]
    repeats = Counter(names)
    seen: Counter = Counter()
    for k, name in enumerate(list(names)):
        if repeats[name] > 1:
            names[k] = f"{name}[{seen[name]}]"
            seen[name] += 1
    neurons = [roots[ledger.block == k] for k in range(len(names))]
    return [
        "+".join(name for name, ids in zip(names, neurons) if np.isin(ids, mine).any())
        for mine in neurons
    ]


def _measure(
    ledger: Ledger, values: dict[Var, Value], ids: np.ndarray
) -> tuple[list[Piece], np.ndarray, str]:
    """Where a layer's values are: (pieces, the neurons that have any, what is wrong)."""
    sites: dict = {}
    scored: set = set()
    for read in ledger.reads:
        fed = np.unique(ledger.find(read.feeders[read.active & (read.feeders >= 0)]))
        fed = np.intersect1d(fed, ids)
        if fed.size:
            scored.update(fed.tolist())
            sites.update(dict.fromkeys(read.sites))
    if not scored:
        return [], ids, ""
    neurons = np.array(sorted(scored))
    groups: dict[tuple, list] = {}
    for var in sites:
        tags = values[var].tags
        axes = tuple(a for a in range(tags.ndim) if tags.shape[a] > 1)
        if not axes and tags.ndim and var.aval.shape[-1] == 1:
            axes = (tags.ndim - 1,)
        found = ledger.find(np.where(is_active(tags), neuron_ids(tags), UNUSED))
        if np.isin(found, neurons).any():
            sample = tuple(n for a, n in enumerate(var.aval.shape) if a not in axes)
            groups.setdefault(sample, []).append((var, axes, found.ravel()))
    pieces = []
    for group in groups.values():
        found = np.concatenate([f for _, _, f in group])
        order = np.argsort(found, kind="stable")
        order = order[np.isin(found[order], neurons)]
        if (
            order.size % neurons.size
            or (found[order].reshape(neurons.size, -1) != neurons[:, None]).any()
        ):
            return [], ids, "its neurons are not measured an equal number of times"
        columns = order.reshape(neurons.size, -1).T
        pieces.append(Piece(tuple(g[0] for g in group), tuple(g[1] for g in group), columns))
    return pieces, neurons, ""


def _members(ledger: Ledger, block: int, ids: np.ndarray, start: int) -> tuple:
    """The neurons of each member of an ensemble: along an axis that no consumer sums over."""
    use = ledger.blocks[block]
    origin = use.origins[0]
    coords, kept_apart = [], []
    # of each neuron, along each axis of the leaf on which a column stays at one place
    for c in origin.coords:
        varies = any(c.shape[a] > 1 for a in use.contracted)
        if not varies and c.size > 1:
            table = np.full(ledger.parent.size, -1)
            full = np.broadcast_arrays(use.columns, c)
            table[full[0].ravel()] = full[1].ravel()
            coords.append(table)
    for table in coords:
        table[:] = np.where(table < 0, table[ledger.find(np.arange(table.size))], table)
        kept_apart.append(all(_kept_apart(ledger, read, table, ids) for read in ledger.reads))
    if not any(kept_apart) or all(kept_apart):
        return ()
    member = np.zeros(ids.size, int)
    for table, apart in zip(coords, kept_apart):
        if apart:
            member = member * (table.max() + 1) + table[ids]
    groups = [start + np.flatnonzero(member == m) for m in np.unique(member)]
    even = len({g.size for g in groups}) == 1
    return tuple(tuple(g.tolist()) for g in groups) if even else ()


def _kept_apart(ledger: Ledger, read: Read, table: np.ndarray, ids: np.ndarray) -> bool:
    """Whether no column of a consumer reads neurons of different places."""
    feeders = ledger.find(read.feeders)
    mine = np.isin(feeders, ids)
    places = np.where(mine, table[np.maximum(feeders, 0)], -1)
    high = places.max(axis=read.contracted, keepdims=True)
    return bool(((places == high) | ~mine).all()) if mine.any() else True


def _leaf(ledger: Ledger, k: int, number: np.ndarray, members: int) -> Leaf:
    owner, feeder = (
        T.squash(number[np.where(table == SHARED, UNUSED, ledger.find(table))]).astype(np.int32)
        for table in (ledger.owner[k], ledger.feeder[k])
    )
    return Leaf(
        ledger.names[k],
        ledger.shapes[k],
        owner,
        feeder,
        _fans(ledger, k, members),
        ledger.additive[k],
        ledger.met.get(k, -1),
    )


def _fans(ledger: Ledger, k: int, members: int) -> tuple[int, int] | None:
    """(fan in, fan out) of a kernel, of one member of an ensemble; None for other leaves."""
    for use in ledger.uses:
        alone = len(use.origins) == 1  # no scale of it: it may see a single number
        for origin in use.origins:
            summed = [c.size for c in origin.coords if any(c.shape[a] > 1 for a in use.contracted)]
            if origin.leaf == k and (summed or alone or not use.contracted):
                return math.prod(summed), use.columns.size // members * use.window
    return None


def values_of(derived: Derived, found: dict[Var, jax.Array]) -> dict[str, jax.Array]:
    """{layer name: (..., H)} from the values of the program's variables."""
    out = {}
    for name, pieces in derived.pieces.items():
        arrays = [_gathered(piece, found) for piece in pieces]
        if len(arrays) > 1:
            arrays = [
                jax.numpy.concatenate(
                    [a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) for a in arrays]
                )
            ]
        out[name] = lax.stop_gradient(arrays[0])
    return out


def _gathered(piece: Piece, found: dict[Var, jax.Array]) -> jax.Array:
    parts = []
    for site, axes in zip(piece.sites, piece.axes):
        x = jax.numpy.moveaxis(
            found[site], axes, range(found[site].ndim - len(axes), found[site].ndim)
        )
        kept = x.ndim - len(axes)
        parts.append(x.reshape(*x.shape[:kept], math.prod(x.shape[kept:])))
    x = parts[0] if len(parts) == 1 else jax.numpy.concatenate(parts, axis=-1)
    if piece.columns.shape[0] == 1:
        if not np.array_equal(piece.columns[0], np.arange(x.shape[-1])):
            x = x[..., piece.columns[0]]
        return x
    return x[..., piece.columns]
