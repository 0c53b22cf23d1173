"""The ledger: what a network's program does with each parameter element and each neuron.

Nothing is decided here before the end: a neuron counts as recyclable until something is found that
forbids it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dormant.redo.derivation.tags import (
    INPUT,
    SHARED,
    STAT,
    UNUSED,
    ZERO,
    Origin,
    Value,
    extremes,
    gather,
    is_active,
    is_early,
    is_neuron,
    is_stat,
    join,
    mixed,
    neuron_ids,
    scatter,
)

MEETINGS = {
    "add": "added to other neurons (a residual stream, or dueling heads)",
    "sub": "added to other neurons (a residual stream, or dueling heads)",
    "mul": "multiplied by other neurons (a gate)",
}


class Use(NamedTuple):
    """A kernel in a contraction: each of its columns is a neuron."""

    origins: tuple[Origin, ...]
    columns: np.ndarray  # ids, compact over the kernel
    contracted: tuple[int, ...]  # axes of the kernel summed over
    window: int  # places of a convolution's window; 1 for a dot product


class Read(NamedTuple):
    """The same kernel seen from the data: each of its rows reads something."""

    origins: tuple[Origin, ...]  # the parameters that must be 0 for the kernel's element to be 0
    # ids of the neurons read, SHARED for anything else, UNUSED for zeros; compact over the kernel
    feeders: np.ndarray
    contracted: tuple[int, ...]
    active: np.ndarray  # whether the neuron read is active; as feeders
    sites: tuple  # variables where these neurons are measured


class Ledger:
    """Facts about one program, gathered while it is read once."""

    def __init__(self, names: Sequence[str], shapes: Sequence[tuple]) -> None:
        self.names = tuple(names)  # of the parameter leaves
        self.shapes = [tuple(s) or (1,) for s in shapes]
        # the neuron that an element is an incoming weight of, and an outgoing weight of
        self.owner = [np.full([1] * len(s), UNUSED) for s in self.shapes]
        self.feeder = [np.full([1] * len(s), UNUSED) for s in self.shapes]
        self.additive = [True] * len(self.shapes)  # only ever added to neurons
        # per leaf: its place among those that meet neurons before their nonlinearity
        self.met: dict[int, int] = {}
        # per neuron id: the neuron it was merged into, or itself
        self.parent = np.zeros(0, np.int64)
        self.block = np.zeros(0, np.int64)  # per neuron id: its block
        self.uses: list[Use] = []
        self.blocks: list[Use] = []  # per block: the use that made it
        self.reads: list[Read] = []
        self.coupled: set = set()  # blocks
        self.offset = np.zeros(0, bool)  # per neuron id
        self.refused: list[tuple[np.ndarray, str]] = []  # ids and the reason
        # per leaf: the first thing that used it other than by elements or as a kernel
        self.lost: dict[int, str] = {}

    # -- neurons --

    def refuse(self, ids: np.ndarray, reason: str) -> None:
        """These neurons are not recyclable."""
        ids = np.unique(ids)
        if ids.size:
            self.refused.append((ids, reason))

    def leak(self, tags: np.ndarray, reason: str) -> None:
        """What these tags stand for goes where it cannot be cut off."""
        self.refuse(neuron_ids(tags[is_neuron(tags)]), reason)
        for block in np.unique(tags[is_stat(tags)] - STAT):
            self.refuse(
                np.flatnonzero(self.block == block), "its layer's statistics are read: " + reason
            )

    def merge(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Makes one neuron of each pair of ids; False where they are not two whole layers."""
        pairs = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)]), axis=1)
        roots = self.find(np.arange(self.parent.size))
        for side in pairs:
            layer = np.unique(roots[np.isin(self.block, self.block[side])])
            if not np.array_equal(np.sort(side), layer):
                return False
        self.parent[pairs[0]] = pairs[1]
        self.parent = self.parent[self.parent]
        self.owner = [self.find(o) for o in self.owner]
        self.feeder = [self.find(f) for f in self.feeder]
        return True

    def find(self, ids: np.ndarray) -> np.ndarray:
        """Ids (or UNUSED, SHARED) after all mergers."""
        return np.where(ids >= 0, self.parent[np.maximum(ids, 0)], ids) if self.parent.size else ids

    def combine(
        self, a: np.ndarray, b: np.ndarray, what: str, mergeable: bool = False
    ) -> np.ndarray:
        """Tags of a function of two values, element by element."""
        a, b = np.broadcast_arrays(a, b)
        low, high = np.minimum(a, b), np.maximum(a, b)
        two = is_neuron(low) & (neuron_ids(low) != neuron_ids(high))
        if two.any() and not (
            mergeable and self.merge(neuron_ids(low[two]), neuron_ids(high[two]))
        ):
            for tags in (low[two], high[two]):
                self.leak(tags, MEETINGS.get(what, f"combined with other neurons by '{what}'"))
        stats = is_stat(low) & is_stat(high) & (low != high)
        met = is_stat(low) & is_neuron(high)
        if met.any():
            block = self.block[neuron_ids(high[met])]
            own = (block == low[met] - STAT) & ~is_active(high[met])
            self.coupled.update(np.unique(block[own]).tolist())
            met[met] = ~own
        for tags in (low[met | stats], high[met | stats]):
            self.leak(tags, "combined with a statistic over its layer after its nonlinearity")
        return high

    def reduce(self, tags: np.ndarray, axes: Sequence[int], what: str) -> np.ndarray:
        """Tags of a sum or maximum along axes (kept at size 1).

        Each is one neuron's, or a statistic of one block. A neuron that is met in both states is
        not active any more (``tags.mixed``).
        """
        axes = tuple(axes)
        out = tags.max(axis=axes, keepdims=True)
        if all(tags.shape[a] == 1 for a in axes):
            return out
        from_block = np.where(
            is_neuron(tags), self.block_of(tags), np.where(is_stat(tags), tags - STAT, -1)
        )
        block = from_block.max(axis=axes, keepdims=True)
        alone = ((tags == ZERO) | (neuron_ids(tags) == neuron_ids(out))).all(
            axis=axes, keepdims=True
        )
        single = (out <= INPUT) | (is_neuron(out) & alone)
        one_block = ((from_block < 0) | (from_block == block)).all(axis=axes, keepdims=True)
        self.leak(
            np.where(single | one_block, ZERO, tags), f"summed with other neurons by '{what}'"
        )
        out = mixed(out, np.any(is_early(tags), axis=axes, keepdims=True))
        return np.where(single, out, np.where(one_block, STAT + block, INPUT))

    def reduce_rows(self, tags: np.ndarray, axes: Sequence[int], reader: str) -> np.ndarray:
        """The one tag of all that a kernel's element reads; what differs along the axes leaks."""
        low, high = extremes(tags, axes)
        same = low == high
        self.leak(np.where(same, ZERO, tags), f"read together with others by {reader}")
        return np.where(same, high, INPUT)

    def kernel_names(self, kernel: Value) -> str:
        return " and ".join(dict.fromkeys(self.names[o.leaf] for o in kernel.origins))

    def block_of(self, tags: np.ndarray) -> np.ndarray:
        return (
            self.block[np.where(is_neuron(tags), neuron_ids(tags), 0)]
            if self.block.size
            else np.zeros_like(tags)
        )

    # -- parameters --

    def meet(self, origins: Sequence[Origin], tags: np.ndarray, additive: bool) -> None:
        """Parameters combined element by element with neurons belong to these neurons."""
        ids = np.where(is_neuron(tags), neuron_ids(tags), UNUSED)
        for origin in origins:
            self._record(origin, ids, np.where(ids >= 0, SHARED, UNUSED))
            self.additive[origin.leaf] &= additive
            if not is_active(tags).any():
                self.met[origin.leaf] = 1 + max(self.met.values(), default=-1)

    def lose(self, value: Value, what: str) -> None:
        """Parameters that enter here are used in a way that gives them no owner."""
        users = np.where(is_neuron(value.tags), UNUSED, SHARED)
        for origin in value.origins:
            self._record(origin, users, users)
            self.lost.setdefault(origin.leaf, what)

    def use(
        self, kernel: Value, free: Sequence[int], shape: Sequence[int], window: int = 1
    ) -> np.ndarray:
        """A kernel whose columns (one per index of the free axes) become neurons.

        Returns their ids, compact.
        """
        contracted = tuple(a for a in range(len(shape)) if a not in free)
        count = int(np.prod([shape[a] for a in free], dtype=int))
        ids = self._known_columns(kernel.origins, contracted, count)
        if ids is None:
            start = self.parent.size
            self.parent = (
                np.arange(start + count)
                if not start
                else np.append(self.parent, start + np.arange(count))
            )
            self.block = np.append(self.block, np.full(count, len(self.blocks)))
            self.offset = np.append(self.offset, np.zeros(count, bool))
            ids = start + np.arange(count).reshape(
                [1 if a in contracted else shape[a] for a in range(len(shape))]
            )
            self.blocks.append(Use(kernel.origins, ids, contracted, window))
        for origin in kernel.origins:
            self._record(origin, ids, np.array(UNUSED))
        self.uses.append(Use(kernel.origins, ids, contracted, window))
        return ids

    def read(
        self, kernel: Value, data: np.ndarray, contracted: Sequence[int], source: Value
    ) -> None:
        """The same kernel's rows read ``data`` (one tag a row, compact over the kernel)."""
        names = self.kernel_names(kernel)
        self.leak(np.where(is_neuron(data), 0, data), f"read by {names}")
        feeders = np.where(is_neuron(data), neuron_ids(data), np.where(data == 0, UNUSED, SHARED))
        self.refuse(feeders[is_early(data)], f"no nonlinearity between it and {names}")
        if source.offset:
            self.offset[feeders[is_active(data)]] = True
        chosen = kernel.origins
        if kernel.zeroers is None:
            self.refuse(feeders[feeders >= 0], f"{names} at 0 is not a kernel of 0")
        else:
            chosen = tuple(kernel.origins[k] for k in sorted(kernel.zeroers))
        for k, origin in enumerate(kernel.origins):
            zeroed = kernel.zeroers is not None and k in kernel.zeroers
            self._record(origin, np.array(UNUSED), feeders if zeroed else np.array(SHARED))
        self.reads.append(Read(chosen, feeders, tuple(contracted), is_active(data), source.sites))

    def _known_columns(
        self, origins: Sequence[Origin], contracted: tuple, count: int
    ) -> np.ndarray | None:
        """The ids of these columns, if they have been neurons before."""
        owner = gather(origins[0], self.owner[origins[0].leaf])
        first = owner.max(axis=contracted, keepdims=True)
        if (owner != first).any() or first.min() < 0 or np.unique(first).size != count:
            return None
        for use in self.blocks:
            same = np.array_equal(np.unique(self.find(use.columns)), np.unique(first))
            if same and use.origins[0].leaf == origins[0].leaf:
                covered = _elements(use.origins[0]) == _elements(origins[0])
                return first if covered else None
        return None

    def _record(self, origin: Origin, owners: np.ndarray, feeders: np.ndarray) -> None:
        for table, users in ((self.owner, owners), (self.feeder, feeders)):
            users = users.reshape([1] * origin.coords[0].ndim) if users.ndim == 0 else users
            table[origin.leaf] = join(
                table[origin.leaf], scatter(origin, users, self.shapes[origin.leaf])
            )


def _elements(origin: Origin) -> int:
    """How many elements of its leaf a value uses, counted by the coordinates of each axis."""
    return int(np.prod([np.unique(c).size for c in origin.coords]))
