"""DQN as the paper trains it (paper.md 3.2), under the hyperparameter names of Dopamine.

Differences from the paper's protocol:
 1. ``target_update_period`` counts gradient steps. The paper's counts agent steps (8000 at replay
    ratio 0.25, 2000 at 1, ...), which is one synchronisation per 2000 gradient steps in each case.
 2. The gradient-step clock counts gradient steps done. The released code's clock also runs
    during the warm-up.
 3. An action is chosen with the parameters from before the learning that runs while the environment
    steps.
 4. The last transition of an episode is learned from, its reward included. The replay buffer of
    Dopamine 4.1.2 leaves it out, and takes the one before it as terminal.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dormant import ops, register
from dormant.agents.interface import Act, Agent, Learn, Network, Observe, Schedule, Settings
from dormant.agents.parts import (
    Q_VALUES,
    action_values,
    adam,
    check_actions,
    empty_batch,
    fuses,
    in_precision,
    initial,
    last_hidden,
    penultimate,
)
from dormant.nets import Module, make_q_network
from dormant.redo import Activations, capture
from dormant.types import EnvSpec, Key, OptState, Params, Scalar, Scalars, Transition


@dataclass(frozen=True)
class DQN:
    """Hyperparameters; the defaults are the paper's default setting (replay ratio 0.25)."""

    network: str = "nature"  # "nature", "resnet", "mlp" (vectors), ... of register.NETWORKS
    width: float = 1.0  # of all hidden layers, Figure 12
    activation: str = "relu"  # or "leaky_relu", Figure 21
    formulation: str = "auto"  # of convolutions, see nets/conv.py
    precision: str = "float32"  # or "tf32", "bfloat16", see nets/precision.py
    gamma: float = 0.99
    update_horizon: int = 1  # n-step returns; 3 in Figure 10b
    replay_ratio: float = 0.25  # gradient steps per agent step
    update_period: int = 4  # agent steps between two calls of the learner
    min_replay_history: int = 20_000  # agent steps
    target_update_period: int = 2000  # gradient steps
    epsilon_train: float = 0.01
    epsilon_eval: float = 0.001
    epsilon_decay_period: int = 250_000  # agent steps, after min_replay_history
    replay_capacity: int = 1_000_000  # agent steps
    batch_size: int = 32
    learning_rate: float = 6.25e-5
    adam_epsilon: float = 1.5e-4
    adam_b1: float = 0.9
    adam_b2: float = 0.999
    clip_rewards: bool = True  # to [-1, 1], as learned from; recorded returns are never clipped


@struct.dataclass
class DQNState:
    """Everything of one member that learning changes."""

    params: Params
    target_params: Params
    opt_state: OptState


@register.agent("dqn", config=DQN)
def make_dqn(config: DQN, spec: EnvSpec, network: Module | None = None) -> Agent:
    """The agent for one environment.

    Args:
      network: a Linen module as ``register.network`` describes it; None = the one that the
        configuration names.

    Raises:
      DormantError: the configuration does not fit the environment.
    """
    check_actions("DQN", spec, discrete=True)
    network = make_q_network(config, spec) if network is None else network
    observe = _make_observe(network, spec)

    def init(key: Key, settings: Settings) -> DQNState:
        shapes = {Q_VALUES: (1, spec.num_actions)}
        params = initial(network, key, empty_batch(spec), shapes=shapes)
        return DQNState(params, jax.tree.map(jnp.copy, params), adam(config, settings).init(params))

    agent = Agent(
        name="DQN",
        spec=spec,
        schedule=Schedule(
            batch_size=config.batch_size,
            replay_capacity=config.replay_capacity,
            replay_ratio=config.replay_ratio,
            update_period=config.update_period,
            min_replay_history=config.min_replay_history,
            target_update_period=config.target_update_period,
            update_horizon=config.update_horizon,
            gamma=config.gamma,
        ),
        default_settings=Settings(config.learning_rate, 0.0),
        init=init,
        act=_make_act(config, network),
        learn=_make_learn(config, network),
        observe=observe,
        features=penultimate(observe, "online", last_hidden(network)),
        networks=lambda state: {"online": Network(state.params, state.opt_state)},
        with_networks=lambda state, networks: state.replace(**networks["online"]._asdict()),
        transform_reward=ops.clip_reward if config.clip_rewards else lambda reward: reward,
        sync_target=lambda state: state.replace(target_params=jax.tree.map(jnp.copy, state.params)),
        targets=lambda state: {"online": state.target_params},
        with_targets=lambda state, targets: state.replace(target_params=targets["online"]),
        reset_groups={"online": getattr(network, "reset_groups", {})},
        fused=fuses(network, spec),
    )
    return in_precision(agent, config.precision)


def _make_observe(network: Module, spec: EnvSpec) -> Observe:
    # Same parameters, XLA's own convolution: its wiring is the plainest, and scoring is rare.
    observer = network.clone(formulation="xla") if hasattr(network, "formulation") else network
    observe_q = capture(
        action_values(observer),
        init=lambda key: observer.init(key, empty_batch(spec)),
    )

    def observe(state: DQNState, batch: Transition, key: Key) -> dict[str, Activations]:
        del key  # nothing in the network is random
        return {"online": observe_q(state.params, batch.s_tm1)}

    return observe


def _make_act(config: DQN, network: Module) -> Act:
    q_values_of = action_values(network)

    def act(
        state: DQNState, observation: jax.Array, key: Key, agent_steps: Scalar, evaluate: bool
    ) -> jax.Array:
        q_values = q_values_of(state.params, observation[None])[0]
        epsilon: Scalar
        if evaluate:
            epsilon = config.epsilon_eval
        else:
            epsilon = ops.linearly_decaying_epsilon(
                config.epsilon_decay_period,
                agent_steps,
                config.min_replay_history,
                config.epsilon_train,
            )
        return ops.epsilon_greedy(q_values, epsilon, key)

    return act


def _make_learn(config: DQN, network: Module) -> Learn:
    q_values = action_values(network)

    def learn(
        state: DQNState, batch: Transition, key: Key, settings: Settings
    ) -> tuple[DQNState, Scalars, None]:
        del key  # DQN's learning rule is deterministic
        q_t = q_values(state.target_params, batch.s_t)

        def loss_fn(params: Params) -> tuple[jax.Array, jax.Array]:
            q_tm1 = q_values(params, batch.s_tm1)
            errors = jax.vmap(ops.q_learning_td_error)(
                q_tm1, batch.a_tm1, batch.r_t, batch.discount_t, q_t
            )
            return jnp.mean(jax.vmap(ops.huber)(errors)), q_tm1

        (loss, q_tm1), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = adam(config, settings).update(gradient, state.opt_state, state.params)
        chosen = jnp.take_along_axis(q_tm1, batch.a_tm1[:, None], axis=1)
        metrics = {
            "loss": loss,
            "mean_q": jnp.mean(chosen),
            "gradient_norm": optax.tree.norm(gradient),
        }
        params = optax.apply_updates(state.params, updates)
        return DQNState(params, state.target_params, opt_state), metrics, None

    return learn
