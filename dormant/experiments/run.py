"""One run: from a configuration to a population in a ``base_dir``.

All checks come before anything is written.
"""

import contextlib
import fcntl
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from dormant import register, results
from dormant.agents.interface import Agent
from dormant.atomic import atomic
from dormant.command import check_folder
from dormant.envs import env_spec, make_device_env, make_env
from dormant.envs.atari import games as atari_games
from dormant.experiments.configurables import Configuration, read
from dormant.experiments.consistency import (
    check_interventions,
    check_memory,
    check_schedule,
    free_memory,
    total_gradient_steps,
    without_effect,
)
from dormant.experiments.gin_text import difference
from dormant.experiments.members import make_members
from dormant.replay import Memory, make_packed, make_prioritised, make_uniform
from dormant.replay.bits import binary, packed_spec
from dormant.results import MemberRecord, RunRecord
from dormant.tracing import made
from dormant.training.checkpoint import KEPT, has_checkpoint, keep_newest
from dormant.training.device_loop import DeviceLoop
from dormant.training.loop import Loop, Protocol
from dormant.training.members import Member, make_axis
from dormant.training.population import Population, make_population
from dormant.training.record import has_rows
from dormant.training.trial import try_agent, try_out
from dormant.training.wandb_runs import check_wandb
from dormant.types import DormantError, EnvSpec

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
LOCK_FILE = ".lock"
# Settings that a resumed run may change, as no number depends on them.
FREE_SETTINGS = ("Protocol.checkpoint_minutes", "Protocol.checkpoint_replay_gb", "Run.env_workers")
FREE_OF_NUMBERS = ("formulation",)  # fields of agents on which only rounding depends


class Plan(NamedTuple):
    """A run that has been checked and could start."""

    population: Population
    protocol: Protocol
    make_env: Callable  # evaluation? -> VectorEnv; on the device: -> DeviceEnv
    config: str  # the resolved gin configuration
    facts: RunRecord  # without its status
    gradient_steps: int  # of each member, to the end
    replay_bytes: int  # of all members' replay memories


def plan(files: Sequence[str], bindings: Sequence[str], fits: bool = True, gpus: float = 0) -> Plan:
    """Builds the run that gin files and bindings describe; writes nothing.

    Args:
      fits: refuse replay memories that this machine cannot hold; False where another one will run
        it.
      gpus: how many devices the run will see; 0 = all that this process sees.

    Raises:
      DormantError: anything that is wrong with them, in one line.
    """
    configuration = read(files, bindings)
    if "wandb" in configuration.protocol.writers:
        check_wandb()  # not in build: a trained agent is loaded without it
    return build(configuration, fits, gpus)


def build(configuration: Configuration, fits: bool = True, gpus: float = 0) -> Plan:
    """The run that a configuration describes; see ``plan``."""
    run, protocol, atari = configuration.run, configuration.protocol, configuration.atari
    if not run.game:
        raise DormantError("no game given: add --game DemonAttack, or Run.game to the bindings")
    noops = max(atari.noop_max, protocol.evaluation_noop_max)
    evaluated, minatar = replace(atari, noop_max=noops), configuration.minatar
    entry, spec = register.AGENTS[run.agent], env_spec(run.game, atari, minatar)
    agent = made(f"agent {run.agent!r}", entry.make, Agent, configuration.agent, spec)
    check_schedule(agent, protocol, entry.record)
    schedule = agent.schedule
    capacity = min(schedule.replay_capacity, protocol.iterations * protocol.training_steps)

    def make_memory(batch_size: int) -> Memory:
        make = make_prioritised if schedule.prioritised else make_uniform
        sizes = (capacity, batch_size, schedule.update_horizon, schedule.gamma)
        return make_packed(make, spec, *sizes) if binary(spec) else make(spec, *sizes)

    if register.foreign(entry.make):
        try_agent(run.agent, agent, make_memory(schedule.batch_size))
    members = make_members(configuration, agent)
    axis = make_axis(run.axis, len(members), spec.on_device)
    check_interventions(members, schedule.replay_capacity)
    replay_bytes = len(members) * capacity * bytes_per_step(spec)
    if fits:
        free = free_memory(len(members), axis.name, gpus)
        check_memory(replay_bytes, free, f"{len(members)} members of {capacity:,} agent steps")

    # Made here, so that a missing library is found before anything is written.
    device_env = make_device_env(run.game, minatar) if spec.on_device else None

    def make_envs(evaluation: bool) -> Any:
        rules = evaluated if evaluation else atari
        return device_env or make_env(run.game, len(members), rules, run.env_workers)

    population = make_population(agent, members, axis, make_memory, protocol.taus, protocol.metrics)
    try_out(population, make_memory)
    return Plan(
        population=population,
        protocol=protocol,
        make_env=make_envs,
        config=configuration.text,
        facts=run_facts(configuration, spec, agent, members, population.memory),
        gradient_steps=total_gradient_steps(agent, protocol),
        replay_bytes=replay_bytes,
    )


def bytes_per_step(spec: EnvSpec) -> int:
    """What one agent step takes in a replay memory."""
    spec = packed_spec(spec) if binary(spec) else spec
    row = int(np.prod(spec.observation_shape)) * np.dtype(spec.observation_dtype).itemsize
    return row * (1 if spec.stack_size > 1 else 2) + 16


def run_facts(
    configuration: Configuration,
    spec: EnvSpec,
    agent: Agent,
    members: Sequence[Member],
    memory: Memory,
) -> RunRecord:
    """What run.json holds, but for its status."""
    config = configuration.agent
    return RunRecord(
        game=configuration.run.game,
        agent=agent.name,
        title=getattr(config, "title", agent.name),
        network=getattr(config, "network", None),
        width=getattr(config, "width", 1.0),
        activation=getattr(config, "activation", "relu"),
        precision=getattr(config, "precision", "float32"),
        frames_per_agent_step=spec.frames_per_agent_step,
        replay_ratio=agent.schedule.replay_ratio,
        update_horizon=agent.schedule.update_horizon,
        batch_size=agent.schedule.batch_size,
        min_replay_history=agent.schedule.min_replay_history,
        protocol=asdict(configuration.protocol),
        max_episode_steps=spec.max_episode_steps,
        settings=_other_settings(configuration, spec),
        members=[member.record(index) for index, member in enumerate(members)],
        warnings=[*configuration.shadowing, *without_effect(configuration, agent, members, memory)],
        **origin(),
    )


def _other_settings(configuration: Configuration, spec: EnvSpec) -> dict[str, Any]:
    """Settings of the agent and of its games that no other key of run.json holds."""
    records = [configuration.agent]
    if spec.name in atari_games():
        records.append(configuration.atari)
    elif spec.name.startswith("MinAtar/"):
        records.append(configuration.minatar)
    held = {*RunRecord.__annotations__, *MemberRecord.__annotations__, *FREE_OF_NUMBERS}
    return {
        f"{type(record).__name__}.{name}": value
        for record in records
        for name, value in asdict(record).items()
        if name not in held
    }


def origin() -> RunRecord:
    """Of what code, on what machine: the part of run.json that no configuration decides."""
    return RunRecord(
        commit=results.git_commit(),
        versions={name: version(name) for name in PACKAGES},
        machine={
            "device": jax.devices()[0].device_kind,
            "devices": len(jax.devices()),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
    )


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
        state_of(base_dir, planned.config)  # what is refused leaves no folder and no lock behind
        os.makedirs(base_dir, exist_ok=True)
        with locked(base_dir):
            state = state_of(base_dir, planned.config)
            if state == "finished":
                keep_newest(base_dir)
                return
            if state == "new":
                with atomic(os.path.join(base_dir, results.CONFIG_FILE)) as file:
                    file.write(planned.config)
                results.write_run(base_dir, {**planned.facts, "status": "running"})
            loop = make_loop(planned, base_dir)
            try:
                loop.run()
            finally:
                loop.close()
            results.write_run(base_dir, {**planned.facts, "status": "finished"})
            keep_newest(base_dir)
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


def same_configuration(base_dir: str, config: str) -> None:
    """Raises a DormantError if ``base_dir`` holds a run of another configuration."""
    path = os.path.join(base_dir, results.CONFIG_FILE)
    if not os.path.exists(os.path.join(base_dir, results.RUN_FILE)):
        return
    try:
        with open(path) as file:
            changed = difference(_decisive(file.read()), _decisive(config))
    except (OSError, UnicodeDecodeError) as error:
        raise DormantError(
            f"{base_dir} holds a run whose configuration is lost: {error}"
        ) from error
    if changed:
        raise DormantError(
            f"{base_dir} holds a run of another configuration; use another base_dir, or undo the "
            f"change: {changed}"
        )


def _decisive(config: str) -> str:
    """A resolved configuration without the lines that no number depends on."""
    free = tuple(f"{name} =" for name in FREE_SETTINGS)
    return "".join(line for line in config.splitlines(True) if not line.startswith(free))


@contextlib.contextmanager
def locked(base_dir: str) -> Iterator[None]:
    """One process at a time; the lock goes with the process, however it ends."""
    with open(os.path.join(base_dir, LOCK_FILE), "w") as file:
        _lock(file, base_dir)
        yield


def _lock(file: IO, base_dir: str, kind: int = fcntl.LOCK_EX) -> None:
    """Raises a DormantError if another process holds the lock."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DormantError(
            f"another process is writing {base_dir}; choose another base_dir"
        ) from None


# Looking ahead
# ------------------------------------------------------------------------------------------------


def check_base_dir(base_dir: str, config: str) -> None:
    """Raises a DormantError for a base_dir that cannot be written, or is in use. Writes nothing."""
    check_folder(base_dir)
    lock = os.path.join(base_dir, LOCK_FILE)
    if os.path.exists(lock):
        with open(lock) as file:  # others may look at the same time
            _lock(file, base_dir, fcntl.LOCK_SH)
    state_of(base_dir, config)


def state_of(base_dir: str, config: str) -> str:
    """What ``base_dir`` holds: "new", "begun" or "finished".

    Raises:
      DormantError: a run of another configuration, or one that cannot be read.
    """
    same_configuration(base_dir, config)
    if not os.path.exists(os.path.join(base_dir, results.RUN_FILE)):
        if has_rows(base_dir) or has_checkpoint(base_dir):  # of whatever configuration
            raise DormantError(
                f"{base_dir} holds a run whose {results.RUN_FILE} is lost; put it back, or use "
                "another base_dir"
            )
        below = next(results.find_runs(base_dir), None)
        if below is not None:  # readers do not look below a run
            raise DormantError(
                f"{base_dir} holds other runs ({below}), which one of its own would hide; choose "
                "another base_dir"
            )
        above = _run_above(base_dir)
        if above:
            raise DormantError(
                f"{base_dir} lies in the folder of a run ({above}), which hides what is below it; "
                "choose another base_dir"
            )
        return "new"
    return "finished" if results.read_run(base_dir)["status"] == "finished" else "begun"


def _run_above(base_dir: str) -> str:
    """The run in whose folder base_dir lies; "" where there is none."""
    folder = os.path.dirname(os.path.abspath(base_dir))
    while not os.path.exists(os.path.join(folder, results.RUN_FILE)):
        if folder == os.path.dirname(folder):
            return ""
        folder = os.path.dirname(folder)
    return folder


def disk_bytes(planned: Plan, kept: int = KEPT) -> int:
    """About what a run's folder will hold: checkpoints, replay memories, actions, the tables.

    Args:
      kept: checkpoints; a finished run keeps one.

    A row of the tables is taken as 60 bytes in the CSV and as much again in TensorBoard.
    """
    population, protocol = planned.population, planned.protocol
    agent, members = population.agent, len(population.members)
    settings = agent.default_settings
    state = jax.eval_shape(lambda key: agent.init(key, settings), jax.random.key(0))
    parameters = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    networks = jax.eval_shape(
        lambda key: agent.networks(agent.init(key, settings)), jax.random.key(0)
    )
    layers = sum(len(jax.tree.leaves(network.params)) for network in networks.values())
    steps = protocol.iterations * protocol.training_steps
    actions = steps if agent.spec.num_actions else 4 * steps * int(np.prod(agent.spec.action_shape))
    rows = planned.gradient_steps // protocol.log_period * (10 + 4 * layers)
    memories = planned.replay_bytes
    stored = memories * 9 // 8 if memories <= protocol.checkpoint_replay_gb * 1e9 else 0
    stored = kept * memories if agent.spec.on_device else stored
    return members * (kept * parameters + actions + 120 * rows) + stored
