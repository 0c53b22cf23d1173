"""One run: from gin's values to a population in a ``base_dir``. All checks come before anything is
written.
"""

import contextlib
import dataclasses
import fcntl
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import jax
import numpy as np
import psutil

from dormant import results
from dormant.agents.interface import Agent, Settings
from dormant.envs import env_spec, make_device_env, make_env
from dormant.experiments.configurables import (
    AGENTS,
    MEMBER_KEYS,
    METHODS,
    configured,
    difference,
    parse,
    resolved,
)
from dormant.replay import Memory, make_packed, make_prioritised, make_uniform
from dormant.replay.bits import packed_spec
from dormant.training.device_loop import DeviceLoop
from dormant.training.interventions import make_redo, make_reset
from dormant.training.loop import Loop, Protocol
from dormant.training.members import Member, check_members, make_axis
from dormant.training.population import Population, make_population
from dormant.types import DormantError, EnvSpec, check_name

PACKAGES = (
    "dormant",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "gymnasium",
    "ale-py",
    "gymnax",
    "mujoco",
    "numpy",
)


class Plan(NamedTuple):
    """A run that has been checked and could start."""

    population: Population
    protocol: Protocol
    make_env: Callable  # evaluation? -> VectorEnv; on the device: -> DeviceEnv
    config: str  # the resolved gin configuration
    facts: dict[str, Any]  # of run.json
    gradient_steps: int  # of each member, to the end
    replay_bytes: int  # of all members' replay memories


def plan(files: Sequence[str], bindings: Sequence[str], fits: bool = True) -> Plan:
    """Builds the run that gin files and bindings describe; writes nothing.

    Args:
      fits: refuse replay memories that this machine cannot hold; False where another one will run
        it.

    Raises:
      DormantError: anything that is wrong with them, in one line.
    """
    parse(files, bindings)
    run, protocol = configured("Run"), configured("Protocol")
    if not run.game:
        raise DormantError("no game given: add --game DemonAttack, or Run.game to the bindings")
    check_name("agent", run.agent, AGENTS)
    atari, minatar = configured("AtariProtocol"), configured("MinAtarProtocol")
    evaluated = dataclasses.replace(
        atari, noop_max=max(atari.noop_max, protocol.evaluation_noop_max)
    )
    entry, spec = AGENTS[run.agent], env_spec(run.game, atari, minatar)
    config = configured(entry.config.__name__)
    agent = entry.make(config, spec)
    members = make_members(run, agent, getattr(config, "title", entry.title))
    schedule = agent.schedule
    check_schedule(agent, protocol)
    capacity = min(schedule.replay_capacity, protocol.iterations * protocol.training_steps)
    replay_bytes = len(members) * capacity * bytes_per_step(spec)
    if fits:
        check_memory(replay_bytes, f"{len(members)} members of {capacity:,} agent steps")

    def make_memory(batch_size: int) -> Memory:
        make = make_prioritised if schedule.prioritised else make_uniform
        sizes = (capacity, batch_size, schedule.update_horizon, schedule.gamma)
        return make_packed(make, spec, *sizes) if spec.on_device else make(spec, *sizes)

    axis = make_axis("vmap" if spec.on_device and run.axis == "auto" else run.axis, len(members))
    population = make_population(agent, members, axis, make_memory)

    # Made here, so that a missing library is found before anything is written.
    device_env = make_device_env(run.game, minatar) if spec.on_device else None

    def make_envs(evaluation: bool) -> Any:
        return device_env or make_env(run.game, len(members), evaluated if evaluation else atari)

    return Plan(
        population=population,
        protocol=protocol,
        make_env=make_envs,
        config=resolved(),
        facts=run_facts(run, config, protocol, spec, agent, members),
        gradient_steps=total_gradient_steps(agent, protocol),
        replay_bytes=replay_bytes,
    )


def make_members(run: Any, agent: Agent, title: str) -> list[Member]:
    """The population that ``Run`` describes.

    Raises:
      DormantError: an unknown method or key, no member, or two that are the same.
    """
    if run.members is None:
        seeds = range(run.seeds) if isinstance(run.seeds, int) else run.seeds
        described = [{"method": method, "seed": seed} for method in run.methods for seed in seeds]
    else:
        described = list(run.members)
    methods = {each.get("method", "none") for each in described}
    for method in methods:
        check_name("method", method, METHODS)
    interventions: dict[str, Any] = {}
    if "redo" in methods:
        interventions["redo"] = make_redo(configured("ReDo"), agent)
    if "reset" in methods:
        interventions["reset"] = make_reset(configured("Reset"), agent)
    members = [_member(each, agent, title, interventions) for each in described]
    check_members(members)
    return members


def _member(described: dict, agent: Agent, title: str, interventions: dict) -> Member:
    for key in described:
        check_name("member setting", key, MEMBER_KEYS)
    method = described.get("method", "none")
    seed = described.get("seed", 0)
    if not isinstance(seed, int) or not 0 <= seed < 2**31:
        raise DormantError(
            f"seed {seed!r} of a member; it should be a whole number from 0 to 2147483647"
        )
    decay = configured("WeightDecay").coefficient if method == "weight_decay" else 0.0
    defaults = agent.default_settings
    settings = Settings(
        float(described.get("learning_rate", defaults.learning_rate)),
        float(described.get("weight_decay", decay)),
    )
    tau = float(described.get("tau", configured("ReDo").tau)) if method == "redo" else float("nan")
    if method == "redo" and not tau >= 0:
        raise DormantError(f"ReDo.tau is {tau}; it must be 0 or larger")
    names = {
        "none": title,
        "redo": f"{title} + ReDo",
        "reset": f"{title} + Reset",
        "weight_decay": f"{title} + WD",
    }
    own = [
        f"{key} {described[key]}"
        for key in ("tau", "learning_rate", "weight_decay")
        if key in described
    ]
    label = described.get("label", ", ".join([names[method], *own]))
    return Member(seed, method, label, tau, settings, interventions.get(method))


def check_schedule(agent: Agent, protocol: Protocol) -> None:
    """Raises a DormantError where counts do not fit together."""
    schedule = agent.schedule
    positive = {
        "Protocol.iterations": protocol.iterations,
        "Protocol.training_steps": protocol.training_steps,
        "Protocol.log_period": protocol.log_period,
        f"{agent.name}.update_period": schedule.update_period,
        f"{agent.name}.replay_capacity": schedule.replay_capacity,
        f"{agent.name}.batch_size": schedule.batch_size,
    }
    for name, value in positive.items():
        if value < 1:
            raise DormantError(f"{name} is {value}; it must be at least 1")
    updates = schedule.replay_ratio * schedule.update_period
    if updates < 1 or abs(updates - round(updates)) > 1e-6:
        raise DormantError(
            f"replay_ratio {schedule.replay_ratio:g} times update_period {schedule.update_period} is {updates:g} "
            "gradient steps a call of the learner; it must be a positive whole number"
        )
    if protocol.training_steps % schedule.update_period:
        raise DormantError(
            f"Protocol.training_steps is {protocol.training_steps}; it must be a multiple of the agent's "
            f"update_period, {schedule.update_period}"
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


def bytes_per_step(spec: EnvSpec) -> int:
    """What one agent step takes in a replay memory."""
    spec = packed_spec(spec) if spec.on_device else spec
    row = int(np.prod(spec.observation_shape)) * np.dtype(spec.observation_dtype).itemsize
    return row * (1 if spec.stack_size > 1 else 2) + 16


def free_memory() -> int:
    """Bytes that replay memories can have: of the accelerators, or of this machine."""
    stats = jax.devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "bytes_limit" in stats:
        return (stats["bytes_limit"] - stats.get("bytes_in_use", 0)) * len(jax.devices())
    return psutil.virtual_memory().available


def check_memory(wanted: int, what: str) -> None:
    """Raises a DormantError if the replay memories cannot fit into the memory at hand."""
    free = free_memory()
    if wanted > free:
        raise DormantError(
            f"the replay memories need {wanted / 1e9:.1f} GB ({what}) and "
            f"{free / 1e9:.1f} GB are free; lower replay_capacity or the number of members"
        )


def run_facts(
    run: Any, config: Any, protocol: Protocol, spec: EnvSpec, agent: Agent, members: list
) -> dict[str, Any]:
    """What run.json says (``results.write_run``)."""
    return {
        "game": run.game,
        "agent": agent.name,
        "title": getattr(config, "title", agent.name),
        "network": getattr(config, "network", None),
        "width": getattr(config, "width", 1.0),
        "activation": getattr(config, "activation", "relu"),
        "precision": config.precision,
        "frames_per_agent_step": spec.frames_per_agent_step,
        "replay_ratio": agent.schedule.replay_ratio,
        "update_horizon": agent.schedule.update_horizon,
        "batch_size": agent.schedule.batch_size,
        "min_replay_history": agent.schedule.min_replay_history,
        "protocol": {field: getattr(protocol, field) for field in protocol.__dataclass_fields__},
        "max_episode_steps": spec.max_episode_steps,
        "members": [
            {
                "member": index,
                **member.facts(),
                **(member.intervention.facts if member.intervention else {}),
            }
            for index, member in enumerate(members)
        ],
        "versions": {name: version(name) for name in PACKAGES},
        "machine": {
            "device": jax.devices()[0].device_kind,
            "devices": len(jax.devices()),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
    }


def version(package: str) -> Any:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def execute(planned: Plan, base_dir: str) -> None:
    """Trains in ``base_dir``, from its newest checkpoint where it has one.

    Raises:
      DormantError: base_dir cannot be written, is in use, or holds a run of another configuration.
      training.loop.Interrupted: asked to stop by a signal; everything is saved.
    """
    try:
        os.makedirs(base_dir, exist_ok=True)
        with _locked(base_dir):
            same_configuration(base_dir, planned.config)
            if not os.path.exists(os.path.join(base_dir, results.RUN_FILE)):
                _write_text(os.path.join(base_dir, results.CONFIG_FILE), planned.config)
                results.write_run(base_dir, {**planned.facts, "status": "running"})
            if results.read_run(base_dir)["status"] == "finished":
                return
            loop = make_loop(planned, base_dir)
            try:
                loop.run()
            finally:
                loop.close()
            results.write_run(base_dir, {**planned.facts, "status": "finished"})
    except OSError as error:
        raise DormantError(
            f"cannot write {error.filename or base_dir}: {error.strerror or error}"
        ) from error


def make_loop(planned: Plan, base_dir: str) -> Loop | DeviceLoop:
    """The loop for the kind of environment."""
    population, protocol = planned.population, planned.protocol
    if population.agent.spec.on_device:
        return DeviceLoop(population, protocol, planned.make_env(False), base_dir)
    return Loop(population, protocol, planned.make_env, base_dir)


def _write_text(path: str, text: str) -> None:
    with open(path + ".tmp", "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)


def same_configuration(base_dir: str, config: str) -> None:
    """Raises a DormantError if ``base_dir`` holds a run of another configuration."""
    path = os.path.join(base_dir, results.CONFIG_FILE)
    if not os.path.exists(os.path.join(base_dir, results.RUN_FILE)):
        return
    with open(path) as file:
        changed = difference(file.read(), config)
    if changed:
        raise DormantError(
            f"{base_dir} holds a run of another configuration; use another base_dir, or undo the change:\n{changed}"
        )


@contextlib.contextmanager
def _locked(base_dir: str) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    with open(os.path.join(base_dir, ".lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DormantError(
                f"another process is writing {base_dir}; choose another base_dir"
            ) from None
        yield
