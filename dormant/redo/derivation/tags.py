"""Tags: what each element of a value in the network's program is made of.

A tag is an integer. In rising order of what it may depend on:
  ZERO    always 0 (padding)
  CONST   constants, random numbers and parameters
  INPUT   the network's inputs as well
  STAT+b  a statistic over neurons of block b (the neurons of one layer), as in a normalisation
  neuron  one neuron: NEURON + 2 * id, plus 1 once a nonlinearity has been applied ("active")
The larger of two tags is what their combination depends on; where that is not true,
``ledger.Ledger`` is told.

Arrays of tags are *compact*: as many axes as the value, each of full size or of size 1 where
nothing varies along it. So the work does not grow with the batch or the image. The same holds for
coordinates into parameters.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.extend.core import Var

ZERO, CONST, INPUT, STAT, NEURON = 0, 1, 2, 4, 1 << 32

# In arrays over a parameter's elements, instead of a neuron's id:
UNUSED, SHARED = -1, -2


class Origin(NamedTuple):
    """Where the elements of a value lie in one parameter leaf."""

    leaf: int
    # per axis of the leaf, compact over the value's axes; -1 = not from this leaf
    coords: tuple[np.ndarray, ...]


class Value(NamedTuple):
    """What is known of one variable of the program."""

    tags: np.ndarray  # compact
    # parameters that entered element by element and have met no neuron yet
    origins: tuple[Origin, ...] = ()
    # these origins at 0 make the value 0; None = nothing known does
    zeroers: frozenset[int] | None = None
    sites: tuple[Var, ...] = ()  # variables at which the active neurons in it are measured
    offset: bool = False  # a constant was added after the site
    private: bool = False  # a kernel's output, up to here read by nothing but affine operations

    def move(self, function: Callable, fill: int = CONST) -> "Value":
        """Data movement: function(compact array, fill) applied to tags and coordinates."""
        origins = tuple(
            Origin(leaf, tuple(function(c, -1) for c in coords)) for leaf, coords in self.origins
        )
        return self._replace(tags=function(self.tags, fill), origins=origins)


def elsewhere(origins: Sequence[Origin], met: np.ndarray) -> tuple[Origin, ...]:
    """The origins without the places (compact, bool) where they have met a neuron."""
    if not met.any():
        return tuple(origins)
    return tuple(
        Origin(leaf, (np.where(met, -1, coords[0]), *coords[1:])) for leaf, coords in origins
    )


def is_neuron(tags: np.ndarray) -> np.ndarray:
    return tags >= NEURON


def is_stat(tags: np.ndarray) -> np.ndarray:
    return (tags >= STAT) & (tags < NEURON)


def is_active(tags: np.ndarray) -> np.ndarray:
    return (tags >= NEURON) & (tags % 2 == 1)


def is_early(tags: np.ndarray) -> np.ndarray:
    """Neurons before their nonlinearity."""
    return is_neuron(tags) & ~is_active(tags)


def mixed(tags: np.ndarray, early: np.ndarray) -> np.ndarray:
    """Tags of a choice from, or a sum over, values of one neuron each.

    Where one of them is early the result is no longer active: a neuron that was silent where it was
    measured need not be silent here. Zeros are silent in any state.
    """
    return np.where(is_active(tags) & early, tags - 1, tags)


def neuron_ids(tags: np.ndarray) -> np.ndarray:
    """Ids of the neurons in an array of tags; meaningless elsewhere."""
    return (tags - NEURON) // 2


def squash(array: np.ndarray) -> np.ndarray:
    """Drops every axis along which nothing varies to size 1."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            first = array.take([0], axis)
            if (array == first).all():
                array = first
    return array


def expand(array: np.ndarray, shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """The array at full size along some axes."""
    full = [shape[a] if a in axes else size for a, size in enumerate(array.shape)]
    return np.broadcast_to(array, full)


def reshape(array: np.ndarray, old: Sequence[int], new: Sequence[int]) -> np.ndarray:
    """A compact array over shape ``old``, seen as shape ``new``."""
    if 0 in old or 0 in new:
        return np.full([1] * len(new), array.flat[0] if array.size else CONST)
    target: list[int] = []
    full: list[int] = []
    i = j = 0
    while i < len(old) or j < len(new):  # the shortest runs of axes with equal products
        start, first, a, b = i, j, 1, 1
        while a != b or (i == start and i < len(old)) or (j == first and j < len(new)):
            if i < len(old) and (a <= b or j == len(new)):
                a, i = a * old[i], i + 1
            else:
                b, j = b * new[j], j + 1
        varies = any(size > 1 for size in array.shape[start:i])
        full += old[start:i] if varies else [1] * (i - start)
        target += new[first:j] if varies else [1] * (j - first)
    return squash(np.broadcast_to(array, full).reshape(target))


def broadcast_in_dim(array: np.ndarray, ndim: int, dimensions: Sequence[int]) -> np.ndarray:
    """The array's axes at those of ``dimensions`` (in any order), the others of size 1."""
    shape = [1] * ndim
    for size, axis in zip(array.shape, dimensions):
        shape[axis] = size
    return array.transpose(np.argsort(dimensions)).reshape(shape)


def pad(
    array: np.ndarray, old: Sequence[int], new: Sequence[int], config: Sequence, fill: int
) -> np.ndarray:
    """lax.pad. Zeros beside other tags need no place: a zero may be a neuron's value that is 0."""
    for axis, (low, high, interior) in enumerate(config):
        if (low, high, interior) == (0, 0, 0) or (
            fill == ZERO and array.shape[axis] == 1 < old[axis]
        ):
            continue
        array = expand(array, old, [axis])
        places = low + np.arange(old[axis]) * (interior + 1)
        inside = (places >= 0) & (places < new[axis])
        shape = list(array.shape)
        shape[axis] = new[axis]
        padded = np.full(shape, fill, array.dtype)
        index: list[Any] = [slice(None)] * array.ndim
        index[axis] = places[inside]
        padded[tuple(index)] = array.compress(inside, axis)
        array = padded
    return squash(array)


def concatenate(arrays: Sequence[np.ndarray], shapes: Sequence, axis: int) -> np.ndarray:
    arrays = [expand(a, s, [axis]) for a, s in zip(arrays, shapes)]
    ndim = arrays[0].ndim
    common = [max(a.shape[d] for a in arrays) for d in range(ndim)]
    return squash(
        np.concatenate(
            [
                np.broadcast_to(a, common[:axis] + [a.shape[axis]] + common[axis + 1 :])
                for a in arrays
            ],
            axis,
        )
    )


def extremes(tags: np.ndarray, axes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest tag along axes (kept at size 1), zeros left out of the smallest."""
    high = tags.max(axis=tuple(axes), keepdims=True)
    low = np.where(tags == ZERO, high, tags).min(axis=tuple(axes), keepdims=True)
    return low, high


def join(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Two records of who uses a parameter's elements: SHARED where they name different users."""
    return np.where(a == UNUSED, b, np.where((b == UNUSED) | (a == b), a, SHARED))


def scatter(origin: Origin, values: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Users of a value's elements -> users of the leaf's elements, compact over its shape."""
    varies = [{d for d in range(values.ndim) if c.shape[d] > 1} for c in origin.coords]
    index, size = [], []
    for a, coords in enumerate(origin.coords):
        others = set().union(*(v for b, v in enumerate(varies) if b != a))
        free = not (varies[a] & others) and all(values.shape[d] == 1 for d in varies[a])
        whole = coords.size >= shape[a] and np.array_equal(np.unique(coords), np.arange(shape[a]))
        index.append(np.zeros([1] * values.ndim, int) if free and whole else coords)
        size.append(1 if free and whole else shape[a])
    *places, users = np.broadcast_arrays(*index, values)
    inside = np.logical_and.reduce([users != UNUSED] + [p >= 0 for p in places])
    flat = np.ravel_multi_index([p[inside] for p in places], size)
    users = users[inside]
    low, high = (
        np.full(math.prod(size), np.iinfo(np.int64).max),
        np.full(math.prod(size), SHARED - 1),
    )
    np.minimum.at(low, flat, users)
    np.maximum.at(high, flat, users)
    out = np.where(high < SHARED, UNUSED, np.where(low == high, high, SHARED))
    return out.reshape(size)


def gather(origin: Origin, array: np.ndarray) -> np.ndarray:
    """An array over the leaf, read at a value's elements (UNUSED if they are not from it)."""
    point = np.zeros([1] * origin.coords[0].ndim, int)
    out = array[tuple(c if size > 1 else point for c, size in zip(origin.coords, array.shape))]
    for coords in origin.coords:
        if coords.min() < 0:
            out = np.where(coords >= 0, out, UNUSED)
    return out
