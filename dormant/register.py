"""Your own network, agent, environment, selection, intervention, metric or figure, by name.

All have one form, ``register.KIND(name, facts...)(thing)``, as a decorator or as a call; the
package registers its own in the same way. Name your module with ``--import my_module`` on every
command, or with a line ``import my_module`` in a gin file. docs/extending.md has
an example of each.

This module knows no other of the package but ``types``: importing it loads neither jax nor gin.
"""

import dataclasses
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from dormant.types import DormantError, EnvSpec

Thing = TypeVar("Thing")


class NetworkEntry(NamedTuple):
    """A network by its name in gin files."""

    make: Callable[..., Any]  # (the agent's configuration, EnvSpec) -> a Linen module
    axes: tuple[int, ...]  # of the observations it takes: 1 vectors, 2 images, 3 with channels


class AgentEntry(NamedTuple):
    """An agent by its name in gin files."""

    config: type  # the dataclass of its hyperparameters
    make: Callable[..., Any]  # (config, EnvSpec) -> agents.interface.Agent
    title: str  # for people

    @property
    def record(self) -> str:
        """The dataclass's name, in gin files."""
        return self.config.__name__


class MethodEntry(NamedTuple):
    """What is done to an agent's networks, by its name in ``Run.methods``."""

    config: type | None  # the dataclass of its settings
    make: Callable[..., Any] | None  # (config, Agent) -> training.interventions.Intervention
    title: str  # what it adds to a member's label
    # {field of agents.interface.Settings: the record's field}: what the members of one program may
    # differ in, and a member's dictionary and a sweep's grid may name
    traced: Mapping[str, str]

    @property
    def record(self) -> str:
        """The dataclass's name, in gin files; "" where there is none."""
        return self.config.__name__ if self.config else ""


class EnvironmentEntry(NamedTuple):
    """An environment by its name."""

    spec: EnvSpec
    # spec -> one environment: envs.vector.SingleEnv on the host, envs.device.Game on the device
    make: Callable[[EnvSpec], Any]


class MetricEntry(NamedTuple):
    """A measurement made at every log."""

    measure: Callable[..., Any]  # (Agent, state, batch, key) -> () or {layer: ()} float32
    text: str  # what it is, with its unit


# What each kind has, by name. Rows come in through the functions below.
NETWORKS: dict[str, NetworkEntry] = {}  # of agents that need action values: DQN.network
RAINBOW_NETWORKS: dict[str, NetworkEntry] = {}  # of the Rainbow family: Rainbow.network
AGENTS: dict[str, AgentEntry] = {}
METHODS: dict[str, MethodEntry] = {}
ENVIRONMENTS: dict[str, EnvironmentEntry] = {}
SELECTIONS: dict[str, Callable[..., Any]] = {}
METRICS: dict[str, MetricEntry] = {}
FIGURES: dict[str, Any] = {}  # paper.records.Entry


def network(name: str, *, axes: int | Iterable[int], head: str = "q") -> Callable[[Thing], Thing]:
    """A network: a function (config, spec) -> a Linen module, for ``DQN.network = "name"``.

    The module maps observations (B, *observation), as the environment has them and a last axis for
    stacked frames, to action values (B, spec.num_actions) float32, or to a record with these as
    ``q_values``. It may have ``reset_groups``, {"penultimate": names of layers, "last": names};
    without, the penultimate layer is the last whose neurons are scored, and Reset takes "all" only.

    Args:
      axes: how many the environment's observations have: 1, 2 or 3, or several of them.
      head: "q", or "rainbow" for ``Rainbow.network``: then as nets.rainbow.RainbowNetwork.
    """
    tables = {"q": NETWORKS, "rainbow": RAINBOW_NETWORKS}
    taken = (axes,) if isinstance(axes, int) else tuple(axes)
    return _adder("network", tables[head], name, lambda make: NetworkEntry(make, taken))


def agent(name: str, *, config: type, title: str = "") -> Callable[[Thing], Thing]:
    """An agent: a function (config, spec) -> agents.interface.Agent, for ``Run.agent = "name"``.

    Args:
      config: a frozen dataclass with a default for every field; ``batch_size``, ``learning_rate``
        and so on mean what they do in DQN. gin files set its fields by its name: ``Mine.gamma``.
      title: for labels and figures; the record's name where it is left out.
    """
    _check_record(config)
    return _adder(
        "agent", AGENTS, name, lambda make: AgentEntry(config, make, title or config.__name__)
    )


def intervention(
    name: str,
    *,
    config: type | None,
    title: str = "",
    traced: Mapping[str, str] | None = None,
) -> Callable[[Thing], Thing]:
    """An intervention: a function (config, agent) -> training.interventions.Intervention, for
    ``Run.methods = ("name",)``; None where the traced settings are all there is to it.

    Args:
      config: a frozen dataclass with a default for every field, set by its name: ``Mine.period``.
      title: what it adds to a member's label.
      traced: {field of agents.interface.Settings: field of config}: what the members of one program
        may differ in.
    """
    if config is not None:
        _check_record(config)
    ending = f" + {title or name}" if config else ""
    row = lambda make: MethodEntry(config, make, ending, traced or {})
    return _adder("method", METHODS, name, row)


def environment(
    name: str,
    *,
    observation_shape: tuple[int, ...],
    max_episode_steps: int,
    num_actions: int = 0,
    action_shape: tuple[int, ...] = (),
    observation_dtype: Any = np.float32,
    stack_size: int = 1,
    on_device: bool = False,
) -> Callable[[Thing], Thing]:
    """An environment: a function spec -> one of it, for ``--game name``.

    Args:
      observation_shape: of a vector (D,), an image (H, W) or one with channels (H, W, C).
      max_episode_steps: in agent steps; longer episodes are truncated.
      num_actions: of discrete actions; 0 = continuous ones of ``action_shape``, from -1 to 1.
      observation_dtype: np.float32 of vectors, np.uint8 of images (0 to 255), bool.
      stack_size: images stacked along a new last axis.
      on_device: whether it is made of pure jax functions (envs.device.Game); otherwise it is an
        object on the host (envs.vector.SingleEnv).
    """
    spec = EnvSpec(
        name,
        tuple(observation_shape),
        observation_dtype,
        num_actions,
        tuple(action_shape),
        stack_size,
        1,
        max_episode_steps,
        on_device,
    )
    row = lambda make: EnvironmentEntry(spec, make)
    return _adder("environment", ENVIRONMENTS, name, row)


def selection(name: str) -> Callable[[Thing], Thing]:
    """A rule that picks the neurons to recycle, for ``ReDo.select = "name"``: a function of
    redo.select.Candidates -> {layer: (H,) bool}.
    """
    return _adder("selection", SELECTIONS, name, lambda select: select)


def metric(name: str, text: str) -> Callable[[Thing], Thing]:
    """A measurement made at every log on a sample of 64 transitions: a function (agent, state,
    batch, key) -> () float32. With "/{layer}" at the end of its name it returns {layer: ()}.

    Args:
      text: what it is, with its unit, for the list of metrics.
    """
    return _adder("metric", METRICS, name, lambda measure: MetricEntry(measure, text))


def figure(name: str) -> Callable[[Thing], Thing]:
    """A figure or table: a paper.records.Entry with its needs, panels and claims, for the commands
    reproduce, figures and report.
    """
    return _adder("figure", FIGURES, name, lambda entry: entry._replace(figure=name))


def foreign(function: Any) -> bool:
    """Whether a registered function comes from outside the package."""
    return not (getattr(function, "__module__", None) or "").startswith("dormant.")


def names() -> set[str]:
    """Every name of every kind."""
    tables = (NETWORKS, RAINBOW_NETWORKS, AGENTS, METHODS, ENVIRONMENTS, SELECTIONS, METRICS)
    return {name for table in (*tables, FIGURES) for name in table}


# Modules
# ------------------------------------------------------------------------------------------------


def import_module(name: str) -> None:
    """Imports a module that registers things; also one in the current folder.

    Raises:
      DormantError: it cannot be imported.
    """
    here = os.getcwd()
    if "" not in sys.path and here not in sys.path:  # the console command has not got it
        sys.path.append(here)
    try:
        importlib.import_module(name)
    except DormantError:
        raise
    except Exception as error:  # of whatever the module does
        line = (str(error).strip().splitlines() or [""])[0]
        raise DormantError(
            f"cannot import {name} (from {here}): {type(error).__name__}: {line}"
        ) from error


def _check_record(config: type) -> None:
    """Raises a DormantError where gin could not make a record by its name alone, or where members
    could not be compared by it.
    """
    if not isinstance(config, type) or not dataclasses.is_dataclass(config):
        raise DormantError(f"config is {config!r}; it should be a dataclass")
    if config.__hash__ is None:
        raise DormantError(f"{config.__name__} is not frozen: @dataclass(frozen=True)")
    for field in dataclasses.fields(config):
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise DormantError(f"{config.__name__}.{field.name} has no default")


def _adder(
    kind: str, table: dict[str, Any], name: str, row: Callable[[Any], Any]
) -> Callable[[Thing], Thing]:
    """What adds a row to a table, and returns the thing as it is.

    Raises:
      DormantError: another module has registered that name. Names that the package has elsewhere
        are refused where they are used (``envs.env_spec``, ``experiments.consistency``).
    """

    def add(thing: Thing) -> Thing:
        made = row(thing)
        if name in table and _origin(table[name]) != _origin(made):
            raise DormantError(f"there is a {kind} {name!r} already; choose another name")
        table[name] = made
        return thing

    return add


def _origin(row: Any) -> Any:
    """What says that a row comes from the same place: a module that is imported again may replace
    its own.
    """
    if callable(row) or not isinstance(row, tuple):
        return getattr(row, "__module__", None), getattr(row, "__qualname__", repr(row))
    return tuple(_origin(each) for each in row if callable(each)) or repr(row)
