"""The one place where gin is read: files and bindings in, plain records out."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import gin

from dormant import register
from dormant.envs import AtariProtocol, MinAtarProtocol
from dormant.experiments import dopamine_names
from dormant.experiments.gin_files import shadowing
from dormant.experiments.gin_text import bound, check_agent, names_of, parse, set_names
from dormant.experiments.records import PROTOCOLS, Run, configured
from dormant.experiments.validation import check_member, check_value, rules_of
from dormant.training.protocol import Protocol
from dormant.types import DormantError, check_name


class Configuration(NamedTuple):
    """Everything that gin has to say about a run."""

    run: Run
    protocol: Protocol
    atari: AtariProtocol
    minatar: MinAtarProtocol
    agent: Any  # the record of the agent that is run
    methods: dict[str, Any]  # {method: its record}
    members: list[dict[str, Any]]  # one dictionary a member, checked
    text: str  # the resolved configuration, as a gin file that runs it again
    chosen: frozenset[str]  # "Record.setting" of everything that bindings set
    shadowing: tuple[str, ...] = ()  # a line for each own file with the name of a shipped one


def read(files: Sequence[str], bindings: Sequence[str]) -> Configuration:
    """All records of a run, every field checked. Later files and bindings win.

    Raises:
      DormantError: anything that is wrong with them, in one line.
    """
    modules = parse(files, bindings)
    run = configured("Run")
    theirs = dopamine_names.game(run.game)
    if theirs:
        raise DormantError(f"{run.game!r} is gymnasium's name; here the game is {theirs!r}")
    check_name("agent", run.agent, register.AGENTS)
    own = register.AGENTS[run.agent].record
    names = set_names()
    check_agent(own, names)
    members = described_members(run)
    used = {member.get("method", "none") for member in members}
    protocol, atari, minatar = (configured(record.__name__) for record in PROTOCOLS)
    agent = configured(own)
    methods = {
        method: configured(entry.record) if method in used else _unused(entry.config, names)
        for method, entry in register.METHODS.items()
        if entry.config
    }
    imports = "".join(f"import {name}\n" for name in modules)
    return Configuration(
        run=run,
        protocol=protocol,
        atari=atari,
        minatar=minatar,
        agent=agent,
        methods=methods,
        members=members,
        text=imports + gin.operative_config_str(),
        chosen=frozenset(names_of(bindings)),
        shadowing=tuple(shadowing(files)),
    )


def _unused(record: type, names: Iterable[str]) -> Any:
    """The record's defaults: what nobody uses is no part of the resolved text.

    What was set, for nobody, is checked all the same.
    """
    for full in names:
        name, _, setting = full.partition(".")
        value = bound(full)
        if name == record.__name__ and isinstance(value, (bool, int, float, str, list, tuple)):
            check_value(full, value, rules_of(record)[setting])
    return record()


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
