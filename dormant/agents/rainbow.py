"""The Rainbow family: double, dueling, n-step, prioritised, distributional (C51), noisy, augmented,
each a switch.

C51 (Bellemare et al., 2017), Rainbow (Hessel et al., 2018), DER (van Hasselt et al., 2019) and
DrQ(eps) (Agarwal et al., 2021; paper.md 3.5) are settings of it: ``configs/c51.gin``,
``rainbow.gin``, ``full_rainbow.gin``, ``der.gin``, ``drq_eps.gin``. Hyperparameter names are
Dopamine's.

Differences from Dopamine's agents, which the paper trains:
 1. ``target_update_period`` counts gradient steps (Dopamine: agent steps). At replay ratio 1 that
    is the same; DrQ(eps) at replay ratio r synchronises r times an agent step here, once there.
 2. The gradient-step clock counts gradient steps done; the released code counts from before the
    warm-up.
 3. An action is chosen with the parameters from before the learning that runs while the environment
    steps.
 4. Prioritised sampling is stratified, as Schaul et al. (2016) have it; Dopamine 4 draws
    independently. Where a transition comes twice in a batch, the larger new priority counts.
 5. Every noisy layer draws noise of its own, and so do the three passes of a learning step (states,
    next states with the target network, next states with the online one); Dopamine reuses one key
    for the layers of a pass, so that layers of one width share their noise.
 6. Kernels are xavier_uniform, as in Dopamine's full Rainbow; its smaller C51 and Rainbow networks
    use a uniform fan-in initialiser.
 7. Output heads are no hidden neurons: they do not enter dormant fractions; DrQ(eps)'s do in the
    released code.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dormant import ops
from dormant.agents.interface import Agent, Network, Schedule, Settings
from dormant.agents.parts import adam, empty_batch, fuses, in_precision
from dormant.nets import make_rainbow_network
from dormant.redo import capture
from dormant.types import DormantError, EnvSpec


@dataclass(frozen=True)
class Rainbow:
    """Hyperparameters; the defaults are Rainbow with all of its six parts at Dopamine's values."""

    title: str = (
        "Rainbow"  # of this setting of the family, in labels and figures: "C51", "DrQ(eps)", ...
    )
    network: str = "nature"  # "nature", "resnet", or "mlp" (vector observations)
    width: float = 1.0  # of all hidden layers
    activation: str = "relu"  # or "leaky_relu"
    formulation: str = "auto"  # of convolutions, see nets/conv.py
    precision: str = "float32"  # or "tf32", "bfloat16", see nets/precision.py
    double_dqn: bool = (
        True  # the online network chooses the next action, the target network values it
    )
    dueling: bool = True
    noisy: bool = True  # noisy layers explore instead of epsilon_train
    distributional: bool = True  # C51; otherwise Huber on action values
    num_atoms: int = 51
    vmax: float = 10.0  # the largest atom
    vmin: float | None = None  # the smallest; None = -vmax
    replay_scheme: str = "prioritized"  # or "uniform"
    data_augmentation: bool = False  # DrQ: random shifts and intensities of states and next states
    gamma: float = 0.99
    update_horizon: int = 3  # n-step returns
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
class RainbowState:
    """Everything of one member that learning changes."""

    params: Any
    target_params: Any  # None where target_update_period is 1: the target network is the online one
    opt_state: Any


def make_rainbow(config: Rainbow, spec: EnvSpec) -> Agent:
    """The agent for one environment.

    Raises:
      DormantError: the configuration does not fit itself or the environment.
    """
    _check(config, spec)
    network: Any = make_rainbow_network(config, spec)

    def init(key: Any, settings: Settings) -> RainbowState:
        params = network.init(key, empty_batch(spec))
        target = jax.tree.map(jnp.copy, params) if _has_target(config) else None
        return RainbowState(params, target, adam(config, settings).init(params))

    sync_target = lambda state: state.replace(target_params=jax.tree.map(jnp.copy, state.params))
    # Same parameters, XLA's own convolution: its wiring is the plainest, and scoring is rare.
    observer = network.clone(formulation="xla")
    observe_q = capture(
        lambda params, observation, key: observer.apply(params, observation, key).q_values,
        init=lambda key: observer.init(key, empty_batch(spec)),
    )

    def observe(state: RainbowState, batch: Any) -> dict:
        # The sample is a fresh one each time, so its rows give a fresh draw of the layers' noise.
        key = jax.random.fold_in(jax.random.key(0), jnp.sum(batch.index))
        return {"online": observe_q(state.params, batch.s_tm1, key)}

    agent = Agent(
        name="Rainbow",
        spec=spec,
        schedule=_schedule(config),
        default_settings=Settings(config.learning_rate, 0.0),
        init=init,
        act=_make_act(config, network),
        learn=_make_learn(config, network),
        observe=observe,
        features=lambda state, batch: network.apply(state.params, batch.s_tm1).features,
        networks=lambda state: {"online": Network(state.params, state.opt_state)},
        with_networks=lambda state, networks: state.replace(**networks["online"]._asdict()),
        transform_reward=ops.clip_reward if config.clip_rewards else lambda reward: reward,
        sync_target=sync_target if _has_target(config) else None,
        reset_groups={"online": network.reset_groups},
        fused=fuses(network),
    )
    return in_precision(agent, config.precision)


def _has_target(config: Rainbow) -> bool:
    """Whether the target network differs from the online one at all."""
    return config.target_update_period != 1


def _make_act(config: Rainbow, network: Any) -> Callable:
    def act(
        state: RainbowState, observation: Any, key: Any, agent_steps: Any, evaluate: bool
    ) -> Any:
        key_noise, key_explore = jax.random.split(key)
        noise = key_noise if config.noisy and not evaluate else None
        q_values = network.apply(state.params, observation[None], noise).q_values[0]
        if evaluate:
            epsilon = config.epsilon_eval
        elif config.noisy:
            epsilon = 0.0
        else:
            epsilon = ops.linearly_decaying_epsilon(
                config.epsilon_decay_period,
                agent_steps,
                config.min_replay_history,
                config.epsilon_train,
            )
        return ops.epsilon_greedy(q_values, epsilon, key_explore)

    return act


def _make_learn(config: Rainbow, network: Any) -> Callable:
    def learn(state: RainbowState, batch: Any, key: Any, settings: Settings) -> tuple:
        key_tm1, key_t, noise_tm1, noise_t, noise_choice = jax.random.split(key, 5)
        if config.data_augmentation:
            batch = batch._replace(
                s_tm1=_augmented(batch.s_tm1, key_tm1), s_t=_augmented(batch.s_t, key_t)
            )
        weight = jnp.ones_like(batch.r_t) if batch.weight is None else batch.weight
        target_params = state.target_params if _has_target(config) else state.params
        target = network.apply(target_params, batch.s_t, noise_t)
        choice = target.q_values
        if config.double_dqn and (
            _has_target(config) or config.noisy
        ):  # otherwise it is the same network
            choice = network.apply(state.params, batch.s_t, noise_choice).q_values

        def loss_fn(params: Any) -> tuple:
            online = network.apply(params, batch.s_tm1, noise_tm1)
            losses = _losses(config, network, online, target, choice, batch)
            return jnp.mean(weight * losses), (losses, online.q_values)

        (loss, (losses, q_tm1)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = adam(config, settings).update(gradient, state.opt_state, state.params)
        chosen = jnp.take_along_axis(q_tm1, batch.a_tm1[:, None], axis=1)
        metrics = {
            "loss": loss,
            "mean_q": jnp.mean(chosen),
            "gradient_norm": optax.global_norm(gradient),
        }
        # The square root is the exponent 0.5 of Rainbow's priorities (Dopamine).
        priorities = jnp.sqrt(losses + 1e-10) if config.replay_scheme == "prioritized" else None
        params = optax.apply_updates(state.params, updates)
        return RainbowState(params, state.target_params, opt_state), metrics, priorities

    return learn


def _check(config: Rainbow, spec: EnvSpec) -> None:
    if not spec.num_actions:
        raise DormantError(f"Rainbow needs discrete actions; {spec.name} has continuous ones")
    if config.replay_scheme not in ("prioritized", "uniform"):
        raise DormantError(
            f"Rainbow.replay_scheme is {config.replay_scheme!r}; valid: prioritized, uniform"
        )
    if config.distributional and config.num_atoms < 2:
        raise DormantError(
            f"Rainbow.num_atoms is {config.num_atoms}; a distribution needs at least 2"
        )
    if config.distributional and config.vmin is not None and config.vmin >= config.vmax:
        raise DormantError(f"Rainbow.vmin is {config.vmin}; it must be below vmax, {config.vmax}")
    if config.data_augmentation and len(spec.observation_shape) != 2:
        raise DormantError(
            f"Rainbow.data_augmentation needs pictures; {spec.name} observes {spec.observation_shape}"
        )


def _schedule(config: Rainbow) -> Schedule:
    return Schedule(
        batch_size=config.batch_size,
        replay_capacity=config.replay_capacity,
        replay_ratio=config.replay_ratio,
        update_period=config.update_period,
        min_replay_history=config.min_replay_history,
        target_update_period=0 if config.target_update_period == 1 else config.target_update_period,
        update_horizon=config.update_horizon,
        gamma=config.gamma,
        prioritised=config.replay_scheme == "prioritized",
    )


def _augmented(observations: Any, key: Any) -> Any:
    """Each of the batch with randomness of its own. (B, H, W, stack) -> float32, on the same
    scale.
    """
    return jax.vmap(ops.augment)(observations, jax.random.split(key, observations.shape[0]))


def _losses(
    config: Rainbow, network: Any, online: Any, target: Any, choice: Any, batch: Any
) -> Any:
    """(B,): cross entropies of distributions, or Huber losses of action values; choice (B, A) picks
    the next action.
    """
    if config.distributional:
        loss = jax.vmap(ops.categorical_q_learning, in_axes=(None, 0, 0, 0, 0, 0, 0))
        return loss(
            network.atoms,
            online.logits,
            batch.a_tm1,
            batch.r_t,
            batch.discount_t,
            target.logits,
            choice,
        )
    errors = jax.vmap(ops.double_q_learning_td_error)(
        online.q_values, batch.a_tm1, batch.r_t, batch.discount_t, target.q_values, choice
    )
    return jax.vmap(ops.huber)(errors)
