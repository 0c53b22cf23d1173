"""The records that gin can set: the protocols, and those of every registered agent and method.

They are made known to gin here, from outside, so that the library itself is free of gin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gin

from dormant import register
from dormant.agents import dqn, rainbow, sac
from dormant.envs import AtariProtocol, MinAtarProtocol
from dormant.experiments.validation import check_record
from dormant.training import interventions, pruning, successors
from dormant.training.protocol import Protocol
from dormant.types import DormantError

# the modules that register the package's agents and methods
OWN = (dqn, rainbow, sac, interventions, pruning, successors)
_known_to_gin: dict[type, Any] = {}


@dataclass(frozen=True)
class Run:
    """What is run: a game, an agent, and the members of the population."""

    game: str = ""  # in the paper's spelling, "DemonAttack"
    agent: str = "dqn"  # of register.AGENTS
    # of register.METHODS; each is trained with each of the seeds
    methods: Sequence[str] = ("none",)
    seeds: int | Sequence[int] = 1  # how many (0, 1, ...), or a list of seeds
    members: Sequence[Mapping[str, Any]] | None = None  # instead: one dictionary a member
    # how members are executed: "loop" or "groups" (CPU), "vmap" (accelerators), "auto"
    axis: str = "auto"
    # threads (Atari) or processes (MuJoCo) that step the environments; 0 = as many as pay: a
    # process for every 4 environments, half of the cores at most. The numbers do not depend on it
    env_workers: int = 0


PROTOCOLS = (Protocol, AtariProtocol, MinAtarProtocol)


def records() -> dict[str, type]:
    """{name: record} of everything that gin can set.

    Raises:
      DormantError: two records of one name.
    """
    agents = (entry.config for entry in register.AGENTS.values())
    methods = (entry.config for entry in register.METHODS.values() if entry.config)
    found: dict[str, type] = {}
    for record in (Run, *PROTOCOLS, *agents, *methods):
        name = record.__name__
        if found.setdefault(name, record) is not record:
            raise DormantError(
                f"{record.__module__} registers a record {name}, and {found[name].__module__} has "
                "one of that name; rename it"
            )
    return found


def introduce() -> None:
    """Makes all records known to gin; one that is known already stays."""
    for record in records().values():
        if record not in _known_to_gin:
            _known_to_gin[record] = gin.external_configurable(record)


def configured(name: str) -> Any:
    """The record ``name`` with the values that gin has for it.

    Raises:
      DormantError: a value that the record cannot hold.
    """
    introduce()
    try:
        record = _known_to_gin[records()[name]]()
    except Exception as error:  # gin adds its own text to whatever was raised
        raise DormantError(first_line(error)) from error
    check_record(name, record)
    return record


def first_line(error: Exception) -> str:
    """Of its message; the error's name where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
