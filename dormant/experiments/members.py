"""From a configuration to the members of a population."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from dormant import register
from dormant.agents.interface import Agent, Settings
from dormant.experiments.configurables import Configuration
from dormant.experiments.records import first_line
from dormant.tracing import made
from dormant.training.interventions import Intervention
from dormant.training.members import Member, check_members
from dormant.types import DormantError

UNNAMED = ("seed", "method", "label")  # what a label does not repeat


def make_members(configuration: Configuration, agent: Agent) -> list[Member]:
    """The population that a configuration describes.

    Raises:
      DormantError: an intervention that the agent does not take, settings that its record refuses,
        no member, or two that are the same.
    """
    known: dict[tuple, Intervention | None] = {}
    members = [
        _member(described, configuration, agent, known) for described in configuration.members
    ]
    check_members(members)
    return members


def _member(
    described: Mapping[str, Any],
    configuration: Configuration,
    agent: Agent,
    known: dict[tuple, Intervention | None],
) -> Member:
    """One member. known: {settings: intervention} so far; members of equal settings share one."""
    method = described.get("method", "none")
    entry, record = register.METHODS[method], configuration.methods.get(method)
    settings = _settings(described, configuration, agent)
    intervention = None
    if entry.make is not None:
        own = _own_settings(described, record, entry.traced)
        content = (method, repr(own))
        if content not in known:
            who = f"method {method!r}"
            known[content] = made(who, entry.make, Intervention, own, agent)
        intervention = known[content]
    label = described.get("label", label_of(described, configuration))
    return Member(described.get("seed", 0), method, label, settings, intervention)


def _settings(described: Mapping[str, Any], configuration: Configuration, agent: Agent) -> Settings:
    """The member's settings within the population's program.

    One that is None unless it is used is there for all members, or for none.
    """
    method = described.get("method", "none")
    traced, record = register.METHODS[method].traced, configuration.methods.get(method)
    usual = agent.default_settings._asdict()
    usual |= {name: getattr(record, field) for name, field in traced.items()}
    used = {name for member in configuration.members for name in _named_by(member)}
    usual |= {name: 0.0 for name, value in usual.items() if value is None and name in used}
    own = {**described, **_traced(described, traced)}
    values: dict[str, Any] = {name: own.get(name, value) for name, value in usual.items()}
    values = {name: None if value is None else float(value) for name, value in values.items()}
    return Settings(**values)


def _named_by(described: Mapping[str, Any]) -> set[str]:
    """The settings that a member has by its method, or of its own."""
    return {*register.METHODS[described.get("method", "none")].traced, *described}


def _traced(described: Mapping[str, Any], traced: Mapping[str, str]) -> dict[str, Any]:
    """{setting of the program: the member's own}, by the setting's name or by the record's."""
    return {
        setting: described[name]
        for setting, field in traced.items()
        for name in (setting, field)
        if name in described
    }


def _own_settings(described: Mapping[str, Any], record: Any, traced: Mapping[str, str]) -> Any:
    """The settings of the member's intervention: those of the configuration, its own instead.

    The traced ones are no part of them, and are only shown to the record.

    Raises:
      DormantError: what the record's ``__post_init__`` raises.
    """
    names = {field.name for field in fields(record)} - set(traced.values())
    own = {name: described[name] for name in names if name in described}
    listed = {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
    shown = {traced[setting]: value for setting, value in _traced(described, traced).items()}
    try:
        replace(record, **{**own, **listed, **shown})
        return replace(record, **{**own, **listed})
    except Exception as error:  # of whatever the record raises
        raise DormantError(first_line(error)) from error


def label_of(described: Mapping[str, Any], configuration: Configuration) -> str:
    """For people: "DQN + ReDo, tau 0.1"."""
    title = getattr(configuration.agent, "title", register.AGENTS[configuration.run.agent].title)
    name = title + register.METHODS[described.get("method", "none")].title
    first = ("tau", "learning_rate", "weight_decay", "l2_init")
    keys = [key for key in (*first, *described) if key in described]
    own = [f"{key} {_words(described[key])}" for key in dict.fromkeys(keys) if key not in UNNAMED]
    return ", ".join([name, *own])


def _words(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
