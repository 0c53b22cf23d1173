"""What ``sweep`` and ``reproduce`` share: how and where runs are executed."""

import argparse
import math
import os
from collections.abc import Sequence

from dormant import results
from dormant.command import DONE, SOME_FAILED, above_zero, check_folder, say
from dormant.experiments import estimates
from dormant.experiments import sweep as sweeps
from dormant.experiments.estimates import Planned
from dormant.experiments.executors import Local, Ray, gpu_slots
from dormant.experiments.grid import Sweep
from dormant.experiments.ray_connection import connection
from dormant.experiments.summary import SUMMARY_FILE
from dormant.types import DormantError, check_name

EXECUTORS = ("local", "ray")


def add_arguments(made: argparse.ArgumentParser) -> None:
    """Adds the flags that say how and where runs are executed."""
    made.add_argument(
        "--members_per_run",
        type=above_zero(int),
        default=0,
        help="members of a run at most (default: all that can be trained together)",
    )
    made.add_argument(
        "--memory_per_run",
        type=above_zero(float),
        default=0,
        metavar="GB",
        help="members are divided into runs whose replay memories fit it (default: the GPUs')",
    )
    made.add_argument(
        "--executor", default="local", help="local (processes of this machine) or ray (a cluster)"
    )
    made.add_argument(
        "--workers",
        type=above_zero(int),
        default=0,
        help="runs at a time (default: as many as the GPUs hold, else 1; a cluster decides itself)",
    )
    made.add_argument(
        "--cpus_per_run",
        type=above_zero(float),
        default=0,
        help="cores of a run (default: an equal share; ray: 1)",
    )
    made.add_argument(
        "--gpus_per_run",
        type=float,
        help="GPUs of a run; fractions share one (default: 1 where there are any)",
    )
    made.add_argument(
        "--resources",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=AMOUNT",
        help="ray: other resources, such as TPU=4",
    )
    made.add_argument(
        "--address", default="", help="ray: its address, or auto (default: one is started here)"
    )
    made.add_argument(
        "--retries", type=int, default=2, help="more attempts at a crashed run (default: 2)"
    )
    rate = "gradient steps a second, for the estimate"
    made.add_argument("--steps_per_second", type=above_zero(float), default=0, help=rate)
    made.add_argument(
        "--dry_run", action="store_true", help="check every run, show the plan, write nothing"
    )
    made.add_argument(
        "--print_commands",
        action="store_true",
        help="check every run, print one line of shell for each, write nothing: for a job array",
    )


def launch(
    swept: Sequence[Sweep],
    base_dir: str,
    arguments: argparse.Namespace,
    show_warnings: bool = False,
) -> int:
    """Plans the runs, then describes the plan or executes it; returns the exit code.

    Args:
      show_warnings: of settings that have no effect in any run.

    Raises:
      DormantError: a run that could not start; nothing has been written.
      command.Stopped: a signal asked to stop; everything is saved.
    """
    check_arguments(arguments)
    check_folder(base_dir)
    if os.path.exists(os.path.join(base_dir, results.RUN_FILE)):
        raise DormantError(f"{base_dir} is the folder of a run; choose another base_dir")
    only_shown = arguments.dry_run or arguments.print_commands
    here = arguments.executor == "local" and not only_shown
    if arguments.executor == "ray" and not only_shown:
        reach_cluster(arguments.address)
    swept = [each._replace(members_per_run=arguments.members_per_run) for each in swept]
    gpus = 1.0 if arguments.gpus_per_run is None else arguments.gpus_per_run
    elsewhere = arguments.executor == "ray" or arguments.print_commands
    memory = 1e9 * arguments.memory_per_run or (0 if elsewhere else None)
    planned, devices = sweeps.plan_sweeps(swept, base_dir, here, gpus, memory)
    if arguments.gpus_per_run is None and not devices:
        gpus = 0.0
    slots = gpu_slots(gpus, devices) if gpus else []
    workers = arguments.workers or len(slots) or 1
    if here:
        slots = local_slots(workers, gpus, devices)
    if show_warnings:
        for line in shared_warnings(planned):
            say(f"warning: {line}")
    if arguments.print_commands:
        print("\n".join(sweeps.command_line(each.job, base_dir) for each in planned))
        return DONE
    if arguments.dry_run:
        rates = estimates.measured_rates(results.find_runs(base_dir))
        print(estimates.describe(planned, workers, rates, arguments.steps_per_second))
        return DONE
    if here and not gpus:
        estimates.check_memory_together(planned, workers)
    return execute(planned, base_dir, arguments, workers, slots)


def execute(
    planned: Sequence[Planned],
    base_dir: str,
    arguments: argparse.Namespace,
    workers: int,
    slots: Sequence[dict[str, str]],
) -> int:
    """Executes a plan; returns the exit code.

    Args:
      workers: runs at a time. slots: of ``local_slots``.
    """
    code = DONE
    if all(each.finished for each in planned):
        sweeps.collect_or_say(base_dir, [each.job.name for each in planned], say)
        say(f"all {len(planned)} runs in {base_dir} were finished before")
    else:
        executor = make_executor(arguments, workers, slots)
        try:
            outcomes = sweeps.execute_all(planned, base_dir, executor, arguments.retries)
        finally:
            executor.close()
        failed = sweeps.failures(outcomes)
        if failed:
            say(failed)
            code = SOME_FAILED
    summary = os.path.join(base_dir, SUMMARY_FILE)
    if os.path.exists(summary):
        say(f"the last numbers of every finished run are in {summary}")
    return code


def shared_warnings(planned: Sequence[Planned]) -> list[str]:
    """The warnings that every run has: what one run does not read may be for another."""
    first = planned[0].warnings if planned else ()
    return [line for line in first if all(line in each.warnings for each in planned)]


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises a DormantError for numbers out of range and unknown names."""
    check_name("executor", arguments.executor, EXECUTORS)
    for name in ("retries", "gpus_per_run"):
        value = getattr(arguments, name) or 0
        if not (value >= 0 and math.isfinite(value)):
            raise DormantError(f"--{name} is {value}; it must not be negative, and finite")
    gpus = arguments.gpus_per_run or 0
    if gpus > 1 and gpus != int(gpus):
        raise DormantError(f"--gpus_per_run is {gpus:g}; above 1 it must be a whole number")
    only_ray = {"--address": arguments.address, "--resources": arguments.resources}
    for name, value in only_ray.items():
        if value and arguments.executor != "ray":
            raise DormantError(f"{name} is for a Ray cluster; add --executor ray")


def local_slots(workers: int, gpus: float, devices: Sequence[str]) -> list[dict[str, str]]:
    """What each worker sees of the GPUs; [] where runs are given none.

    Raises:
      DormantError: there are not as many.
    """
    if not gpus:
        return []
    slots = gpu_slots(gpus, devices)
    if len(slots) < workers:
        raise DormantError(
            f"--workers is {workers}; with --gpus_per_run {gpus:g} the {len(devices)} GPUs of this "
            f"machine hold {len(slots)} runs at once"
        )
    return slots[:workers]


def reach_cluster(address: str) -> None:
    """Sets the environment with which Ray connects to the cluster at ``address``; "" = none.

    Raises:
      DormantError: no cluster, or it refuses.
    """
    if not address:
        return
    try:
        os.environ.update(connection(address))
    except ConnectionError as error:
        raise DormantError(f"no Ray cluster at {address!r}: {error}") from error


def make_executor(
    arguments: argparse.Namespace, workers: int, slots: Sequence[dict[str, str]]
) -> Local | Ray:
    """The executor that the arguments name.

    Args:
      workers: runs at a time. slots: of ``local_slots``.

    Raises:
      DormantError: Ray is not installed, or has no cluster at the address; a resource of another
        form, or one that is not there.
    """
    if arguments.executor == "local":
        return Local(workers, arguments.cpus_per_run, slots)
    resources = {}
    for text in arguments.resources:
        name, _, amount = text.partition("=")
        try:
            resources[name] = float(amount)
        except ValueError:
            raise DormantError(f"--resources {text!r} is not of the form TPU=4") from None
    shares = (arguments.cpus_per_run, arguments.gpus_per_run, resources, arguments.retries)
    try:
        return Ray(arguments.address, workers, *shares)
    except ImportError as error:
        raise DormantError(
            f"--executor ray needs Ray: pip install 'dormant[ray]' ({error})"
        ) from error
    except (ConnectionError, ValueError) as error:
        where = f"no Ray cluster at {arguments.address!r}" if arguments.address else "Ray"
        raise DormantError(f"{where}: {str(error).splitlines()[0]}") from error
