"""The studies of Figures 3, 4 and 8 beside the runs that they learn from: planned, built, executed.

``dormant.reproduce`` is the command. A study is one run folder, like any other.
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from dormant import results
from dormant.command import check_folder, say
from dormant.paper import chosen
from dormant.paper.budgets import BUDGETS
from dormant.paper.records import Entry
from dormant.paper.studies import PRETRAINED, Arm, arms_of
from dormant.types import DormantError, check_name

DEFAULT_RATIO, HIGH_RATIO = 0.25, 1  # replay ratios of the good agent, and of the pretrained one
NEEDS_ARCHIVE = ("paper", "small")  # budgets that ask Figure 3 of CIFAR-10


class Sources(NamedTuple):
    """What the user brings instead of the runs that a figure would train; "" and {} = nothing."""

    cifar10: str = ""  # Figure 3: the archive
    # Figure 4: {game: a finished run, a file of export_replay, or a DQN Replay Dataset folder}
    datasets: Mapping[str, str] = {}
    teacher: str = ""  # Figure 8: a finished run, the good agent's
    pretrained: str = ""  # Figure 8: a finished run at replay ratio 1

    def trained(self, figures: Sequence[str], suite: str) -> list[str]:
        """The figures whose runs must be trained: those for which the user brings nothing."""
        brought = {"4": self.datasets, "8": self.teacher}
        return [each.figure for each in chosen(figures, suite) if not brought.get(each.figure)]


def read_datasets(texts: Sequence[str]) -> dict[str, str]:
    """{game: path} from texts like "MinAtar/SpaceInvaders=runs/space".

    Raises:
      DormantError: another form.
    """
    found = {}
    for text in texts:
        game, equals, path = text.partition("=")
        if not (game and equals and path):
            raise DormantError(f"--datasets {text!r} is not of the form GAME=PATH")
        if game in found:
            raise DormantError(f"--datasets has {game} twice")
        found[game] = os.path.expanduser(path)
    return found


def entries_of(figures: Sequence[str], budget: str, sources: Sources) -> list[Entry]:
    """The entries whose studies a budget runs: Figure 3 asks CIFAR-10 where there is an archive,
    and the digits elsewhere.

    Raises:
      DormantError: an unknown figure, or Figure 3 at the paper's size without an archive.
    """
    entries = [entry for entry in chosen(figures, BUDGETS[budget].suite) if entry.studies]
    if not any(entry.figure == "3" for entry in entries):
        return entries
    line = (
        f"figure 3 at budget {budget} needs CIFAR-10: add --cifar10 cifar-10-binary.tar.gz "
        "(budgets laptop and smoke ask it of scikit-learn's digits, which are here)"
    )
    if budget in NEEDS_ARCHIVE and not sources.cifar10:
        if "all" not in figures:
            raise DormantError(line)
        say(f"left out: {line}")
        return [entry for entry in entries if entry.figure != "3"]
    other = chosen(["3"], "" if sources.cifar10 else "MinAtar")[0]
    return [other if entry.figure == "3" else entry for entry in entries]


def arms_wanted(figures: Sequence[str], budget: str, sources: Sources) -> list[Arm]:
    """The studies of some figures, without those for which the user's sources have nothing."""
    arms = arms_of(entries_of(figures, budget, sources), budget)
    if sources.datasets:
        arms = [arm for arm in arms if arm.kind != "offline" or arm.game in sources.datasets]
    if sources.teacher and not sources.pretrained:
        arms = [arm for arm in arms if arm.arm != PRETRAINED]
    return arms


class Planned(NamedTuple):
    """A study that could start, once the runs that it learns from are finished."""

    arm: Arm
    state: str  # "new", "begun", "finished"


def plan_studies(
    figures: Sequence[str], budget: str, base_dir: str, sources: Sources, seeds: int = 0
) -> list[Planned]:
    """The studies of some figures; writes nothing.

    Args:
      seeds: of every study; 0 = the budget's.

    Raises:
      DormantError: an unknown figure, a file that is not there, or a folder that holds another
        study.
    """
    check_name("budget", budget, BUDGETS)
    if sources.pretrained and not sources.teacher:
        raise DormantError("--pretrained needs --teacher: the finished run of the good agent")
    for path in [sources.cifar10, sources.teacher, sources.pretrained, *sources.datasets.values()]:
        if path and not os.path.exists(path):
            raise DormantError(f"there is no {path}")
    entries = entries_of(figures, budget, sources)
    needs = [need for entry in entries for need in entry.studies]
    check_asked(sources, {need.kind for need in needs})
    for game in sources.datasets:
        offline = [need.game for need in needs if need.kind == "offline"]
        check_name("game of a data set", game, offline)
    own = {"seeds": seeds} if seeds else {}
    arms = [
        arm._replace(settings={**arm.settings, **own})
        for arm in arms_wanted(figures, budget, sources)
    ]
    ratios = {sources.teacher: DEFAULT_RATIO, sources.pretrained: HIGH_RATIO}
    for path in filter(None, ratios):
        for game in sorted({arm.game for arm in arms if arm.kind == "fitting"}):
            check_source(path, game)
            check_ratio(path, ratios[path])
    for game, path in sources.datasets.items():
        if os.path.exists(os.path.join(path, results.RUN_FILE)):
            check_source(path, game)
    if arms:
        check_folder(base_dir)
    return [
        Planned(arm, state_of(os.path.join(base_dir, arm.name), arm, named_sources(arm, sources)))
        for arm in arms
    ]


def check_asked(sources: Sources, kinds: Collection[str]) -> None:
    """Raises a DormantError for a source of a figure that is not asked."""
    given = {
        ("--cifar10", 3, "supervised"): sources.cifar10,
        ("--datasets", 4, "offline"): sources.datasets,
        ("--teacher", 8, "fitting"): sources.teacher,
    }
    for (flag, figure, kind), value in given.items():
        if value and kind not in kinds:
            raise DormantError(f"{flag} is for figure {figure}, which is not asked")


def check_game(path: str, found: str, wanted: str) -> None:
    """Raises a DormantError where what lies at ``path`` is of another game."""
    if found != wanted:
        raise DormantError(f"{path} is of {found}; {wanted} is wanted")


def check_ratio(path: str, wanted: float) -> None:
    """Raises a DormantError where the run at ``path`` has another replay ratio."""
    found = results.read_run(path).get("replay_ratio")
    if found != wanted:
        raise DormantError(f"{path} has replay ratio {found}; {wanted:g} is wanted")


def check_source(path: str, game: str) -> None:
    """Raises a DormantError where the run at ``path`` is of another game, or is not finished."""
    run = results.read_run(path)
    check_game(path, run.get("game", ""), game)
    if run["status"] != "finished":
        raise DormantError(
            f"{path} holds a run that is not finished; the command that trained it resumes it"
        )


def named_sources(arm: Arm, sources: Sources) -> dict[str, str]:
    """{setting of run.json: the name of the source that the user gives a study}."""
    given = {
        "offline": {"source": sources.datasets.get(arm.game, "")},
        "fitting": {"teacher": sources.teacher}
        | ({"pretrained": sources.pretrained} if arm.arm == PRETRAINED else {}),
    }.get(arm.kind, {})
    return {name: source_name(path) for name, path in given.items() if path}


def source_name(path: str) -> str:
    """By which a study remembers what it learned from: the last two parts of its path, since every
    run of a sweep may be named alike, and a digest of what lies there, since sweeps may be too.
    """
    return f"{'/'.join(os.path.abspath(path).split(os.sep)[-2:])}@{_digest(path)}"


def _digest(path: str) -> str:
    """Of a run its configuration and metrics, of a file all, of another folder names and sizes."""
    made = hashlib.sha256()
    run = os.path.exists(os.path.join(path, results.RUN_FILE))
    if os.path.isdir(path) and not run:
        sizes = [(entry.name, entry.stat().st_size) for entry in os.scandir(path)]
        made.update(repr(sorted(sizes)).encode())
    names = [os.path.join(path, name) for name in (results.CONFIG_FILE, results.METRICS_FILE)]
    for name in names if run else [path]:
        if os.path.isfile(name):
            with open(name, "rb") as file:
                made.update(hashlib.file_digest(file, "sha256").digest())
    return made.hexdigest()[:8]


def state_of(folder: str, arm: Arm, sources: Mapping[str, str] = {}) -> str:
    """What a study's folder holds.

    Raises:
      DormantError: another study, or a run that cannot be read.
    """
    if not os.path.exists(os.path.join(folder, results.RUN_FILE)):
        return "new"
    run = results.read_run(folder)
    stored = run.get("study", {})
    for name, value in arm.settings.items():
        if stored.get(name) != value:
            raise DormantError(
                f"{folder} holds a study of another size ({name} {stored.get(name)}, not {value}); "
                "use another base_dir"
            )
    for name, value in sources.items():
        if stored.get(name) != value:
            raise DormantError(
                f"{folder} holds a study of {name} {stored.get(name)!r}, not {value!r}; use "
                "another base_dir"
            )
    return "finished" if run["status"] == "finished" else "begun"


def describe(planned: Sequence[Planned]) -> str:
    """One line a study."""
    width = max(len(each.arm.name) for each in planned)
    lines = [f"{'study':{width}}  seeds  state"]
    for each in planned:
        lines.append(f"{each.arm.name:{width}}  {each.arm.settings['seeds']:5}  {each.state}")
    return "\n".join(lines)
