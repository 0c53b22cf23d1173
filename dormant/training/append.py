"""Files that only grow, and whose content a checkpoint vouches for."""

import os
import zlib
from typing import BinaryIO, NamedTuple

from dormant.types import DormantError

CHUNK = 1 << 22  # bytes that are read at once


class Extent(NamedTuple):
    """How far a file reached at some moment, and what it held up to there."""

    size: int = 0  # bytes
    crc: int = 0  # CRC-32 of them


class AppendedFile:
    """One file that is only appended to. It is opened where a checkpoint left it."""

    def __init__(self, path: str):
        self.path = path
        self._file: BinaryIO | None = None
        self._extent = Extent()

    @property
    def size(self) -> int:
        """Bytes that it holds, those not yet written included."""
        return self._extent.size

    def check(self, extent: Extent) -> None:
        """Raises a DormantError unless the file begins as ``extent`` knows it; changes nothing."""
        if not os.path.isfile(self.path):
            raise _unusable(self.path, "is missing")
        if os.path.getsize(self.path) < extent.size:
            raise _unusable(self.path, "is shorter than its checkpoint says")
        crc, left = 0, extent.size
        with open(self.path, "rb") as file:
            while left:
                data = file.read(min(CHUNK, left))
                crc, left = zlib.crc32(data, crc), left - len(data)
        if crc != extent.crc:
            raise _unusable(self.path, "is not what its checkpoint says: it was changed or damaged")

    def open(self, extent: Extent) -> None:
        """Opens the file for appending behind ``extent``; what lies behind is dropped."""
        # Appending writes at the file's end wherever that is, but does not say where: the size is
        # counted here.
        self._file, self._extent = open(self.path, "ab"), extent
        self._file.truncate(extent.size)

    def append(self, data: bytes) -> None:
        """Adds the bytes; ``flush`` hands them to the operating system."""
        assert self._file, "opened before it is written"
        self._file.write(data)
        self._extent = Extent(self._extent.size + len(data), zlib.crc32(data, self._extent.crc))

    def flush(self) -> None:
        """Readers see everything appended so far."""
        assert self._file, "opened before it is written"
        self._file.flush()

    def sync(self) -> Extent:
        """Returns how far the file reaches, once all of it is on the disk for certain."""
        assert self._file, "opened before it is written"
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._extent

    def read(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` on and before ``stop``."""
        self.flush()
        with open(self.path, "rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def close(self) -> None:
        if self._file:
            self._file.close()


def _unusable(path: str, why: str) -> DormantError:
    return DormantError(
        f"{path} {why}; put the file back as it was, or start again in another base_dir"
    )
