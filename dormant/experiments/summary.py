"""One table for a whole sweep: a row each member with its last numbers, added as runs finish."""

import csv
import os
import re
from collections.abc import Sequence

from dormant import results

SUMMARY_FILE = "summary.csv"  # in the sweep's base_dir
FIRST = ("run", "member", "game", "label", "seed", "agent_steps", "gradient_steps")
SHOWN = re.compile(
    r"(train|eval)/average_return|dormant_fraction/tau=[^/]+/all|feature_rank|diverged"
)


def collect(base_dir: str, names: Sequence[str]) -> None:
    """Puts finished runs into the table, or puts them there anew; whole or not at all.

    Args:
      base_dir: of the sweep. names: of runs below it.
    """
    path = os.path.join(base_dir, SUMMARY_FILE)
    rows = []
    if os.path.exists(path):
        with open(path, newline="") as file:
            rows = [row for row in csv.DictReader(file) if _kept(row, base_dir, names)]
    for name in names:
        rows += _rows(os.path.join(base_dir, name), name)
    if not rows:
        return
    rows.sort(key=lambda row: (row["run"], int(row["member"])))
    columns = list(dict.fromkeys([*FIRST, *(column for row in rows for column in row)]))
    with open(path + ".tmp", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)


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
    with open(os.path.join(folder, results.METRICS_FILE), newline="") as file:
        for row in csv.DictReader(file):
            if SHOWN.fullmatch(row["metric"]):
                clocks = {clock: row[clock] for clock in FIRST[-2:]}
                found[row["member"]].update({**clocks, row["metric"]: row["value"]})
    return list(found.values())
