"""What a benchmark leaves: figures as JSON, the conditions they were measured under, a table."""

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable
from typing import Any

import jax

from dormant.atomic import atomic
from dormant.experiments.run import PACKAGES, version


def conditions(game: str) -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "devices": len(jax.devices()),
        "cores": os.cpu_count(),
        "load average before": os.getloadavg()[0],
        "platform": platform.platform(),
        "python": platform.python_version(),
        "game": game,
        "precision": "float32",
        "versions": {name: version(name) for name in PACKAGES},
    }


def read(path: str) -> dict[str, Any]:
    """The JSON file's entries; none where there is no file."""
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def write(path: str, entries: dict[str, Any]) -> None:
    """The JSON file, all of it or none: whoever reads it meanwhile finds the old one."""
    with atomic(path) as file:
        json.dump(entries, file, indent=1, default=float)
        file.write("\n")


def put(path: str, key: str, found: Any) -> dict[str, Any]:
    """Replaces one entry of the JSON file; returns all of them."""
    entries = {**read(path), key: found}
    write(path, entries)
    return entries


def file_name(device: str) -> str:
    """A device's name as part of a file's: "NVIDIA H200" -> "nvidia_h200"."""
    return device.replace(" ", "_").lower()


def median(values: Iterable[float]) -> float:
    return float(statistics.median(map(float, values)))


def table(result: Any) -> str:
    """A part's result for people: a line a figure, or a line a comparison and a column a figure."""
    if not isinstance(result, dict):
        return f"  {result}"
    if not all(isinstance(each, dict) for each in result.values()):
        return "\n".join(f"  {value:10.3f}  {name}" for name, value in result.items())
    names = list(next(iter(result.values())))
    lines = ["  ".join([" " * 26, *names])]
    for row, values in result.items():
        cells = [f"{values[name]:{len(name)}.2f}" for name in names]
        lines.append("  ".join([f"  {row:24}", *cells]))
    return "\n".join(lines)
