"""Environments on the host in several processes (``types.VectorEnv``): each steps a share of them.

Why not ``gymnasium.vector.AsyncVectorEnv``: it has a process for each environment, and the caller
talks to each of them at every step, so that 64 environments cost it more than they save. Nor
envpool: its versions of the tasks and their randomness are others.

A process is a fresh interpreter (``worker.py``): a copy of one that holds a GPU cannot be trusted.
It ends when its connection does, so none outlives the process that made it, however that ends.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from dormant.types import EnvSpec, EnvStep, VectorEnv

ENVS_PER_PROCESS = 4  # fewer than that step faster than their process is talked to
SECONDS_TO_END = 5.0


def processes_for(num_envs: int, cores: int | None = None) -> int:
    """How many processes are worth their while; 1 = the caller's own.

    Half of the cores at most: the others are the learner's.
    """
    if cores is None:
        own = hasattr(os, "sched_getaffinity")  # on Linux: of this process, not of the machine
        cores = len(os.sched_getaffinity(0)) if own else os.cpu_count() or 1
    return max(1, min(num_envs // ENVS_PER_PROCESS, cores // 2))


class ProcessVectorEnv:
    """N environments, the first N / processes of them in the first process, and so on.

    Args:
      make: number of environments -> VectorEnv; a function that can be pickled.
      processes: 1 to num_envs.

    Raises:
      RuntimeError: a process has ended, or its environments have raised; also in every method. The
        environments are closed then.
    """

    def __init__(
        self, spec: EnvSpec, make: Callable[[int], VectorEnv], num_envs: int, processes: int
    ):
        self.spec, self.num_envs = spec, num_envs
        places = np.array_split(np.arange(num_envs), processes)
        self._shares = [slice(int(each[0]), int(each[-1]) + 1) for each in places]
        self._workers: list[_Worker] = []
        try:
            for each in places:
                self._workers.append(_Worker(f"environments {each[0]} to {each[-1]}"))
            for worker, each in zip(self._workers, places):
                worker.send((make, len(each)))
            self._receive()
        except BaseException:
            self.close()
            raise

    def reset(self, seeds: np.ndarray) -> np.ndarray:
        self._send("reset", np.asarray(seeds))
        return _joined(self._receive())

    def send(self, actions: np.ndarray) -> None:
        self._send("step", np.asarray(actions))

    def recv(self) -> EnvStep:
        return EnvStep(*map(_joined, zip(*self._receive())))

    def close(self) -> None:
        """Ends the processes and waits for them; may be called twice."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.wait()
        self._workers = []

    def _send(self, what: str, values: np.ndarray) -> None:
        assert self._workers, "closed"
        for worker, share in zip(self._workers, self._shares):
            worker.send((what, values[share]))

    def _receive(self) -> list[Any]:
        """One answer of each process. After a failure none is asked again: an answer that nobody
        has read would be taken for the next one's.
        """
        try:
            return [worker.receive() for worker in self._workers]
        except RuntimeError:
            self.close()
            raise


def _joined(parts: Sequence[Any]) -> Any:
    """Arrays (share, ...) as one (N, ...); what is None in one share is None in all."""
    return None if parts[0] is None else np.concatenate(parts)


class _Worker:
    """One process, and the caller's end of the connection to it."""

    def __init__(self, name: str):
        self._name = name
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "dormant.envs.worker", str(theirs.fileno())]
            # What this process can import, that one can; it needs no accelerator.
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
            self._process = subprocess.Popen(
                command, env=environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        self.connection = Connection(ours.detach())

    def send(self, message: tuple[Any, ...]) -> None:
        try:
            self.connection.send(message)
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> Any:
        """What the process's environments have returned."""
        try:
            result = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        if isinstance(result, Exception):
            raise RuntimeError(f"{self._name} failed in their process: {result}") from result
        return result

    def _ended(self) -> RuntimeError:
        code = self._process.wait()
        return RuntimeError(
            f"the process of {self._name} has ended with exit code {code}; the same command "
            "resumes the run"
        )

    def wait(self) -> None:
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
