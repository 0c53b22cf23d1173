"""The agents in a run's checkpoints, without the rest of them: to use a run, not to resume it."""

import logging
import os
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from dormant.agents.interface import Agent, Settings
from dormant.training.checkpoint import FOLDER, Facts, has_checkpoint
from dormant.types import DormantError


class RestoredAgent(NamedTuple):
    """One member's agent as a checkpoint holds it."""

    state: Any  # the agent's own record
    agent_steps: int  # of the member, at the checkpoint
    gradient_steps: int


def restore_agent(
    base_dir: str, agent: Agent, settings: Settings, members: int, member: int
) -> RestoredAgent:
    """A member's agent of the newest checkpoint that can be read. Changes nothing.

    A run that is still training may delete a checkpoint while it is read; the next one is taken.

    Args:
      settings: of any member; which parts a state has depends on them.
      members: of the run. member: which of them.

    Raises:
      DormantError: there is no checkpoint, or none can be read.
    """
    tree, facts = newest(
        base_dir, _states(agent, settings, members), "no agent has been saved there"
    )
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[member], tree["states"])
    return RestoredAgent(state, facts.agent_steps, facts.gradient_steps)


def newest(base_dir: str, what: Any, lacking: str) -> tuple[dict[str, Any], Facts]:
    """A part of the newest checkpoint that can be read, and its facts. Changes nothing.

    Args:
      what: the arguments with which orbax restores the tree.
      lacking: what it means that there is no checkpoint, for the message.

    Raises:
      DormantError: there is no checkpoint, or none can be read.
    """
    if not has_checkpoint(base_dir):
        raise DormantError(f"{base_dir} holds no checkpoint: {lacking}")
    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every step otherwise
    folder = os.path.abspath(os.path.join(base_dir, FOLDER))
    options = ocp.CheckpointManagerOptions(read_only=True)
    arguments = ocp.args.Composite(tree=what, facts=ocp.args.JsonRestore())
    with ocp.CheckpointManager(folder, options=options) as manager:
        reason = ""
        for number in sorted(manager.all_steps(), reverse=True):
            try:
                found = manager.restore(number, args=arguments)
                return found["tree"], Facts(**found["facts"]["known"]["facts"])
            except Exception as error:  # orbax and tensorstore raise many kinds
                reason = reason or (str(error).strip().splitlines() or [type(error).__name__])[0]
    raise DormantError(f"no checkpoint in {folder} can be read: {reason[:200]}")


def _states(agent: Agent, settings: Settings, members: int) -> Any:
    """What orbax is asked for: the states of all members, as numpy arrays."""
    single = jax.eval_shape(lambda key: agent.init(key, settings), jax.random.key(0))
    like = jax.tree.map(lambda leaf: np.empty((members, *leaf.shape), leaf.dtype), single)
    as_numpy = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), like)
    return ocp.args.PyTreeRestore(
        {"states": like}, restore_args={"states": as_numpy}, partial_restore=True
    )
