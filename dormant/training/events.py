"""TensorBoard's event files, one folder a member, without a descriptor or a thread of their own."""

import logging
import os
import re
import struct
import time

from tensorboardX import summary
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

# It warns of every NaN, and NaN is what a metric is that has no value: a coefficient of empty sets,
# anything of a diverged member.
logging.getLogger("tensorboardX.x2num").setLevel(logging.ERROR)

FLUSH_SECONDS = 10.0
VERSION = "brain.Event:2"
UNFIT = re.compile(r"[^\w .,+=()%-]")  # for the name of a folder


class EventFiles:
    """Scalars for TensorBoard. They wait in memory and reach the files every few seconds.

    A file is open only while it is appended to, so that any number of members can be recorded:
    ``tensorboardX.SummaryWriter`` holds three descriptors and two threads for each.

    Args:
      folder: of all members; made when the first scalars are written.
      labels: of the members; TensorBoard shows them, with their number, as the runs' names.
    """

    def __init__(self, folder: str, labels: list[str]):
        name = f"events.out.tfevents.{time.time_ns()}"
        self._paths = [
            os.path.join(folder, folder_name(index, label), name)
            for index, label in enumerate(labels)
        ]
        self._waiting: list[list[bytes]] = [[] for _ in labels]
        self._flushed = time.monotonic()

    def open(self, agent_steps: int) -> None:
        """TensorBoard is told to drop what was written after this agent step."""
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        for waiting in self._waiting:
            waiting.append(_record(event_pb2.Event(wall_time=time.time(), file_version=VERSION)))
            # It drops the points at the named step too, and those of a checkpoint stay.
            waiting.append(
                _record(event_pb2.Event(step=agent_steps + 1, file_version=VERSION))
                + _record(event_pb2.Event(step=agent_steps + 1, session_log=start))
            )

    def add(self, member: int, metric: str, value: float, agent_steps: int) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=agent_steps)
        event.summary.CopyFrom(summary.scalar(metric, value))
        self._waiting[member].append(_record(event))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Everything added so far is in the files."""
        for path, waiting in zip(self._paths, self._waiting):
            if waiting:
                os.makedirs(os.path.dirname(path), exist_ok=True)
                with open(path, "ab") as file:
                    file.write(b"".join(waiting))
                waiting.clear()
        self._flushed = time.monotonic()


def folder_name(index: int, label: str) -> str:
    """A member's folder: its number and what of its label can stand in a file's name."""
    return f"{index:02d} {UNFIT.sub('_', label)[:80]}"


def _record(event: event_pb2.Event) -> bytes:
    """The event as a record of a TFRecord file."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", masked_crc32c(length)),
            data,
            struct.pack("<I", masked_crc32c(data)),
        )
    )
