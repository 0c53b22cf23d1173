"""Sweeps: plan every run before anything is written, describe the plan, execute it.

What became of each run is an ``Outcome``.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from types import FrameType
from typing import Any, NamedTuple

import psutil

from dormant import results
from dormant.command import WRONG_INPUT, Stopped
from dormant.experiments import ROOT
from dormant.experiments.executors import LOG_FILE, VISIBLE, Attempt
from dormant.experiments.grid import Job, Sweep, expand
from dormant.experiments.view import View
from dormant.types import DormantError


class Planned(NamedTuple):
    """A run that could start, or resume."""

    job: Job
    members: int
    agent_steps: int  # of each member, to the end
    gradient_steps: int  # likewise
    replay_bytes: int  # of all its members
    kind: tuple  # what its speed depends on; runs of one kind are equally fast
    finished: bool
    done: int  # agent steps it has recorded
    warnings: tuple[str, ...] = ()  # settings without effect


class Outcome(NamedTuple):
    """What became of a run: status "finished", "skipped" (it was finished before) or "failed".

    Of an attempt at it: "finished", "failed" (it would fail again) or "crashed".
    """

    name: str
    status: str
    attempts: int = 0
    reason: str = ""


def plan_sweeps(
    sweeps: Sequence[Sweep], base_dir: str, fits: bool = True, gpus: float = 0
) -> tuple[list[Planned], list[str]]:
    """Every run of some sweeps, planned in a process of its own: the devices are free afterwards.

    Returns them, and the names of the devices that runs of this machine can have.

    Args:
      fits: refuse what the memory of this machine cannot hold; False where the runs go to other
        machines.
      gpus: how many devices each run will see; 0 = all.

    Raises:
      DormantError: the first run that could not start, and why.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        planned = pool.submit(plan_here, list(sweeps), base_dir, fits, gpus)
        return planned.result(), pool.submit(devices_here).result()


def devices_here() -> list[str]:
    """The GPUs of this process as CUDA_VISIBLE_DEVICES names them; [] where there is none."""
    import jax

    count = len(jax.devices()) if jax.default_backend() != "cpu" else 0
    visible = os.environ.get(VISIBLE, "")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def plan_here(
    sweeps: Sequence[Sweep], base_dir: str, fits: bool = True, gpus: float = 0
) -> list[Planned]:
    """The runs of ``plan_sweeps``, in this process. One that several sweeps share is there once."""
    jobs = {job.name: job for sweep in sweeps for job in expand(sweep)}
    return [plan_job(job, base_dir, fits, gpus) for job in jobs.values()]


def plan_job(job: Job, base_dir: str, fits: bool = True, gpus: float = 0) -> Planned:
    """One run; see ``plan_sweeps``."""
    from dormant.experiments.run import plan, state_of

    folder = os.path.join(base_dir, job.name)
    try:
        planned = plan(job.files, job.bindings, fits, gpus)
        state = state_of(folder, planned.config)
    except DormantError as error:
        raise DormantError(f"{job.name}: {error}") from error
    return Planned(
        job=job,
        members=len(planned.facts["members"]),
        agent_steps=planned.protocol.iterations * planned.protocol.training_steps,
        gradient_steps=planned.gradient_steps,
        replay_bytes=planned.replay_bytes,
        kind=kind(planned.facts),
        finished=state == "finished",
        done=agent_steps_done(folder),
        warnings=tuple(planned.facts["warnings"]),
    )


def kind(facts: Mapping[str, Any]) -> tuple:
    """What the time of a gradient step depends on."""
    return tuple(facts.get(name) for name in ("agent", "title", "network", "width", "batch_size"))


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


def measured_rates(folders: Iterable[str]) -> dict[tuple, float]:
    """{kind: gradient steps of one member a second, all members of a run together} by the runs in
    these folders.
    """
    found: dict[tuple, list[float]] = {}
    for folder in folders:
        try:
            facts = results.read_run(folder)
            rows = results.read_measurements(os.path.join(folder, results.TIMING_FILE))
        except (DormantError, OSError):  # hardly begun
            continue
        rates = [
            r.value for r in rows if r.member == 0 and r.metric == "time/gradient_steps_per_second"
        ]
        rates = sorted(rates[1:])  # the first includes compilation
        if rates:
            found.setdefault(kind(facts), []).append(rates[len(rates) // 2] * len(facts["members"]))
    return {each: sorted(rates)[len(rates) // 2] for each, rates in found.items()}


def neighbours(base_dir: str) -> list[str]:
    """base_dir, and the runs in the same folder: those that may be timed already."""
    parent = os.path.dirname(os.path.abspath(base_dir))
    beside = sorted(entry.path for entry in os.scandir(parent)) if os.path.isdir(parent) else []
    return [path for path in beside if os.path.exists(os.path.join(path, results.RUN_FILE))]


def seconds_left(planned: Planned, rates: Mapping[tuple, float], rate: float = 0) -> float | None:
    """Of a run's training, or None where no rate is known; see ``describe``."""
    if planned.finished:
        return 0.0
    share = 1 - planned.done / max(planned.agent_steps, 1)
    speed = rate or rates.get(planned.kind, 0)
    return planned.gradient_steps * planned.members * share / speed if speed else None


def describe(
    planned: Sequence[Planned], workers: int, rates: Mapping[tuple, float], rate: float = 0
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
    known = [value for value in seconds if value is not None]
    total = max(sum(known) / workers, max(known, default=0)) if len(known) == len(seconds) else None
    basis = "--steps_per_second" if rate else "the rates measured below base_dir"
    steps = sum(each.members * each.gradient_steps for each in todo)
    free = psutil.virtual_memory().available
    lines += [
        f"{len(planned)} runs ({len(planned) - len(todo)} finished), "
        f"{sum(each.members for each in todo):,} members, "
        f"{steps:,} gradient steps of single members to go",
        f"time of training with {workers} at once: {duration(total)}"
        + (f", from {basis}" if total is not None else ""),
        f"replay memory of the {workers} largest together: "
        f"{largest_together(planned, workers) / 1e9:.2f} GB "
        f"(free on this machine: {free / 1e9:.2f} GB)",
    ]
    return "\n".join(lines)


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


def execute_all(
    planned: Sequence[Planned],
    base_dir: str,
    executor: Any,
    retries: int = 2,
    view: View | None = None,
) -> list[Outcome]:
    """Executes the runs; returns what became of each. One that fails does not touch the others.

    Args:
      executor: of ``executors``. retries: attempts beyond the first at a run that crashed; wrong
        input is not tried again.

    Raises:
      command.Stopped: after Ctrl-C or SIGTERM, when all runs have saved.
    """
    outcomes = {
        each.job.name: Outcome(each.job.name, "skipped") for each in planned if each.finished
    }
    todo = {each.job.name: each for each in planned if not each.finished}
    view = view or View(base_dir, len(planned))
    view.begin(list(outcomes), {name: each.agent_steps for name, each in todo.items()})
    attempts = dict.fromkeys(todo, 0)
    pending: dict[concurrent.futures.Future, str] = {}

    def submit(name: str) -> None:
        attempts[name] += 1
        pending[executor.submit(attempt(todo[name].job, base_dir))] = name

    stops = (signal.SIGTERM, signal.SIGINT)
    before = {signum: signal.signal(signum, _stop) for signum in stops}
    try:
        for name in todo:
            submit(name)
        while pending:
            done = concurrent.futures.wait(pending, 0.2, concurrent.futures.FIRST_COMPLETED).done
            for future in done:
                name = pending.pop(future)
                outcome = judge(name, base_dir, future, attempts[name])
                if outcome.status == "crashed" and attempts[name] <= retries:
                    view.say(
                        f"{name}: {outcome.reason}; tried again ({attempts[name]} of {retries})"
                    )
                    submit(name)
                else:
                    status = "finished" if outcome.status == "finished" else "failed"
                    outcomes[name] = outcome._replace(status=status)
                    view.end(name, status, outcome.reason)
            view.refresh(lambda name: agent_steps_done(os.path.join(base_dir, name)))
    except KeyboardInterrupt:
        view.say("asked to stop; waiting for the runs to save")
        executor.stop()
        raise
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        view.close()
    return [outcomes[each.job.name] for each in planned]


def _stop(signum: int, frame: FrameType | None) -> None:
    raise Stopped(signum)


def attempt(job: Job, base_dir: str) -> Attempt:
    """The command of a run: ``python -m dormant.train``, with this package wherever it lies."""
    folder = os.path.abspath(os.path.join(base_dir, job.name))
    command = [sys.executable, "-m", "dormant.train", "--base_dir", folder]
    command += ["--gin_files", *job.files] if job.files else []
    command += ["--gin_bindings", *job.bindings]
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH", "")]))
    return Attempt(
        folder, tuple(command), {"PYTHONPATH": path, "TQDM_MININTERVAL": "30"}, os.getcwd()
    )


def judge(name: str, base_dir: str, future: concurrent.futures.Future, attempts: int) -> Outcome:
    """What an attempt has come to."""
    error = future.exception()
    if error is not None:
        first = (str(error).strip().splitlines() or [""])[0]
        return Outcome(name, "crashed", attempts, f"{type(error).__name__}: {first}")
    code = future.result()
    if code == 0:
        return Outcome(name, "finished", attempts)
    line = last_line(os.path.join(base_dir, name, LOG_FILE))
    if code == WRONG_INPUT:
        return Outcome(name, "failed", attempts, line)
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return Outcome(name, "crashed", attempts, f"{ended}: {line}" if code > 0 else ended)


def last_line(path: str) -> str:
    """The last line of a run's log that is not a progress bar."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 16384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip() and " steps/s" not in line]
    return lines[-1] if lines else ""


def failures(outcomes: Iterable[Outcome]) -> str:
    """A table of the runs that failed, empty if none has."""
    failed = [each for each in outcomes if each.status == "failed"]
    if not failed:
        return ""
    width = max(len(each.name) for each in failed)
    lines = [
        f"{len(failed)} runs failed (their {LOG_FILE} has more; the same command tries them again):"
    ]
    return "\n".join(
        lines
        + [f"  {each.name:{width}}  attempts {each.attempts}  {each.reason}" for each in failed]
    )
