"""Soft actor-critic as the paper trains it on MuJoCo (paper.md 3.6), with Dopamine's setting names.

Update order, losses and defaults are those of TF-Agents, which the paper's runs are built on:
critics, then the actor against the new critics, then the temperature, then the target critics.

Differences from the paper's protocol:
 1. The temperature learns from the actions that the actor's loss has drawn, before the actor's
    step; TF-Agents draws new ones after it.
 2. Weight decay: one coefficient times the kernel is added to the gradient before Adam. The
    released code adds coefficient * sum(kernel**2) to the loss, which is twice as much; the paper's
    coefficient for SAC is not known.
 3. Output layers are no hidden neurons and do not enter dormant fractions; in the released code
    they do.
 4. Scores come from a fresh sample of the replay memory, not from the batch just learned from.
 5. An action is chosen with the parameters from before the learning that runs while the environment
    steps.
 6. MuJoCo's "-v4" tasks (or "-v5"), not "-v2" (``envs/mujoco.py``).
 7. ``adam_epsilon`` has Keras' value and is added to the bias-corrected root, as in Algorithm 1 of
    Kingma and Ba. Keras adds it to the uncorrected root, which acts like an epsilon of 3.2e-6 in
    the first step and falls to 1e-7 within some thousand.
 8. Evaluations count agent steps, the random ones of the beginning included. TF-Agents' example
    counts gradient steps, which begin after ``min_replay_history``, and evaluates once before them:
    its evaluation at 10,000 has 20,000 agent steps behind it, ours 10,000 and no gradient step.
 9. Critics see actions in [-1, 1], and densities and the target entropy are of these. TF-Agents'
    are of the task's own range: the same on the paper's four tasks. On Humanoid, 17 actions up to
    0.4, the entropy aimed at here is smaller by 17 * log(1 / 0.4) = 15.6.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dormant import ops, register
from dormant.agents.interface import Act, Agent, Init, Learn, Network, Observe, Schedule, Settings
from dormant.agents.parts import adam, check_actions, in_precision, initial, penultimate
from dormant.nets import ACTIVATIONS, Module, compute_dtype
from dormant.nets.nature import scaled
from dormant.nets.sac import Actor, ActorOutput, Critic, reset_groups
from dormant.redo import Activations, capture
from dormant.types import (
    DormantError,
    EnvSpec,
    Key,
    Params,
    Scalar,
    Scalars,
    Transition,
    check_name,
)

CRITICS = ("critic_1", "critic_2")


@dataclass(frozen=True)
class SAC:
    """Hyperparameters; the defaults are the paper's."""

    num_layers: int = 2
    num_hidden_units: int = 256
    width: float = 1.0  # of all hidden layers; 0.25 and 0.5 in Table 6
    activation: str = "relu"  # or "leaky_relu"
    precision: str = "float32"  # or "tf32", "bfloat16", see nets/precision.py
    gamma: float = 0.99
    update_horizon: int = 1  # n-step returns
    replay_ratio: float = 1.0  # gradient steps per agent step
    update_period: int = 1  # agent steps between two calls of the learner
    min_replay_history: int = 10_000  # agent steps, with uniformly random actions
    target_smoothing_coefficient: float = 0.005  # of the target critics, at every gradient step
    target_entropy: float | None = None  # None = -action_dim / 2
    reward_scale_factor: float = 0.1  # of the rewards learned from; recorded returns are raw
    replay_capacity: int = 1_000_000  # agent steps
    batch_size: int = 256
    learning_rate: float = 3e-4  # of actor, critics and temperature
    adam_epsilon: float = 1e-7
    adam_b1: float = 0.9
    adam_b2: float = 0.999


@struct.dataclass
class SACState:
    """Everything of one member that learning changes."""

    actor: Network
    critics: tuple[Network, ...]  # two
    target_critics: tuple[Params, ...]
    log_temperature: Network  # params () float32


def kernels(params: Params) -> Any:
    """Which parameters decay, as a tree of bools: kernels do, biases do not."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


@register.agent("sac", config=SAC)
def make_sac(
    config: SAC, spec: EnvSpec, actor: Module | None = None, critic: Module | None = None
) -> Agent:
    """The agent for one environment.

    Args:
      actor, critic: modules like nets.sac.Actor and Critic; None = those that the configuration
        describes. Their hidden layers are named Dense_0, ... as theirs.

    Raises:
      DormantError: the configuration does not fit itself or the environment.
    """
    _check(config, spec)
    sizes, dtype = (config.num_hidden_units,) * config.num_layers, compute_dtype(config.precision)
    kind = (sizes, config.width, config.activation, dtype)
    actor = Actor(spec.action_shape[0], *kind) if actor is None else actor
    critic = Critic(*kind) if critic is None else critic
    groups = reset_groups(sizes)
    observe = _observer(actor, critic, spec)
    agent = Agent(
        name="SAC",
        spec=spec,
        schedule=Schedule(
            batch_size=config.batch_size,
            replay_capacity=config.replay_capacity,
            replay_ratio=config.replay_ratio,
            update_period=config.update_period,
            min_replay_history=config.min_replay_history,
            target_update_period=0,
            update_horizon=config.update_horizon,
            gamma=config.gamma,
        ),
        default_settings=Settings(config.learning_rate, 0.0),
        init=_initialiser(config, actor, critic, spec),
        act=_policy(actor),
        learn=_learner(config, actor, critic, spec),
        observe=observe,
        features=penultimate(observe, CRITICS[0], groups["penultimate"][0]),
        networks=lambda state: {"actor": state.actor, **dict(zip(CRITICS, state.critics))},
        with_networks=_with_networks,
        transform_reward=lambda reward: reward * config.reward_scale_factor,
        overwrite_targets=_overwrite_targets,
        targets=lambda state: dict(zip(CRITICS, state.target_critics)),
        with_targets=lambda state, targets: dataclasses.replace(
            state, target_critics=tuple(targets[name] for name in CRITICS)
        ),
        reset_groups={name: groups for name in ("actor", *CRITICS)},
    )
    return in_precision(agent, config.precision)


def _check(config: SAC, spec: EnvSpec) -> None:
    check_actions("SAC", spec, discrete=False)
    if len(spec.observation_shape) != 1:
        raise DormantError(
            f"SAC needs vectors to observe; {spec.name} observes images of shape "
            f"{spec.observation_shape}"
        )
    if spec.stack_size > 1:
        raise DormantError(
            f"SAC takes observations one by one; {spec.name} stacks {spec.stack_size} of them"
        )
    if len(spec.action_shape) != 1:
        raise DormantError(
            f"SAC needs vectors as actions; those of {spec.name} have shape {spec.action_shape}"
        )
    check_name("activation", config.activation, ACTIVATIONS)
    for name in ("num_layers", "num_hidden_units"):
        if getattr(config, name) < 1:
            raise DormantError(f"SAC.{name} is {getattr(config, name)}; it must be at least 1")
    scaled(config.num_hidden_units, config.width)


def _initialiser(config: SAC, actor: Actor, critic: Critic, spec: EnvSpec) -> Init:
    def init(key: Key, settings: Settings) -> SACState:
        key_actor, *key_critics = jax.random.split(key, 1 + len(CRITICS))
        observation, action = _empty_batch(spec)
        transform = adam(config, settings, kernels)
        with_optimiser = lambda params: Network(params, transform.init(params))
        critics = tuple(
            initial(critic, each, observation, action, shapes={"q": (1,)}) for each in key_critics
        )
        gaussian = {"mean": action.shape, "log_std": action.shape}
        return SACState(
            actor=with_optimiser(initial(actor, key_actor, observation, shapes=gaussian)),
            critics=tuple(with_optimiser(params) for params in critics),
            target_critics=jax.tree.map(jnp.copy, critics),
            log_temperature=with_optimiser(jnp.zeros(())),
        )

    return init


def _policy(actor: Module) -> Act:
    def act(
        state: SACState, observation: jax.Array, key: Key, agent_steps: Scalar, evaluate: bool
    ) -> jax.Array:
        del agent_steps  # the random actions of the beginning are the training loop's
        out: ActorOutput = actor.apply(state.actor.params, observation[None])
        if evaluate:
            return ops.tanh_gaussian_mode(out.mean[0])
        return ops.tanh_gaussian_sample(out.mean[0], out.log_std[0], key)[0]

    return act


class _Losses(NamedTuple):
    """The three losses of a batch; each differentiates its first argument."""

    # (critics' params, actor's params, target critics' params, temperature, batch, key)
    # -> loss (), mean q ()
    critics: Callable[..., tuple[jax.Array, jax.Array]]
    # (actor's params, critics' params, temperature, batch, key) -> loss (), log densities (B,)
    actor: Callable[..., tuple[jax.Array, jax.Array]]
    # (log temperature (), log densities (B,)) -> loss ()
    temperature: Callable[[jax.Array, jax.Array], jax.Array]


def _losses(actor: Module, critic: Module, target_entropy: float) -> _Losses:
    def sample(
        actor_params: Params, observation: jax.Array, key: Key
    ) -> tuple[jax.Array, jax.Array]:
        """Actions (B, action_dim) and their log densities (B,)."""
        out: ActorOutput = actor.apply(actor_params, observation)
        keys = jax.random.split(key, observation.shape[0])
        return jax.vmap(ops.tanh_gaussian_sample)(out.mean, out.log_std, keys)

    def values(critics: tuple[Params, ...], observation: jax.Array, action: jax.Array) -> jax.Array:
        """Of each critic, (B, C)."""
        return jnp.stack(
            [critic.apply(params, observation, action).q for params in critics], axis=-1
        )

    def critics_loss(
        params: tuple[Params, ...],
        actor_params: Params,
        targets: tuple[Params, ...],
        temperature: jax.Array,
        batch: Transition,
        key: Key,
    ) -> tuple[jax.Array, jax.Array]:
        a_t, log_prob_t = sample(actor_params, batch.s_t, key)
        q_t = values(targets, batch.s_t, a_t)
        q_tm1 = values(params, batch.s_tm1, batch.a_tm1)
        td_errors = jax.vmap(ops.sac_td_errors, in_axes=(0, 0, 0, 0, 0, None))
        errors = td_errors(q_tm1, batch.r_t, batch.discount_t, q_t, log_prob_t, temperature)
        return 0.5 * jnp.mean(jnp.sum(errors**2, axis=1)), jnp.mean(q_tm1)

    def actor_loss(
        params: Params,
        critics_params: tuple[Params, ...],
        temperature: jax.Array,
        batch: Transition,
        key: Key,
    ) -> tuple[jax.Array, jax.Array]:
        action, log_prob = sample(params, batch.s_tm1, key)
        q = values(critics_params, batch.s_tm1, action)
        losses = jax.vmap(ops.sac_actor_loss, in_axes=(0, 0, None))(q, log_prob, temperature)
        return jnp.mean(losses), log_prob

    def temperature_loss(log_temperature: jax.Array, log_prob: jax.Array) -> jax.Array:
        losses = jax.vmap(ops.sac_temperature_loss, in_axes=(None, 0, None))
        return jnp.mean(losses(log_temperature, log_prob, target_entropy))

    return _Losses(critics_loss, actor_loss, temperature_loss)


def _learner(config: SAC, actor: Actor, critic: Critic, spec: EnvSpec) -> Learn:
    target_entropy = (
        -spec.action_shape[0] / 2 if config.target_entropy is None else config.target_entropy
    )
    losses = _losses(actor, critic, target_entropy)
    critics_gradient = jax.value_and_grad(losses.critics, has_aux=True)
    actor_gradient = jax.value_and_grad(losses.actor, has_aux=True)

    def learn(
        state: SACState, batch: Transition, key: Key, settings: Settings
    ) -> tuple[SACState, Scalars, None]:
        key_t, key_tm1 = jax.random.split(key)
        temperature = jnp.exp(state.log_temperature.params)
        transform = adam(config, settings, kernels)

        def step(network: Network, gradient: Params) -> Network:
            updates, opt_state = transform.update(gradient, network.opt_state, network.params)
            return Network(optax.apply_updates(network.params, updates), opt_state)

        (loss, mean_q), gradients = critics_gradient(
            tuple(network.params for network in state.critics),
            state.actor.params,
            state.target_critics,
            temperature,
            batch,
            key_t,
        )
        critics = tuple(
            step(network, gradient) for network, gradient in zip(state.critics, gradients)
        )
        params = tuple(network.params for network in critics)
        (actor_loss, log_prob), gradient = actor_gradient(
            state.actor.params, params, temperature, batch, key_tm1
        )
        metrics = {
            "loss": loss,
            "mean_q": mean_q,
            "gradient_norm": optax.tree.norm((gradients, gradient)),
            "actor_loss": actor_loss,
            "entropy": -jnp.mean(log_prob),
            "temperature": temperature,
        }
        state = SACState(
            actor=step(state.actor, gradient),
            critics=critics,
            target_critics=optax.incremental_update(
                params, state.target_critics, config.target_smoothing_coefficient
            ),
            log_temperature=step(
                state.log_temperature,
                jax.grad(losses.temperature)(state.log_temperature.params, log_prob),
            ),
        )
        return state, metrics, None

    return learn


def _observer(actor: Module, critic: Module, spec: EnvSpec) -> Observe:
    observe_actor = capture(
        lambda params, observation: actor.apply(params, observation)[:2],  # mean, log_std
        init=lambda key: actor.init(key, _empty_batch(spec)[0]),
    )
    observe_critic = capture(
        lambda params, observation, action: critic.apply(params, observation, action).q,
        init=lambda key: critic.init(key, *_empty_batch(spec)),
    )

    def observe(state: SACState, batch: Transition, key: Key) -> dict[str, Activations]:
        del key  # nothing in the networks is random
        critics = {
            name: observe_critic(network.params, batch.s_tm1, batch.a_tm1)
            for name, network in zip(CRITICS, state.critics)
        }
        return {"actor": observe_actor(state.actor.params, batch.s_tm1), **critics}

    return observe


def _with_networks(state: SACState, networks: dict[str, Network]) -> SACState:
    return dataclasses.replace(
        state, actor=networks["actor"], critics=tuple(networks[name] for name in CRITICS)
    )


def _overwrite_targets(before: SACState, after: SACState) -> SACState:
    """Copies the entries of a critic that have changed to its target critic."""
    pick = lambda old, new, target: jnp.where(new != old, new, target)
    old, new = (tuple(network.params for network in state.critics) for state in (before, after))
    targets = jax.tree.map(pick, old, new, after.target_critics)
    return dataclasses.replace(after, target_critics=targets)


def _empty_batch(spec: EnvSpec) -> tuple[jax.Array, jax.Array]:
    """A batch of one observation and action, for shapes only."""
    return jnp.zeros((1, *spec.observation_shape)), jnp.zeros((1, *spec.action_shape))
