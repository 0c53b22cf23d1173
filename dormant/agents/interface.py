"""What the training loop knows of an agent: pure functions for one member. No base class.

The population is an outer transformation (``training/population.py``); nothing here has a member
axis. Clocks (gradient steps, agent steps) are shared by all members and kept on the host, so that
periodic work (target synchronisation, recycling) never becomes a conditional inside a compiled
program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from dormant.redo import Activations
from dormant.types import Array, EnvSpec, Key, OptState, Params, Scalar, Scalars, Transition

State = Any  # the agent's own record: DQNState, RainbowState, SACState


class Settings(NamedTuple):
    """Settings that may differ between the members of one program (traced scalars, float32)."""

    learning_rate: Scalar
    # coefficient of the L2 term added to the gradient before Adam (paper.md 3.4); 0 = off
    weight_decay: Scalar
    tau: Scalar = 0.0  # threshold of ReDo and of pruning; no other method reads it
    # coefficient of L2 towards the initial weights (redo/regularise.py); None where no member of
    # the program has one: the optimiser then keeps no copy of them
    l2_init: Scalar | None = None


class Network(NamedTuple):
    """One trained network of an agent, as interventions see it."""

    params: Params
    opt_state: OptState


Init = Callable[[Key, Settings], State]
Act = Callable[[State, jax.Array, Key, Scalar, bool], jax.Array]
Learn = Callable[[State, Transition, Key, Settings], tuple[State, Scalars, jax.Array | None]]
Observe = Callable[[State, Transition, Key], dict[str, Activations]]
Features = Callable[[State, Transition, Key], jax.Array]
ResetGroups = dict[str, tuple[str, ...]]  # "penultimate" and "last" -> layer names


class Schedule(NamedTuple):
    """Static facts of an agent that the loop needs."""

    batch_size: int
    replay_capacity: int  # single frames or transitions
    replay_ratio: float  # gradient steps per agent step
    update_period: int  # agent steps between two calls of the learner
    min_replay_history: int  # agent steps before the first gradient step
    # gradient steps between target synchronisations; 0 = the agent does it inside learn, if at all
    target_update_period: int
    update_horizon: int  # n of n-step returns
    gamma: float
    # whether the replay memory draws by priority: ``learn`` returns new priorities
    prioritised: bool = False

    @property
    def updates_per_call(self) -> int:
        """Gradient steps in one call of the learner, a positive whole number."""
        return round(self.replay_ratio * self.update_period)


class Agent(NamedTuple):
    """One agent. ``state`` is the agent's own immutable record.

    init(key, settings) -> state
    act(state, observation, key, agent_steps, evaluate) -> action
        observation (*observation,) of one environment; agent_steps () int32, traced; evaluate is
        static.
    learn(state, batch, key, settings) -> (state, metrics, priorities)
        One gradient step. metrics is a flat dict of float32 scalars with always the same names,
        "loss" among them; priorities (B,) float32, or None when the replay memory
        is uniform.
    sync_target(state) -> state
    observe(state, batch, key) -> {network name: redo.Activations}
        One forward pass of each network on the states (and actions) of a Transition. The key draws
        what is random in a network (its noise), as it does in learn; most agents ignore it.
    features(state, batch, key) -> (B, H) float32
        The penultimate layer (feature rank, overlap coefficient), as ``observe`` has it under the
        same key. In one program the two share their forward pass.
    networks(state) -> {network name: Network}
    with_networks(state, {network name: Network}) -> state
    transform_reward(raw reward, numpy (N,), or traced () in a program on the device) -> likewise
        The reward learned from (clipped, scaled); recorded returns are always raw.
    overwrite_targets(before, after) -> state
        ``after`` with its target networks overwritten where an intervention has changed the trained
        ones they follow. None: the agent's target networks are copies that the next synchronisation
        replaces.
    targets(state) -> {network name: target network's params}
    with_targets(state, {network name: params}) -> state
        Only the networks that have a target network; {} where there is none.
    reset_groups
        {network name: groups of layers that the Reset baseline may re-initialise}
    fused
        Whether several gradient steps become one program with a loop inside. False where XLA is
        slow at that (convolutions on the CPU): each gradient step is then a program of its own.
    explores_uniformly
        Whether actions are uniformly random until learning begins; False: ``act`` decides from the
        first step on.
    """

    name: str
    spec: EnvSpec
    schedule: Schedule
    default_settings: Settings
    init: Init
    act: Act
    learn: Learn
    observe: Observe
    features: Features
    networks: Callable[[State], dict[str, Network]]
    with_networks: Callable[[State, dict[str, Network]], State]
    transform_reward: Callable[[Array], Array]
    sync_target: Callable[[State], State] | None = None
    overwrite_targets: Callable[[State, State], State] | None = None
    targets: Callable[[State], dict[str, Params]] = lambda state: {}
    with_targets: Callable[[State, dict[str, Params]], State] = lambda state, targets: state
    reset_groups: dict[str, ResetGroups] = {}
    fused: bool = True
    explores_uniformly: bool = True
