"""All that has to be measured on an accelerator, as stages of one command on a machine without a
network.

Every stage is a process of its own with a time limit and a log: one that fails costs nothing but
itself. A stage that has ended well is not repeated when the command is given again; training runs
go on from their checkpoints.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import jax

from dormant.experiments import ROOT
from dormant.experiments.session import Setup, session
from dormant.nets import PRECISIONS

MEMBERS = 64  # of the population that is profiled
GRACE = 300  # seconds for a run to save after its time is over
TESTS = ("redo", "replay", "ops", "nets", "agents", "training")


class Plan(NamedTuple):
    """What the command was asked for."""

    out: str  # a folder of its own
    minutes: float = 60.0  # of real training, shared by the runs
    seeds: int = 4  # of each method in a run
    max_members: int = 4096
    rehearse: bool = False  # everything small: does the command work here?


class Stage(NamedTuple):
    """One process."""

    name: str
    command: list[str]
    seconds: float  # its limit
    is_run: bool = (
        False  # training: the limit is its budget, SIGTERM makes it save, and it goes on next time
    )


def stages(plan: Plan) -> list[Stage]:
    """In the order of their worth for the time they take."""
    return [*_benchmarks(plan), *_profiles(plan), *_tests(plan), *_runs(plan)]


def _benchmarks(plan: Plan) -> list[Stage]:
    script = [
        sys.executable,
        "scripts/benchmark.py",
        "population",
        "--out",
        os.path.join(plan.out, "benchmark"),
    ]
    if plan.rehearse:
        small = ["--small", "--seconds", "1", "--capacity", "700", "--max_members", "1"]
        return [Stage("benchmark dqn_rr1", [*script, "--agents", "dqn_rr1", *small], 120)]
    script += ["--max_members", str(plan.max_members)]
    found = []
    for case in ("dqn_rr1", "sac_rr1", "dqn_rr0.25", "drq_eps_rr1"):
        command = [*script, "--agents", case, "--precisions", *PRECISIONS]
        found.append(Stage(f"benchmark {case}", command, 5400))
    others = [*script, "--agents", "dqn_rr1", "--precisions", "float32", "bfloat16"]
    others += ["--formulations", "xla", "patches"]  # xla: under vmap a grouped convolution
    found.append(Stage("benchmark other convolutions", others, 3600))
    loop = [*script, "--agents", "sac_rr1", "--axis", "loop", "--max_members", "8", "--compare"]
    found.append(Stage("benchmark one call a member", loop, 3600))
    return found


def _profiles(plan: Plan) -> list[Stage]:
    """A trace of the training loop: before (XLA's grouped convolutions, float32) and after (what
    wins).
    """
    found = []
    kinds = {
        "before": ("xla", "float32"),
        "after": ("auto", "float32"),
        "after, bfloat16": ("auto", "bfloat16"),
    }
    for name, (formulation, precision) in list(kinds.items())[: 1 if plan.rehearse else None]:
        setup = Setup(
            "dqn_rr1", 2 if plan.rehearse else MEMBERS, precision, formulation, "auto", 5000
        )
        setup = setup._replace(small=plan.rehearse, capacity=700 if plan.rehearse else 5000)
        path = os.path.join(plan.out, f"profile {name}.tar.gz".replace(", ", "_").replace(" ", "_"))
        call = f"from dormant.experiments.gpu import profile; profile({dict(setup._asdict())!r}, {path!r})"
        found.append(Stage(f"profile {name}", [sys.executable, "-c", call], 900))
    return found


def _tests(plan: Plan) -> list[Stage]:
    """The fast tests on the accelerator, but for those that need eight devices."""
    folders = (
        ["tests/replay/test_sum_tree.py"] if plan.rehearse else [f"tests/{name}" for name in TESTS]
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        *folders,
        "-k",
        "not sharded and not eight",
        "-p",
        "no:cacheprovider",
    ]
    return [Stage("tests", command, 3600)]


def _runs(plan: Plan) -> list[Stage]:
    """DemonAttack, DQN and DQN + ReDo at replay ratios 0.25 and 1, each pair as one population."""
    found = []
    for ratio, method in (("1", "redo.gin"), ("0.25", "redo_default_setting.gin")):
        files = [f"configs/{name}" for name in ("dqn.gin", method)]
        command = [
            sys.executable,
            "-m",
            "dormant.train",
            "--base_dir",
            os.path.join(plan.out, f"runs/rr{ratio}"),
        ]
        command += ["--gin_files", *files, "--game", "DemonAttack", "--methods", "none", "redo"]
        command += [
            "--seeds",
            "1" if plan.rehearse else str(plan.seeds),
            "--gin_bindings",
            f"replay_ratio={ratio}",
        ]
        if plan.rehearse:
            command += ["DQN.width=0.125", "DQN.min_replay_history=200", "DQN.replay_capacity=2000"]
            command += [
                "Protocol.iterations=1",
                "Protocol.training_steps=400",
                "Protocol.evaluation_steps=40",
            ]
        found.append(Stage(f"run rr{ratio}", command, 60 * plan.minutes / 2, is_run=True))
    return found


def profile(setup: dict[str, Any], path: str) -> None:
    """A compressed trace of some calls of the learner, warm."""
    with session(Setup(**setup)) as running, tempfile.TemporaryDirectory() as folder:
        period = running.population.agent.schedule.update_period
        running.advance(agent_steps=4 * period)
        with jax.profiler.trace(folder):
            running.advance(agent_steps=8 * period)
        shutil.make_archive(path.removesuffix(".tar.gz"), "gztar", folder)


def run(plan: Plan) -> dict[str, Any]:
    """All stages; returns, and writes as ``summary.json``, how each of them ended."""
    os.makedirs(os.path.join(plan.out, "logs"), exist_ok=True)
    path = os.path.join(plan.out, "summary.json")
    summary: dict[str, Any] = {"stages": {}}
    if os.path.exists(path):
        with open(path) as file:
            summary = json.load(file)
    for stage in stages(plan):
        before = summary["stages"].get(stage.name)
        if before and before["exit"] == 0:
            print(f"{stage.name}: done before", flush=True)
            continue
        print(f"{stage.name}: at most {stage.seconds:.0f} s", flush=True)
        summary["stages"][stage.name] = run_stage(stage, plan)
        summary["device"] = _device_facts()
        _write(path, summary)
        print(f"{stage.name}: {summary['stages'][stage.name]}", flush=True)
    return summary


def run_stage(stage: Stage, plan: Plan) -> dict[str, Any]:
    """Exit code (None: stopped at its limit), seconds, and the last lines of its log."""
    log = os.path.join(plan.out, "logs", stage.name.replace(" ", "_") + ".log")
    environment = {**os.environ, "PYTHONPATH": ROOT, "TF_CPP_MIN_LOG_LEVEL": "2"}
    if stage.name == "tests":
        environment.update(
            JAX_PLATFORMS=environment.get("JAX_PLATFORMS", ""),
            XLA_PYTHON_CLIENT_PREALLOCATE="false",
        )
    started = time.monotonic()
    code: int | None = None
    with open(log, "a") as file:
        process = subprocess.Popen(
            stage.command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(stage.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            code = _ended(process) if stage.is_run else _killed(process)
    with open(log, errors="replace") as file:
        tail = [
            line.strip() for line in file.read().replace("\r", "\n").splitlines() if line.strip()
        ][-2:]
    return {"exit": code, "seconds": time.monotonic() - started, "log": log, "last_lines": tail}


def _ended(process: subprocess.Popen) -> int | None:
    """A run that was told to stop saves first."""
    try:
        return process.wait(GRACE)
    except subprocess.TimeoutExpired:
        return _killed(process)


def _killed(process: subprocess.Popen) -> int | None:
    process.kill()
    process.wait()
    return None


def _device_facts() -> str:
    """What the driver says; this process never touches the device itself."""
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi"
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.strip()


def _write(path: str, summary: dict[str, Any]) -> None:
    with open(path + ".tmp", "w") as file:
        json.dump(summary, file, indent=1)
    os.replace(path + ".tmp", path)
