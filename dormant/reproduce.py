"""Trains what figures of the paper need, draws them, writes the report. The same command resumes.

Budgets: paper (the published protocol), small (meant for hours on one GPU), laptop (the same
questions on MinAtar, nights on two cores), smoke (minutes on two cores; no verdicts). Runs,
figures and report are in base_dir/<budget>; figures that need the same runs share them.

Figures 3, 4 and 8 are studies of their own, after those runs: supervised learning (on
scikit-learn's digits, or --cifar10), offline learning from a replay memory (of a run that is
trained here, or --datasets), fitting a good agent's values (of runs trained here, or --teacher and
--pretrained).
"""

import argparse
import os
import sys
from collections.abc import Sequence

from dormant.analysis.figure import draw_figures
from dormant.analysis.report import write_report
from dormant.command import (
    DONE,
    SOME_FAILED,
    Parser,
    a_path,
    above_zero,
    finish,
    imports,
    say,
    writing,
)
from dormant.experiments import launch
from dormant.experiments.budgets import BUDGETS, sweeps_of
from dormant.experiments.grid import Sweep
from dormant.paper.games import MUJOCO_VERSION
from dormant.study import Planned, Sources, describe, plan_studies, read_datasets
from dormant.types import check_name

EXAMPLES = """examples:
  python -m dormant.reproduce --figure 7 --budget smoke --dry_run
  python -m dormant.reproduce --figure 7 --budget smoke
  python -m dormant.reproduce --figure all --budget small --executor ray --address auto \\
      --gpus_per_run 1
  python -m dormant.reproduce --figure 15 --budget laptop --games MinAtar/SpaceInvaders --seeds 5
  python -m dormant.reproduce --figure 3 --budget laptop
  python -m dormant.reproduce --figure 4 --budget laptop --datasets MinAtar/SpaceInvaders=space.npz
  python -m dormant.reproduce --figure 4 --budget paper --datasets Asterix=Asterix/1/replay_logs
"""


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant reproduce", description=__doc__, epilog=EXAMPLES)
    made.add_argument(
        "--figure",
        nargs="+",
        action="extend",
        required=True,
        help="1, 10a, table6, heatmap, ... or all",
    )
    made.add_argument("--budget", default="smoke", help="paper, small, laptop or smoke (default)")
    made.add_argument(
        "--base_dir",
        type=a_path,
        default="runs/reproduce",
        help="on a cluster a folder that all nodes share (default: runs/reproduce)",
    )
    made.add_argument(
        "--mujoco", default=MUJOCO_VERSION, help="v4 (the nearest to the paper's v2, default) or v5"
    )
    made.add_argument(
        "--games",
        nargs="+",
        action="extend",
        default=[],
        help="only these of the figures' games (default: all)",
    )
    made.add_argument(
        "--seeds",
        type=above_zero(int),
        default=0,
        help="members of each setting, seeds 0, 1, ... (default: the budget's; verdicts need 5)",
    )
    add_sources(made)
    launch.add_arguments(made)
    return made


def add_sources(made: Parser) -> None:
    """Adds the flags of what the user brings to Figures 3, 4 and 8."""
    made.add_argument(
        "--cifar10", type=a_path, metavar="FILE", help="figure 3: cifar-10-binary.tar.gz"
    )
    made.add_argument(
        "--datasets",
        nargs="+",
        action="extend",
        default=[],
        metavar="GAME=PATH",
        help="figure 4: a finished run of DQN, a file of dormant export_replay, or a replay_logs "
        "folder of the DQN Replay Dataset; only these games are run",
    )
    made.add_argument(
        "--teacher", type=a_path, metavar="RUN", help="figure 8: a finished run of good agents"
    )
    made.add_argument(
        "--pretrained",
        type=a_path,
        metavar="RUN",
        help="figure 8: a finished run at replay ratio 1 (default with --teacher: left out)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: reproduce(arguments))


def reproduce(arguments: argparse.Namespace) -> int:
    """Trains, draws, reports; what could be trained is drawn even if some runs failed."""
    budget, base_dir = arguments.budget, os.path.join(arguments.base_dir, arguments.budget)
    check_name("budget", budget, BUDGETS)
    sources = Sources(
        arguments.cifar10 or "",
        read_datasets(arguments.datasets),
        arguments.teacher or "",
        arguments.pretrained or "",
    )
    planned = plan_studies(arguments.figure, budget, base_dir, sources, arguments.seeds)
    trained = sources.trained(arguments.figure, BUDGETS[budget].suite)
    own = imports(arguments.modules)
    sweeps = [
        sweep._replace(bindings=(*own, *sweep.bindings), seeds=arguments.seeds or sweep.seeds)
        for sweep in (sweeps_of(trained, budget, arguments.mujoco) if trained else [])
    ]
    sweeps, planned = of_games(arguments.games, sweeps, planned)
    code = DONE
    if sweeps:
        code = launch.launch(sweeps, base_dir, arguments)
    else:  # studies alone: what nothing reads may still be wrong
        launch.check_arguments(arguments)
    if arguments.print_commands and planned:
        say("studies are not among the lines: the same command without --print_commands runs them")
    if arguments.dry_run and planned:
        print(describe(planned))
    if arguments.dry_run or arguments.print_commands:
        return code
    if planned:
        from dormant.study_sources import run_studies  # loads jax: after the runs

        if not run_studies(planned, budget, base_dir, sources, alone=not sweeps):
            code = SOME_FAILED
    chosen = ["all"] if "all" in arguments.figure else arguments.figure
    with writing(base_dir):
        figures, known = draw_figures(base_dir, chosen, os.path.join(base_dir, "figures"))
        pages, _ = write_report(
            base_dir, os.path.join(base_dir, "report"), None if chosen == ["all"] else chosen
        )
    print("\n".join([*known, *figures, *pages]))
    return code


def of_games(
    games: Sequence[str], sweeps: Sequence[Sweep], planned: Sequence[Planned]
) -> tuple[list[Sweep], list[Planned]]:
    """What of some figures' runs and studies asks these games; no games: all.

    Raises:
      DormantError: a game that none of them asks.
    """
    asked = {game for sweep in sweeps for game in sweep.games} | {each.arm.game for each in planned}
    for game in games:
        check_name("game of these figures", game, asked)
    wanted = set(games) or asked
    kept = [
        sweep._replace(games=tuple(game for game in sweep.games if game in wanted))
        for sweep in sweeps
        if wanted.intersection(sweep.games)
    ]
    return kept, [each for each in planned if each.arm.game in wanted]


if __name__ == "__main__":
    sys.exit(main())
