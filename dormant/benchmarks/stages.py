"""What has to be measured on an accelerator, as stages: processes of at most nine minutes each.

Their order is that of their worth for the time they take.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from dormant.benchmarks.population import comparisons, describe
from dormant.benchmarks.session import Setup
from dormant.experiments import CONFIGS, ROOT
from dormant.nets import PRECISIONS
from dormant.types import DormantError, nearest

LIMIT = 540.0  # seconds of a stage at most
GRACE = 60.0  # of them, for a training run to save
QUICK_LIMIT = 150.0  # seconds of a row of --quick but the first: one that hangs leaves the others
QUICK_MEMBERS = 64
TESTS = ("redo", "replay", "ops", "nets", "agents", "training")
CHECK = "check"


class Plan(NamedTuple):
    """What the command was asked for."""

    quick: bool = False  # the headline only
    minutes: float = 60.0  # of real training, shared by the two runs
    seeds: int = 4  # of each method in a run
    max_members: int = 4096
    rehearse: bool = False  # everything small: does the command work here?


class Stage(NamedTuple):
    """One process: of ``dormant.benchmarks.worker``, or a command."""

    name: str
    kind: str = ""  # of the worker
    described: dict[str, Any] = {}  # for the worker
    command: tuple[str, ...] = ()
    environment: dict[str, str] = {}  # added to the process's own
    # seconds before its limit at which it is asked to save: its end then counts as a good one
    grace: float = 0.0
    series: str = ""  # where one stage of it fails, those that follow in it are not tried
    limit: float = LIMIT  # seconds


def stages(plan: Plan, work: str) -> list[Stage]:
    """work: the folder in which profiles and runs are written."""
    check = Stage(CHECK, "check")
    if plan.quick:
        first, *others = map(_row, _rehearsed(_quick_setups(), plan))
        others = [row._replace(limit=QUICK_LIMIT) for row in others]
        # Their members do not only grow: where 256 do not fit, 128 may.
        return [check, *(row._replace(series="") for row in (first, *others))]
    rows = map(_row, _rehearsed(_setups(plan.max_members), plan))
    return [
        check,
        *rows,
        *_comparisons(plan),
        *_profiles(plan, work),
        *_tests(plan),
        *_runs(plan, work),
    ]


def choose(listed: Sequence[Stage], patterns: Iterable[str]) -> list[Stage]:
    """The check, and the stages whose names match a pattern (``dqn_rr1/*``); all, without one.

    Raises:
      DormantError: a pattern that matches no name.
    """
    patterns, names = list(patterns), [stage.name for stage in listed]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise DormantError(f"unknown stage {pattern!r}; {nearest(pattern, names)}")
    wanted = lambda name: not patterns or any(fnmatchcase(name, each) for each in patterns)
    return [stage for stage in listed if stage.name == CHECK or wanted(stage.name)]


def _quick_setups() -> list[Setup]:
    """The headline: 64 members in each convolution and precision; SAC; more members."""
    base = Setup("dqn_rr1", QUICK_MEMBERS, "float32", "matmul", capacity=10_000, seconds=5.0)
    sac = base._replace(case="sac_rr1", formulation="auto")
    return [
        base,
        base._replace(formulation="xla"),  # under vmap a grouped convolution
        base._replace(precision="tf32"),
        base._replace(precision="bfloat16"),
        sac,
        base._replace(members=256),
        sac._replace(members=1024),
        base._replace(members=128),
        sac._replace(members=256),
    ]


def _setups(max_members: int) -> list[Setup]:
    """Doublings of each agent in float32, then the other precisions and convolutions."""
    found = []
    doublings = [2**power for power in range(max(max_members, 1).bit_length())]
    some = [members for members in doublings if members in (1, 64, 256)]
    for case in ("dqn_rr1", "sac_rr1", "dqn_rr0.25", "drq_eps_rr1"):
        found += [Setup(case, members) for members in doublings]
        others = [precision for precision in PRECISIONS if precision != "float32"]
        found += [Setup(case, members, other) for other in others for members in some]
    for precision in ("float32", "bfloat16"):
        for formulation in ("xla", "patches", "shift"):
            found += [Setup("dqn_rr1", members, precision, formulation) for members in some]
    few = [members for members in doublings if members <= 8]
    return found + [Setup("sac_rr1", members, axis="loop") for members in few]


def _rehearsed(setups: list[Setup], plan: Plan) -> list[Setup]:
    """In a rehearsal one setup of each agent and formulation, small, under ``vmap`` as on a GPU."""
    if not plan.rehearse:
        return setups
    first: dict[tuple[str, str], Setup] = {}
    for setup in setups:
        small = setup._replace(members=2, axis="vmap", capacity=700, seconds=1.0, small=True)
        first.setdefault((setup.case, setup.formulation), small)
    return list(first.values()) if plan.quick else list(first.values())[:1]


def _row(setup: Setup) -> Stage:
    series = "/".join([setup.case, setup.precision, setup.formulation, setup.axis])
    name = f"{setup.case}/{setup.members}/{setup.precision}/{setup.formulation}"
    name += f"/{setup.axis}" if setup.axis == "loop" else ""
    return Stage(name, "measure", setup._asdict(), series=series)


def _comparisons(plan: Plan) -> list[Stage]:
    if plan.rehearse:
        return []
    found = zip(("sac_rr4", "drq_eps", "sac_8_members"), comparisons(Setup("")))
    return [Stage(f"compare/{name}", "compare", describe(each)) for name, each in found]


def _profiles(plan: Plan, work: str) -> list[Stage]:
    """Traces of the training loop: XLA's grouped convolutions, then what should win."""
    kinds = {"xla": "float32", "matmul": "float32"} | (
        {} if plan.rehearse else {"auto": "bfloat16"}
    )
    found = []
    for formulation, precision in kinds.items():
        setup = Setup("dqn_rr1", QUICK_MEMBERS, precision, formulation, capacity=5000)
        if plan.rehearse:
            setup = setup._replace(members=2, axis="vmap", capacity=700, small=True)
        name = f"profile/{precision}/{formulation}"
        path = os.path.join(work, "profiles", f"{precision}_{formulation}.tar.gz")
        described = {"setup": setup._asdict(), "path": path}
        found.append(Stage(name, "profile", described))
    return found[:1] if plan.rehearse else found


def _tests(plan: Plan) -> list[Stage]:
    """The fast tests on the accelerator, but for those that need eight devices.

    They compare float32 results, so products are float32 and not TF32; resumed runs byte by byte,
    so operations are deterministic; and a warning of the accelerator's is not an error.
    """
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_gpu_deterministic_ops=true"]
    environment = {
        "JAX_PLATFORMS": os.environ.get("JAX_PLATFORMS", ""),  # else the tests choose the CPU
        "JAX_DEFAULT_MATMUL_PRECISION": "float32",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "0",  # else the tests compile without them
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "XLA_FLAGS": " ".join(filter(None, flags)),
    }
    command = [sys.executable, "-m", "pytest", "-k", "not sharded and not eight"]
    command += ["-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    paths = {name: f"tests/{name}" for name in TESTS if os.path.isdir(f"{ROOT}/tests/{name}")}
    if plan.rehearse and "replay" in paths:
        paths = {"replay": "tests/replay/test_sum_tree.py"}
    return [
        Stage(f"tests/{name}", command=(*command, path), environment=environment)
        for name, path in paths.items()
    ]


def _runs(plan: Plan, work: str) -> list[Stage]:
    """DemonAttack, DQN and DQN + ReDo at replay ratios 0.25 and 1, each pair as one population.

    A run's stages follow each other: each resumes what the one before has saved.
    """
    minutes = (LIMIT - GRACE) / 60
    parts = 1 if plan.rehearse else max(1, round(plan.minutes / 2 / minutes))
    found = []
    for ratio in ("1", "0.25"):
        folder = os.path.join(work, "runs", f"rr{ratio}")
        command = [sys.executable, "-m", "dormant.train", "--base_dir", folder, "--gin_files"]
        command += [os.path.join(CONFIGS, name) for name in ("dqn.gin", "redo.gin")]
        command += ["--game", "DemonAttack", "--methods", "none", "redo"]
        command += ["--seeds", "1" if plan.rehearse else str(plan.seeds)]
        command += ["--gin_bindings", f"replay_ratio={ratio}", "Protocol.checkpoint_minutes=2.0"]
        if plan.rehearse:
            command += ["DQN.width=0.125", "DQN.min_replay_history=200", "DQN.replay_capacity=2000"]
            command += ["Protocol.iterations=1", "Protocol.training_steps=400"]
            command += ["Protocol.evaluation_steps=40"]
        for part in range(1, parts + 1):
            name = f"run/rr{ratio}/{part}"
            found.append(Stage(name, command=tuple(command), grace=GRACE, series=f"run/rr{ratio}"))
    return found
