"""What the commands share: how flags are read, how a message looks, how a command ends.

Exit codes: 0 done; 1 some runs failed; 2 wrong input, nothing changed; 128 + the signal's number:
asked to stop, everything saved.
"""

import argparse
import contextlib
import os
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


class Parser(argparse.ArgumentParser):
    """Flags in full only, wrong ones in one line, the examples of the help as they are written."""

    def __init__(self, **options: Any):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)
        self.add_argument(
            "--import",
            dest="modules",
            nargs="+",
            action="extend",
            default=[],
            metavar="MODULE",
            help="modules of one's own that register agents, networks, ... (docs/extending.md)",
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

    def error(self, message: str) -> NoReturn:
        say(f"{message} ({self.prog} --help lists the flags)")
        sys.exit(WRONG_INPUT)


def imports(modules: Iterable[str]) -> list[str]:
    """The modules of ``--import`` as lines of gin: runs and their configurations have them."""
    return [f"import {name}" for name in modules]


def say(line: str) -> None:
    """One line to the user, on stderr."""
    print(f"dormant: {line}", file=sys.stderr)


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
