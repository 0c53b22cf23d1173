"""What the training loop knows of an agent: a bundle of pure functions for one member. No base
class.

The population is an outer transformation (``training/population.py``); nothing here has a member
axis. Clocks (gradient steps, agent steps) are shared by all members and kept on the host, so that
periodic work (target synchronisation, recycling) never becomes a conditional inside a compiled
program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dormant.types import EnvSpec


class Settings(NamedTuple):
    """Settings that may differ between the members of one program (traced scalars, float32)."""

    learning_rate: Any  # ()
    # () coefficient of the L2 term added to the gradient before Adam (paper.md 3.4); 0 = off
    weight_decay: Any
    tau: Any = 0.0  # () threshold of ReDo; no other method reads it


class Network(NamedTuple):
    """One trained network of an agent, as interventions see it."""

    params: Any
    opt_state: Any


class Schedule(NamedTuple):
    """Static facts of an agent that the loop needs."""

    batch_size: int
    replay_capacity: int  # single frames or transitions
    replay_ratio: float  # gradient steps per agent step
    update_period: int  # agent steps between two calls of the learner
    min_replay_history: int  # agent steps before the first gradient step
    target_update_period: (
        int  # gradient steps between target synchronisations; 0 = the agent does it inside learn
    )
    update_horizon: int  # n of n-step returns
    gamma: float
    prioritised: bool = (
        False  # whether the replay memory draws by priority: ``learn`` returns new priorities
    )

    @property
    def updates_per_call(self) -> int:
        """Gradient steps in one call of the learner: replay_ratio * update_period, a positive whole
        number.
        """
        return round(self.replay_ratio * self.update_period)


class Agent(NamedTuple):
    """One agent. ``state`` is the agent's own immutable record.

    init(key, settings) -> state
    act(state, observation, key, agent_steps, evaluate) -> action
        observation (*observation,) of one environment; agent_steps () int32, traced; evaluate is
        static.
    learn(state, batch, key, settings) -> (state, metrics, priorities)
        one gradient step; batch is a Transition; metrics a flat dict of float32 scalars, always the
        same names, "loss" among them; priorities (B,) float32, or None when the replay memory is
        uniform.
    sync_target(state) -> state
    observe(state, batch) -> {network name: redo.Activations}
        one forward pass of each network on the states (and actions) of a Transition.
    features(state, batch) -> (B, H) float32, penultimate layer (feature rank, overlap coefficient)
    networks(state) -> {network name: Network}
    with_networks(state, {network name: Network}) -> state
    transform_reward(raw reward, numpy (N,)) -> (N,)
        the reward learned from (clipped, scaled); recorded returns are always raw.
    fused: several gradient steps become one program with a loop inside; False where XLA is slow at
        that (convolutions on the CPU): then one program a gradient step.
    overwrite_targets(before, after) -> state
        ``after`` with its target networks overwritten where an intervention has changed the trained
        ones they follow;
        None: the agent's target networks are copies that the next synchronisation replaces.
    reset_groups: {network name: {"penultimate": layer names, "last": layer names}}, for the Reset
      baseline.
    """

    name: str
    spec: EnvSpec
    schedule: Schedule
    default_settings: Settings
    init: Callable[..., Any]
    act: Callable[..., Any]
    learn: Callable[..., Any]
    observe: Callable[..., Any]
    features: Callable[..., Any]
    networks: Callable[[Any], dict]
    with_networks: Callable[[Any, dict], Any]
    transform_reward: Callable[[Any], Any]
    sync_target: Callable[[Any], Any] | None = None
    overwrite_targets: Callable[[Any, Any], Any] | None = None
    reset_groups: dict[str, dict[str, tuple[str, ...]]] = {}
    fused: bool = True
