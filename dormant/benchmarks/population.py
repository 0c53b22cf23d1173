"""The speed of populations on this device: whole loops, bare updates, the machine's roofline.

Every population is measured in a process of its own: memory is freed, and a crash or a lack of
memory is one line of the table. Each row is written as soon as it is measured.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

from dormant.benchmarks import processes
from dormant.benchmarks.measure import Comparison
from dormant.benchmarks.record import file_name, put, read
from dormant.benchmarks.scaling import draw_scaling
from dormant.benchmarks.session import CASES, Setup
from dormant.command import say
from dormant.nets import PRECISIONS
from dormant.nets.conv import FORMULATIONS
from dormant.training.members import AXES
from dormant.types import DormantError, check_name

COLUMNS = {  # of the printed table: heading -> (key of a row, format)
    "agent": ("case", "{}"),
    "members": ("members", "{}"),
    "precision": ("precision", "{}"),
    "convolutions": ("formulation", "{}"),
    "agent steps/s": ("agent_steps_per_second", "{:.0f}"),
    "gradient steps/s": ("gradient_steps_per_second", "{:.0f}"),
    "bare update/s": ("bare_updates_per_second", "{:.0f}"),
    "of bare": ("of_bare", "{:.0%}"),
    "of roofline": ("of_roofline", "{:.1%}"),
    "learning": ("share_learning", "{:.0%}"),
    "environment": ("share_environment", "{:.0%}"),
    "transfer": ("share_transfer", "{:.1%}"),
    "acting": ("share_acting", "{:.0%}"),
    "replay": ("share_replay", "{:.1%}"),
    "compile, s": ("compile_seconds", "{:.0f}"),
    "GB resident": ("resident_gb", "{:.1f}"),
    "GB device": ("device_gb", "{:.1f}"),
}


def doublings(
    setup: Setup, most: int, timeout: float, report: Callable[[list[dict[str, Any]]], None]
) -> list[dict[str, Any]]:
    """Rows for 1, 2, 4, ... members, until one cannot be measured.

    report: is called with all rows so far after each of them.
    """
    rows: list[dict[str, Any]] = []
    members = setup.members
    while members <= most:
        started = time.monotonic()
        asked = setup._replace(members=members)._asdict()
        found = processes.ask("measure", asked, timeout)
        rows.append({**asked, **found, "process_seconds": time.monotonic() - started})
        print(table(rows[-1:], header=members == setup.members), flush=True)
        report(rows)
        if "error" in found:
            break
        members *= 2
    return rows


def table(rows: list[dict[str, Any]], header: bool = True) -> str:
    """Rows in columns; one that failed says why."""
    widths = {heading: max(len(heading), 8) for heading in COLUMNS}
    lines = ["  ".join(heading.rjust(width) for heading, width in widths.items())] if header else []
    for row in rows:
        values = {heading: (row.get(key), form) for heading, (key, form) in COLUMNS.items()}
        cells = [
            ("-" if value is None else form.format(value)).rjust(widths[heading])
            for heading, (value, form) in values.items()
        ]
        if "error" in row:
            cells = cells[:4] + [row["error"]]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def comparisons(setup: Setup) -> list[Comparison]:
    """What the paper's agents cost, compared with each other."""
    setup = setup._replace(members=1, precision="float32", formulation="auto")
    sac = setup._replace(case="sac_rr1")
    dqn = setup._replace(case="dqn_rr1")
    return [
        Comparison("SAC, replay ratio 1 and 4", sac, sac._replace(case="sac_rr4")),
        Comparison("DQN and DrQ(eps)", dqn, dqn._replace(case="drq_eps_rr1")),
        Comparison("SAC, 1 and 8 members", sac, sac._replace(members=8)),
    ]


def describe(comparison: Comparison) -> dict[str, Any]:
    """The comparison as the measuring process reads it."""
    one, other = comparison.one._asdict(), comparison.other._asdict()
    return {"name": comparison.name, "one": one, "other": other}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    default = [name for name in CASES if name != "sac_rr4"]
    add("--agents", nargs="*", default=default, help=f"of {', '.join(CASES)}")
    add("--max_members", type=int, default=4096, help="stop doubling here")
    add("--min_members", type=int, default=1)
    add("--precisions", nargs="+", default=["float32"], help=f"of {', '.join(PRECISIONS)}")
    add("--formulations", nargs="+", default=["auto"], help=f"of {', '.join(FORMULATIONS)}")
    add("--capacity", type=int, default=20_000, help="rows of each member's replay memory")
    add("--seconds", type=float, default=20.0, help="of each measurement")
    add("--timeout", type=float, default=600.0, help="seconds of one process")
    add("--axis", default="auto", help="how the members are executed: loop, vmap, auto")
    add("--compare", action="store_true", help="also compare what the agents cost")
    add("--small", action="store_true", help="small networks: a rehearsal")
    add("--game", default="", help="another environment than the paper's")
    add("--out", default="results/benchmark", help="folder of the JSON file and the plot")


def run(arguments: argparse.Namespace) -> int:
    """Measures what was asked for; returns 1 where nothing could be measured."""
    base = Setup(
        case="",
        members=arguments.min_members,
        axis=arguments.axis,
        capacity=arguments.capacity,
        seconds=arguments.seconds,
        game=arguments.game,
        small=arguments.small,
    )
    wanted = setups(base, arguments)
    stated = processes.ask("conditions", {}, arguments.timeout)
    if "error" in stated:
        raise DormantError(f"no device can be used: {stated['error']}")
    name = f"population_{file_name(stated['device'])}"
    path = os.path.join(arguments.out, f"{name}.json")
    os.makedirs(arguments.out, exist_ok=True)
    measured = [_measured(one, arguments, stated, path) for one in wanted]
    if arguments.compare:
        measured += [_compared(each, arguments, stated, path) for each in comparisons(base)]
    _draw(path, stated["device"], os.path.join(arguments.out, f"{name}.png"))
    print(f"written: {path}", flush=True)
    if any(measured):
        return 0
    say("nothing could be measured")
    return 1


def setups(base: Setup, arguments: argparse.Namespace) -> list[Setup]:
    """One for each agent, precision and formulation.

    Raises:
      DormantError: an unknown name, or a number of members below 1.
    """
    if arguments.min_members < 1:
        raise DormantError(f"--min_members is {arguments.min_members}; it must be at least 1")
    for what, names, valid in (
        ("agent", arguments.agents, CASES),
        ("precision", arguments.precisions, PRECISIONS),
        ("formulation", arguments.formulations, FORMULATIONS),
        ("axis", [arguments.axis], ("auto", *AXES)),
    ):
        for name in names:
            check_name(what, name, valid)
    return [
        base._replace(case=case, precision=precision, formulation=formulation)
        for case in arguments.agents
        for precision in arguments.precisions
        for formulation in (["auto"] if CASES[case].record == "SAC" else arguments.formulations)
    ]


def _measured(
    setup: Setup, arguments: argparse.Namespace, stated: dict[str, Any], path: str
) -> bool:
    """Whether a row could be measured."""
    game = setup.game or CASES[setup.case].game
    conditions = {**stated, "game": game, "precision": setup.precision}
    name = f"{setup.case}, {setup.precision}, {setup.formulation}"
    name += f", {setup.axis}" if setup.axis != "auto" else ""

    def report(rows: list[dict[str, Any]]) -> None:
        put(path, name, {"rows": rows, "conditions": conditions})

    rows = doublings(setup, arguments.max_members, arguments.timeout, report)
    return any("error" not in row for row in rows)


def _compared(
    comparison: Comparison, arguments: argparse.Namespace, stated: dict[str, Any], path: str
) -> bool:
    """Whether the two could be compared."""
    found = processes.ask("compare", describe(comparison), arguments.timeout)
    print(f"{comparison.name}\n{json.dumps(found, indent=1)}", flush=True)
    put(path, f"compare: {comparison.name}", {"result": found, "conditions": stated})
    return "error" not in found


def _draw(path: str, device: str, image: str) -> None:
    """All complete rows of the JSON file."""
    rows = [row for entry in read(path).values() for row in entry.get("rows", [])]
    rows = [row for row in rows if "error" not in row]
    if rows:
        draw_scaling(rows, device, image)
