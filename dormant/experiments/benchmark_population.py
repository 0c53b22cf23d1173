"""The speed of populations on the device at hand: whole training loops, the bare update, the
machine's floor.

``python scripts/benchmark.py population --help``. Every population is measured in a process of its
own: memory is freed, and a crash or a lack of memory is one line of the table. The process that
starts them never touches the device.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any, NamedTuple

import jax
import psutil

from dormant.analysis.scaling import draw_scaling
from dormant.experiments import ROOT
from dormant.experiments.benchmark import conditions, write
from dormant.experiments.floors import measure_floor, work
from dormant.experiments.session import CASES, RECYCLING_PERIOD, Session, Setup, plan_of, session
from dormant.nets import PRECISIONS
from dormant.nets.conv import FORMULATIONS
from dormant.types import DormantError, check_name

ROUNDS = 5  # the loop and the bare update are measured in turn so many times
COLUMNS = {  # of the printed table: heading -> (key of a row, format)
    "agent": ("case", "{}"),
    "members": ("members", "{}"),
    "precision": ("precision", "{}"),
    "convolutions": ("formulation", "{}"),
    "agent steps/s": ("agent_steps_per_second", "{:.0f}"),
    "gradient steps/s": ("gradient_steps_per_second", "{:.0f}"),
    "bare update/s": ("bare_updates_per_second", "{:.0f}"),
    "of bare": ("of_bare", "{:.0%}"),
    "of floor": ("of_floor", "{:.1%}"),
    "learning": ("share_learning", "{:.0%}"),
    "environment": ("share_environment", "{:.0%}"),
    "transfer": ("share_transfer", "{:.1%}"),
    "acting": ("share_acting", "{:.0%}"),
    "replay": ("share_replay", "{:.1%}"),
    "compile, s": ("compile_seconds", "{:.0f}"),
    "GB resident": ("resident_gb", "{:.1f}"),
    "GB device": ("device_gb", "{:.1f}"),
}


# In the measuring process
# ---------------------------------------------------------------------------------------------


def measure(setup: Setup) -> dict[str, Any]:
    """One row of the table."""
    compiling: list[float] = []

    def note(event: str, duration_secs: float, **_: Any) -> None:
        if "/compile/" in event:
            compiling.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    started = time.perf_counter()
    with session(setup) as running:
        bare = running.bare()
        bare(0.0)
        first = time.perf_counter() - started
        compile_seconds = sum(compiling)
        rates = _rates(running, bare, setup)
        periodic = running.periodic()
        shares = _shares(running, setup.seconds)
        row = {
            **setup._asdict(),
            "axis": running.population.axis.name,
            **_full_loop(running, rates, periodic),
            **{f"share_{part}": share for part, share in shares.items()},
            **{f"seconds_of_one_{name}": seconds for name, seconds in periodic.items()},
            "compile_seconds": compile_seconds,
            "seconds_to_first_measurement": first,
            **_memory(running),
        }
        members = len(running.population.members)
    return row | _floor(
        setup, row["gradient_steps_per_second"], row["bare_updates_per_second"], members
    )


def _rates(running: Session, bare: Any, setup: Setup) -> dict[str, float]:
    """Members' gradient and agent steps a second between recyclings and logs, in turn with the bare
    update.
    """
    loops, bares = [], []
    for _ in range(ROUNDS):
        before = running.state
        seconds = running.advance(setup.seconds / ROUNDS)
        agent_steps = running.state.agent_steps - before.agent_steps
        gradient_steps = running.state.gradient_steps - before.gradient_steps
        loops.append((agent_steps / seconds, gradient_steps / seconds))
        bares.append(bare(setup.seconds / ROUNDS / 2))
    members = len(running.population.members)
    return {
        "agent": members * statistics.median(agent for agent, _ in loops),
        "gradient": members * statistics.median(gradient for _, gradient in loops),
        "bare": statistics.median(bares),
        "of_bare": statistics.median(
            members * one / other for (_, one), other in zip(loops, bares)
        ),
    }


def _full_loop(
    running: Session, rates: dict[str, float], periodic: dict[str, float]
) -> dict[str, float]:
    """Rates with one recycling each RECYCLING_PERIOD gradient steps and the logs at the run's own
    period.

    The windows are shorter than that, so these two are timed by themselves and added at their
    period.
    """
    members = len(running.population.members)
    step = members / rates["gradient"]  # seconds of one gradient step of every member
    extra = (
        periodic["recycling"] / RECYCLING_PERIOD + periodic["logging"] / running.protocol.log_period
    )
    slower = step / (step + extra)
    return {
        "agent_steps_per_second": rates["agent"] * slower,
        "gradient_steps_per_second": rates["gradient"] * slower,
        "bare_updates_per_second": rates["bare"],
        "of_bare": rates["of_bare"] * slower,
    }


def _shares(running: Session, seconds: float) -> dict[str, float]:
    """Shares of the time where every part waits for the one before; "other" is the loop's own
    Python.
    """
    timers = running.timers
    timers.on = True
    running.advance(seconds / 10)
    timers.seconds.clear()
    whole = running.advance(seconds / 2)
    timers.on = False
    parts = ("environment", "transfer", "acting", "learning", "replay")
    shares = {part: timers.seconds.get(part, 0.0) / whole for part in parts}
    return shares | {"other": 1 - sum(timers.seconds.values()) / whole}


def _memory(running: Session) -> dict[str, Any]:
    """Bytes of a member, and of the process and the device."""
    size = lambda tree: (
        sum(leaf.nbytes for leaf in jax.tree.leaves(tree)) / len(running.population.members)
    )
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "agent_bytes_per_member": size(running.state.states),
        "replay_bytes_per_member": size(running.state.memories),
        "resident_gb": psutil.Process().memory_info().rss / 1e9,
        "device_gb": stats["peak_bytes_in_use"] / 1e9 if "peak_bytes_in_use" in stats else None,
    }


def _floor(setup: Setup, rate: float, bare: float, members: int) -> dict[str, Any]:
    devices = len(jax.devices()) if setup.axis != "loop" and jax.default_backend() != "cpu" else 1
    plain = plan_of(setup._replace(members=1, formulation="xla")).population
    needed = work(plain.agent, plain.memory)
    floor = measure_floor(setup.precision, 256 if setup.small else 0)
    limit = devices * floor.updates_per_second(needed)
    return {
        "flops_per_update": needed.flops,
        "bytes_per_update": needed.bytes,
        "measured_bytes_per_second": floor.bytes_per_second,
        "measured_flops_per_second": floor.flops_per_second,
        "floor_updates_per_second": limit,
        "of_floor": rate / limit,
        "bare_of_floor": bare / limit,
        "members": members,
    }


class Comparison(NamedTuple):
    """Two setups in turn in one process; the rows say what one agent step, or one bare update,
    costs.
    """

    name: str
    one: Setup
    other: Setup


def compare(comparison: Comparison) -> dict[str, float]:
    """Medians over rounds of seconds, side by side, and of their ratio other / one."""
    with session(comparison.one) as one, session(comparison.other) as other:
        sides = [
            (each, each.bare(), setup)
            for each, setup in ((one, comparison.one), (other, comparison.other))
        ]
        rounds = []
        for _ in range(2 * ROUNDS):
            found = []
            for running, bare, setup in sides:
                before = running.state.agent_steps
                seconds = running.advance(setup.seconds / 4 / ROUNDS)
                found.append(
                    (
                        seconds / (running.state.agent_steps - before),
                        1 / bare(setup.seconds / 8 / ROUNDS),
                    )
                )
            rounds.append(found)
    kinds = {"seconds_of_an_agent_step_of_all_members": 0, "seconds_of_a_bare_update": 1}
    return {
        f"{name}_{label}": statistics.median(values)
        for name, kind in kinds.items()
        for label, values in {
            "one": [each[0][kind] for each in rounds[1:]],
            "other": [each[1][kind] for each in rounds[1:]],
            "ratio": [each[1][kind] / each[0][kind] for each in rounds[1:]],
        }.items()
    }


def serve(kind: str, description: str) -> None:
    """The measuring process: prints its result as one line of JSON."""
    out, sys.stdout = sys.stdout, sys.stderr
    described = json.loads(description)
    if kind == "measure":
        result: Any = measure(Setup(**described))
    elif kind == "conditions":
        result = conditions("")
    else:
        one, other = Setup(**described["one"]), Setup(**described["other"])
        result = compare(Comparison(described["name"], one, other))
    print(json.dumps(result, default=float), file=out, flush=True)


# In the process that starts them
# --------------------------------------------------------------------------------------


def in_a_process(kind: str, description: dict, timeout: float) -> dict[str, Any]:
    """What ``serve`` prints, or {"error": its last line}."""
    call = f"serve({kind!r}, {json.dumps(description)!r})"
    code = f"from dormant.experiments.benchmark_population import serve; {call}"
    environment = {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.92")
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
            cwd=ROOT,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not finished after {timeout:.0f} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    said = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return {"error": said[-1][:300] if said else f"ended with exit code {done.returncode}"}


def doublings(setup: Setup, most: int, timeout: float) -> list[dict[str, Any]]:
    """Rows for 1, 2, 4, ... members, until one cannot be measured."""
    rows, members = [], setup.members
    while members <= most:
        started = time.monotonic()
        found = in_a_process("measure", setup._replace(members=members)._asdict(), timeout)
        rows.append(
            {
                **setup._asdict(),
                "members": members,
                **found,
                "process_seconds": time.monotonic() - started,
            }
        )
        print(table(rows[-1:], header=members == setup.members), flush=True)
        if "error" in found:
            break
        members *= 2
    return rows


def table(rows: list[dict[str, Any]], header: bool = True) -> str:
    """Rows in columns; one that failed says why."""
    widths = {heading: max(len(heading), 8) for heading in COLUMNS}
    lines = ["  ".join(heading.rjust(width) for heading, width in widths.items())] if header else []
    for row in rows:
        cells = []
        for heading, (key, form) in COLUMNS.items():
            value = row.get(key)
            cells.append(("-" if value is None else form.format(value)).rjust(widths[heading]))
        if "error" in row:
            cells = cells[:4] + [row["error"]]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def comparisons(setup: Setup) -> list[Comparison]:
    """What the paper's agents cost beside each other."""
    sac = setup._replace(case="sac_rr1")
    return [
        Comparison("SAC, replay ratio 1 and 4", sac, sac._replace(case="sac_rr4")),
        Comparison(
            "DQN and DrQ(eps)", setup._replace(case="dqn_rr1"), setup._replace(case="drq_eps_rr1")
        ),
        Comparison("SAC, 1 and 8 members", sac, sac._replace(members=8)),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmark.py population", description=__doc__)
    parser.add_argument(
        "--agents", nargs="*", default=[name for name in CASES if name != "sac_rr4"]
    )
    parser.add_argument("--max_members", type=int, default=4096, help="stop doubling here")
    parser.add_argument("--min_members", type=int, default=1)
    parser.add_argument("--precisions", nargs="+", default=["float32"])
    parser.add_argument("--formulations", nargs="+", default=["auto"])
    parser.add_argument(
        "--capacity", type=int, default=20_000, help="rows of each member's replay memory"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds of one process")
    parser.add_argument(
        "--axis", default="auto", help="how the members are carried out: loop, vmap, auto"
    )
    parser.add_argument(
        "--compare", action="store_true", help="also what the agents cost beside each other"
    )
    parser.add_argument("--small", action="store_true", help="small networks: a rehearsal")
    parser.add_argument("--game", default="", help="another environment than the paper's")
    parser.add_argument(
        "--out", default="results/benchmark", help="folder of the JSON file and the plot"
    )
    args = parser.parse_args(arguments)
    try:
        _run(args)
    except DormantError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


def _run(args: argparse.Namespace) -> None:
    setup = Setup(
        "", args.min_members, "", "", args.axis, args.capacity, args.seconds, args.game, args.small
    )
    wanted = []
    for case in args.agents:
        check_name("agent", case, CASES)
        for precision in args.precisions:
            check_name("precision", precision, PRECISIONS)
            for formulation in ["auto"] if CASES[case].record == "SAC" else args.formulations:
                check_name("formulation", formulation, FORMULATIONS)
                wanted.append(
                    setup._replace(case=case, precision=precision, formulation=formulation)
                )
    stated = in_a_process("conditions", {}, args.timeout)
    if "error" in stated:
        raise DormantError(f"no device can be used: {stated['error']}")
    device = stated["device"].replace(" ", "_").lower()
    path = os.path.join(args.out, f"population_{device}.json")
    os.makedirs(args.out, exist_ok=True)
    everything: dict[str, Any] = {}
    for one in wanted:
        rows = doublings(one, args.max_members, args.timeout)
        facts = {**stated, "game": one.game or CASES[one.case].game, "precision": one.precision}
        name = f"{one.case}, {one.precision}, {one.formulation}" + (
            f", {one.axis}" if one.axis != "auto" else ""
        )
        everything = write(path, name, {"rows": rows, "conditions": facts})
    for each in (
        comparisons(setup._replace(members=1, precision="float32", formulation="auto"))
        * args.compare
    ):
        described = {"name": each.name, "one": each.one._asdict(), "other": each.other._asdict()}
        found = in_a_process("compare", described, args.timeout)
        print(f"{each.name}\n{json.dumps(found, indent=1)}", flush=True)
        everything = write(path, f"compare: {each.name}", {"result": found, "conditions": stated})
    rows = [
        row for entry in everything.values() for row in entry.get("rows", []) if "error" not in row
    ]
    if rows:
        draw_scaling(rows, stated["device"], os.path.join(args.out, f"population_{device}.png"))
    print(f"written: {path}", flush=True)
