"""What a run writes for its readers, by the names of ``Protocol.writers``. Host side.

csv          the long tables, which everything else is made of
tensorboard  event files, one folder a member
wandb        Weights & Biases, one run a member (``wandb_runs``)
"""

import os
from collections.abc import Iterable, Sequence

from dormant import results
from dormant.results import Measurement
from dormant.training.append import AppendedFile, Extent
from dormant.training.events import EventFiles
from dormant.training.wandb_runs import WandbRuns

DEFAULT = ("csv", "tensorboard")
TABLES = (results.METRICS_FILE, results.TIMING_FILE)


class Recorder:
    """Appends measurements to the tables of ``base_dir``, and hands them to the other writers.

    Args:
      base_dir: an existing folder.
      labels: of the members; TensorBoard shows them as the runs' names.
      writers: of ``protocol.WRITERS``; the tables are always written.
    """

    def __init__(self, base_dir: str, labels: Sequence[str], writers: Sequence[str] = DEFAULT):
        self.tables = {table: AppendedFile(os.path.join(base_dir, table)) for table in TABLES}
        folder = os.path.join(base_dir, "tensorboard")
        self._events = EventFiles(folder, list(labels)) if "tensorboard" in writers else None
        self._wandb = WandbRuns(base_dir, self.tables) if "wandb" in writers else None

    def open(self, extents: dict[str, Extent] | None, agent_steps: int = 0) -> None:
        """Opens the tables.

        Args:
          extents: of the tables at the checkpoint that is resumed; what lies behind is dropped.
            None = new.
          agent_steps: of that checkpoint; TensorBoard drops what was written after it.

        Raises:
          DormantError: Weights & Biases refuses.
        """
        for name, table in self.tables.items():
            table.open(extents[name] if extents else Extent())
            if not extents:
                table.append(results.header().encode())
                table.flush()
        if self._events:
            self._events.open(agent_steps)
        if self._wandb:
            self._wandb.open(extents or dict.fromkeys(TABLES, Extent()))

    def write(self, rows: Iterable[Measurement], table: str = results.METRICS_FILE) -> None:
        """Appends whole lines; a reader sees them at once."""
        rows = list(rows)
        self.tables[table].append(results.format_rows(rows).encode())
        self.tables[table].flush()
        if self._events:
            for row in rows:
                self._events.add(row.member, row.metric, row.value, row.agent_steps)

    def diverged(self) -> set[int]:
        """The members whose divergence is in the table."""
        path = self.tables[results.METRICS_FILE].path
        return {row.member for row in results.read_measurements(path) if row.metric == "diverged"}

    def flush(self) -> None:
        """TensorBoard's events so far are in their files."""
        if self._events:
            self._events.flush()

    def saved(self, extents: dict[str, Extent]) -> None:
        """A checkpoint vouches for the tables up to here."""
        if self._wandb:
            self._wandb.send(extents)

    def close(self) -> None:
        self.flush()
        if self._wandb:
            self._wandb.close()
        for table in self.tables.values():
            table.close()


def has_rows(base_dir: str) -> bool:
    """Whether a table of ``base_dir`` holds more than its header."""
    paths = (os.path.join(base_dir, table) for table in TABLES)
    return any(
        os.path.isfile(path) and os.path.getsize(path) > len(results.header()) for path in paths
    )
