"""Where the runs of a sweep are executed: processes of this machine, or tasks of a Ray cluster.

Both take an ``Attempt``, a command that trains in one folder and resumes from the newest checkpoint
there, and return a future of its exit code. Only the standard library is imported here: Ray sends
this module to its workers by value.
"""

import concurrent.futures
import contextlib
import fcntl
import logging
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

LOG_FILE = "log.txt"  # a run's output, all attempts one after the other
STOP_SECONDS = 120  # that a run has for saving when it is asked to stop
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Attempt(NamedTuple):
    """One try at one run."""

    folder: str
    command: tuple[str, ...]
    environment: Mapping[str, str]  # added to the process's own
    cwd: str


def execute_attempt(attempt: Attempt, stop: threading.Event | None = None) -> int:
    """Runs the command to its end; returns the exit code (negative: the signal that killed it).

    Asked to stop (the event, an interrupt, another exception), it sends SIGTERM and waits for the
    run to have saved. The command gets the flag --parent, by which it ends with this process.
    """
    os.makedirs(attempt.folder, exist_ok=True)
    with _interrupts_noted() as noted:
        asked = lambda: bool(noted) or (stop is not None and stop.is_set())
        _wait_for_lock(attempt.folder, asked)
        command = [*attempt.command, "--parent", str(os.getpid())]
        with open(os.path.join(attempt.folder, LOG_FILE), "ab") as log:
            now, host = time.strftime("%Y-%m-%d %H:%M:%S"), os.uname().nodename
            log.write(f"\n{now} {host}: {' '.join(command)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                command,
                cwd=attempt.cwd,
                env={**os.environ, **attempt.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is the sweep's to pass on
            )
            try:
                while True:
                    try:
                        return process.wait(timeout=0.2)
                    except subprocess.TimeoutExpired:
                        if asked():
                            return _stopped(process)
            except BaseException:
                _stopped(process)
                raise


def _stopped(process: subprocess.Popen) -> int:
    """The exit code, when the run has saved."""
    process.terminate()
    try:
        return process.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Ray interrupts the main thread, again and again, at any instruction: each is noted instead of
    raised there, and KeyboardInterrupt comes at the end.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        raise KeyboardInterrupt


def _wait_for_lock(folder: str, asked: Callable[[], bool]) -> None:
    """A run whose sweep or node has just died may still be saving: waits until it is gone."""
    path, until = os.path.join(folder, ".lock"), time.monotonic() + STOP_SECONDS
    while os.path.exists(path) and time.monotonic() < until and not asked():
        with open(path, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.2)


class Local:
    """Processes on this machine, ``workers`` at a time.

    Args:
      cpus_per_run: cores that XLA uses in each; 0 = an equal share of them.
      gpus: what each worker sees of them; () = nothing is set.
    """

    def __init__(
        self, workers: int, cpus_per_run: float = 0, gpus: Sequence[Mapping[str, str]] = ()
    ):
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)
        self._stop = threading.Event()
        cpus = cpus_per_run or (os.cpu_count() or 1) / workers
        limits = {"NPROC": str(max(1, int(cpus)))} if cpus_per_run or workers > 1 else {}
        self._slots: queue.SimpleQueue = queue.SimpleQueue()
        for slot in range(workers):
            self._slots.put({**limits, **(gpus[slot] if gpus else {})})

    def submit(self, attempt: Attempt) -> concurrent.futures.Future:
        return self._pool.submit(self._execute, attempt)

    def _execute(self, attempt: Attempt) -> int:
        limits = self._slots.get()
        try:
            environment = {**limits, **attempt.environment}
            return execute_attempt(attempt._replace(environment=environment), self._stop)
        finally:
            self._slots.put(limits)

    def stop(self) -> None:
        """Asks all runs to save and stop; their futures end when they have."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def gpu_slots(share: float, devices: Sequence[str]) -> list[dict[str, str]]:
    """The environment of every run that these devices hold at once, each with its share of them.

    A fraction: a device holds floor(1 / share) runs. Else a whole number of devices is one run's.
    """
    if share < 1:
        each = math.floor(1 / share + 1e-9)
        return [memory_limit(share) | {VISIBLE: name} for name in devices for _ in range(each)]
    count = int(share)
    groups = [devices[first : first + count] for first in range(0, len(devices), count)]
    return [{VISIBLE: ",".join(group)} for group in groups if len(group) == count]


def memory_limit(share: float) -> dict[str, str]:
    """The environment that holds a run to its share of a GPU's memory, a tenth of it left free."""
    if not 0 < share < 1:
        return {}
    return {memory_variable(): f"{math.floor(900 * share) / 1000:.3f}"}


def memory_variable() -> str:
    """jax's name for a process's share of a GPU's memory: with both set, it starts no GPU."""
    newer = "XLA_CLIENT_MEM_FRACTION"
    return newer if newer in os.environ else "XLA_PYTHON_CLIENT_MEM_FRACTION"


class Ray:
    """Tasks of a Ray cluster. Ray restarts those of a node that dies elsewhere, ``retries`` times.

    base_dir, the repository and Python must be at the same place on every node (a shared file
    system).

    Args:
      address: of an existing cluster, "auto" for the one this machine belongs to; "" starts one
        here.
      workers: with no address: runs at a time.
      gpus_per_run: None = one where the cluster has any.
      resources: other resources a run needs, {"TPU": 4}.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        cpus_per_run: float,
        gpus_per_run: float | None,
        resources: Mapping[str, float],
        retries: int,
    ):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray  # an extra; only this executor needs it

        self._ray = ray
        self._owned = not ray.is_initialized()
        # A CPU of the cluster that is started here stands for a worker: tasks of one and a half, or
        # of a half, would wait for ever, or be more at a time.
        here = self._owned and not address
        if self._owned:
            ray.init(
                address or "local",
                num_cpus=workers if here else None,
                log_to_driver=False,
                include_dashboard=False,
                logging_level=logging.ERROR,
            )
        if gpus_per_run is None:
            gpus_per_run = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        if here:
            _check_resources(ray.cluster_resources(), {"GPU": gpus_per_run, **resources})
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._task = ray.remote(execute_attempt).options(
            num_cpus=1 if here else cpus_per_run or 1,
            num_gpus=gpus_per_run,
            resources=dict(resources),
            max_retries=retries,
        )
        self._limits = {
            "NPROC": str(max(1, int(cpus_per_run or 1))),
            **memory_limit(gpus_per_run),
        }
        self._references: list[Any] = []

    def submit(self, attempt: Attempt) -> concurrent.futures.Future:
        attempt = attempt._replace(environment={**self._limits, **attempt.environment})
        self._references.append(self._task.remote(attempt))
        return self._references[-1].future()

    def stop(self) -> None:
        """Asks all runs to save and stop; returns when they have."""
        for reference in self._references:
            self._ray.cancel(reference, force=False, recursive=False)
        self._ray.wait(self._references, num_returns=len(self._references), timeout=STOP_SECONDS)

    def close(self) -> None:
        if self._owned:
            self._ray.shutdown()


def _check_resources(there: Mapping[str, float], wanted: Mapping[str, float]) -> None:
    """Raises a ValueError for a resource that this machine lacks: its runs would wait for ever."""
    for name, amount in wanted.items():
        if amount > there.get(name, 0):
            has = f"{there.get(name, 0):g} {name}"
            raise ValueError(f"a run wants {amount:g} {name}, and this machine has {has}")
