"""What gin can set, and the one place where gin is read: files and bindings in, plain records out.

The library's records are registered here from outside, so that the library itself is free of gin.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import gin

from dormant.agents.dqn import DQN, make_dqn
from dormant.agents.rainbow import Rainbow, make_rainbow
from dormant.agents.sac import SAC, make_sac
from dormant.envs import AtariProtocol, MinAtarProtocol
from dormant.experiments import dopamine_names
from dormant.experiments.gin_files import shadowing, shipped_macros, texts
from dormant.experiments.validation import (
    RULES,
    check_member,
    check_record,
    check_value,
)
from dormant.training.interventions import ReDo, Reset, WeightDecay
from dormant.training.loop import Protocol
from dormant.training.pruning import Prune
from dormant.training.successors import ContinualBackprop, L2Init, ShrinkPerturb
from dormant.types import DormantError, check_name, nearest


class AgentEntry(NamedTuple):
    """An agent by its name in gin files."""

    config: Any  # the dataclass of its hyperparameters, as gin knows it
    make: Callable  # (config, EnvSpec) -> Agent
    title: str

    @property
    def record(self) -> str:
        """The dataclass's name, in gin files and rules."""
        return self.config.__name__


@dataclass(frozen=True)
class Run:
    """What is run: a game, an agent, and the members of the population."""

    game: str = ""  # in the paper's spelling, "DemonAttack"
    agent: str = "dqn"
    methods: Sequence[str] = ("none",)  # of METHODS; each is trained with each of the seeds
    seeds: int | Sequence[int] = 1  # how many (0, 1, ...), or a list of seeds
    members: Sequence[Mapping[str, Any]] | None = None  # instead: one dictionary a member
    axis: str = "auto"  # how members are executed: "loop" (CPU), "vmap" (accelerators), "auto"
    # threads (Atari) or processes (MuJoCo) that step the environments; 0 = as many as pay: a
    # process for every 4 environments, half of the cores at most. The numbers do not depend on it
    env_workers: int = 0


class Configuration(NamedTuple):
    """Everything that gin has to say about a run."""

    run: Run
    protocol: Protocol
    atari: AtariProtocol
    minatar: MinAtarProtocol
    agent: DQN | Rainbow | SAC
    redo: ReDo
    reset: Reset
    weight_decay: WeightDecay
    prune: Prune
    continual_backprop: ContinualBackprop
    shrink_perturb: ShrinkPerturb
    l2_init: L2Init
    members: list[dict[str, Any]]  # one dictionary a member, checked
    text: str  # the resolved configuration, as a gin file that runs it again
    bound: frozenset[str]  # "Record.setting" of everything that files or bindings set
    chosen: frozenset[str]  # of the bindings alone
    shadowing: tuple[str, ...] = ()  # a line for each own file with the name of a shipped one


PROTOCOLS = ("Protocol", "AtariProtocol", "MinAtarProtocol")
METHOD_CLASSES = {
    "redo": ReDo,
    "reset": Reset,
    "weight_decay": WeightDecay,
    "prune": Prune,
    "continual_backprop": ContinualBackprop,
    "shrink_perturb": ShrinkPerturb,
    "l2_init": L2Init,
}
METHOD_RECORDS = {method: record.__name__ for method, record in METHOD_CLASSES.items()}
_OTHERS = (Run, Protocol, AtariProtocol, MinAtarProtocol, DQN, Rainbow, SAC)
_RECORDS = {
    record.__name__: gin.external_configurable(record)
    for record in (*_OTHERS, *METHOD_CLASSES.values())
}
AGENTS = {
    "dqn": AgentEntry(_RECORDS["DQN"], make_dqn, "DQN"),
    "rainbow": AgentEntry(_RECORDS["Rainbow"], make_rainbow, "Rainbow"),
    "sac": AgentEntry(_RECORDS["SAC"], make_sac, "SAC"),
}


# Reading
# ------------------------------------------------------------------------------------------------


def read(files: Sequence[str], bindings: Sequence[str]) -> Configuration:
    """All records of a run, every field checked. Later files and bindings win.

    Raises:
      DormantError: anything that is wrong with them, in one line.
    """
    parse(files, bindings)
    run = configured("Run")
    atari = dopamine_names.game(run.game)
    if atari:
        raise DormantError(f"{run.game!r} is gymnasium's name; here the game is {atari!r}")
    check_name("agent", run.agent, AGENTS)
    own = AGENTS[run.agent].record
    set_names = _set_names()
    _check_agent(own, set_names)
    members = described_members(run)
    used = {METHOD_RECORDS.get(member.get("method", "none")) for member in members}
    records = {name: configured(name) for name in (*PROTOCOLS, own)}
    for name in METHOD_RECORDS.values():  # what nobody uses is no part of the resolved text
        records[name] = configured(name) if name in used else _unused(name, set_names)
    return Configuration(
        run=run,
        protocol=records["Protocol"],
        atari=records["AtariProtocol"],
        minatar=records["MinAtarProtocol"],
        agent=records[own],
        **{method: records[name] for method, name in METHOD_RECORDS.items()},
        members=members,
        text=gin.operative_config_str(),
        bound=frozenset(set_names),
        chosen=frozenset(_names_of(bindings)),
        shadowing=tuple(shadowing(files)),
    )


def configured(name: str) -> Any:
    """The record ``name`` with the values that gin has for it.

    Raises:
      DormantError: a value that the record cannot hold.
    """
    try:
        record = _RECORDS[name]()
    except Exception as error:  # gin adds its own text to whatever was raised
        raise DormantError(_first_line(error)) from error
    check_record(name, record)
    return record


def _unused(name: str, set_names: Iterable[str]) -> Any:
    """The record's defaults; what was set, for nobody, is checked all the same."""
    for full in set_names:
        record, _, setting = full.partition(".")
        value = bound(full)
        if record == name and isinstance(value, (bool, int, float, str, list, tuple)):
            check_value(full, value, RULES[name][setting])
    return next(make for make in METHOD_CLASSES.values() if make.__name__ == name)()


def described_members(run: Run) -> list[dict[str, Any]]:
    """One dictionary a member: Run.members, or every method with every seed.

    Raises:
      DormantError: a member whose dictionary cannot be meant.
    """
    if run.members is None:
        seeds = range(run.seeds) if isinstance(run.seeds, int) else run.seeds
        members = [{"method": method, "seed": seed} for method in run.methods for seed in seeds]
    else:
        members = [dict(member) for member in run.members]
    for index, member in enumerate(members):
        check_member(index, member)
    return members


# Parsing
# ------------------------------------------------------------------------------------------------


def parse(files: Sequence[str], bindings: Sequence[str]) -> None:
    """Reads gin files, then bindings; later ones win. Whatever gin knew before is forgotten.

    Raises:
      DormantError: a file that is not there, an unknown name, a setting that nothing reads, or a
        syntax error.
    """
    gin.clear_config()
    for text in texts(files, bindings):
        _parse_text(text)
    _check_names(_names_of(bindings))


def _parse_text(text: str) -> None:
    try:
        gin.parse_config(text)
    except Exception as error:  # of gin's parser, or of Python's on a value
        raise DormantError(_helpful(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _helpful(error: Exception) -> str:
    """gin's message in one line, with the nearest valid name."""
    line = _first_line(error)
    unknown = re.search(r"No configurable matching '?([\w./]+)'?", line)
    theirs = dopamine_names.hint(str(error))
    if theirs:
        return theirs
    if unknown:
        return f"unknown gin name {unknown[1]!r}; {nearest(unknown[1].split('.')[-1], _RECORDS)}"
    parameter = re.search(r"Configurable '?([\w.]+)'? doesn't have a parameter named '(\w+)'", line)
    if parameter and parameter[1].split(".")[-1] in _RECORDS:
        record = parameter[1].split(".")[-1]
        return f"{record} has no setting {parameter[2]!r}; {nearest(parameter[2], RULES[record])}"
    return f"gin: {line}"


# What was set
# ------------------------------------------------------------------------------------------------


def bound(name: str, default: Any = None) -> Any:
    """What files and bindings parsed last say of a setting; ``default`` where they say nothing."""
    try:
        return gin.query_parameter(name)
    except ValueError:
        return default


def _text_without_strings() -> str:
    """What gin has parsed, one setting a line; the contents of strings left out."""
    return re.sub(r"'(\\.|[^'\\\n])*'|\"(\\.|[^\"\\\n])*\"", "''", gin.config_str())


def _set_names() -> list[str]:
    """ "Record.setting" of everything parsed last."""
    return re.findall(r"^(\w+\.\w+) = ", _text_without_strings(), re.MULTILINE)


def _macros() -> tuple[list[str], set[str]]:
    """The macros that are defined, and those that some setting reads."""
    text = _text_without_strings()
    return re.findall(r"^(\w+) = ", text, re.MULTILINE), set(re.findall(r"%(\w+)", text))


def _names_of(bindings: Sequence[str]) -> list[str]:
    """Left sides of bindings: macros as they are, settings as "Record.setting"."""
    left = re.findall(r"^\s*([\w./]+)\s*=", "\n".join(bindings), re.MULTILINE)
    return [".".join(name.split(".")[-2:]) for name in left]


def _check_names(chosen: Sequence[str]) -> None:
    """Raises a DormantError for a macro that nothing defines or reads, or a scope.

    A macro of the shipped files may wait for another file, once an agent's file is there.
    """
    defined, used = _macros()
    unknown = sorted(used - set(defined))
    if unknown:
        valid = {*defined, *shipped_macros()}
        raise DormantError(f"unknown macro %{unknown[0]}; {nearest(unknown[0], valid)}")
    waiting = shipped_macros() if bound("Run.agent") is not None else set()
    for name in defined:
        if name not in used and (name in chosen or name not in waiting):
            raise DormantError(f"nothing reads {name!r}; {_meant_by(name, used)}")
    scoped = re.search(r"^(\w+/[\w./]+) = ", _text_without_strings(), re.MULTILINE)
    if scoped:
        raise DormantError(f"nothing reads the gin scope of {scoped[1]!r}; write it without")


def _meant_by(name: str, macros: Iterable[str]) -> str:
    """The end of a message: the settings that a bare name may have been meant for."""
    own = [full for full in _own_settings() if full.split(".")[1] == name]
    if own:
        return f"did you mean {' or '.join(own)}?"
    return nearest(name, [*macros, *(full.split(".")[1] for full in _own_settings())])


def _own_settings() -> list[str]:
    """ "Record.setting" of all records but those of other agents."""
    agent = AGENTS.get(str(bound("Run.agent", "dqn")))
    others = {entry.record for entry in AGENTS.values()} - {agent.record if agent else ""}
    return [
        f"{record}.{field.name}"
        for record, configurable in _RECORDS.items()
        if record not in others
        for field in fields(configurable)
    ]


def _check_agent(own: str, set_names: Iterable[str]) -> None:
    """Raises a DormantError for a setting of an agent that is not run: two agents' files, say."""
    others = {entry.record for entry in AGENTS.values()} - {own}
    for name in set_names:
        record, _, setting = name.partition(".")
        if record in others:
            meant = f"; did you mean {own}.{setting}?" if setting in RULES[own] else ""
            raise DormantError(f"{name} is set, but the agent that is run is {own}{meant}")


def setting_name(name: str) -> str:
    """The full name of something that a grid may vary: a macro that is read, or a setting.

    The record may be left out where only one could be meant: "width" is DQN.width if the agent is
    a DQN.

    Raises:
      DormantError: no such name, or several.
    """
    defined, used = _macros()
    macros, own = [each for each in defined if each in used], _own_settings()
    if name in macros or name in own:
        return name
    meant = [each for each in own if each.split(".")[1] == name]
    if len(meant) > 1:
        raise DormantError(f"{name!r} could be {' or '.join(meant)}; write which")
    if not meant:
        short = [each.split(".")[1] for each in own]
        raise DormantError(f"unknown setting {name!r}; {nearest(name, [*macros, *own, *short])}")
    return meant[0]


def difference(old: str, new: str) -> str:
    """The lines in which two resolved configurations differ, joined; empty if they are the same."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    changed = [line for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    changed = [line for line in changed if " = " in line] or changed
    return ", ".join([*changed[:6], *(["..."] if len(changed) > 6 else [])])
