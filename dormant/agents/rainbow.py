"""The Rainbow family: each part of Rainbow is a switch.

Double, dueling, n-step, prioritised, distributional (C51), noisy, augmented. C51 (Bellemare et al.,
2017), Rainbow (Hessel et al., 2018), DER (van Hasselt et al., 2019) and DrQ(eps) (Agarwal et al.,
2021; paper.md 3.5) are settings of it: ``c51.gin``, ``rainbow.gin``, ``full_rainbow.gin``,
``der.gin``, ``drq_eps.gin``. Hyperparameter names are Dopamine's.

Differences from Dopamine's agents, which the paper trains:
 1. ``target_update_period`` counts gradient steps; Dopamine's counts agent steps. DrQ(eps), whose
    period is one agent step, has the replay ratio as its period here (``drq_eps.gin``): the
    target is fixed during the gradient steps of an agent step, as in Dopamine.
 2. The gradient-step clock counts gradient steps done. The released code's clock also runs
    during the warm-up.
 3. An action is chosen with the parameters from before the learning that runs while the environment
    steps.
 4. Prioritised sampling is stratified, as Schaul et al. (2016) have it; Dopamine 4 draws
    independently. Where a transition occurs twice in a batch, the larger new priority counts.
 5. Every noisy layer draws its own noise, and so do the three passes of a learning step (states,
    next states with the target network, next states with the online one). Dopamine uses one key for
    the layers of a pass, so that layers of one width share their noise, and one key for both passes
    over the next states.
 6. Kernels are xavier_uniform, as in Dopamine's full Rainbow; its smaller C51 and Rainbow networks
    use a uniform fan-in initialiser.
 7. Output heads are no hidden neurons: they do not enter dormant fractions. In the released code
    those of DrQ(eps) do.
 8. Augmentation shifts an image by -4 to 4 pixels in each direction, as Yarats et al. (2021) do.
    Dopamine draws its crop's offset from 0 to 7, so that a shift by 4 to one side never occurs.
 9. The last transition of an episode is learned from, its reward included. The replay buffer of
    Dopamine 4.1.2 leaves it out, and takes the one before it as terminal.
"""

import dataclasses
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import struct

from dormant import ops, register
from dormant.agents.interface import Act, Agent, Learn, Network, Observe, Schedule, Settings
from dormant.agents.parts import (
    Q_VALUES,
    adam,
    check_actions,
    empty_batch,
    fuses,
    in_precision,
    initial,
    last_hidden,
    penultimate,
)
from dormant.nets import Module, RainbowOutput, make_rainbow_network
from dormant.redo import Activations, capture
from dormant.types import (
    DormantError,
    EnvSpec,
    Key,
    OptState,
    Params,
    Scalar,
    Scalars,
    Transition,
    check_name,
)


@dataclass(frozen=True)
class Rainbow:
    """Hyperparameters; the defaults are Rainbow with all of its six parts at Dopamine's values."""

    title: str = "Rainbow"  # of this setting, in labels and figures: "C51", "DrQ(eps)", ...
    network: str = "nature"  # "nature", "resnet", "mlp", ... of register.RAINBOW_NETWORKS
    width: float = 1.0  # of all hidden layers
    activation: str = "relu"  # or "leaky_relu"
    formulation: str = "auto"  # of convolutions, see nets/conv.py
    precision: str = "float32"  # or "tf32", "bfloat16", see nets/precision.py
    double_dqn: bool = True  # the online network chooses the next action, the target values it
    dueling: bool = True
    noisy: bool = True  # noisy layers explore, from the first agent step on, instead of epsilon
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

    params: Params
    # None where target_update_period is 1: the target network is the online one
    target_params: Params | None
    opt_state: OptState


@register.agent("rainbow", config=Rainbow)
def make_rainbow(config: Rainbow, spec: EnvSpec, network: Module | None = None) -> Agent:
    """The agent for one environment.

    Args:
      network: a module like nets.rainbow.RainbowNetwork; None = the one that the configuration
        names.

    Raises:
      DormantError: the configuration does not fit itself or the environment.
    """
    _check(config, spec)
    network = make_rainbow_network(config, spec) if network is None else network
    observe = _make_observe(network, spec)
    atoms = config.num_atoms if config.distributional else 1
    shapes = {Q_VALUES: (1, spec.num_actions), "logits": (1, spec.num_actions, atoms)}

    def init(key: Key, settings: Settings) -> RainbowState:
        params = initial(network, key, empty_batch(spec), shapes=shapes)
        target = jax.tree.map(jnp.copy, params) if _has_target(config) else None
        return RainbowState(params, target, adam(config, settings).init(params))

    def sync_target(state: RainbowState) -> RainbowState:
        return dataclasses.replace(state, target_params=jax.tree.map(jnp.copy, state.params))

    agent = Agent(
        name="Rainbow",
        spec=spec,
        schedule=_schedule(config),
        default_settings=Settings(config.learning_rate, 0.0),
        init=init,
        act=_make_act(config, network),
        learn=_make_learn(config, network),
        observe=observe,
        features=penultimate(
            observe, "online", getattr(network, "hidden_name", None) or last_hidden(network)
        ),
        networks=lambda state: {"online": Network(state.params, state.opt_state)},
        with_networks=lambda state, networks: state.replace(**networks["online"]._asdict()),
        transform_reward=ops.clip_reward if config.clip_rewards else lambda reward: reward,
        sync_target=sync_target if _has_target(config) else None,
        targets=lambda state: {"online": state.target_params} if _has_target(config) else {},
        with_targets=lambda state, targets: state.replace(
            target_params=targets.get("online", state.target_params)
        ),
        reset_groups={"online": getattr(network, "reset_groups", {})},
        fused=fuses(network, spec),
        explores_uniformly=not config.noisy,
    )
    return in_precision(agent, config.precision)


def _make_observe(network: Module, spec: EnvSpec) -> Observe:
    # Same parameters, XLA's own convolution: its wiring is the plainest, and scoring is rare.
    observer = network.clone(formulation="xla") if hasattr(network, "formulation") else network
    observe_q = capture(
        lambda params, observation, key: observer.apply(params, observation, key).q_values,
        init=lambda key: observer.init(key, empty_batch(spec)),
    )

    def observe(state: RainbowState, batch: Transition, key: Key) -> dict[str, Activations]:
        return {"online": observe_q(state.params, batch.s_tm1, key)}

    return observe


def _atoms(config: Rainbow) -> jax.Array:
    """The values of the distributions' atoms, (atoms,)."""
    vmin = -config.vmax if config.vmin is None else config.vmin
    return jnp.linspace(vmin, config.vmax, config.num_atoms)


def _has_target(config: Rainbow) -> bool:
    """Whether the target network differs from the online one at all."""
    return config.target_update_period != 1


def _make_act(config: Rainbow, network: Module) -> Act:
    def act(
        state: RainbowState,
        observation: jax.Array,
        key: Key,
        agent_steps: Scalar,
        evaluate: bool,
    ) -> jax.Array:
        key_noise, key_explore = jax.random.split(key)
        noise = key_noise if config.noisy and not evaluate else None
        q_values = network.apply(state.params, observation[None], noise).q_values[0]
        epsilon: Scalar
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


def _make_learn(config: Rainbow, network: Module) -> Learn:
    def learn(
        state: RainbowState, batch: Transition, key: Key, settings: Settings
    ) -> tuple[RainbowState, Scalars, jax.Array | None]:
        key_tm1, key_t, noise_tm1, noise_t, noise_choice = jax.random.split(key, 5)
        if config.data_augmentation:
            batch = batch._replace(
                s_tm1=_augmented(batch.s_tm1, key_tm1), s_t=_augmented(batch.s_t, key_t)
            )
        weight = jnp.ones_like(batch.r_t) if batch.weight is None else batch.weight
        target_params = state.target_params if _has_target(config) else state.params
        target = network.apply(target_params, batch.s_t, noise_t)
        choice = target.q_values
        # Without a target network and without noise both are the same function.
        if config.double_dqn and (_has_target(config) or config.noisy):
            choice = network.apply(state.params, batch.s_t, noise_choice).q_values

        def loss_fn(params: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            online = network.apply(params, batch.s_tm1, noise_tm1)
            losses = _losses(config, online, target, choice, batch)
            return jnp.mean(weight * losses), (losses, online.q_values)

        (loss, (losses, q_tm1)), gradient = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
        updates, opt_state = adam(config, settings).update(gradient, state.opt_state, state.params)
        chosen = jnp.take_along_axis(q_tm1, batch.a_tm1[:, None], axis=1)
        metrics = {
            "loss": loss,
            "mean_q": jnp.mean(chosen),
            "gradient_norm": optax.tree.norm(gradient),
        }
        # The square root is the exponent 0.5 of Rainbow's priorities (Dopamine).
        priorities = jnp.sqrt(losses + 1e-10) if config.replay_scheme == "prioritized" else None
        params = optax.apply_updates(state.params, updates)
        return RainbowState(params, state.target_params, opt_state), metrics, priorities

    return learn


def _check(config: Rainbow, spec: EnvSpec) -> None:
    check_actions("Rainbow", spec, discrete=True)
    check_name("Rainbow.replay_scheme", config.replay_scheme, ("prioritized", "uniform"))
    if config.distributional and config.num_atoms < 2:
        raise DormantError(
            f"Rainbow.num_atoms is {config.num_atoms}; a distribution needs at least 2"
        )
    if config.distributional and config.vmin is not None and config.vmin >= config.vmax:
        raise DormantError(f"Rainbow.vmin is {config.vmin}; it must be below vmax, {config.vmax}")
    if config.data_augmentation and len(spec.observation_shape) < 2:
        raise DormantError(
            f"Rainbow.data_augmentation needs images; {spec.name} observes vectors of shape "
            f"{spec.observation_shape}"
        )


def _schedule(config: Rainbow) -> Schedule:
    return Schedule(
        batch_size=config.batch_size,
        replay_capacity=config.replay_capacity,
        replay_ratio=config.replay_ratio,
        update_period=config.update_period,
        min_replay_history=config.min_replay_history,
        target_update_period=int(config.target_update_period) if _has_target(config) else 0,
        update_horizon=config.update_horizon,
        gamma=config.gamma,
        prioritised=config.replay_scheme == "prioritized",
    )


def _augmented(observations: jax.Array, key: Key) -> jax.Array:
    """Augments each observation with its own randomness.

    (B, H, W, stack) -> the same shape, float32, on the same scale.
    """
    return jax.vmap(ops.augment)(observations, jax.random.split(key, observations.shape[0]))


def _losses(
    config: Rainbow,
    online: RainbowOutput,
    target: RainbowOutput,
    choice: jax.Array,
    batch: Transition,
) -> jax.Array:
    """Losses (B,): cross entropies of distributions, or Huber losses of action values.

    choice: (B, A) values whose largest picks the next action.
    """
    if config.distributional:
        loss = jax.vmap(ops.categorical_q_learning, in_axes=(None, 0, 0, 0, 0, 0, 0))
        return loss(
            _atoms(config),
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
