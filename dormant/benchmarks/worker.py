"""The measuring process: ``python -m dormant.benchmarks.worker KIND JSON PATH``.

Writes its figures to PATH each time it has more of them, so that what stops it later loses nothing.
Only this process touches the device: its memory is free when it ends, and a crash is one line.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

from dormant.benchmarks import check, measure
from dormant.benchmarks.record import conditions, write
from dormant.benchmarks.session import Setup
from dormant.types import DormantError

Report = Callable[[dict[str, Any]], None]


def _measure(described: dict[str, Any], report: Report) -> dict[str, Any]:
    return measure.measure(Setup(**described), report)


def _compare(described: dict[str, Any], report: Report) -> dict[str, Any]:
    one, other = Setup(**described["one"]), Setup(**described["other"])
    return measure.compare(measure.Comparison(described["name"], one, other))


def _profile(described: dict[str, Any], report: Report) -> dict[str, Any]:
    return {"trace": measure.profile(Setup(**described["setup"]), described["path"])}


def _first_steps(described: dict[str, Any], report: Report) -> dict[str, Any]:
    return measure.first_steps(described["game"])


def _conditions(described: dict[str, Any], report: Report) -> dict[str, Any]:
    return conditions(described.get("game", ""))


def _check(described: dict[str, Any], report: Report) -> dict[str, Any]:
    return check.check(report)


KINDS: dict[str, Callable[[dict[str, Any], Report], dict[str, Any]]] = {
    "measure": _measure,
    "compare": _compare,
    "profile": _profile,
    "first_steps": _first_steps,
    "conditions": _conditions,
    "check": _check,
}


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, or 2 for wrong input."""
    kind, description, path = arguments
    report = lambda found: write(path, found)
    try:
        report(KINDS[kind](json.loads(description), report))
    except DormantError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
