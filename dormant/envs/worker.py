"""A process that steps environments for another one (``processes.py``).

    python -m dormant.envs.worker FILE_DESCRIPTOR

Messages: first (make, number of environments), then ("reset", seeds) or ("step", actions); each is
answered by what it returns, or by the exception that it raised. Signals that ask a run to stop are
not for this process: the run still needs its environments until it has saved.
"""

import signal
import sys
from multiprocessing.connection import Connection

import numpy as np

from dormant.types import EnvStep, VectorEnv


def serve(connection: Connection) -> None:
    """Answers until the other end is closed, by its own process or by that process's end."""
    env: VectorEnv | None = None
    try:
        while True:
            first, second = connection.recv()
            answer: EnvStep | np.ndarray | RuntimeError | None = None
            try:
                if env is None:
                    env = first(second)
                elif first == "reset":
                    answer = env.reset(second)
                else:
                    env.send(second)
                    answer = env.recv()
            except Exception as error:
                answer = RuntimeError(f"{type(error).__name__}: {error}")
            connection.send(answer)
    except (EOFError, OSError):
        pass
    finally:
        if env is not None:
            env.close()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    serve(Connection(int(sys.argv[1])))
