"""What a run writes while it runs: the long tables and TensorBoard's events. Host side."""

import os
from collections.abc import Iterable, Sequence

from tensorboardX import SummaryWriter

from dormant import results
from dormant.results import Measurement

TABLES = (results.METRICS_FILE, results.TIMING_FILE)


class Recorder:
    """Appends measurements to the tables of ``base_dir``; ``kept`` says what a resumed run keeps of
    them.

    Args:
      base_dir: an existing folder.
      labels: of the members; TensorBoard shows them as the runs' names.
      kept: {table: bytes} from ``sizes`` of the checkpoint that is resumed; what lies behind is
        dropped. None = new.
      purge_step: agent step of that checkpoint; TensorBoard hides what was written after it.
    """

    def __init__(
        self,
        base_dir: str,
        labels: Sequence[str],
        kept: dict[str, int] | None,
        purge_step: int = 0,
    ):
        self._files = {}
        for table in TABLES:
            path = os.path.join(base_dir, table)
            file = open(path, "ab")
            file.truncate(kept[table] if kept else 0)
            if not kept:
                file.write(results.header().encode())
                file.flush()
            self._files[table] = file
        folder = os.path.join(base_dir, "tensorboard")
        self._events = [
            SummaryWriter(
                os.path.join(folder, f"{index:02d} {label}"), purge_step=purge_step, flush_secs=10
            )
            for index, label in enumerate(labels)
        ]

    def write(self, rows: Iterable[Measurement], table: str = results.METRICS_FILE) -> None:
        """Appends whole lines and hands them to the operating system, so that a reader sees them at
        once.
        """
        rows = list(rows)
        self._files[table].write(results.format_rows(rows).encode())
        self._files[table].flush()
        for row in rows:
            self._events[row.member].add_scalar(row.metric, row.value, row.agent_steps)

    def sizes(self) -> dict[str, int]:
        """Bytes of each table that have reached the disk for certain."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        return {table: file.tell() for table, file in self._files.items()}

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        for writer in self._events:
            writer.close()
