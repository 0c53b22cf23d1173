"""From a grid to a list of runs. What may differ between the members of one population is packed
into one run.

The configurables are imported late: they load jax, which the process that only watches a sweep can
do without.
"""

import ast
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dormant.types import DormantError, check_name


class Sweep(NamedTuple):
    """What is swept: every game with every value of every axis, each with every method and seed."""

    files: Sequence[str]  # gin files
    bindings: Sequence[str] = ()
    grid: Mapping[str, Sequence[Any]] = {}  # {setting: values}
    games: Sequence[str] = ()  # () = Run.game of the files
    seeds: int | Sequence[int] = 1  # how many, or which
    methods: Sequence[str] = ()  # () = Run.methods of the files
    members_per_run: int = 0  # at most; 0 = all that can be trained together
    title: str = ""  # first part of the runs' names


class Job(NamedTuple):
    """One run of a sweep."""

    name: str  # its folder, below the sweep's base_dir
    files: tuple[str, ...]
    bindings: tuple[str, ...]


def expand(sweep: Sweep) -> list[Job]:
    """The runs of a sweep: games x settings that need a program of their own; everything else
    becomes members.

    Raises:
      DormantError: an unknown setting, method or game, or nothing to run.
    """
    from dormant.experiments.configurables import AGENTS, bound, parse, setting_name

    parse(sweep.files, sweep.bindings)
    own: dict[str, Any] = {
        name: sweep.grid[name] for name in ("games", "methods", "seeds") if name in sweep.grid
    }
    sweep = sweep._replace(**own)
    axes = {
        setting_name(name): tuple(values) for name, values in sweep.grid.items() if name not in own
    }
    for name, values in axes.items():
        if not values:
            raise DormantError(f"the grid has no value of {name}")
    agent = AGENTS.get(bound("Run.agent", "dqn"))
    of_members = {"ReDo.tau": "tau", "WeightDecay.coefficient": "weight_decay"}
    if agent:
        of_members[f"{agent.config.__name__}.learning_rate"] = "learning_rate"
    members = _members(sweep, {key: axes[name] for name, key in of_members.items() if name in axes})
    apart = {name: values for name, values in axes.items() if name not in of_members}
    games = tuple(sweep.games) or (bound("Run.game"),)
    if games == (None,):
        raise DormantError("no game: neither the sweep nor its gin files name one (Run.game)")
    jobs = [
        job
        for game in games
        for values in itertools.product(*apart.values())
        for job in _jobs(sweep, game, dict(zip(apart, values)), members)
    ]
    if len({job.name for job in jobs}) < len(jobs):
        raise DormantError(
            "two runs of the sweep are the same; a game or a value of the grid is there twice"
        )
    return jobs


def _members(sweep: Sweep, axes: dict[str, tuple]) -> list[dict[str, Any]]:
    """Every method with every seed and every value that means something to it, each once."""
    from dormant.experiments.configurables import METHODS, bound

    methods = sweep.methods or bound("Run.methods", ("none",))
    for method in methods:
        check_name("method", method, METHODS)
    seeds = range(sweep.seeds) if isinstance(sweep.seeds, int) else sweep.seeds
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        own = {"tau": "redo", "weight_decay": "weight_decay"}
        mine = {key: values for key, values in axes.items() if own.get(key, method) == method}
        for values in itertools.product(*mine.values()):
            for seed in seeds:
                member = {"method": method, "seed": seed, **dict(zip(mine, values))}
                found.setdefault(repr(member), member)
    if not found:
        raise DormantError("no member: the sweep has no method or no seed")
    return list(found.values())


def _jobs(
    sweep: Sweep, game: str, values: dict[str, Any], members: list[dict[str, Any]]
) -> list[Job]:
    """The run of one setting, or several where ``members_per_run`` is less than its members."""
    size = sweep.members_per_run or len(members)
    setting = [f"{name}={_text(value)}" for name, value in values.items()]
    jobs = []
    for first in range(0, len(members), size):
        part = members[first : first + size]
        which = [f"members={first}-{first + len(part) - 1}"] if len(members) > size else []
        name = ",".join([*([sweep.title] if sweep.title else []), *setting, *which]) or "run"
        settings = {**values, "Run.game": game, "Run.members": part}
        chosen = [f"{setting}={value!r}" for setting, value in settings.items()]
        jobs.append(
            Job(f"{game.replace('/', '_')}/{name}", tuple(sweep.files), (*sweep.bindings, *chosen))
        )
    return jobs


def _text(value: Any) -> str:
    """A value as part of a folder's name."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(_text, value))
    text = f"{value:g}" if isinstance(value, float) and math.isfinite(value) else str(value)
    return text.replace("/", "_").replace(" ", "_")


def read_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """("ReDo.tau", (0, 0.1)) from "ReDo.tau=[0,0.1]".

    Raises:
      DormantError: another form.
    """
    name, equals, values = text.partition("=")
    try:
        read = ast.literal_eval(values.strip())
    except (ValueError, SyntaxError):
        read = None
    if not equals or not name.strip() or not isinstance(read, (list, tuple)):
        raise DormantError(
            f'--grid {text!r} is not of the form "ReDo.tau=[0,0.01,0.1]" (text in quotation marks)'
        )
    return name.strip(), tuple(read)
