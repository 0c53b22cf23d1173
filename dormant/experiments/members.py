"""From a configuration to the members of a population."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from dormant.agents.interface import Agent, Settings
from dormant.experiments.configurables import AGENTS, Configuration
from dormant.training.interventions import Intervention, make_redo, make_reset
from dormant.training.members import READ_TAU, Member, check_members
from dormant.training.pruning import make_prune
from dormant.training.successors import make_continual_backprop, make_shrink_perturb

UNNAMED = ("seed", "method", "label")  # what a label does not repeat
MAKERS: dict[str, Callable[[Any, Agent], Intervention]] = {
    "redo": make_redo,
    "reset": make_reset,
    "prune": make_prune,
    "continual_backprop": make_continual_backprop,
    "shrink_perturb": make_shrink_perturb,
}
NAMES = {  # what a label adds to the agent's title
    "redo": "ReDo",
    "reset": "Reset",
    "weight_decay": "WD",
    "prune": "pruning",
    "continual_backprop": "CBP",
    "shrink_perturb": "S&P",
    "l2_init": "L2 Init",
}
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
    settings = _settings(described, configuration, agent)
    own = _own_settings(described, configuration)
    content = (method, repr(own))
    if content not in made:
        made[content] = MAKERS[method](own, agent) if method in MAKERS else None
    label = described.get("label", label_of(described, configuration))
    return Member(described.get("seed", 0), method, label, settings, made[content])


def _settings(described: Mapping[str, Any], configuration: Configuration, agent: Agent) -> Settings:
    """Where one member has an ``l2_init``, all have: they are one program."""
    method = described.get("method", "none")
    decay = configuration.weight_decay.coefficient if method == "weight_decay" else 0.0
    tau = getattr(configuration, method).tau if method in READ_TAU else 0.0
    pull = configuration.l2_init.coefficient if method == "l2_init" else 0.0
    pulled = any(
        "l2_init" in each or each.get("method") == "l2_init" for each in configuration.members
    )
    return Settings(
        float(described.get("learning_rate", agent.default_settings.learning_rate)),
        float(described.get("weight_decay", decay)),
        float(described.get("tau", tau)) if method in READ_TAU else 0.0,
        float(described.get("l2_init", pull)) if pulled else None,
    )


def _own_settings(described: Mapping[str, Any], configuration: Configuration) -> Any:
    """The record of the member's intervention: the configuration's, with its own settings instead;
    None where it has none.
    """
    method = described.get("method", "none")
    if method not in MAKERS:
        return None
    record = getattr(configuration, method)
    names = {field.name for field in fields(record)} - set(TRACED)
    own = {name: described[name] for name in names if name in described}
    listed = {name: tuple(value) for name, value in own.items() if isinstance(value, list)}
    return replace(record, **{**own, **listed})


def label_of(described: Mapping[str, Any], configuration: Configuration) -> str:
    """For people: "DQN + ReDo, tau 0.1"."""
    title = getattr(configuration.agent, "title", AGENTS[configuration.run.agent].title)
    method = described.get("method", "none")
    name = f"{title} + {NAMES[method]}" if method in NAMES else title
    first = ("tau", "learning_rate", "weight_decay", "l2_init")
    keys = [key for key in (*first, *described) if key in described]
    own = [f"{key} {_words(described[key])}" for key in dict.fromkeys(keys) if key not in UNNAMED]
    return ", ".join([name, *own])


def _words(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
