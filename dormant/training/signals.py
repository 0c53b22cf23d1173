"""Signals that ask a run to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop, and has saved."""

    def __init__(self, signum: int, agent_steps: int):
        super().__init__(
            f"stopped and saved at agent step {agent_steps}; run the same command to resume"
        )
        self.signum = signum


@contextlib.contextmanager
def signals_noted(note: Callable[[int], None]) -> Iterator[None]:
    """SIGTERM and SIGINT are noted instead of ending the process at once; a second one ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(signum: int, frame: FrameType | None) -> None:
        note(signum)
        signal.signal(signum, before[signal.Signals(signum)])

    before = {signum: signal.signal(signum, handler) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, previous in before.items():
            signal.signal(signum, previous)
