"""The rows of the replay memories on the disk, so that a resumed run need not make them again.

A row is written once, by the first checkpoint after it. The rows lie in files of an eighth of a
memory each, which only grow; a file that no kept checkpoint reaches back to is deleted. So a run
holds nine eighths of its memories on the disk, and the rows between its two checkpoints.
"""

import os
import re
from collections.abc import Mapping

import jax
import numpy as np

from dormant.replay import Memory
from dormant.training.append import AppendedFile, Extent
from dormant.training.members import Axis, Collection, MemoryState, Tree
from dormant.types import DormantError

FILES = 8  # for the rows of one whole memory
PIECE_ROWS, PIECE_BYTES = 1024, 1 << 26  # moved between disk and device at once, at most


class ReplayLog:
    """What the members' memories hold, by row number; row number m is of agent step m.

    Args:
      base_dir, folder: the files' folder is ``folder`` in ``base_dir``.
      members: how many; a row of the files holds one row of each.
      axis, memory: of the population.
    """

    def __init__(self, base_dir: str, folder: str, members: int, axis: Axis, memory: Memory):
        self._base_dir, self._folder = base_dir, folder
        self._members, self._axis, self._capacity = members, axis, memory.capacity
        fields = jax.eval_shape(memory.init).storage  # arrays (capacity, ...)
        self._fields, self._structure = jax.tree.flatten(fields)
        self._sizes = [
            members * int(np.prod(field.shape[1:])) * field.dtype.itemsize for field in self._fields
        ]
        self._row = sum(self._sizes)  # bytes
        self._piece = max(1, min(PIECE_ROWS, PIECE_BYTES // self._row, memory.capacity))
        self._take = axis.map(_take, (memory.axes, None))
        self._put = axis.map(_put, (memory.axes, None, 0), memory.axes, (0,))
        self._files: dict[int, AppendedFile] = {}  # by the number of their first row, in order
        self._next = 0  # number of the row that is written next

    @property
    def most_bytes(self) -> int:
        """Of all members' memories when they are full."""
        return self._row * self._capacity

    # Resuming
    # --------------------------------------------------------------------------------------------

    def check(self, extents: Mapping[str, Extent], agent_steps: int) -> None:
        """Raises a DormantError unless these files hold all rows of that moment's memories; changes
        nothing.
        """
        reached = max(agent_steps - self._capacity, 0)
        for first, name in sorted((_first_row(name), name) for name in extents):
            AppendedFile(os.path.join(self._base_dir, name)).check(extents[name])
            if first <= reached:
                reached = max(reached, first + extents[name].size // self._row)
        if reached < agent_steps:
            raise DormantError(f"{self._folder} holds no row of agent step {reached}")

    def open(self, extents: Mapping[str, Extent], agent_steps: int) -> None:
        """Opens the files where a checkpoint left them; others are deleted."""
        folder = os.path.join(self._base_dir, self._folder)
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            if f"{self._folder}/{name}" not in extents:
                os.remove(os.path.join(folder, name))
        for first, name in sorted((_first_row(name), name) for name in extents):
            self._files[first] = AppendedFile(os.path.join(self._base_dir, name))
            self._files[first].open(extents[name])
        self._next = agent_steps if extents else 0

    def fill(self, memories: Collection, agent_steps: int) -> Collection:
        """The memories with the rows of all steps before this one that they hold; the argument is
        given away.
        """
        for first, file in self._files.items():
            start, stop = max(first, agent_steps - self._capacity), first + self._rows_of(file)
            for row in range(start, stop, self._piece):
                count = min(self._piece, stop - row)
                data = file.read((row - first) * self._row, (row - first + count) * self._row)
                # Slots behind the last one are dropped: pieces of one size are one program.
                slots = np.full(self._piece, self._capacity, np.int32)
                slots[:count] = (row + np.arange(count)) % self._capacity
                rows = self._axis.device_put(self._decoded(data, count))
                memories = self._put(memories, slots, rows)
        return memories

    # Saving
    # --------------------------------------------------------------------------------------------

    def append(self, memories: Collection, agent_steps: int) -> None:
        """Writes the rows that have been added since the last call and are still held."""
        self._next = max(self._next, agent_steps - self._capacity)
        while self._next < agent_steps:
            count = min(self._piece, agent_steps - self._next)
            slots = (self._next + np.arange(self._piece, dtype=np.int32)) % self._capacity
            rows = self._axis.to_host(self._take(memories, slots))
            self._file().append(self._encoded(rows, count))
            self._next += count

    def _file(self) -> AppendedFile:
        """The file that holds the next row: the last one, or a new one."""
        if self._files:
            first, file = list(self._files.items())[-1]
            rows = self._rows_of(file)
            if first + rows == self._next and rows < -(-self._capacity // FILES):
                return file
        name = os.path.join(self._folder, f"{self._next:012d}.bin")
        self._files[self._next] = file = AppendedFile(os.path.join(self._base_dir, name))
        file.open(Extent())
        return file

    def sync(self) -> dict[str, Extent]:
        """How far the files of what the memories hold reach, by their paths in ``base_dir``, once
        all is on the disk.
        """
        return {
            os.path.relpath(file.path, self._base_dir): file.sync()
            for first, file in self._files.items()
            if self._reaches(first, file, self._next)
        }

    def prune(self, agent_steps: int) -> None:
        """Deletes the files whose rows are older than all that the memories held then."""
        for first, file in list(self._files.items()):
            if not self._reaches(first, file, agent_steps):
                file.close()
                os.remove(file.path)
                del self._files[first]

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    # Bytes: the first row of all members, field by field, then the next row
    # --------------------------------------------------------------------------------------------

    def _reaches(self, first: int, file: AppendedFile, agent_steps: int) -> bool:
        """Whether the memories held a row of the file then."""
        return first + self._rows_of(file) > agent_steps - self._capacity

    def _rows_of(self, file: AppendedFile) -> int:
        return file.size // self._row

    def _encoded(self, rows: Tree, count: int) -> bytes:
        """rows: the storage's fields (P, T, ...), of which the first ``count`` of T are meant."""
        columns = [
            np.ascontiguousarray(np.moveaxis(field[:, :count], 1, 0)).reshape(count, -1)
            for field in jax.tree.leaves(rows)
        ]
        return np.concatenate([column.view(np.uint8) for column in columns], axis=1).tobytes()

    def _decoded(self, data: bytes, count: int) -> Tree:
        """The storage's fields (P, piece, ...) of ``count`` rows, and nothing behind them."""
        table = np.frombuffer(data, np.uint8).reshape(count, self._row)
        ends = np.cumsum(self._sizes)
        fields = []
        for field, size, end in zip(self._fields, self._sizes, ends):
            shape = (self._members, self._piece, *field.shape[1:])
            values = np.ascontiguousarray(table[:, end - size : end]).view(field.dtype)
            rows = np.zeros(shape, field.dtype)
            rows[:, :count] = np.moveaxis(
                values.reshape(count, self._members, *field.shape[1:]), 0, 1
            )
            fields.append(rows)
        return jax.tree.unflatten(self._structure, fields)


def _first_row(name: str) -> int:
    found = re.search(r"(\d+)\.bin$", name)
    assert found, "written by ``_file``"
    return int(found[1])


def _take(memory: MemoryState, slots: jax.Array) -> Tree:
    """One member's rows in these slots (T,)."""
    return jax.tree.map(lambda field: field[slots], memory.storage)


def _put(memory: MemoryState, slots: jax.Array, rows: Tree) -> MemoryState:
    """One member's memory with these rows (T, ...) in these slots (T,)."""
    storage = jax.tree.map(
        lambda field, new: field.at[slots].set(new, mode="drop"), memory.storage, rows
    )
    return memory.replace(storage=storage)
