"""The commands scripts/sweep.py and scripts/reproduce.py: what they share, and their exit codes.

0 done; 1 some runs failed; 2 wrong input, nothing written; 130 asked to stop, everything saved.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from dormant.experiments import sweep as sweeps
from dormant.experiments.executors import Local, Ray
from dormant.experiments.grid import Sweep, read_axis
from dormant.types import DormantError, check_name

EXECUTORS = ("local", "ray")


def add_arguments(made: argparse.ArgumentParser) -> None:
    """How and where runs are carried out."""
    made.add_argument(
        "--executor", default="local", help="local (processes of this machine) or ray (a cluster)"
    )
    made.add_argument(
        "--workers", type=int, default=1, help="runs at a time (a cluster decides for itself)"
    )
    made.add_argument(
        "--cpus_per_run",
        type=float,
        default=0,
        help="cores of a run (default: an equal share; ray: 1)",
    )
    made.add_argument(
        "--gpus_per_run", type=float, default=0, help="GPUs of a run; fractions share one"
    )
    made.add_argument(
        "--resources",
        nargs="+",
        default=[],
        metavar="NAME=AMOUNT",
        help="ray: others, such as TPU=4",
    )
    made.add_argument(
        "--address", default="", help="ray: of a cluster, or auto (default: one is started here)"
    )
    made.add_argument(
        "--retries", type=int, default=2, help="attempts beyond the first at a run that crashed"
    )
    made.add_argument(
        "--steps_per_second",
        type=float,
        default=0,
        help="gradient steps a second, for the estimate",
    )
    made.add_argument(
        "--dry_run", action="store_true", help="check every run, show the plan, write nothing"
    )


def sweep(arguments: argparse.Namespace) -> int:
    """scripts/sweep.py; returns the exit code."""

    def action() -> int:
        swept = Sweep(
            files=arguments.gin_files,
            bindings=arguments.gin_bindings,
            grid=dict(map(read_axis, arguments.grid)),
            games=arguments.games,
            seeds=arguments.seeds,
            methods=arguments.methods,
            members_per_run=arguments.members_per_run,
        )
        return carry_out([swept], arguments.base_dir, arguments)

    return guarded(action)


def guarded(action: Any) -> int:
    """The action's exit code, or 2 for wrong input and 130 for a stop."""
    try:
        return action()
    except DormantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on from there", file=sys.stderr)
        return 130


def carry_out(swept: Sequence[Sweep], base_dir: str, arguments: argparse.Namespace) -> int:
    """Checks, then shows the plan or runs it; returns 0, or 1 if runs failed.

    Raises:
      DormantError: a run that could not start; nothing has been written.
      KeyboardInterrupt: asked to stop; everything is saved.
    """
    check_arguments(arguments)
    local = arguments.executor == "local"
    checked = sweeps.check(swept, base_dir, fits=local and not arguments.dry_run)
    if arguments.dry_run:
        rates = sweeps.measured_rates(base_dir)
        print(sweeps.table(checked, arguments.workers, rates, arguments.steps_per_second))
        return 0
    if local and not arguments.gpus_per_run:
        sweeps.check_memory_together(checked, arguments.workers)
    if all(each.finished for each in checked):
        print(f"all {len(checked)} runs in {base_dir} were finished before", file=sys.stderr)
        return 0
    executor = make_executor(arguments)
    try:
        outcomes = sweeps.run(checked, base_dir, executor, arguments.retries)
    finally:
        executor.close()
    failed = sweeps.failures(outcomes)
    if failed:
        print(failed, file=sys.stderr)
    return 1 if failed else 0


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raises a DormantError for numbers out of range and unknown names."""
    check_name("executor", arguments.executor, EXECUTORS)
    if arguments.workers < 1:
        raise DormantError(f"--workers is {arguments.workers}; it must be at least 1")
    for name in ("retries", "cpus_per_run", "gpus_per_run", "steps_per_second"):
        if not getattr(arguments, name) >= 0:
            raise DormantError(f"--{name} is {getattr(arguments, name)}; it must not be negative")


def make_executor(arguments: argparse.Namespace) -> Any:
    """The executor that the arguments name.

    Raises:
      DormantError: Ray is not installed, or has no cluster at the address; a resource of another
        form.
    """
    if arguments.executor == "local":
        return Local(arguments.workers, arguments.cpus_per_run, arguments.gpus_per_run)
    resources = {}
    for text in arguments.resources:
        name, _, amount = text.partition("=")
        try:
            resources[name] = float(amount)
        except ValueError:
            raise DormantError(f"--resources {text!r} is not of the form TPU=4") from None
    shares = (arguments.cpus_per_run, arguments.gpus_per_run, resources, arguments.retries)
    try:
        return Ray(arguments.address, arguments.workers, *shares)
    except ImportError as error:
        raise DormantError(
            f"--executor ray needs Ray: pip install 'dormant[ray]' ({error})"
        ) from error
    except ConnectionError as error:
        raise DormantError(
            f"no Ray cluster at {arguments.address!r}: {str(error).splitlines()[0]}"
        ) from error
