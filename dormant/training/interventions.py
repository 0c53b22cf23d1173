"""What the paper does to an agent's networks from time to time: recycle neurons (ReDo), reset
layers (Reset).

One interface: when, on how much data, what happens to the state. Weight decay acts in every
gradient step and is therefore a setting of the optimiser (``agents.interface.Settings``), not an
intervention.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from dormant import register
from dormant.agents.interface import Agent, Network, Settings
from dormant.redo import (
    Periodic,
    Selection,
    cosine_share,
    fraction,
    recycle,
    reset,
    selected,
)
from dormant.redo.recycle import COUNT, INCOMING, OUTGOING, STATISTICS
from dormant.redo.released import check_as_released
from dormant.redo.select import ORDERS
from dormant.results import MemberRecord
from dormant.training.carried import Carried
from dormant.training.gradients import sample_gradients
from dormant.types import DormantError, Key, Transition, check_name

# readings of "the last layer" that the Reset baseline resets (paper.md 3.4)
READINGS = ("penultimate", "last")

# Folded into an intervention's key for the scores' forward pass; networks are 0, 1, ...
NOISE = 1000


@dataclass(frozen=True)
class Intervention:
    """Something done to a member's networks at some gradient steps.

    Two are equal where they do the same: for one agent ``kind`` and ``config`` decide it. What a
    member sets for itself (its learning rate, its tau) is no part of it.

    apply(state, batch, key, settings, gradient_steps) -> (state, {"network/layer": () int32 neurons
        recycled, or a metric's name: its value; "intervention/NAME" is free})
        batch is a Transition of batch_size transitions, sampled afresh from the replay memory; None
        where batch_size is 0. settings is the member's (agents.interface.Settings), gradient_steps
        () int32; both are traced. With ``carried``, the tree that the member carries is one
        argument and one result more, the last.
    facts: what run.json holds about it beside its period.
    carried: what its members carry from one time to the next.
    """

    kind: str  # "redo", "reset", "prune", ...
    config: Any  # the frozen record it was made from
    when: Periodic = field(compare=False)
    batch_size: int = field(compare=False)
    apply: Callable[..., Any] = field(compare=False)
    facts: MemberRecord = field(compare=False)
    carried: Carried | None = field(default=None, compare=False)


@dataclass(frozen=True)
class ReDo:
    """Recycling dormant neurons (Algorithm 1).

    The paper: tau 0.025 in the default setting, 0.1 elsewhere; SAC: 0.
    """

    tau: float = 0.1  # of the members that do not set their own
    period: int = 1000  # gradient steps
    start: int = 0  # gradient steps
    end: int | None = None  # gradient steps; None = never
    batch_size: int = 64  # transitions for the scores, a sample of their own
    networks: tuple[str, ...] | None = None  # of the agent's networks; None = all
    target_networks: bool = False  # SAC: the same entries of the target critics are overwritten too
    # score <= tau, or another of register.SELECTIONS; or an order of redo/select.py: a scheduled
    # share (Figures 15 and 25)
    select: str = "threshold"
    # of the neurons, at gradient step 0; along a cosine to 0 at ``end``. Of the orders only
    share: float = 0.1
    incoming: str = "init"  # this and the following as in redo.recycle: "rescaled" is Figure 23's,
    outgoing: str = "zero"  # "random" Figure 22's
    count: str = "keep"
    moments: str = "zero"
    as_released: bool | str = False  # a str: the name of one fault


@dataclass(frozen=True)
class Reset:
    """Re-initialising whole layers (Nikishin et al., 2022; baseline of Figures 1, 13, 14)."""

    period: int = 100_000  # gradient steps
    start: int = 0
    end: int | None = None
    layers: tuple[str, ...] = ("last",)  # of READINGS, or ("all",): whole networks, as for SAC
    networks: tuple[str, ...] | None = None
    target_networks: bool = False  # SAC: the same entries of the target critics are overwritten too


@dataclass(frozen=True)
class WeightDecay:
    """L2 in the gradient before Adam, on every parameter (paper.md 3.4)."""

    coefficient: float = 1e-5


register.intervention("none", config=None)(None)
register.intervention(
    "weight_decay", config=WeightDecay, title="WD", traced={"weight_decay": "coefficient"}
)(None)


@register.intervention("redo", config=ReDo, title="ReDo", traced={"tau": "tau"})
def make_redo(config: ReDo, agent: Agent) -> Intervention:
    """ReDo for one agent.

    Raises:
      DormantError: tau, period, batch size or a network's name out of range.
    """
    check_ranges(config, agent)
    _check_options(config)
    _check_targets(config.target_networks, agent, "ReDo")
    options: dict[str, Any] = {
        name: getattr(config, name)
        for name in ("incoming", "outgoing", "count", "moments", "as_released")
    }

    def apply(
        state: Any, batch: Transition, key: Key, settings: Settings, gradient_steps: jax.Array
    ) -> tuple[Any, dict]:
        tau = settings.tau
        changed: dict[str, Network] = {}
        counts: dict[str, jax.Array] = {}
        select = _selection(config, gradient_steps)
        chosen = networks_of(agent.networks(state), config.networks)
        key_noise = jax.random.fold_in(key, NOISE)
        observed = agent.observe(state, batch, key_noise)
        by_sample = {}
        if config.select == "gradient":
            by_sample = sample_gradients(agent, state, batch, key_noise, settings)
        for index, (name, activations) in enumerate(sorted(observed.items())):
            if name not in chosen:
                continue
            network = chosen[name]
            params, opt_state = network
            key_network = jax.random.fold_in(key, index)
            masks = selected(
                activations,
                tau,
                key_network,
                select,
                params=params,
                gradients=by_sample.get(name),
                as_released=config.as_released,
            )
            counts |= {f"{name}/{layer}": jnp.sum(mask) for layer, mask in masks.items()}
            changed[name] = Network(
                *recycle(params, opt_state, activations, tau, key_network, masks=masks, **options)
            )
        return _changed(agent, state, changed, config.target_networks), counts

    when = periodic(config)
    facts = MemberRecord(
        score_batch_size=config.batch_size,
        select=config.select,
        incoming=config.incoming,
        outgoing=config.outgoing,
        count=config.count,
        moments=config.moments,
        as_released=config.as_released,
    )
    # tau is the members' own: two that differ in nothing else are one intervention
    content = hashable(config, tau=ReDo.tau)
    return Intervention("redo", content, when, config.batch_size, apply, facts)


def _check_options(config: ReDo) -> None:
    """Raises a DormantError for an unknown option, or a schedule without an end."""
    for name, valid in (
        ("select", (*register.SELECTIONS, *ORDERS)),
        ("incoming", INCOMING),
        ("outgoing", OUTGOING),
        ("count", COUNT),
        ("moments", STATISTICS),
    ):
        check_name(f"ReDo.{name}", getattr(config, name), valid)
    check_as_released("ReDo.as_released", config.as_released)
    if config.select in ORDERS and not config.end:
        raise DormantError(
            f"ReDo.select {config.select!r} needs ReDo.end, the gradient step at which the share "
            "is 0"
        )
    if not 0 < config.share <= 1:
        raise DormantError(f"ReDo.share is {config.share}; it must be above 0 and at most 1")


def _selection(config: ReDo, gradient_steps: Any) -> Selection:
    if config.select in register.SELECTIONS:
        return register.SELECTIONS[config.select]
    assert config.end is not None  # _check_options
    return fraction(cosine_share(config.share, gradient_steps, config.end), config.select)


@register.intervention("reset", config=Reset, title="Reset")
def make_reset(config: Reset, agent: Agent) -> Intervention:
    """Layer resets for one agent.

    Raises:
      DormantError: a reading of the layer that the agent does not have.
    """
    for layer in config.layers:
        check_name("Reset.layers", layer, (*READINGS, "all"))
        if layer != "all" and not any(layer in groups for groups in agent.reset_groups.values()):
            raise DormantError(
                f"Reset.layers names the layer {layer!r}; the network of {agent.name} does not say "
                "which that is (reset_groups)"
            )
    check_ranges(config, agent)
    _check_targets(config.target_networks, agent, "Reset")

    def prefixes(name: str) -> tuple[str, ...]:
        groups = agent.reset_groups.get(name, {})
        return tuple(prefix for layer in config.layers for prefix in groups.get(layer, ()))

    def apply(
        state: Any, batch: None, key: Key, settings: Settings, gradient_steps: jax.Array
    ) -> tuple[Any, dict]:
        del batch, gradient_steps
        fresh = agent.networks(agent.init(key, settings))
        chosen = networks_of(agent.networks(state), config.networks)
        changed = {}
        for name, network in chosen.items():
            if "all" in config.layers:
                changed[name] = fresh[name]
            else:
                where = lambda path, prefixes=prefixes(name): any(
                    part in prefixes for part in path.split("/")
                )
                changed[name] = Network(
                    *reset(network.params, network.opt_state, fresh[name].params, where)
                )
        return _changed(agent, state, changed, config.target_networks), {}

    when = periodic(config)
    facts = MemberRecord(reset_layers=list(config.layers))
    return Intervention("reset", hashable(config), when, 0, apply, facts)


def hashable(config: Any, **changes: Any) -> Any:
    """The same record with tuples in place of the lists that a gin file may give it; and changes
    of fields that are no part of what an intervention does.
    """
    lists = {
        each.name: tuple(value)
        for each in fields(config)
        if isinstance(value := getattr(config, each.name), list)
    }
    return replace(config, **{**lists, **changes})


def _changed(agent: Agent, state: Any, changed: dict[str, Network], target_networks: bool) -> Any:
    """The state with some of its networks changed, and on request their target networks with
    them.
    """
    after = agent.with_networks(state, {**agent.networks(state), **changed})
    return (
        agent.overwrite_targets(state, after)
        if target_networks and agent.overwrite_targets
        else after
    )


def _check_targets(target_networks: bool, agent: Agent, owner: str) -> None:
    """Raises a DormantError where targets are to be overwritten and the agent cannot."""
    if target_networks and agent.overwrite_targets is None:
        raise DormantError(
            f"{owner}.target_networks is True; {agent.name} synchronises its target network itself"
        )


class Scheduled(Protocol):
    """What the configurations of interventions have in common; some have tau and batch_size."""

    @property
    def period(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int | None: ...
    @property
    def networks(self) -> tuple[str, ...] | None: ...


def periodic(config: Scheduled) -> Periodic:
    """When an intervention of this configuration acts."""
    return Periodic(config.period, config.start, float("inf") if config.end is None else config.end)


def check_ranges(config: Scheduled, agent: Agent) -> None:
    """Raises a DormantError for a tau below 0, a batch size below 1, and a network that is none of
    the agent's.
    """
    owner = type(config).__name__
    for name, least in (("tau", 0), ("batch_size", 1)):
        value = getattr(config, name, least)
        if not value >= least:  # nan too
            raise DormantError(f"{owner}.{name} is {value}; it must be {least} or larger")
    if config.networks is None:
        return
    there = jax.eval_shape(
        lambda key: agent.networks(agent.init(key, agent.default_settings)), jax.random.key(0)
    )
    for name in config.networks:
        check_name(f"network in {owner}.networks", name, there)


def networks_of(networks: dict, chosen: tuple[str, ...] | None) -> dict:
    """The networks an intervention acts on; None = all."""
    return {name: network for name, network in networks.items() if chosen is None or name in chosen}
