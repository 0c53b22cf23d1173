"""Sweeps: check every run before anything is written, show the plan, carry the runs out, say what
became of them.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import psutil

from dormant import results
from dormant.experiments import ROOT
from dormant.experiments.executors import LOG_FILE, Attempt
from dormant.experiments.grid import Job, Sweep, expand
from dormant.experiments.view import View
from dormant.types import DormantError

WRONG_INPUT = 2  # exit code of a run that would fail again


class Checked(NamedTuple):
    """A run that could start, or go on."""

    job: Job
    members: int
    agent_steps: int  # of each member, to the end
    gradient_steps: int  # likewise
    replay_bytes: int  # of all its members
    kind: tuple  # what its speed depends on; runs of one kind are equally fast
    finished: bool
    done: int  # agent steps it has recorded


class Outcome(NamedTuple):
    """What became of a run: status "finished", "skipped" (it was finished before) or "failed".

    Of an attempt at it: "finished", "failed" (it would fail again) or "crashed".
    """

    name: str
    status: str
    attempts: int = 0
    reason: str = ""


def check(sweeps: Sequence[Sweep], base_dir: str, fits: bool = True) -> list[Checked]:
    """Every run of some sweeps planned as it would be, in a process of its own: the devices are
    free again afterwards.

    Args:
      fits: refuse what the memory of this machine cannot hold; False where the runs go to other
        machines.

    Raises:
      DormantError: the first run that could not start, and why.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(check_here, list(sweeps), base_dir, fits).result()


def check_here(sweeps: Sequence[Sweep], base_dir: str, fits: bool = True) -> list[Checked]:
    """``check`` in this process. A run that several sweeps share is there once."""
    jobs = {job.name: job for sweep in sweeps for job in expand(sweep)}
    return [check_job(job, base_dir, fits) for job in jobs.values()]


def check_job(job: Job, base_dir: str, fits: bool = True) -> Checked:
    """One run; see ``check``."""
    from dormant.experiments.run import plan, same_configuration

    folder = os.path.join(base_dir, job.name)
    try:
        planned = plan(job.files, job.bindings, fits)
        same_configuration(folder, planned.config)
    except DormantError as error:
        raise DormantError(f"{job.name}: {error}") from error
    exists = os.path.exists(os.path.join(folder, results.RUN_FILE))
    return Checked(
        job=job,
        members=len(planned.facts["members"]),
        agent_steps=planned.protocol.iterations * planned.protocol.training_steps,
        gradient_steps=planned.gradient_steps,
        replay_bytes=planned.replay_bytes,
        kind=kind(planned.facts),
        finished=exists and results.read_run(folder)["status"] == "finished",
        done=agent_steps_done(folder),
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


def measured_rates(base_dir: str) -> dict[tuple, float]:
    """{kind: gradient steps of one member a second, all members of a run together} by the runs
    below base_dir.
    """
    found: dict[tuple, list[float]] = {}
    for folder in results.find_runs(base_dir):
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


def table(
    checked: Sequence[Checked], workers: int, rates: Mapping[tuple, float], rate: float = 0
) -> str:
    """The plan as text: one line a run, then sums.

    Args:
      rates: of ``measured_rates``. rate: gradient steps a second for every run instead; 0 = not
        given.
    """
    width = max(len(each.job.name) for each in checked)
    lines = [f"{'run':{width}}  members  agent steps  gradient steps     replay  time"]
    seconds: list[float | None] = []
    for each in checked:
        work = (
            0
            if each.finished
            else each.gradient_steps * each.members * (1 - each.done / max(each.agent_steps, 1))
        )
        speed = rate or rates.get(each.kind, 0)
        seconds.append(work / speed if speed else 0.0 if each.finished else None)
        state = (
            "finished"
            if each.finished
            else duration(seconds[-1]) + (" (begun)" if each.done else "")
        )
        counts = f"{each.members:7,}  {each.agent_steps:11,}  {each.gradient_steps:14,}"
        lines.append(
            f"{each.job.name:{width}}  {counts}  {each.replay_bytes / 1e9:6.2f} GB  {state}"
        )
    todo = [each for each in checked if not each.finished]
    known = [value for value in seconds if value is not None]
    total = duration(
        max(sum(known) / workers, max(known, default=0)) if len(known) == len(seconds) else None
    )
    basis = "--steps_per_second" if rate else "the rates measured below base_dir"
    lines += [
        f"{len(checked)} runs ({len(checked) - len(todo)} finished), {sum(each.members for each in todo):,} members, "
        f"{sum(each.members * each.gradient_steps for each in todo):,} gradient steps of single members to go",
        f"time of training with {workers} at once: {total}{f', from {basis}' if total != 'unknown' else ''}",
        f"replay memory of the {workers} largest together: {largest_together(checked, workers) / 1e9:.2f} GB "
        f"(free on this machine: {psutil.virtual_memory().available / 1e9:.2f} GB)",
    ]
    return "\n".join(lines)


def largest_together(checked: Sequence[Checked], workers: int) -> int:
    """Bytes of the replay memories of the runs that could meet."""
    return sum(
        sorted((each.replay_bytes for each in checked if not each.finished), reverse=True)[:workers]
    )


def check_memory_together(checked: Sequence[Checked], workers: int) -> None:
    """Raises a DormantError if the runs that could meet do not fit into this machine's memory
    together.
    """
    wanted, free = largest_together(checked, workers), psutil.virtual_memory().available
    if wanted > free:
        raise DormantError(
            f"the replay memories of {workers} runs at once need {wanted / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
            "free; lower --workers, --members_per_run or replay_capacity"
        )


def duration(seconds: float | None) -> str:
    """3:07:00, or "unknown"."""
    if seconds is None:
        return "unknown"
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def run(
    checked: Sequence[Checked],
    base_dir: str,
    executor: Any,
    retries: int = 2,
    view: View | None = None,
) -> list[Outcome]:
    """Carries the runs out; returns what became of each. A run that fails does not touch the
    others.

    Args:
      executor: of ``executors``. retries: attempts beyond the first at a run that crashed; wrong
        input is not tried again.

    Raises:
      KeyboardInterrupt: after Ctrl-C or SIGTERM, when all runs have saved.
    """
    outcomes = {
        each.job.name: Outcome(each.job.name, "skipped") for each in checked if each.finished
    }
    todo = {each.job.name: each for each in checked if not each.finished}
    view = view or View(base_dir, len(checked))
    view.begin(list(outcomes), {name: each.agent_steps for name, each in todo.items()})
    attempts = dict.fromkeys(todo, 0)
    pending: dict[concurrent.futures.Future, str] = {}

    def submit(name: str) -> None:
        attempts[name] += 1
        pending[executor.submit(attempt(todo[name].job, base_dir))] = name

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
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
        signal.signal(signal.SIGTERM, before)
        view.close()
    return [outcomes[each.job.name] for each in checked]


def attempt(job: Job, base_dir: str) -> Attempt:
    """The command of a run: ``python -m dormant.train``, with this package wherever it was imported
    from.
    """
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
    if code == WRONG_INPUT and line.startswith("dormant:"):
        return Outcome(name, "failed", attempts, line)
    ended = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    return Outcome(name, "crashed", attempts, f"{ended}: {line}" if code > 0 else ended)


def last_line(path: str) -> str:
    """The last thing a run's log says that is not a progress bar."""
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
