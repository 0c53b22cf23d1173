"""What a plan will take: time, memory and disk, from what runs have measured before."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psutil

from dormant import results
from dormant.experiments.grid import Job
from dormant.types import DormantError


class Planned(NamedTuple):
    """A run that could start, or resume."""

    job: Job
    members: int
    agent_steps: int  # of each member, to the end
    gradient_steps: int  # likewise
    replay_bytes: int  # of all its members
    kind: tuple  # what its speed depends on (``kind``)
    finished: bool
    done: int  # agent steps it has recorded
    warnings: tuple[str, ...] = ()  # settings without effect
    iterations: int = 0  # with an evaluation; 0 = none has one
    refilled: int = 0  # agent steps of each member to be repeated when it is resumed
    disk_bytes: int = 0  # at most, while it trains
    kept_bytes: int = 0  # once it is finished


class Rates(NamedTuple):
    """How fast runs are that are alike. 0 = not measured."""

    gradient_steps: float = 0.0  # of single members a second, all members of a run together
    evaluation: float = 0.0  # seconds of one member's evaluation, of one iteration
    refilling: float = 0.0  # agent steps of single members a second, all members together


_LEARNER = ("agent", "title", "network", "width", "batch_size")


def kind(facts: Mapping[str, Any]) -> tuple:
    """What the time of a gradient step depends on, with the agent steps beside it."""
    return tuple(facts.get(name) for name in (*_LEARNER, "replay_ratio", "game"))


def _alike(own: tuple) -> tuple[tuple, ...]:
    """Keys of the rates for a kind: its own, then any game's, then any replay ratio's."""
    return own, own[:-1], own[:-2]


def _known(rates: Mapping[tuple, Rates], own: tuple) -> Rates:
    return next((rates[key] for key in _alike(own) if key in rates), Rates())


def agent_steps_done(folder: str) -> int:
    """The clock of the last complete row of a run's metrics; 0 where there is none."""
    path = os.path.join(folder, results.METRICS_FILE)
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 4096))
            lines = file.read().split(b"\n")[:-1]
        return int(lines[-1].split(b",")[results.COLUMNS.index("agent_steps")])
    except (OSError, IndexError, ValueError):  # not begun, or only its head
        return 0


RATE, EVALUATION, REFILLING = (
    "time/gradient_steps_per_second",
    "time/evaluation_seconds",
    "time/refilled_steps_per_second",
)


def measured_rates(folders: Iterable[str]) -> dict[tuple, Rates]:
    """{kind, or what kinds have in common (``_alike``): how fast} by the runs in these folders."""
    found: dict[tuple, list[Rates]] = {}
    for folder in folders:
        try:
            facts = results.read_run(folder)
            rows = results.read_measurements(os.path.join(folder, results.TIMING_FILE))
        except (DormantError, OSError):  # hardly begun, or damaged
            continue
        members = len(facts["members"])

        def of(metric: str, first: int = 0, rows: Sequence = rows) -> float:
            return _middle([r.value for r in rows if r.member == 0 and r.metric == metric][first:])

        rate = of(RATE, 1)  # the first includes compilation
        if rate:
            mine = Rates(rate * members, of(EVALUATION) / members, of(REFILLING) * members)
            for key in _alike(kind(facts)):
                found.setdefault(key, []).append(mine)
    return {
        each: Rates(*(_middle([value for value in column if value]) for column in zip(*rates)))
        for each, rates in found.items()
    }


def _middle(values: Sequence[float]) -> float:
    """The median (the upper one of two); 0 without values."""
    return sorted(values)[len(values) // 2] if values else 0.0


def neighbours(base_dir: str) -> list[str]:
    """base_dir, and the runs in the same folder: those that may be timed already."""
    own = os.path.abspath(base_dir)
    try:
        beside = sorted(entry.path for entry in os.scandir(os.path.dirname(own)))
    except OSError:  # it is not there, or not ours to list, as /home often is
        beside = [own]
    return [path for path in beside if os.path.exists(os.path.join(path, results.RUN_FILE))]


def seconds_left(planned: Planned, rates: Mapping[tuple, Rates], rate: float = 0) -> float | None:
    """Of a run's training, evaluation and refilling; None where no rate is known.

    What has not been measured of the last two counts nothing (``uncounted``).
    """
    if planned.finished:
        return 0.0
    share = 1 - planned.done / max(planned.agent_steps, 1)
    measured = _known(rates, planned.kind)
    speed = rate or measured.gradient_steps
    if not speed:
        return None
    seconds = planned.gradient_steps * share / speed
    seconds += planned.iterations * share * measured.evaluation
    if measured.refilling:
        seconds += planned.refilled / measured.refilling
    return seconds * planned.members


def uncounted(planned: Sequence[Planned], rates: Mapping[tuple, Rates]) -> list[str]:
    """Which parts of an estimate have not been measured."""
    todo = [(each, _known(rates, each.kind)) for each in planned if not each.finished]
    found = {
        "evaluation": any(each.iterations and not known.evaluation for each, known in todo),
        "refilling": any(each.refilled and not known.refilling for each, known in todo),
    }
    return [name for name, missing in found.items() if missing]


def describe(
    planned: Sequence[Planned], workers: int, rates: Mapping[tuple, Rates], rate: float = 0
) -> str:
    """The plan as text: one line a run, then sums.

    Args:
      rates: of ``measured_rates``. rate: gradient steps a second for every run instead; 0 = not
        given.
    """
    width = max(len(each.job.name) for each in planned)
    lines = [f"{'run':{width}}  members  agent steps  gradient steps     replay  time"]
    seconds = [seconds_left(each, rates, rate) for each in planned]
    for each, left in zip(planned, seconds):
        state = "finished" if each.finished else duration(left) + (" (begun)" if each.done else "")
        counts = f"{each.members:7,}  {each.agent_steps:11,}  {each.gradient_steps:14,}"
        lines.append(
            f"{each.job.name:{width}}  {counts}  {each.replay_bytes / 1e9:6.2f} GB  {state}"
        )
    todo = [each for each in planned if not each.finished]
    steps = sum(each.members * each.gradient_steps for each in todo)
    free = psutil.virtual_memory().available
    lines += [
        f"{len(planned)} runs ({len(planned) - len(todo)} finished), "
        f"{sum(each.members for each in todo):,} members, "
        f"{steps:,} gradient steps of single members to go",
        _time(planned, seconds, workers, rates, rate),
        f"replay memory of the {workers} largest together: "
        f"{largest_together(planned, workers) / 1e9:.2f} GB "
        f"(free on this machine: {free / 1e9:.2f} GB)",
        f"disk: {_disk(planned, workers) / 1e9:.2f} GB at most while they train, "
        f"{sum(each.kept_bytes for each in planned) / 1e9:.2f} GB kept (a finished run keeps one "
        "checkpoint)",
    ]
    return "\n".join(lines)


def _time(
    planned: Sequence[Planned],
    seconds: Sequence[float | None],
    workers: int,
    rates: Mapping[tuple, Rates],
    rate: float,
) -> str:
    known = [value for value in seconds if value is not None]
    if len(known) < len(seconds):
        return (
            f"time with {workers} at once: unknown; known once such a run has been trained for an "
            "iteration below base_dir, or guess --steps_per_second"
        )
    total = max(sum(known) / workers, max(known, default=0))
    basis = "--steps_per_second" if rate else "the rates measured below base_dir"
    missing = uncounted(planned, rates)
    without = f"; {' and '.join(missing)} not counted: never measured here" if missing else ""
    return f"time with {workers} at once: {duration(total)}, from {basis}{without}"


def _disk(planned: Sequence[Planned], workers: int) -> int:
    """Bytes: what is kept of all runs, and what those that train at once have besides."""
    extra = (each.disk_bytes - each.kept_bytes for each in planned if not each.finished)
    return sum(each.kept_bytes for each in planned) + sum(sorted(extra, reverse=True)[:workers])


def largest_together(planned: Sequence[Planned], workers: int) -> int:
    """Bytes of the replay memories of the runs that could meet."""
    return sum(
        sorted((each.replay_bytes for each in planned if not each.finished), reverse=True)[:workers]
    )


def check_memory_together(planned: Sequence[Planned], workers: int) -> None:
    """Raises a DormantError if the runs that could meet do not fit into the memory together."""
    wanted, free = largest_together(planned, workers), psutil.virtual_memory().available
    if wanted > free:
        raise DormantError(
            f"the replay memories of {workers} runs at once need {wanted / 1e9:.1f} GB and "
            f"{free / 1e9:.1f} GB are free; lower --workers, --members_per_run or replay_capacity"
        )


def duration(seconds: float | None) -> str:
    """3:07:00, or "unknown"."""
    if seconds is None:
        return "unknown"
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"
