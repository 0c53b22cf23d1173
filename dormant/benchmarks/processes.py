"""Processes of a benchmark: each with a limit, and none outlives the command that started it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from dormant.experiments import ROOT
from dormant.experiments.executors import memory_variable

TICK = 0.5  # seconds between two looks at a process
ERROR = re.compile(r"[\w.]+(Error|Exception|Interrupt): ")  # how a traceback ends


class Ended(NamedTuple):
    """How a process ended."""

    code: int | None  # None: killed at its limit
    seconds: float
    lines: list[str]  # of what it printed, both streams, the empty ones left out

    def reason(self) -> str:
        """Why it failed, in one line: its last error, or the last that it printed.

        jax writes notes below its errors, and XLA's own are many lines.
        """
        if self.code is None:
            return f"not finished after {self.seconds:.0f} s"
        told = [line for line in self.lines if ERROR.match(line)] or self.lines
        return told[-1][:300] if told else f"ended with exit code {self.code}"


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's own variables, with the package importable from anywhere.

    PYTHONPATH is added to, never replaced: packages may be carried in it.
    """
    path = [ROOT, *filter(None, [os.environ.get("PYTHONPATH")])]
    made = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    made.setdefault(memory_variable(), "0.92")
    return {**made, **(more or {})}


def start(
    command: Sequence[str], more: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.Popen:
    """A process in a session of its own that ends with this one. streams: as of ``Popen``."""
    shim = [sys.executable, "-m", "dormant.benchmarks.child", str(os.getpid())]
    return subprocess.Popen(
        [*shim, *command], env=environment(more), start_new_session=True, text=True, **streams
    )


def stop(process: subprocess.Popen, grace: float = 0.0) -> int | None:
    """Asks the process to end, and kills it and all that it started when ``grace`` seconds are
    over.

    Returns:
      Its exit code, or None where it had to be killed.
    """
    if process.poll() is not None:
        return process.returncode
    code = None
    if grace:
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(grace)
        except subprocess.TimeoutExpired:
            code = None
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # the whole session has ended
    process.wait()
    return code


def run(
    command: Sequence[str],
    seconds: float,
    more: Mapping[str, str] | None = None,
    *,
    grace: float = 0.0,
    log: IO[str] | None = None,
    tick: Callable[[], None] = lambda: None,
    cwd: str | None = None,
) -> Ended:
    """Runs a command for at most so long; what it started is stopped whatever happens here.

    Args:
      grace: of ``seconds``, for a process that saves when it is asked to stop.
      log: receives what it prints (default: a temporary file).
      tick: called every half second, and at the end.
    """
    with tempfile.TemporaryFile("w+") if log is None else contextlib.nullcontext(log) as file:
        first, started = file.tell(), time.monotonic()
        process = start(command, more, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=cwd)
        try:
            code = _wait(process, seconds - grace, tick)
            code = stop(process, grace) if code is None else code
        finally:
            stop(process, grace)
        tick()
        file.seek(first)
        text = file.read().replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Ended(code, time.monotonic() - started, lines)


def _wait(process: subprocess.Popen, seconds: float, tick: Callable[[], None]) -> int | None:
    """The exit code, or None when the time is over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            return process.wait(min(TICK, max(until - time.monotonic(), 0.01)))
        except subprocess.TimeoutExpired:
            tick()
    return process.poll()


def ask(
    kind: str,
    description: Mapping[str, Any],
    seconds: float,
    report: Callable[[dict[str, Any]], None] = lambda found: None,
    more: Mapping[str, str] | None = None,
    log: IO[str] | None = None,
) -> dict[str, Any]:
    """What ``dormant.benchmarks.worker`` finds, in a process of its own.

    Args:
      kind, description: of the worker's ``KINDS``, and its arguments.
      seconds: its limit.
      report: called with what there is so far, whenever there is more.
      more: variables of its environment.
      log: receives what it prints (default: a temporary file).

    Returns:
      The figures; what there was, with the reason as "error", where it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "found.json")
        seen: list[dict[str, Any]] = [{}]

        def look() -> None:
            if os.path.exists(path):
                with open(path) as file:
                    found = json.load(file)
                if found != seen[-1]:
                    seen.append(found)
                    report(found)

        command = [sys.executable, "-m", "dormant.benchmarks.worker"]
        command += [kind, json.dumps(dict(description)), path]
        ended = run(command, seconds, more, log=log, tick=look)
    return seen[-1] if ended.code == 0 else {**seen[-1], "error": ended.reason()}
