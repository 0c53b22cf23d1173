"""One live view of all runs of a sweep: a bar for each that is running.

Without a terminal it is plain lines.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence

from tqdm import tqdm

EVERY = 1.0  # seconds between two looks at the runs' tables


class View:
    """Host side; writes to stderr.

    Args:
      base_dir: shown. total: number of runs.
    """

    def __init__(self, base_dir: str, total: int):
        self._live = sys.stderr.isatty()
        self._whole = tqdm(total=total, desc=base_dir, unit=" runs", disable=not self._live)
        self._steps: dict[str, int] = {}  # agent steps of each run that has not ended
        self._bars: dict[str, tqdm] = {}
        self._looked = 0.0
        self._ended, self._total = 0, total

    def begin(self, finished: Sequence[str], steps: Mapping[str, int]) -> None:
        """finished: runs that were so before; steps: {run: agent steps} of the others."""
        self._steps = dict(steps)
        self._ended = len(finished)
        self._whole.update(len(finished))
        if finished:
            self.say(f"{len(finished)} of {self._total} runs were finished before")

    def refresh(self, done: Callable[[str], int]) -> None:
        """Looks at the runs, if it is time to. done(run) -> its agent steps."""
        if not self._live or time.monotonic() - self._looked < EVERY:
            return
        self._looked = time.monotonic()
        for name, total in self._steps.items():
            steps = done(name)
            if 0 < steps < total and name not in self._bars:
                self._bars[name] = tqdm(
                    total=total, initial=steps, desc=name, unit=" steps", leave=False
                )
            if name in self._bars:
                self._bars[name].update(steps - self._bars[name].n)
        self._whole.refresh()

    def end(self, name: str, status: str, reason: str) -> None:
        """A run has ended for good."""
        self._steps.pop(name, None)
        if name in self._bars:
            self._bars.pop(name).close()
        self._ended += 1
        self._whole.update(1)
        self.say(
            f"[{self._ended}/{self._total}] {name}: {status}" + (f": {reason}" if reason else "")
        )

    def say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)

    def close(self) -> None:
        for bar in [*self._bars.values(), self._whole]:
            bar.close()
