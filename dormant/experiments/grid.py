"""From a grid to a list of runs. What members of one population may differ in shares a run.

The configurables are imported late: they load jax, which the process that only watches a sweep can
do without.
"""

import ast
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dormant import register
from dormant.experiments.validation import SEEDS, TEXTS, check_value, rules_of
from dormant.types import DormantError, check_name

# what a sweep makes its runs of itself, and the name that it has there
OWN = {"Run.game": "games", "Run.methods": "methods", "Run.seeds": "seeds"}


class Sweep(NamedTuple):
    """What is swept: every game with every value of every axis, each with every method and seed."""

    files: Sequence[str]  # gin files
    bindings: Sequence[str] = ()
    grid: Mapping[str, Sequence[Any]] = {}  # {setting: values}
    games: Sequence[str] = ()  # () = Run.game of the files
    seeds: int | Sequence[int] | None = None  # how many, or which; None = Run.seeds of the files
    methods: Sequence[str] = ()  # () = Run.methods of the files
    members_per_run: int = 0  # at most; 0 = all that can be trained together
    title: str = ""  # first part of the runs' names


class Job(NamedTuple):
    """One run of a sweep."""

    name: str  # its folder, below the sweep's base_dir
    files: tuple[str, ...]
    bindings: tuple[str, ...]


def expand(sweep: Sweep) -> list[Job]:
    """The runs of a sweep: games x settings that need a program of their own.

    Everything else becomes members.

    Raises:
      DormantError: an unknown setting, method or game, a value that a setting cannot have, an axis
        that means nothing to the methods, or nothing to run.
    """
    from dormant.experiments.gin_text import bound, parse

    parse(sweep.files, sweep.bindings)
    if bound("Run.members") is not None:
        raise DormantError("a sweep makes its own members; leave out Run.members")
    own = _own_axes(sweep)
    sweep = sweep._replace(**own)
    methods = sweep.methods or bound("Run.methods", ("none",))
    check_value("Run.methods", methods, TEXTS)
    for method in methods:
        check_name("method", method, register.METHODS)
    axes = _axes({name: values for name, values in sweep.grid.items() if name not in own})
    _check_owners(axes, methods)
    of_members = _of_members()
    seeds = bound("Run.seeds", 1) if sweep.seeds is None else sweep.seeds
    packed = {of_members[name]: values for name, values in axes.items() if name in of_members}
    members = _members(methods, seeds, packed)
    apart = {name: values for name, values in axes.items() if name not in of_members}
    games = tuple(sweep.games) or (bound("Run.game"),)
    if games == (None,):
        raise DormantError("no game: neither the sweep nor its gin files name one (Run.game)")
    check_value("games", games, TEXTS)
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


def _own_axes(sweep: Sweep) -> dict[str, Any]:
    """The axes that are a sweep's own: games, methods, seeds.

    Raises:
      DormantError: one that has no value, or that the sweep has been given otherwise.
    """
    own = {name: sweep.grid[name] for name in OWN.values() if name in sweep.grid}
    for name, values in own.items():
        if not values:
            raise DormantError(f"the grid has no value of {name}")
        if getattr(sweep, name):
            raise DormantError(f"the {name} are given twice: by the grid and by --{name}")
    return own


def _check_owners(axes: Iterable[str], methods: Sequence[str]) -> None:
    """Raises a DormantError for an axis of a method that nobody has."""
    for name in axes:
        record = name.split(".")[0]
        owners = {each for each, entry in register.METHODS.items() if entry.record == record}
        if owners and not owners & set(methods):
            named = ", ".join(methods)
            raise DormantError(
                f"the axis {name} means nothing to the methods of the sweep ({named})"
            )


def _of_members() -> dict[str, tuple[str, str | None]]:
    """{full name: (setting of a member, the method that has it; None = all)} of what the members of
    one run may differ in.
    """
    from dormant.experiments.gin_text import bound

    found: dict[str, tuple[str, str | None]] = {
        f"{entry.record}.{field}": (setting, method)
        for method, entry in register.METHODS.items()
        for setting, field in entry.traced.items()
    }
    agent = register.AGENTS.get(str(bound("Run.agent", "dqn")))
    if agent:
        found[f"{agent.record}.learning_rate"] = ("learning_rate", None)
    return found


def _axes(grid: Mapping[str, Sequence[Any]]) -> dict[str, tuple]:
    """{full name: values} of the settings that are varied.

    Raises:
      DormantError: no such setting, one that is there twice, no value, or one it cannot have.
    """
    from dormant.experiments.gin_text import reads, setting_name
    from dormant.experiments.records import records

    axes: dict[str, tuple] = {}
    for name, values in grid.items():
        full = setting_name(name)
        for own, flag in OWN.items():
            if full == own or reads(own, full):
                raise DormantError(f"{full} is no axis of a sweep: name its {flag} by --{flag}")
        if full == "Run.members":
            raise DormantError("Run.members is no axis of a sweep: it makes its own members")
        if full in axes:
            raise DormantError(f"the grid has the axis {full} twice")
        if not values:
            raise DormantError(f"the grid has no value of {full}")
        record, _, setting = full.partition(".")
        for value in values if setting else ():  # a macro's values are checked where it is read
            check_value(full, value, rules_of(records()[record])[setting])
        axes[full] = tuple(values)
    return axes


def _members(
    methods: Sequence[str],
    seeds: int | Sequence[int],
    axes: Mapping[tuple[str, str | None], tuple],
) -> list[dict[str, Any]]:
    """Every method with every seed and every value that means something to it, each once."""
    check_value("seeds", seeds, SEEDS)
    each_seed = range(seeds) if isinstance(seeds, int) else seeds
    found: dict[str, dict[str, Any]] = {}
    for method in methods:
        mine = {
            setting: values for (setting, owner), values in axes.items() if owner in (None, method)
        }
        for values in itertools.product(*mine.values()):
            for seed in each_seed:
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


def read_grid(texts: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """{name: values} of several axes as ``read_axis`` reads them.

    Raises:
      DormantError: an axis of another form, or one given twice.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for name, values in map(read_axis, texts):
        if name in grid:
            raise DormantError(f"--grid has the axis {name} twice")
        grid[name] = values
    return grid


def read_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """("ReDo.tau", (0, 0.1)) from "ReDo.tau=[0,0.1]".

    Raises:
      DormantError: another form.
    """
    name, equals, values = text.partition("=")
    try:
        read = ast.literal_eval(values.strip())
    except (ValueError, SyntaxError, TypeError):  # the last: a set of lists
        read = None
    if not equals or not name.strip() or not isinstance(read, (list, tuple)):
        raise DormantError(
            f'--grid {text!r} is not of the form "ReDo.tau=[0,0.01,0.1]" (text in quotation marks)'
        )
    return name.strip(), tuple(read)
