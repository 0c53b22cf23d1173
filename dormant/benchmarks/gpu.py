"""Everything that an accelerator is needed for, on a machine without a network.

A check of the machine, then stages, the most important first. Each is a process of at most nine
minutes; one that fails costs nothing but itself. Each figure is written as soon as it is known.
Given again, the command resumes: the machine is checked again, stages that ended well are not
repeated, training runs resume from their checkpoints.

OUT then holds gpu.json (every figure), gpu.txt (the table) and gpu.tar.gz (logs, profiles, the
runs' curves). WORK holds what a resume needs.

examples:
  The headline within 8 minutes:
    python -m dormant.benchmarks gpu --quick --out gpu_quick
  Everything; the names of its stages; two kinds of them:
    python -m dormant.benchmarks gpu --out gpu
    python -m dormant.benchmarks gpu --out gpu --list
    python -m dormant.benchmarks gpu --out gpu --stages "dqn_rr1/*" "tests/*"
  Does the command work here? Small networks, minutes on a laptop:
    python -m dormant.benchmarks gpu --quick --rehearse --out /tmp/gpu
"""

import argparse
import os
import shutil
import subprocess
import tarfile
import time
from typing import IO, Any, NamedTuple

from dormant.atomic import atomic
from dormant.benchmarks import processes
from dormant.benchmarks.population import table
from dormant.benchmarks.record import read, write
from dormant.benchmarks.stages import CHECK, Plan, Stage, choose, stages
from dormant.command import a_path
from dormant.experiments import ROOT
from dormant.types import DormantError

QUICK_SECONDS = 460.0  # of the whole command with --quick
LEAST_SECONDS = 20.0  # less than that is not begun
DRIVER_SECONDS = 10.0  # that the driver has to say its version
STOPPED = (143, -15)  # exit codes of a run that was asked to stop and has saved
KEPT = ("metrics.csv", "timing.csv", "run.json", "config.gin", "log.txt")  # of a training run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=a_path, help="folder of the three files of results")
    add("--work", type=a_path, help="folder that a resume needs (default: runs/gpu...)")
    add("--quick", action="store_true", help="the headline only, within 8 minutes")
    add("--stages", nargs="+", default=[], metavar="NAME", help="of --list; * matches anything")
    add("--list", action="store_true", help="print the stages' names, execute nothing")
    add("--minutes", type=float, default=60.0, help="of real training, shared by the two runs")
    add("--seeds", type=int, default=4, help="of each method in a run")
    add("--max_members", type=int, default=4096, help="stop doubling here")
    add("--rehearse", action="store_true", help="small, on any machine")


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or 1 if a stage failed."""
    plan = Plan(
        arguments.quick,
        arguments.minutes,
        arguments.seeds,
        arguments.max_members,
        arguments.rehearse,
    )
    _check_plan(plan, arguments.out)
    default = "gpu" + "_quick" * plan.quick + "_rehearsal" * plan.rehearse
    work = os.path.abspath(arguments.work or os.path.join("runs", default))
    listed = choose(stages(plan, work), arguments.stages)
    if arguments.list:
        print("\n".join(stage.name for stage in listed))
        return 0
    if not arguments.out:
        raise DormantError("--out is wanted: the folder of the results")
    outcome = Runner(plan, os.path.abspath(arguments.out), work).run(listed)
    print(f"written: {arguments.out}")
    for kind, names in outcome._asdict().items():
        if names:
            print(f"{kind}: {', '.join(names)}")
    return 1 if outcome.failed else 0


def _check_plan(plan: Plan, out: str | None) -> None:
    """Raises a DormantError for numbers out of range and a folder that is none."""
    for name in ("minutes", "seeds", "max_members"):
        if not getattr(plan, name) > 0:
            raise DormantError(f"--{name} is {getattr(plan, name)}; it must be positive")
    if out and os.path.exists(out) and not os.path.isdir(out):
        raise DormantError(f"--out {out!r} is a file; name a folder")


class Outcome(NamedTuple):
    """Names of stages."""

    failed: list[str]
    waiting: list[str]  # cut or not begun, as the command's time was over


class Runner:
    """Runs stages, keeps in WORK how each ended and what it found, and copies that to OUT.

    Raises:
      DormantError: WORK holds the stages of another plan.
    """

    def __init__(self, plan: Plan, out: str, work: str):
        self._plan, self._out, self._work = plan, out, work
        self._path = os.path.join(work, "gpu.json")
        self._state = read(self._path) or {"plan": plan._asdict(), "stages": {}}
        if self._state["plan"] != plan._asdict():
            raise DormantError(f"{work} holds stages of another plan; name another --work")
        self._until = time.monotonic() + (QUICK_SECONDS if plan.quick else float("inf"))
        self._more: dict[str, str] = {}  # variables of the stages' environments
        if plan.quick:  # the time for compiling is short; programs of equal stages are kept
            self._more = {"JAX_COMPILATION_CACHE_DIR": os.path.join(work, "compiled")}

    def run(self, listed: list[Stage]) -> Outcome:
        """Runs what has not ended well before, as far as the time reaches."""
        outcome, series = Outcome([], []), set()
        if self._state["stages"]:  # of earlier calls: OUT may be another
            self._export()
            self._archive()
        measures = any(not self._done(stage) for stage in listed if stage.name != CHECK)
        for stage in listed:
            seconds = min(stage.limit, self._until - time.monotonic())
            # This call's machine may be another: it is checked again before anything is measured.
            if self._done(stage) and not (stage.name == CHECK and measures):
                print(f"{stage.name}: done before", flush=True)
            elif stage.series in series:
                print(f"{stage.name}: not begun, the one before it failed", flush=True)
            elif seconds < LEAST_SECONDS:
                outcome.waiting.append(stage.name)
            else:
                print(f"{stage.name}: at most {seconds:.0f} s", flush=True)
                well = self._run_one(stage, seconds)
                over = time.monotonic() > self._until - 1  # the command's own time
                if not well:
                    (outcome.waiting if over else outcome.failed).append(stage.name)
                    series |= {stage.series} - {""}
        return outcome

    def _done(self, stage: Stage) -> bool:
        """Whether it has ended well, in this call or an earlier one."""
        return self._state["stages"].get(stage.name, {}).get("exit") == 0

    def _run_one(self, stage: Stage, seconds: float) -> bool:
        """Whether it ended well."""
        started = time.monotonic()
        if stage.name == CHECK:
            ended = self._check(stage, seconds)
        else:
            ended = self._ask(stage, seconds) if stage.kind else self._command(stage, seconds)
        ended["seconds"] = time.monotonic() - started
        self._note(stage.name, ended)
        self._archive()
        outcome = ended.get("error") or f"{ended['seconds']:.0f} s"
        print(f"{stage.name}: {outcome}", flush=True)
        return ended["exit"] == 0

    def _check(self, stage: Stage, seconds: float) -> dict[str, Any]:
        """Raises a DormantError where nothing should be measured; nothing has been written."""
        before = self._state["stages"].get(CHECK, {}).get("found", {}).get("device")

        def report(found: dict[str, Any]) -> None:
            if found.get("backend") == "cpu" and not self._plan.rehearse:
                raise DormantError(
                    "jax finds no accelerator, only the CPU: install jax for the device "
                    "(docs/population.md), or give --rehearse"
                )
            if before and found.get("device", before) != before:
                raise DormantError(
                    f"{self._work} holds figures of {before}; name another --work for those of "
                    f"{found['device']}"
                )

        found = processes.ask(stage.kind, stage.described, seconds, report)
        if "error" in found:
            raise DormantError(f"this machine does not pass the check: {found['error']}")
        return {"exit": 0, "found": {**found, "driver": _driver()}}

    def _ask(self, stage: Stage, seconds: float) -> dict[str, Any]:
        """A stage of the worker. What it has found so far is written meanwhile."""

        def report(found: dict[str, Any]) -> None:
            self._note(stage.name, {"exit": None, "found": found})

        before = self._state["stages"].get(stage.name, {}).get("found", {})  # of an earlier call
        if stage.kind == "profile":
            os.makedirs(os.path.dirname(stage.described["path"]), exist_ok=True)
        with self._log(stage) as log:
            found = processes.ask(stage.kind, stage.described, seconds, report, self._more, log)
        if "error" not in found:
            return {"exit": 0, "found": found}
        found = found if len(found) > 1 else {**before, **found}  # it has got less far this time
        return {"exit": 1, "found": found, "error": found["error"]}

    def _command(self, stage: Stage, seconds: float) -> dict[str, Any]:
        with self._log(stage) as log:
            ended = processes.run(
                stage.command,
                seconds,
                {**self._more, **stage.environment},
                grace=min(stage.grace, seconds / 2),
                log=log,
                cwd=ROOT,
            )
        well = ended.code == 0 or (stage.grace > 0 and ended.code in STOPPED)
        result = {"exit": 0 if well else ended.code, "last_lines": ended.lines[-2:]}
        return result if well else {**result, "error": ended.reason()}

    def _log(self, stage: Stage) -> IO[str]:
        """What the stage prints; it is archived."""
        logs = os.path.join(self._work, "logs")
        os.makedirs(logs, exist_ok=True)
        return open(os.path.join(logs, stage.name.replace("/", "_") + ".log"), "a+")

    def _note(self, name: str, ended: dict[str, Any]) -> None:
        """Writes what there is, at once: whatever stops this process later, it stays."""
        self._state["stages"][name] = ended
        self._export()

    def _export(self) -> None:
        for folder in (self._work, self._out):
            os.makedirs(folder, exist_ok=True)
            write(os.path.join(folder, "gpu.json"), self._state)
        with open(os.path.join(self._out, "gpu.txt"), "w") as file:
            file.write(summary(self._state))

    def _archive(self) -> None:
        """Logs, profiles and the runs' curves as one file."""
        path = os.path.join(self._out, "gpu.tar.gz")
        with atomic(path, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for root, _, names in sorted(os.walk(self._work)):
                room = os.path.relpath(root, self._work).split(os.sep)[0]
                for name in sorted(names):
                    if room in ("logs", "profiles") or (room == "runs" and name in KEPT):
                        full = os.path.join(root, name)
                        archive.add(full, os.path.relpath(full, self._work))


def summary(state: dict[str, Any]) -> str:
    """The table of all rows, and a line for each other stage."""
    lines, rows = [], []
    for name, ended in state["stages"].items():
        found = ended.get("found", {})
        if "case" in found:
            rows.append({key: value for key, value in found.items() if key != "error"})
        lines.append(f"{name}: {_outcome(ended)}")
    checked = state["stages"].get(CHECK, {}).get("found", {})
    head = [
        f"{name}: {checked[name]}" for name in ("device", "driver", "versions") if name in checked
    ]
    if state["plan"]["rehearse"]:
        head.append("A REHEARSAL: small networks; its figures measure nothing.")
    return "\n".join([*head, "", table(rows), "", *lines]) + "\n"


def _outcome(ended: dict[str, Any]) -> str:
    """How a stage ended, in words."""
    if "error" in ended:
        return f"failed, {ended['error']}"
    if ended["exit"] is None:
        return "not finished"
    return ", ".join([f"{ended['seconds']:.0f} s", *ended.get("last_lines", [])[-1:]])


def _driver() -> str:
    """What the driver says; this process never touches the device itself."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:  # it can wait for the driver for minutes: the time is the measurements'
        asked = subprocess.run(query, capture_output=True, text=True, timeout=DRIVER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"nvidia-smi does not answer: {error}"
    return asked.stdout.strip()
