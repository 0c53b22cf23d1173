"""Files that are written whole or not at all."""

import contextlib
import os
from collections.abc import Iterator
from typing import IO, Any


@contextlib.contextmanager
def atomic(path: str, mode: str = "w", **options: Any) -> Iterator[IO]:
    """Opens what replaces the file at ``path`` once the block has ended without an error.

    Until then, and after an error or a kill at any moment, the old file stands there, or none. A
    power failure is no exception: the new bytes are on the disk before they take its place.

    Args:
      mode: "w" or "wb".
      options: of ``open``.
    """
    part = f"{path}.{os.getpid()}.tmp"  # two processes may write the same file
    try:
        with open(part, mode, **options) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(part)
        raise
