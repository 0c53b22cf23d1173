"""What gin can set: the library's records, registered here from outside, so that the library itself
is free of gin.
"""

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gin

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.agents.sac import SAC, make_sac
from dormant.envs import AtariProtocol, MinAtarProtocol
from dormant.experiments import ROOT
from dormant.training.interventions import ReDo, Reset, WeightDecay
from dormant.training.loop import Protocol
from dormant.types import DormantError, nearest


class AgentEntry(NamedTuple):
    """An agent by its name in gin files."""

    config: Any  # the dataclass of its hyperparameters, as gin knows it
    make: Callable  # (config, EnvSpec) -> Agent
    title: str


@dataclass(frozen=True)
class Run:
    """What is run: a game, an agent, and the members of the population."""

    game: str = ""  # in the paper's spelling, "DemonAttack"
    agent: str = "dqn"
    methods: Sequence[str] = ("none",)  # of METHODS; each is trained with each of the seeds
    seeds: Any = 1  # how many (0, 1, ...), or a list of seeds
    members: Sequence[dict] | None = None  # instead: one dictionary a member, see MEMBER_KEYS
    axis: str = (
        "auto"  # how the members are carried out: "loop" (CPU), "vmap" (accelerators), "auto"
    )


METHODS = ("none", "redo", "reset", "weight_decay")
MEMBER_KEYS = ("seed", "method", "tau", "learning_rate", "weight_decay", "label")

gin.add_config_file_search_path(
    ROOT
)  # files include each other by their path from there, wherever a run is started
_RECORDS = {
    record.__name__: gin.external_configurable(record)
    for record in (
        Run,
        Protocol,
        ReDo,
        Reset,
        WeightDecay,
        AtariProtocol,
        MinAtarProtocol,
        DQN,
        Rainbow,
        SAC,
    )
}
AGENTS = {
    "dqn": AgentEntry(_RECORDS["DQN"], make_dqn, "DQN"),
    "rainbow": AgentEntry(_RECORDS["Rainbow"], make_rainbow, "Rainbow"),
    "sac": AgentEntry(_RECORDS["SAC"], make_sac, "SAC"),
}


def configured(name: str) -> Any:
    """The record ``name`` with the values that gin has for it.

    Raises:
      DormantError: a required value is missing, or of a kind the record cannot hold.
    """
    try:
        record = _RECORDS[name]()
    except Exception as error:  # gin adds its own text to whatever was raised
        raise DormantError(_first_line(error)) from error
    for field in dataclasses.fields(record):
        _check_number(f"{name}.{field.name}", getattr(record, field.name), field.default)
    return record


def _check_number(name: str, value: Any, default: Any) -> None:
    """Counts are whole numbers and no setting is negative."""
    numeric = isinstance(default, (int, float)) and not isinstance(default, bool)
    if not numeric:
        if isinstance(default, (str, bool)) and not isinstance(value, type(default)):
            raise DormantError(
                f"{name} is {value!r}; it should be a {type(default).__name__} such as {default!r}"
            )
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        if name == "Run.seeds":
            return
        raise DormantError(f"{name} is {value!r}; it should be a number such as {default!r}")
    if isinstance(default, int) and value != int(value):
        raise DormantError(f"{name} is {value!r}; it should be a whole number")
    if not value >= 0:
        raise DormantError(f"{name} is {value!r}; it should not be negative")


def parse(files: Sequence[str], bindings: Sequence[str]) -> None:
    """Reads gin files, then bindings; later ones win. Whatever gin knew before is forgotten.

    Raises:
      DormantError: a file that is not there, an unknown name, or a syntax error; the nearest valid
        name is said.
    """
    gin.clear_config()
    for path in files:
        if not os.path.isfile(path):
            folder = os.path.dirname(path) or "."
            there = [os.path.join(folder, name) for name in _gin_files(folder)] or [
                os.path.join("configs", name) for name in _gin_files("configs")
            ]
            raise DormantError(f"no gin file {path!r}; {nearest(path, there)}")
    try:
        gin.parse_config_files_and_bindings(list(files), list(bindings), finalize_config=False)
    except Exception as error:
        raise DormantError(_helpful(error)) from error


def _gin_files(folder: str) -> list[str]:
    return (
        [name for name in os.listdir(folder) if name.endswith(".gin")]
        if os.path.isdir(folder)
        else []
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _helpful(error: Exception) -> str:
    """gin's message in one line, with the nearest valid name."""
    line = _first_line(error)
    unknown = re.search(r"No configurable matching '?([\w./]+)'?", line)
    if unknown:
        return f"unknown gin name {unknown[1]!r}; {nearest(unknown[1].split('.')[-1], _RECORDS)}"
    parameter = re.search(r"Configurable '?([\w.]+)'? doesn't have a parameter named '(\w+)'", line)
    if parameter and parameter[1].split(".")[-1] in _RECORDS:
        record = parameter[1].split(".")[-1]
        fields = [field.name for field in dataclasses.fields(_RECORDS[record])]
        return f"{record} has no setting {parameter[2]!r}; {nearest(parameter[2], fields)}"
    return f"gin: {line}"


def bound(name: str, default: Any = None) -> Any:
    """What the files and bindings parsed last say of a setting; ``default`` where they say
    nothing.
    """
    try:
        return gin.query_parameter(name)
    except ValueError:
        return default


def setting_name(name: str) -> str:
    """The full name of something that a grid may vary: a macro of the files parsed last, or a
    record's setting.

    The record may be left out where only one could be meant: "width" is DQN.width if the agent is a
      DQN.

    Raises:
      DormantError: no such name, or several.
    """
    macros = re.findall(r"^(\w+) = ", gin.config_str(), re.MULTILINE)
    full = [
        f"{record}.{field.name}"
        for record in _RECORDS
        for field in dataclasses.fields(_RECORDS[record])
    ]
    if name in macros or name in full:
        return name
    agents = {entry.config.__name__ for entry in AGENTS.values()}
    agent = AGENTS.get(bound("Run.agent", "dqn"))
    others = agents - {agent.config.__name__ if agent else ""}
    meant = [
        each for each in full if each.split(".")[1] == name and each.split(".")[0] not in others
    ]
    if len(meant) > 1:
        raise DormantError(f"{name!r} could be {' or '.join(meant)}; write which")
    if not meant:
        short = [each.split(".")[1] for each in full]
        raise DormantError(f"unknown setting {name!r}; {nearest(name, [*macros, *full, *short])}")
    return meant[0]


def resolved() -> str:
    """The configuration of what has been built, defaults included, as a gin file that runs it
    again.
    """
    return gin.operative_config_str()


def difference(old: str, new: str) -> str:
    """The lines in which two resolved configurations differ, on one line each; empty if they are
    the same.
    """
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "stored", "now", lineterm="", n=0
    )
    return "\n".join(
        line for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))
    )
