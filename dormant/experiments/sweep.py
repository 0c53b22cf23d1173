"""Sweeps: plan every run before anything is written, describe the plan, execute it.

What became of each run is an ``Outcome``.
"""

import concurrent.futures
import multiprocessing
import multiprocessing.resource_tracker
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from dormant.command import WRONG_INPUT, Stopped, stop_with_parent
from dormant.experiments import ROOT
from dormant.experiments.estimates import Planned, agent_steps_done, kind
from dormant.experiments.executors import LOG_FILE, VISIBLE, Attempt
from dormant.experiments.grid import Job, Sweep, expand
from dormant.experiments.summary import collect
from dormant.experiments.view import View
from dormant.types import DormantError

if TYPE_CHECKING:
    from dormant.experiments.run import Plan

# what W&B's user decides for every run, wherever it is executed; the key is each machine's own
WANDB = ("WANDB_MODE", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_BASE_URL")


class Outcome(NamedTuple):
    """What became of a run: status "finished", "skipped" (it was finished before) or "failed".

    Of an attempt at it: "finished", "failed" (it would fail again) or "crashed".
    """

    name: str
    status: str
    attempts: int = 0
    reason: str = ""


def plan_sweeps(
    sweeps: Sequence[Sweep],
    base_dir: str,
    fits: bool = True,
    gpus: float = 0,
    memory: float | None = 0,
) -> tuple[list[Planned], list[str]]:
    """Every run of some sweeps, planned in a process of its own: the devices are free afterwards.

    Returns them, and the names of the devices that runs of this machine can have.

    Args:
      fits: refuse what the memory of this machine cannot hold; False where the runs go to other
        machines.
      gpus: how many devices each run will see; 0 = all.
      memory: bytes for the replay memories of a run, by which members are divided into runs;
        None = of the GPUs that it will see; 0 = members are not divided.

    Raises:
      DormantError: the first run that could not start, and why.
    """
    with planner() as pool:
        try:
            planned = pool.submit(plan_here, list(sweeps), base_dir, fits, gpus, memory)
            return planned.result(), pool.submit(devices_here).result()
        except KeyboardInterrupt:  # nothing would be lost: its end is not waited for
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def planner() -> concurrent.futures.ProcessPoolExecutor:
    """A process that loads jax, so that this one does not; it ends with this one."""
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        1, mp_context=context, initializer=stop_with_parent, initargs=(os.getpid(),)
    )
    # Ctrl-C in the terminal is this process's alone: the other inherits that it is blocked. What
    # comes meanwhile is not lost. The tracker would unblock it when it starts, so it starts before.
    multiprocessing.resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    pool.submit(int)  # starts it
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pool


def devices_here() -> list[str]:
    """The GPUs of this process as CUDA_VISIBLE_DEVICES names them; [] where there is none.

    A TPU's chips are all one process's, so they are none.
    """
    import jax

    count = len(jax.devices()) if jax.default_backend() == "gpu" else 0
    visible = os.environ.get(VISIBLE, "")
    return visible.split(",")[:count] if visible else [str(index) for index in range(count)]


def plan_here(
    sweeps: Sequence[Sweep],
    base_dir: str,
    fits: bool = True,
    gpus: float = 0,
    memory: float | None = 0,
) -> list[Planned]:
    """The runs of ``plan_sweeps``, in this process. One that several sweeps share is there once."""
    from dormant.experiments.packing import packed

    packs = [packed(sweep, base_dir, memory, gpus) for sweep in sweeps]
    jobs = {job.name: job for sweep in packs for job in expand(sweep)}
    return [plan_job(job, base_dir, fits, gpus) for job in jobs.values()]


def refilled_steps(planned: "Plan", done: int) -> int:
    """Agent steps that are repeated when a run is resumed."""
    population, protocol = planned.population, planned.protocol
    if population.agent.spec.on_device:
        return 0
    if planned.replay_bytes <= protocol.checkpoint_replay_gb * 1e9:  # its rows are kept
        return done % protocol.training_steps
    reached = max(done - population.memory.capacity, 0)
    return done - reached // protocol.training_steps * protocol.training_steps  # whole iterations


def plan_job(job: Job, base_dir: str, fits: bool = True, gpus: float = 0) -> Planned:
    """One run; see ``plan_sweeps``."""
    from dormant.experiments.run import disk_bytes, plan, state_of

    folder = os.path.join(base_dir, job.name)
    try:
        planned = plan(job.files, job.bindings, fits, gpus)
        state = state_of(folder, planned.config)
    except DormantError as error:
        raise DormantError(f"{job.name}: {error}") from error
    protocol, done = planned.protocol, agent_steps_done(folder)
    evaluates = protocol.evaluation_steps or protocol.evaluation_episodes
    return Planned(
        job=job,
        members=len(planned.facts["members"]),
        agent_steps=protocol.iterations * protocol.training_steps,
        gradient_steps=planned.gradient_steps,
        replay_bytes=planned.replay_bytes,
        kind=kind(planned.facts),
        finished=state == "finished",
        done=done,
        warnings=tuple(planned.facts["warnings"]),
        iterations=protocol.iterations if evaluates else 0,
        refilled=refilled_steps(planned, done),
        disk_bytes=disk_bytes(planned),
        kept_bytes=disk_bytes(planned, kept=1),
    )


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
    collect_or_say(base_dir, list(outcomes), view.say)
    view.begin(list(outcomes), {name: each.agent_steps for name, each in todo.items()})
    attempts = dict.fromkeys(todo, 0)
    pending: dict[concurrent.futures.Future, str] = {}

    def submit(name: str) -> None:
        attempts[name] += 1
        pending[executor.submit(attempt(todo[name].job, base_dir))] = name

    stop = _Stop()
    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
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
                    if status == "finished":
                        collect_or_say(base_dir, [name], view.say)
                    view.end(name, status, outcome.reason)
            view.refresh(lambda name: agent_steps_done(os.path.join(base_dir, name)))
    except KeyboardInterrupt:
        executor.stop()
        view.say("asked to stop; waiting for the runs to save")
        raise
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        view.close()
    return [outcomes[each.job.name] for each in planned]


def collect_or_say(base_dir: str, names: Sequence[str], tell: Callable[[str], None]) -> None:
    """``summary.collect``; what cannot be read does not stop the other runs."""
    try:
        unread = collect(base_dir, names)
    except (DormantError, OSError) as error:
        unread = [str(error)]
    for line in unread:
        tell(f"not in the table of last numbers: {line}")


class _Stop:
    """Raises at the first signal alone: a second one must not keep the runs from being stopped, and
    `timeout` sends two.
    """

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            raise Stopped(signum)


def attempt(job: Job, base_dir: str) -> Attempt:
    """The command of a run: ``python -m dormant.train``, with this package wherever it lies."""
    folder = os.path.abspath(os.path.join(base_dir, job.name))
    command = [sys.executable, "-m", "dormant.train", "--base_dir", folder]
    command += ["--gin_files", *job.files] if job.files else []
    command += ["--gin_bindings", *job.bindings]
    path = os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH", "")]))
    group = os.environ.get("WANDB_RUN_GROUP") or os.path.basename(os.path.abspath(base_dir))
    environment = {"PYTHONPATH": path, "TQDM_MININTERVAL": "30", "WANDB_RUN_GROUP": group}
    environment |= {name: os.environ[name] for name in WANDB if name in os.environ}
    return Attempt(folder, tuple(command), environment, os.getcwd())


def command_line(job: Job, base_dir: str) -> str:
    """The same as one line for a shell, on this or another machine with the same folders.

    Raises:
      DormantError: a binding or a path of several lines.
    """
    made = attempt(job, base_dir)
    environment = [f"{name}={value}" for name, value in made.environment.items()]
    words = ["exec", "env", *environment, *made.command]
    line = f"cd {shlex.quote(made.cwd)} && {shlex.join(words)}"
    if "\n" in line:
        broken = next(word for word in (made.cwd, *words) if "\n" in word)
        raise DormantError(f"{broken!r} is of several lines; one line a run cannot hold it")
    return line


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
