"""Where the runs of a sweep are carried out: processes of this machine, or tasks of a Ray cluster.

Both take an ``Attempt``, a command that trains in one folder and goes on from the newest checkpoint
there, and return a future of its exit code. Only the standard library is imported here: Ray sends
this module to its workers by value.
"""

import concurrent.futures
import fcntl
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

LOG_FILE = "log.txt"  # what a run says, all attempts one after the other
STOP_SECONDS = 120  # that a run has for saving when it is asked to stop


class Attempt(NamedTuple):
    """One try at one run."""

    folder: str
    command: tuple[str, ...]
    environment: Mapping[str, str]  # added to the process's own
    cwd: str


def carry_out(attempt: Attempt, stop: threading.Event | None = None) -> int:
    """Runs the command to its end; returns the exit code (negative: the signal that killed it).

    Asked to stop (the event, or an exception such as KeyboardInterrupt), it sends SIGTERM and waits
    for the run to have saved. The command gets the flag --parent, by which it ends with this
    process.
    """
    stop = stop or threading.Event()
    os.makedirs(attempt.folder, exist_ok=True)
    _wait_for_lock(attempt.folder, stop)
    command = [*attempt.command, "--parent", str(os.getpid())]
    with open(os.path.join(attempt.folder, LOG_FILE), "ab") as log:
        log.write(
            f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {os.uname().nodename}: {' '.join(command)}\n".encode()
        )
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
                    if stop.is_set():
                        return _stopped(process)
        except BaseException:
            _stopped(process)
            raise


def _stopped(process: subprocess.Popen) -> int:
    """The exit code, when the run has saved. Ray repeats its request until then: repetitions change
    nothing.
    """
    process.terminate()
    until = time.monotonic() + STOP_SECONDS
    while True:
        try:
            return process.wait(timeout=max(until - time.monotonic(), 0))
        except KeyboardInterrupt:
            continue
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def _wait_for_lock(folder: str, stop: threading.Event) -> None:
    """A run whose sweep or node has just died may still be saving: waits until it is gone."""
    path, until = os.path.join(folder, ".lock"), time.monotonic() + STOP_SECONDS
    while os.path.exists(path) and time.monotonic() < until and not stop.is_set():
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
      gpus_per_run: of the visible GPUs; the runs are dealt to them in turn, a fraction also bounds
        their memory.
    """

    def __init__(self, workers: int, cpus_per_run: float = 0, gpus_per_run: float = 0):
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)
        self._stop = threading.Event()
        self._slots: queue.SimpleQueue = queue.SimpleQueue()
        for slot in range(workers):
            self._slots.put(slot)
        cpus = cpus_per_run or (os.cpu_count() or 1) / workers
        self._limits = {"NPROC": str(max(1, int(cpus)))} if cpus_per_run or workers > 1 else {}
        self._gpus = gpus_per_run

    def submit(self, attempt: Attempt) -> concurrent.futures.Future:
        return self._pool.submit(self._carry_out, attempt)

    def _carry_out(self, attempt: Attempt) -> int:
        slot = self._slots.get()
        try:
            environment = {**self._limits, **gpu_limits(self._gpus, slot), **attempt.environment}
            return carry_out(attempt._replace(environment=environment), self._stop)
        finally:
            self._slots.put(slot)

    def stop(self) -> None:
        """Asks all runs to save and stop; their futures end when they have."""
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        self._pool.shutdown(wait=True)


def gpu_limits(gpus: float, slot: int | None) -> dict[str, str]:
    """The environment of a run that has so many GPUs. slot None: somebody else says which."""
    if not gpus:
        return {}
    limits = {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 * gpus:.3f}"} if gpus < 1 else {}
    if slot is not None:
        first, count = int(slot * gpus), max(1, int(gpus))
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        names = visible.split(",") if visible else [str(number) for number in range(first + count)]
        limits["CUDA_VISIBLE_DEVICES"] = ",".join(
            names[(first + i) % len(names)] for i in range(count)
        )
    return limits


class Ray:
    """Tasks of a Ray cluster; a task whose node dies is started again elsewhere, by Ray, up to
    ``retries`` times.

    base_dir, the repository and Python must be at the same place on every node (a shared file
    system).

    Args:
      address: of an existing cluster, "auto" for the one this machine belongs to; "" starts one
        here.
      workers: with no address: runs at a time.
      resources: other resources a run needs, {"TPU": 4}.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        cpus_per_run: float,
        gpus_per_run: float,
        resources: Mapping[str, float],
        retries: int,
    ):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray  # an extra; only this executor needs it

        self._ray = ray
        self._owned = not ray.is_initialized()
        if self._owned:
            cpus = None if address else max(1, int(workers * (cpus_per_run or 1)))
            ray.init(
                address or "local", num_cpus=cpus, log_to_driver=False, include_dashboard=False
            )
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
        self._task = ray.remote(carry_out).options(
            num_cpus=cpus_per_run or 1,
            num_gpus=gpus_per_run,
            resources=dict(resources),
            max_retries=retries,
        )
        self._limits = {
            "NPROC": str(max(1, int(cpus_per_run or 1))),
            **gpu_limits(gpus_per_run, None),
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
