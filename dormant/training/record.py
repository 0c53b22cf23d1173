"""What a run writes for its readers: the long tables and TensorBoard's events. Host side."""

import os
from collections.abc import Iterable, Sequence

from dormant import results
from dormant.results import Measurement
from dormant.training.append import AppendedFile, Extent
from dormant.training.events import EventFiles

TABLES = (results.METRICS_FILE, results.TIMING_FILE)


class Recorder:
    """Appends measurements to the tables of ``base_dir``.

    Args:
      base_dir: an existing folder.
      labels: of the members; TensorBoard shows them as the runs' names.
    """

    def __init__(self, base_dir: str, labels: Sequence[str]):
        self.tables = {table: AppendedFile(os.path.join(base_dir, table)) for table in TABLES}
        self._events = EventFiles(os.path.join(base_dir, "tensorboard"), list(labels))

    def open(self, extents: dict[str, Extent] | None, agent_steps: int = 0) -> None:
        """Opens the tables.

        Args:
          extents: of the tables at the checkpoint that is resumed; what lies behind is dropped.
            None = new.
          agent_steps: of that checkpoint; TensorBoard drops what was written after it.
        """
        for name, table in self.tables.items():
            table.open(extents[name] if extents else Extent())
            if not extents:
                table.append(results.header().encode())
                table.flush()
        self._events.open(agent_steps)

    def write(self, rows: Iterable[Measurement], table: str = results.METRICS_FILE) -> None:
        """Appends whole lines; a reader sees them at once."""
        rows = list(rows)
        self.tables[table].append(results.format_rows(rows).encode())
        self.tables[table].flush()
        for row in rows:
            self._events.add(row.member, row.metric, row.value, row.agent_steps)

    def flush(self) -> None:
        """TensorBoard's events so far are in their files."""
        self._events.flush()

    def close(self) -> None:
        self._events.flush()
        for table in self.tables.values():
            table.close()


def has_rows(base_dir: str) -> bool:
    """Whether a table of ``base_dir`` holds more than its header."""
    paths = (os.path.join(base_dir, table) for table in TABLES)
    return any(
        os.path.isfile(path) and os.path.getsize(path) > len(results.header()) for path in paths
    )
