"""The agents in a run's checkpoints, without the rest of them: to use a run, not to resume it."""

import logging
import os
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from dormant.agents.interface import Agent
from dormant.training.checkpoint import FOLDER, has_checkpoint
from dormant.types import DormantError


class RestoredAgent(NamedTuple):
    """One member's agent as a checkpoint holds it."""

    state: Any  # the agent's own record
    agent_steps: int  # of the member, at the checkpoint
    gradient_steps: int


def restore_agent(base_dir: str, agent: Agent, members: int, member: int) -> RestoredAgent:
    """A member's agent of the newest checkpoint that can be read. Changes nothing.

    A run that is still training may delete a checkpoint while it is read; the next one is taken.

    Args:
      members: of the run. member: which of them.

    Raises:
      DormantError: there is no checkpoint, or none can be read.
    """
    if not has_checkpoint(base_dir):
        raise DormantError(f"{base_dir} holds no checkpoint: no agent has been saved there")
    logging.getLogger("absl").setLevel(logging.ERROR)  # orbax reports every step otherwise
    folder = os.path.abspath(os.path.join(base_dir, FOLDER))
    options = ocp.CheckpointManagerOptions(read_only=True)
    with ocp.CheckpointManager(folder, options=options) as manager:
        reason = ""
        for number in sorted(manager.all_steps(), reverse=True):
            try:
                found = manager.restore(number, args=_arguments(agent, members))
            except Exception as error:  # orbax and tensorstore raise many kinds
                reason = reason or (str(error).strip().splitlines() or [type(error).__name__])[0]
                continue
            facts = found["facts"]["known"]["facts"]
            state = jax.tree.map(lambda leaf: np.asarray(leaf)[member], found["tree"]["states"])
            return RestoredAgent(state, facts["agent_steps"], facts["gradient_steps"])
    raise DormantError(f"no checkpoint in {folder} can be read: {reason[:200]}")


def _arguments(agent: Agent, members: int) -> Any:
    """What orbax is asked for: the states of all members, as numpy arrays, and the facts."""
    single = jax.eval_shape(lambda key: agent.init(key, agent.default_settings), jax.random.key(0))
    like = jax.tree.map(lambda leaf: np.empty((members, *leaf.shape), leaf.dtype), single)
    as_numpy = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), like)
    return ocp.args.Composite(
        tree=ocp.args.PyTreeRestore(
            {"states": like}, restore_args={"states": as_numpy}, partial_restore=True
        ),
        facts=ocp.args.JsonRestore(),
    )
