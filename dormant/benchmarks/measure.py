"""What the measuring process measures: a whole training loop, its bare update, the roofline."""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import psutil

from dormant.benchmarks.record import median
from dormant.benchmarks.roofline import measure_roofline, work
from dormant.benchmarks.session import (
    ALONE,
    RECYCLING_PERIOD,
    Session,
    Setup,
    plan_of,
    session,
)

ROUNDS = 5  # the loop and the bare update are measured in turn so many times
Report = Callable[[dict[str, Any]], None]


def measure(setup: Setup, report: Report = lambda row: None) -> dict[str, Any]:
    """One row of the table. report: is called with the figures so far, the headline first."""
    compiling: list[float] = []

    def note(event: str, duration_secs: float, **_: Any) -> None:
        if "/compile/" in event:
            compiling.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(note)
    started = time.perf_counter()
    row: dict[str, Any] = setup._asdict()
    with session(setup) as running:
        row |= {"axis": running.axis_name, "members": running.members}
        bare = running.bare()
        bare(0.0)
        row |= {
            "compile_seconds": sum(compiling),
            "seconds_to_first_measurement": time.perf_counter() - started,
        }
        periodic = running.periodic()
        rates = _rates(running, bare, setup)
        row |= _full_loop(running, rates, periodic)
        row |= {f"seconds_of_one_{name}": seconds for name, seconds in periodic.items()}
        report(row)
        shares = _shares(running, setup.seconds)
        row |= {f"share_{part}": share for part, share in shares.items()}
        row |= _memory(running)
        report(row)
    return row | _roofline(setup, row)


def _rates(running: Session, bare: Callable[[float], float], setup: Setup) -> dict[str, float]:
    """Members' gradient and agent steps a second between recyclings and logs, in turn with the bare
    update.
    """
    loops, bares = [], []
    for _ in range(ROUNDS):
        agent_steps, gradient_steps = running.agent_steps, running.gradient_steps
        seconds = running.advance(setup.seconds / ROUNDS)
        agent_rate = (running.agent_steps - agent_steps) / seconds
        loops.append((agent_rate, (running.gradient_steps - gradient_steps) / seconds))
        bares.append(bare(setup.seconds / ROUNDS / 2))
    members = running.members
    of_bare = [members * one / other for (_, one), other in zip(loops, bares)]
    return {
        "agent": members * statistics.median(agent for agent, _ in loops),
        "gradient": members * statistics.median(gradient for _, gradient in loops),
        "bare": statistics.median(bares),
        "of_bare": statistics.median(of_bare),
    }


def _full_loop(
    running: Session, rates: dict[str, float], periodic: dict[str, float]
) -> dict[str, float]:
    """Rates with one recycling each RECYCLING_PERIOD gradient steps and the logs at the run's own
    period.

    The windows have none of them: these two are timed by themselves and added at their period.
    """
    step = running.members / rates["gradient"]  # seconds of one gradient step of every member
    recycling = periodic["recycling"] / RECYCLING_PERIOD
    logging = periodic["logging"] / running.protocol.log_period
    slower = step / (step + recycling + logging)
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
    stats = jax.devices()[0].memory_stats() or {}
    agent, replay = running.bytes_per_member()
    return {
        "agent_bytes_per_member": agent,
        "replay_bytes_per_member": replay,
        "resident_gb": psutil.Process().memory_info().rss / 1e9,
        "device_gb": stats["peak_bytes_in_use"] / 1e9 if "peak_bytes_in_use" in stats else None,
    }


def _roofline(setup: Setup, row: dict[str, Any]) -> dict[str, Any]:
    """The machine's limit for the row's gradient step, and how near to it the row is."""
    devices = len(jax.devices()) if setup.axis != "loop" and jax.default_backend() != "cpu" else 1
    plain = plan_of(setup._replace(members=1, formulation="xla")).population
    needed = work(plain.agent, plain.memory)
    roofline = measure_roofline(setup.precision, 256 if setup.small else 0)
    limit = devices * roofline.updates_per_second(needed)
    return {
        "flops_per_update": needed.flops,
        "bytes_per_update": needed.bytes,
        "measured_bytes_per_second": roofline.bytes_per_second,
        "measured_flops_per_second": roofline.flops_per_second,
        "roofline_updates_per_second": limit,
        "of_roofline": row["gradient_steps_per_second"] / limit,
        "bare_of_roofline": row["bare_updates_per_second"] / limit,
    }


class Comparison(NamedTuple):
    """Two setups in turn in one process; the rows state what one agent step, or one bare update,
    costs.
    """

    name: str
    one: Setup
    other: Setup


def compare(comparison: Comparison) -> dict[str, float]:
    """Medians over rounds of seconds, side by side, and of their ratio other / one."""
    with session(comparison.one) as one, session(comparison.other) as other:
        setups = (comparison.one, comparison.other)
        sides = [(each, each.bare(), setup) for each, setup in zip((one, other), setups)]
        rounds = [[_costs(*side) for side in sides] for _ in range(2 * ROUNDS)][1:]
    kinds = {"seconds_of_an_agent_step_of_all_members": 0, "seconds_of_a_bare_update": 1}
    found = {}
    for name, kind in kinds.items():
        values = [(first[kind], second[kind]) for first, second in rounds]
        found[f"{name}_one"] = median(first for first, _ in values)
        found[f"{name}_other"] = median(second for _, second in values)
        found[f"{name}_ratio"] = median(second / first for first, second in values)
    return found


def _costs(running: Session, bare: Callable[[float], float], setup: Setup) -> tuple[float, float]:
    """Seconds of an agent step of all members, and of a bare update."""
    before = running.agent_steps
    seconds = running.advance(setup.seconds / 4 / ROUNDS)
    return seconds / (running.agent_steps - before), 1 / bare(setup.seconds / 8 / ROUNDS)


def first_steps(game: str) -> dict[str, Any]:
    """The first gradient steps of one DQN member, after 20,000 agent steps.

    Returns the time by the clock, and the bytes that are resident then, with every page of the
    replay memory touched.
    """
    setup = Setup("dqn_rr1", capacity=100_000, game=game)
    with session(setup, ALONE, "DQN.min_replay_history=20000", saved=True):
        return {"time": time.time(), "resident_bytes": psutil.Process().memory_info().rss}


def profile(setup: Setup, path: str) -> str:
    """Writes a compressed trace of some calls of the learner, warm, to PATH (.tar.gz)."""
    with session(setup) as running, tempfile.TemporaryDirectory() as folder:
        running.advance(agent_steps=4 * running.update_period)
        with jax.profiler.trace(folder):
            running.advance(agent_steps=8 * running.update_period)
        return shutil.make_archive(path.removesuffix(".tar.gz"), "gztar", folder)
