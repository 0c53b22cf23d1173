"""From a configuration to the members of a population."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from dormant.agents.interface import Agent, Settings
from dormant.experiments.configurables import AGENTS, Configuration
from dormant.training.interventions import Intervention, ReDo, Reset, make_redo, make_reset
from dormant.training.members import Member, check_members

UNNAMED = ("seed", "method", "label")  # what a label does not repeat
TRACED = ("tau",)  # settings of interventions that differ within one program (``Settings``)


def make_members(configuration: Configuration, agent: Agent) -> list[Member]:
    """The population that a configuration describes.

    Raises:
      DormantError: an intervention that the agent does not take, no member, or two that are the
        same.
    """
    made: dict[tuple, Intervention | None] = {}
    members = [
        _member(described, configuration, agent, made) for described in configuration.members
    ]
    check_members(members)
    return members


def _member(
    described: Mapping[str, Any],
    configuration: Configuration,
    agent: Agent,
    made: dict[tuple, Intervention | None],
) -> Member:
    """One member. made: {settings: intervention} so far; members of equal settings share one."""
    method = described.get("method", "none")
    decay = configuration.weight_decay.coefficient if method == "weight_decay" else 0.0
    settings = Settings(
        float(described.get("learning_rate", agent.default_settings.learning_rate)),
        float(described.get("weight_decay", decay)),
        float(described.get("tau", configuration.redo.tau)) if method == "redo" else 0.0,
    )
    own = _own_settings(described, configuration)
    content = (method, repr(own))
    if content not in made:
        made[content] = make_redo(own, agent) if isinstance(own, ReDo) else None
        if isinstance(own, Reset):
            made[content] = make_reset(own, agent)
    label = described.get("label", label_of(described, configuration))
    return Member(described.get("seed", 0), method, label, settings, made[content])


def _own_settings(
    described: Mapping[str, Any], configuration: Configuration
) -> ReDo | Reset | None:
    """The settings of the member's intervention: those of the configuration, its own instead."""
    methods: dict[str, ReDo | Reset] = {"redo": configuration.redo, "reset": configuration.reset}
    record = methods.get(described.get("method", "none"))
    if record is None:
        return None
    names = {field.name for field in fields(record)} - set(TRACED)
    own = {name: described[name] for name in names if name in described}
    listed = {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
    return replace(record, **{**own, **listed})


def label_of(described: Mapping[str, Any], configuration: Configuration) -> str:
    """For people: "DQN + ReDo, tau 0.1"."""
    title = getattr(configuration.agent, "title", AGENTS[configuration.run.agent].title)
    names = {"redo": " + ReDo", "reset": " + Reset", "weight_decay": " + WD"}
    name = title + names.get(described.get("method", "none"), "")
    first = ("tau", "learning_rate", "weight_decay")
    keys = [key for key in (*first, *described) if key in described]
    own = [f"{key} {_words(described[key])}" for key in dict.fromkeys(keys) if key not in UNNAMED]
    return ", ".join([name, *own])


def _words(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
