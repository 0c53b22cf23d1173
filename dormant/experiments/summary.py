"""One table for a whole sweep: a row each member with its last numbers, added as runs finish."""

import contextlib
import csv
import fcntl
import os
import re
from collections.abc import Iterator, Sequence

from dormant import results
from dormant.atomic import atomic
from dormant.types import DormantError

SUMMARY_FILE = "summary.csv"  # in the sweep's base_dir
FIRST = ("run", "member", "game", "label", "seed", "agent_steps", "gradient_steps")
SHOWN = re.compile(
    r"(train|eval)/average_return|dormant_fraction/tau=[^/]+/all|feature_rank|diverged"
)


def collect(base_dir: str, names: Sequence[str]) -> list[str]:
    """Puts finished runs into the table, or puts them there anew; whole or not at all. Sweeps that
    share base_dir take turns.

    Args:
      base_dir: of the sweep. names: of runs below it.

    Returns:
      a line for each run that cannot be read, and is not in the table.

    Raises:
      DormantError, OSError: the table that is there cannot be read, or not be written.
    """
    if not os.path.isdir(base_dir):  # nothing has begun
        return []
    with _alone(base_dir):
        return _collect(base_dir, names)


@contextlib.contextmanager
def _alone(base_dir: str) -> Iterator[None]:
    """Waits until no other process reads the table to write it anew, where the file system can tell
    (some network ones cannot lock a folder).
    """
    folder = os.open(base_dir, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _collect(base_dir: str, names: Sequence[str]) -> list[str]:
    """See ``collect``."""
    path, unread = os.path.join(base_dir, SUMMARY_FILE), []
    rows = [row for row in _old(path) if _kept(row, base_dir, names)]
    for name in names:
        try:
            rows += _rows(os.path.join(base_dir, name), name)
        except (DormantError, OSError) as error:
            unread.append(f"{name}: {error}")
        except KeyError as error:
            unread.append(f"{name}: {results.RUN_FILE} lacks {error}")
    if not rows:
        return unread
    rows.sort(key=lambda row: (row["run"], int(row["member"])))
    columns = list(dict.fromkeys([*FIRST, *(column for row in rows for column in row)]))
    with atomic(path, newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return unread


def _old(path: str) -> list[dict[str, str]]:
    """The rows of the table that is there."""
    if not os.path.exists(path):
        return []
    try:
        with open(path, newline="") as file:
            return list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DormantError(
            f"{path} cannot be read ({error}); delete it, and the same command writes it again"
        ) from error


def _kept(row: dict[str, str], base_dir: str, names: Sequence[str]) -> bool:
    """Whether a row of the old table is still right: its run is there, and is not read again."""
    name = row.get("run")
    if not name or name in names or not (row.get("member") or "").isdigit():
        return False
    return os.path.exists(os.path.join(base_dir, name, results.RUN_FILE))


def _rows(folder: str, name: str) -> list[dict[str, str]]:
    """A row for each member of one run."""
    facts = results.read_run(folder)
    found = {
        str(member["member"]): {
            "run": name,
            "member": str(member["member"]),
            "game": facts["game"],
            "label": member["label"],
            "seed": str(member["seed"]),
        }
        for member in facts["members"]
    }
    for row in results.read_measurements(os.path.join(folder, results.METRICS_FILE)):
        if SHOWN.fullmatch(row.metric):
            clocks = {
                "agent_steps": str(row.agent_steps),
                "gradient_steps": str(row.gradient_steps),
            }
            found[str(row.member)].update({**clocks, row.metric: format(row.value, ".9g")})
    return list(found.values())
