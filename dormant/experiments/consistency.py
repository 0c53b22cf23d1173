"""What has to fit together in a run, and what is set without any effect."""

import math
import re
from collections.abc import Sequence

import jax
import psutil

from dormant import register, results
from dormant.agents.interface import Agent
from dormant.envs.atari import games
from dormant.experiments.configurables import Configuration
from dormant.redo.select import ORDERS
from dormant.replay import Memory
from dormant.training.members import Member
from dormant.training.protocol import Protocol, check_first_learning
from dormant.training.trial import unread
from dormant.types import DormantError, EnvSpec


def check_registered() -> None:
    """Raises a DormantError for a selection or a metric registered under a name of the package's,
    which the register does not know.
    """
    patterns = "|".join(
        re.sub(r"\\{\w+\\}", r"[^,\\s]+", re.escape(name)) for name in results.METRICS
    )
    taken = [("selection", name) for name in register.SELECTIONS if name in ORDERS]
    taken += [("metric", name) for name in register.METRICS if re.fullmatch(patterns, name)]
    for kind, name in taken:
        raise DormantError(f"there is a {kind} {name!r} already; choose another name")


def check_schedule(agent: Agent, protocol: Protocol, record: str) -> None:
    """Raises a DormantError where the counts of agent and protocol do not fit together, or where a
    registered name was taken.
    """
    check_registered()
    schedule = agent.schedule
    updates = schedule.replay_ratio * schedule.update_period
    if updates < 1 or abs(updates - round(updates)) > 1e-6:
        raise DormantError(
            f"replay_ratio {schedule.replay_ratio:g} times update_period {schedule.update_period} "
            f"is {updates:g} gradient steps a call of the learner; it must be a positive whole "
            "number"
        )
    if protocol.training_steps % schedule.update_period:
        raise DormantError(
            f"Protocol.training_steps is {protocol.training_steps}; it must be a multiple of the "
            f"agent's update_period, {schedule.update_period}"
        )
    warm_up = f"{record}.min_replay_history is {schedule.min_replay_history}"
    if schedule.min_replay_history > schedule.replay_capacity:
        raise DormantError(
            f"{warm_up}; the replay memory holds {schedule.replay_capacity} "
            f"agent steps ({record}.replay_capacity)"
        )
    if not total_gradient_steps(agent, protocol):
        steps = protocol.iterations * protocol.training_steps
        raise DormantError(f"{warm_up}; the run has {steps} agent steps, and would learn nothing")
    if schedule.batch_size > schedule.replay_capacity:
        raise DormantError(
            f"{record}.batch_size is {schedule.batch_size}; the replay memory holds "
            f"{schedule.replay_capacity} agent steps ({record}.replay_capacity)"
        )
    capacity = min(schedule.replay_capacity, protocol.iterations * protocol.training_steps)
    at_once = capacity - agent.spec.stack_size - schedule.update_horizon + 1
    if schedule.update_period > at_once:
        raise DormantError(
            f"{record}.update_period is {schedule.update_period}; a replay memory of {capacity} "
            f"agent steps takes at most {at_once} at once"
        )
    check_first_learning(schedule, agent.spec.stack_size, protocol)


def check_interventions(members: Sequence[Member], capacity: int) -> None:
    """Raises a DormantError for an intervention that ends before it starts, or wants more data."""
    for index, member in enumerate(members):
        intervention = member.intervention
        if intervention is None:
            continue
        when, who = intervention.when, f"member {index} ({member.label})"
        if when.start >= when.end:
            raise DormantError(f"{who}: its start, {when.start}, is not before its end, {when.end}")
        if intervention.batch_size > capacity:
            raise DormantError(
                f"{who}: its batch_size is {intervention.batch_size}; the replay memory holds "
                f"{capacity} agent steps"
            )


def total_gradient_steps(agent: Agent, protocol: Protocol) -> int:
    """Of a whole run: one call of the learner every update_period agent steps, from the first after
    the warm-up on.
    """
    schedule = agent.schedule
    calls = protocol.iterations * protocol.training_steps // schedule.update_period
    return schedule.updates_per_call * max(
        calls - schedule.min_replay_history // schedule.update_period - 1, 0
    )


def without_effect(
    configuration: Configuration, agent: Agent, members: Sequence[Member], memory: Memory
) -> list[str]:
    """One line for each thing that is set and changes nothing, or that a user should know."""
    found = _unread(configuration, agent.spec)
    if register.foreign(register.AGENTS[configuration.run.agent].make):
        found += [
            f"{name} has no effect on {_named(members, indices)}: the learning of {agent.name} "
            f"does not read settings.{name}"
            for name, indices in unread(agent, members, memory).items()
        ]
    if not agent.spec.deterministic:
        found.append(
            f"{agent.spec.name} is not deterministic under its seed: a run that is stopped and "
            "resumed does not end with the same numbers"
        )
    if _channels_first(configuration, agent.spec):
        found.append(
            f"{agent.spec.name} observes images of shape {agent.spec.observation_shape}, which are "
            "read as height, width, channels; if the channels come first, move them to the end"
        )
    steps = total_gradient_steps(agent, configuration.protocol)
    if configuration.protocol.log_period > steps:
        found.append(
            f"no dormant fraction is recorded: Protocol.log_period is "
            f"{configuration.protocol.log_period} gradient steps and the run has {steps}"
        )
    for index, member in enumerate(members):
        when = member.intervention.when if member.intervention else None
        if when and not fires(when.period, when.start, min(when.end - 1, steps)):
            found.append(
                f"member {index} ({member.label}) never intervenes: its period is {when.period} "
                f"gradient steps and the run has {steps}"
            )
    return found


def _channels_first(configuration: Configuration, spec: EnvSpec) -> bool:
    """Whether images look like (channels, height, width) to a network of the package, as frames
    stacked by gymnasium do. Such a network would convolve over channels and height.
    """
    network = register.NETWORKS.get(getattr(configuration.agent, "network", ""))
    own = network is not None and not register.foreign(network.make)
    shape = spec.observation_shape
    return own and len(shape) == 3 and shape[0] <= 4 < min(shape[1:])


def _named(members: Sequence[Member], indices: Sequence[int]) -> str:
    """Members in a message: the first, and how many more there are."""
    more = f" and {len(indices) - 1} more" if len(indices) > 1 else ""
    return f"member {indices[0]} ({members[indices[0]].label}){more}"


def fires(period: int, start: int, last: float) -> bool:
    """Whether a positive multiple of the period lies in [start, last]."""
    return max(math.ceil(start / period), 1) * period <= last


def _unread(configuration: Configuration, spec: EnvSpec) -> list[str]:
    """Settings of the bindings (files are made to be combined) that nobody reads in this run."""
    methods = {member.get("method", "none") for member in configuration.members}
    found = []
    for name in sorted(configuration.chosen):
        record = name.split(".")[0]
        owners = [name for name, each in register.METHODS.items() if each.record == record]
        if owners and not set(owners) & methods:
            found.append(f"{name} has no effect: no member's method is {owners[0]!r}")
        if record == "AtariProtocol" and spec.name not in games():
            found.append(f"{name} has no effect: {spec.name} is no Atari game")
        if record == "MinAtarProtocol" and not spec.name.startswith("MinAtar/"):
            found.append(f"{name} has no effect: {spec.name} is no MinAtar game")
    if configuration.run.members is not None:
        for name in sorted({"Run.methods", "Run.seeds"} & configuration.chosen):
            found.append(f"{name} has no effect: Run.members lists the members")
    redo = configuration.methods["redo"]  # a run's resolved text sets every field: not a choice
    if redo.share != type(redo).share and redo.select not in ORDERS and "redo" in methods:
        found.append(f"ReDo.share has no effect: ReDo.select is {redo.select!r}")
    return found


# Memory
# ------------------------------------------------------------------------------------------------


def free_memory(members: int, axis: str, gpus: float = 0) -> int:
    """Bytes that the replay memories of a run can have: on the accelerators it uses, or here.

    Args:
      members, axis: of the population. Its members are spread over the most devices that divide
        their number (``training.members``).
      gpus: how many devices the run sees; 0 = all of this process. A fraction is a share of one.
    """
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if not stats or "bytes_limit" not in stats:
        return psutil.virtual_memory().available
    each = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    if 0 < gpus < 1:
        return int(each * gpus)
    seen = int(gpus) or len(jax.devices())
    used = max(count for count in range(1, seen + 1) if members % count == 0)
    return each * (used if axis == "vmap" else 1)


def check_memory(wanted: int, free: int, what: str) -> None:
    """Raises a DormantError if the replay memories cannot fit into the memory at hand."""
    if wanted > free:
        raise DormantError(
            f"the replay memories need {wanted / 1e9:.1f} GB ({what}) and "
            f"{free / 1e9:.1f} GB are free; lower replay_capacity or the number of members"
        )
