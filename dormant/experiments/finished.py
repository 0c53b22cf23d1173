"""What a finished run of DQN has left: its agents, and the rows of their replay memories.

Only reads: a run that is read is not changed.
"""

import os
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from dormant import results
from dormant.agents.dqn import DQN
from dormant.envs import env_spec
from dormant.experiments.configurables import Configuration, read
from dormant.experiments.run import build
from dormant.replay.rows import Rows, in_order
from dormant.training.append import AppendedFile, Extent
from dormant.training.checkpoint import Facts
from dormant.training.collect import Collector
from dormant.training.files import ACTIONS, action_dtype
from dormant.training.restored import newest
from dormant.training.resume import refill
from dormant.types import DormantError, EnvSpec, Params

RETURNS = ("eval/average_return", "train/average_return")


class Member(NamedTuple):
    """One agent that was trained without an intervention."""

    seed: int
    params: Params  # of its Q network, host arrays
    average_return: float  # of the last iteration; NaN where there is none
    rows: Any  # Rows of its replay memory; None where they were not asked for


class Finished(NamedTuple):
    """A finished run of DQN."""

    base_dir: str
    game: str
    spec: EnvSpec
    config: DQN
    text: str  # its gin configuration
    members: list[Member]

    def memories(self) -> list[Rows]:
        return [member.rows for member in self.members]

    def member(self, seed: int) -> Member:
        """The member of a seed; where the run has none of it, its members are taken in turn."""
        of_seed = (member for member in self.members if member.seed == seed)
        return next(of_seed, self.members[seed % len(self.members)])

    def best(self, but: Member) -> Member:
        """The member with the highest return, other than ``but``; that one where it is alone."""
        others = [member for member in self.members if member is not but] or self.members
        return max(others, key=lambda member: np.nan_to_num(member.average_return, nan=-np.inf))


def load_finished(base_dir: str, rows: bool = True) -> Finished:
    """Reads a finished run of DQN: its members of the method "none".

    Args:
      rows: their replay memories as well; those of runs on the host are filled again from the
        logged actions, which takes as long as playing them.

    Raises:
      DormantError: no run, one that is not finished, of another agent, without members of the
        method "none", or without a checkpoint, configuration or metrics that can be read.
    """
    run, config = results.read_run(base_dir), os.path.join(base_dir, results.CONFIG_FILE)
    if run["status"] != "finished":
        raise DormantError(
            f"{base_dir} holds a run that is not finished; the command that trained it resumes it"
        )
    if not os.path.isfile(config):
        raise DormantError(f"{config} is missing; put the file back as it was")
    configuration = read([config], [])
    if not isinstance(configuration.agent, DQN):
        raise DormantError(f"{base_dir} holds a run of {run.get('agent')}; one of DQN is wanted")
    chosen = {entry["member"]: entry for entry in run["members"] if entry["method"] == "none"}
    if not chosen:
        raise DormantError(f"{base_dir} holds no member of the method 'none'")
    raw = ocp.args.StandardRestore()  # nested dictionaries of arrays, as they lie on the disk
    tree, facts = newest(base_dir, raw, "the run's memory was not kept")
    returns = _returns(base_dir)  # before the memories: filling those again takes long
    own = configuration
    spec = env_spec(own.run.game, own.atari, own.minatar)
    memories: list[Any] = [None] * len(run["members"])
    if rows and spec.on_device:
        memories = _split(tree["memories"], len(memories))
    elif rows:
        memories = _refilled(own, base_dir, facts)
    states = tree["states"].get("state", tree["states"])  # without what members carry beside it
    params = _split(states["params"], len(memories))
    members = [
        Member(
            entry["seed"],
            params[index],
            returns.get(index, np.nan),
            _rows(memories[index], facts.agent_steps) if rows else None,
        )
        for index, entry in chosen.items()
    ]
    return Finished(base_dir, own.run.game, spec, configuration.agent, own.text, members)


def _split(tree: Any, members: int) -> list[Any]:
    return [
        jax.tree.map(lambda leaf, i=index: np.asarray(leaf[i]), tree) for index in range(members)
    ]


def _rows(memory: Any, agent_steps: int) -> Rows:
    return in_order(memory["storage"], int(memory["position"]), agent_steps)


class _Actions(NamedTuple):
    """A log of actions (T, P) that is only read: ``ActionLog`` opens its file for appending."""

    all: np.ndarray

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.all[start:stop]


def _refilled(configuration: Configuration, base_dir: str, facts: Facts) -> list[dict[str, Any]]:
    """The memories of a run on the host, whose checkpoint holds the actions instead."""
    planned = build(configuration)
    population = planned.population
    path = os.path.join(base_dir, ACTIONS)
    AppendedFile(path).check(Extent(*facts.extents[ACTIONS]))
    logged = np.fromfile(path, action_dtype(population.agent.spec))
    log: Any = _Actions(logged.reshape(-1, len(population.members)))
    collector = Collector(population, planned.make_env(False))
    try:
        steps = planned.protocol.training_steps
        refilled = refill(population, collector, log, facts, steps).memories
    finally:
        collector.close()
    return [
        {"storage": vars(each.storage), "position": each.position}
        for each in population.axis.unstack(refilled)
    ]


def _returns(base_dir: str) -> dict[int, float]:
    """The return of each member's last iteration: of its evaluation, else of its training."""
    path = os.path.join(base_dir, results.METRICS_FILE)
    if not os.path.isfile(path):
        raise DormantError(f"{path} is missing; put the file back as it was")
    found: dict[str, dict[int, float]] = {name: {} for name in RETURNS}
    for row in results.read_measurements(path):
        if row.metric in found:
            found[row.metric][row.member] = row.value
    return found[RETURNS[0]] or found[RETURNS[1]]
