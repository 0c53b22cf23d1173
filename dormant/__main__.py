"""All commands behind one name: ``dormant train ...``, or ``python -m dormant train ...``."""

import importlib
import sys
from collections.abc import Sequence

from dormant import __version__
from dormant.command import WRONG_INPUT, say
from dormant.types import nearest

COMMANDS = {
    "train": ("dormant.train", "train a population of agents"),
    "sweep": ("dormant.sweep", "train every combination of a grid"),
    "reproduce": ("dormant.reproduce", "train, draw and report figures of the paper"),
    "figures": ("dormant.figures", "draw figures from runs"),
    "report": ("dormant.report", "compare runs with the published numbers"),
    "play": ("dormant.play", "write a video of a trained agent"),
    "export_replay": ("dormant.export_replay", "write a finished run's replay memories to a file"),
    "benchmarks": ("dormant.benchmarks.__main__", "measure speed and memory"),
}


def usage() -> str:
    """The commands, one a line."""
    lines = [f"  {name:13}  {summary}" for name, (_, summary) in COMMANDS.items()]
    flags = ["dormant COMMAND --help", "dormant --version"]
    return "\n".join(["usage: dormant COMMAND ...", "", *lines, "", *flags])


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatches to a command's ``main(argv)``; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else WRONG_INPUT
    if arguments[0] == "--version":
        print(f"dormant {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        say(f"unknown command {name!r}; {nearest(name, COMMANDS)}")
        return WRONG_INPUT
    return importlib.import_module(COMMANDS[name][0]).main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
