"""Becomes another program that ends with the process that started it.

``python -m dormant.benchmarks.child PARENT COMMAND...``: Linux sends the program a SIGTERM when the
process PARENT ends, however it ends. (A killed parent cannot stop its children itself.)
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl; it outlives exec


def main(arguments: list[str]) -> None:
    """Does not return."""
    parent, command = int(arguments[0]), arguments[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has ended already
        sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
