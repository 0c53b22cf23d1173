"""What the commands share: how flags are read, how a message looks, how a command ends.

Exit codes: 0 done; 1 some runs failed; 2 wrong input, nothing changed; 128 + the signal's number:
asked to stop, everything saved.
"""

import argparse
import contextlib
import ctypes
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

from dormant.register import import_module
from dormant.types import DormantError

DONE, SOME_FAILED, WRONG_INPUT, STOPPED = 0, 1, 2, 128  # STOPPED: plus the signal's number


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop, and everything is saved."""

    def __init__(self, signum: int):
        super().__init__()
        self.signum = signum


class Flags(argparse.ArgumentParser):
    """Flags in full only, wrong ones in one line, the examples of the help as they are written."""

    def __init__(self, **options: Any):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        say(f"{message} ({self.prog} --help lists the flags)")
        sys.exit(WRONG_INPUT)


class Parser(Flags):
    """The flags of a command that users' own modules join."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.add_argument(
            "--import",
            dest="modules",
            nargs="+",
            action="extend",
            default=[],
            metavar="MODULE",
            help="your modules that register agents, networks, ... (docs/extending.md)",
        )

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The flags, once the modules that they name are imported."""
        arguments = super().parse_args(args, namespace)
        try:
            for name in arguments.modules:
                import_module(name)
        except DormantError as error:
            say(str(error))
            sys.exit(WRONG_INPUT)
        return arguments


def add_gin_flags(made: Parser) -> None:
    """--gin_files and --gin_bindings, as Dopamine has them."""
    repeatable: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    made.add_argument(
        "--gin_files", type=a_path, metavar="FILE", help="later files win", **repeatable
    )
    made.add_argument(
        "--gin_bindings", metavar="NAME=VALUE", help="win over the files", **repeatable
    )


def above_zero(kind: Callable[[str], float]) -> Callable[[str], float]:
    """The type of a flag that is a number above 0.

    Args:
      kind: int or float.
    """

    def read(text: str) -> float:
        value = kind(text)
        if not (value > 0 and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"is {text}; it must be above 0")
        return value

    read.__name__ = getattr(kind, "__name__", "number")  # which argparse's message has
    return read


def a_path(text: str) -> str:
    """The type of a flag that names a file or folder: "~" is expanded.

    Raises:
      argparse.ArgumentTypeError: it is empty, or an address of another machine.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty")
    if re.match(r"\w+://", text):
        raise argparse.ArgumentTypeError(f"{text} is no path of this machine, nor of a shared disk")
    return os.path.expanduser(text)


def a_folder(text: str) -> str:
    """The type of a flag that names a folder to read.

    Raises:
      argparse.ArgumentTypeError: as ``a_path``, or it is a file.
    """
    path = a_path(text)
    if os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"{text} is a file; a folder is wanted")
    return path


def imports(modules: Iterable[str]) -> list[str]:
    """The modules of ``--import`` as lines of gin: runs and their configurations have them."""
    return [f"import {name}" for name in modules]


def say(line: str) -> None:
    """One line to the user, on stderr."""
    print(f"dormant: {line}", file=sys.stderr)


def stop_with_parent(parent: int) -> bool:
    """Asks Linux for a SIGTERM (save and stop) when the process that started this one ends.

    False if it has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1 = PR_SET_PDEATHSIG
    return os.getppid() == parent


def finish(action: Callable[[], int]) -> int:
    """Runs a command; returns its exit code. Wrong input is one line, not a traceback."""
    try:
        code = action()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, head say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return STOPPED + 13  # SIGPIPE
    except DormantError as error:
        say(str(error))
        return WRONG_INPUT
    except Stopped as stopped:
        say("stopped; the same command resumes")
        return STOPPED + stopped.signum
    except KeyboardInterrupt:
        say("stopped; the same command resumes")
        return STOPPED + 2  # SIGINT


@contextlib.contextmanager
def writing(folder: str) -> Iterator[None]:
    """Turns a folder that cannot be written into a DormantError.

    Checks before anything is computed that the folder exists or can be made.
    """
    check_folder(folder)
    try:
        yield
    except OSError as error:
        path = error.filename or folder
        raise DormantError(f"cannot write {path}: {error.strerror or error}") from error


def check_folder(folder: str) -> None:
    """Raises a DormantError where ``folder`` is a file, or cannot be made or written."""
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise DormantError(f"cannot write {folder}: {there} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DormantError(f"cannot write {folder}: no permission to write in {there}")
