"""How many members a run of a sweep gets: as many as the memory holds, in equal parts."""

import math
import os
import re

import jax

from dormant.experiments.grid import Sweep, expand
from dormant.types import DormantError

USABLE = 0.9  # of a GPU's memory for replay memories; the rest is for networks and their work


def packed(sweep: Sweep, base_dir: str, memory: float | None = None, gpus: float = 0) -> Sweep:
    """The sweep with ``members_per_run`` set where its members do not fit into one run's memory.

    A sweep that has begun keeps its division, whatever machine resumes it.

    Args:
      memory: bytes for the replay memories of a run; None = of the GPUs that it will see, here;
        0 = as much as is wanted.
      gpus: how many those are (0 = all).

    Raises:
      DormantError: a run that could not start, or a memory that not even one member fits.
    """
    begun = division(sweep, base_dir)
    if begun is not None:
        kept = sweep._replace(members_per_run=begun)
        if sweep.members_per_run and _names(sweep) != _names(kept):
            known = f"{begun} members a run" if begun else "undivided runs"
            raise DormantError(
                f"{base_dir} was begun with {known}; --members_per_run {sweep.members_per_run} "
                "needs another base_dir"
            )
        return kept
    if sweep.members_per_run:
        return sweep
    room = gpu_bytes(gpus) if memory is None else memory
    if not room:
        return sweep
    members, each = _sizes(sweep)
    most = int(room // each)
    if most < 1:
        raise DormantError(
            f"a member's replay memory needs {each / 1e9:.1f} GB and a run has "
            f"{room / 1e9:.1f} GB; lower replay_capacity"
        )
    parts = math.ceil(members / most)
    return sweep._replace(members_per_run=math.ceil(members / parts) if parts > 1 else 0)


def _names(sweep: Sweep) -> list[str]:
    return [job.name for job in expand(sweep)]


def _sizes(sweep: Sweep) -> tuple[int, float]:
    """Members of a run, and the bytes of the largest member's replay memory."""
    from dormant.experiments.run import plan

    members, each = 1, 1.0
    for job in expand(sweep):
        try:
            planned = plan(job.files, job.bindings, fits=False)
        except DormantError as error:
            raise DormantError(f"{job.name}: {error}") from error
        members = len(planned.population.members)
        each = max(each, planned.replay_bytes / members)
    return members, each


def gpu_bytes(gpus: float) -> float:
    """What the GPUs of a run can hold of replay memories; 0 without GPUs. Always the same."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if not stats or "bytes_limit" not in stats:
        return 0
    return USABLE * stats["bytes_limit"] * (gpus or len(jax.devices()))


def division(sweep: Sweep, base_dir: str) -> int | None:
    """``members_per_run`` of the runs that are there; 0 = all in one; None = no run has begun."""
    for job in expand(sweep._replace(members_per_run=0)):
        folder, name = os.path.split(os.path.join(base_dir, job.name))
        if os.path.isdir(os.path.join(folder, name)):
            return 0
        prefix = "" if name == "run" else f"{re.escape(name)},"
        there = os.listdir(folder) if os.path.isdir(folder) else []
        for other in there:
            match = re.fullmatch(prefix + r"members=0-(\d+)", other)
            if match:
                return int(match[1]) + 1
    return None
