"""Recycling versions of Dopamine's agents: Dopamine's own agent, and ReDo after a gradient step.

What an agent does stays Dopamine's code and Dopamine's gin names (``JaxDQNAgent.gamma``); when and
how neurons are recycled is the record ``Recycling``. The recycling itself is ``dormant.redo``'s.
Importing this module imports Dopamine (the extra ``dopamine``).
"""

import abc
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gin
import jax
import jax.numpy as jnp
import numpy as np
import optax

from dormant.dopamine import import_dopamine
from dormant.redo import Periodic, capture, layer_dormant_fractions, recycle, selected
from dormant.redo.recycle import COUNT, INCOMING, OUTGOING
from dormant.redo.released import check_as_released
from dormant.redo.scores import check_tau
from dormant.types import DormantError, Key, OptState, Params, check_name

_DQN: Any = import_dopamine("jax.agents.dqn.dqn_agent").JaxDQNAgent
_Rainbow: Any = import_dopamine("jax.agents.rainbow.rainbow_agent").JaxRainbowAgent
_FullRainbow: Any = import_dopamine(
    "jax.agents.full_rainbow.full_rainbow_agent"
).JaxFullRainbowAgent
_Atari100k: Any = import_dopamine("labs.atari_100k.atari_100k_rainbow_agent").Atari100kRainbowAgent
_SAC: Any = import_dopamine("jax.agents.sac.sac_agent").SACAgent
_statistics = import_dopamine("metrics.statistics_instance")

_STREAM = 0x4ED0  # recycling's random numbers, beside the agent's

Report = dict[str, jax.Array]  # {name of a statistic: ()}
Inputs = tuple[jax.Array, ...]  # what the network reads of a batch, each (B, ...)


# Fields of Recycling: (name, least value, whether None is one too)
_WHOLE = (
    ("period", 1, True),
    ("start", 0, False),
    ("end", 0, True),
    ("batch_size", 1, False),
    ("log_period", 1, False),
)


@gin.configurable(module="dormant.dopamine")
@dataclass(frozen=True)
class Recycling:
    """When neurons are recycled, and how (Algorithm 1 and Table 1 of the paper).

    The paper: tau 0.025 in DQN's default setting, 0.1 elsewhere; SAC: 0, every 200,000 gradient
    steps, on 256 transitions.
    """

    tau: float = 0.1
    period: int | None = 1000  # gradient steps; None = dormant neurons are measured, never recycled
    start: int = 0  # gradient steps
    end: int | None = None  # gradient steps; None = never
    batch_size: int = 64  # transitions for the scores, a sample of their own
    log_period: int = 20_000  # gradient steps between two measurements where nothing is recycled
    incoming: str = "init"  # this and the following as in dormant.recycle
    outgoing: str = "zero"
    count: str = "keep"
    as_released: bool | str = False

    def __post_init__(self) -> None:
        if isinstance(self.tau, bool) or not isinstance(self.tau, numbers.Real):
            raise DormantError(f"Recycling.tau is {self.tau!r}; expected a number, 0 or more")
        check_tau(self.tau)
        for name, least, optional in _WHOLE:
            value = getattr(self, name)
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if not (value is None and optional) and not (whole and value >= least):
                wanted = f"a whole number, {least} or more" + (", or None" if optional else "")
                raise DormantError(f"Recycling.{name} is {value!r}; expected {wanted}")
        check_as_released("Recycling.as_released", self.as_released)
        for name, valid in (("incoming", INCOMING), ("outgoing", OUTGOING), ("count", COUNT)):
            check_name(f"Recycling.{name}", getattr(self, name), valid)

    def periodic(self) -> Periodic | None:
        """When to recycle; None = never."""
        if self.period is None:
            return None
        return Periodic(self.period, self.start, float("inf") if self.end is None else self.end)


class Recycler:
    """The two compiled programs of one agent; each is compiled once."""

    def __init__(self, observe: Callable, config: Recycling):
        """observe(params, inputs, key) -> Activations."""

        def measure(params: Params, inputs: Inputs, key: Key) -> Report:
            """Dormant fractions, of each layer and of all."""
            activations = observe(params, inputs, key)
            fractions = layer_dormant_fractions(activations, config.tau)
            sizes = {layer.name: layer.size for layer in activations.wiring.scored}
            if not sizes:
                raise DormantError("the agent's network has no hidden neurons to score or recycle")
            dormant = sum(fractions[name] * size for name, size in sizes.items())
            report = {f"DormantFraction/{name}": each for name, each in fractions.items()}
            return {**report, "DormantFraction": dormant / sum(sizes.values())}

        def act(
            params: Params, opt_state: OptState, inputs: Inputs, key: Key
        ) -> tuple[Params, OptState, Report]:
            """One recycling. The report's fractions are those from before it."""
            noise, key = jax.random.split(key)
            activations = observe(params, inputs, noise)
            released = config.as_released
            masks = selected(activations, config.tau, key, as_released=released)
            counts = {f"RecycledNeurons/{name}": jnp.sum(mask) for name, mask in masks.items()}
            params_after, opt_state = recycle(
                *(params, opt_state, activations, config.tau, key),
                masks=masks,
                incoming=config.incoming,
                outgoing=config.outgoing,
                count=config.count,
                as_released=released,
            )
            return params_after, opt_state, {**measure(params, inputs, noise), **counts}

        self.measure, self.act = jax.jit(measure), jax.jit(act)


class _Recycles(abc.ABC):
    """The part that all agents share; stands before Dopamine's class among the bases.

    An agent's clock is ``gradient_steps``, the gradient steps that it has made. Recycling follows a
    gradient step and comes before the target network is synchronised in the same step.
    """

    # Dopamine's, by their names
    training_steps: int
    _collector_allowlist: Any
    # the names of the agent's parameters
    _params = "online_params"

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.recycling = Recycling()
        self.gradient_steps = 0
        self._periodic = self.recycling.periodic()
        self._recycler = Recycler(capture(self._forward, init=self._initialise), self.recycling)
        self._gradient_step_pending = False

    @abc.abstractmethod
    def _forward(self, params: Params, inputs: Inputs, key: Key) -> Any:
        """Everything that the network computes of a batch; called while tracing."""

    @abc.abstractmethod
    def _initialise(self, key: Key) -> Params:
        """Fresh parameters of the agent's network."""

    @abc.abstractmethod
    def _inputs(self, elements: Any) -> Inputs:
        """What the network reads of elements of the replay memory."""

    # Dopamine's hooks
    # --------------------------------------------------------------------------------------------

    def _train_step(self) -> None:
        self._gradient_step_pending = self._learns_now()
        super()._train_step()  # type: ignore[misc]
        self._after_gradient_step()

    def _learns_now(self) -> bool:
        """Dopamine's condition for a gradient step."""
        agent: Any = self
        enough = agent._replay.add_count > agent.min_replay_history
        return enough and self.training_steps % agent.update_period == 0

    def _after_gradient_step(self) -> None:
        """Counts the gradient step just made, if one was, and recycles where it is time."""
        if not self._gradient_step_pending:
            return
        self._gradient_step_pending = False
        self.gradient_steps += 1
        if self._periodic is not None and self._periodic.due(self.gradient_steps):
            self._recycle()
        elif self.gradient_steps % self.recycling.log_period == 0:
            params = getattr(self, self._params)
            self._log(self._recycler.measure(params, self._batch(), self._key()))

    def _recycle(self) -> None:
        agent: Any = self
        params, agent.optimizer_state, report = self._recycler.act(
            getattr(self, self._params), agent.optimizer_state, self._batch(), self._key()
        )
        setattr(self, self._params, params)
        self._log(report)

    def _batch(self) -> Inputs:
        """For the scores, a sample of their own. The replay buffer's generator is left as it was:
        measuring changes no batch that is learned from.
        """
        agent: Any = self
        generator = agent._replay._sampling_distribution._rng.bit_generator
        theirs = generator.state
        generator.state = np.random.PCG64([agent._seed, _STREAM, self.gradient_steps]).state
        try:
            return self._inputs(agent._replay.sample(self.recycling.batch_size))
        finally:
            generator.state = theirs

    def _key(self) -> Key:
        """Of this gradient step: the agent's own stream of random numbers is left alone."""
        agent: Any = self
        base = jax.random.fold_in(jax.random.PRNGKey(agent._seed), _STREAM)
        return jax.random.fold_in(base, self.gradient_steps)

    def _log(self, report: Report) -> None:
        """To Dopamine's collectors, at the agent's training step as all of its statistics are."""
        dispatcher = getattr(self, "collector_dispatcher", None)
        if dispatcher is None:
            return
        found = {**jax.device_get(report), "GradientSteps": self.gradient_steps}
        dispatcher.write(
            [
                _statistics.StatisticsInstance(f"ReDo/{name}", value, step=self.training_steps)
                for name, value in found.items()
            ],
            collector_allowlist=self._collector_allowlist,
        )

    # Checkpoints
    # --------------------------------------------------------------------------------------------

    def bundle_and_checkpoint(self, checkpoint_dir: str, iteration_number: int) -> dict | None:
        """Dopamine's bundle, with the clock of recycling in it."""
        parent: Any = super()
        bundle = parent.bundle_and_checkpoint(checkpoint_dir, iteration_number)
        return bundle and {**bundle, "gradient_steps": self.gradient_steps}

    def unbundle(self, checkpoint_dir: str, iteration_number: int, bundle: dict | None) -> bool:
        """As Dopamine's. A checkpoint of the plain agent has no clock: Adam's count is one."""
        agent, parent = self, super()  # type: Any, Any
        done = parent.unbundle(checkpoint_dir, iteration_number, bundle)
        if done and bundle:
            # a learning rate that is annealed has a count of its own
            found = optax.tree_utils.tree_get_all_with_path(agent.optimizer_state, "count")
            counted = max((int(count) for _, count in found), default=0)
            self.gradient_steps = bundle.get("gradient_steps", counted)
        return done


class _ValueBased(_Recycles):
    """Agents with a network of action values: states (B, 84, 84, 4) in, whatever dtype."""

    network_def: Any
    preprocess_fn: Callable

    def _options(self, key: Key) -> dict[str, Any]:
        """What the network takes beside a state."""
        return {}

    def _forward(self, params: Params, inputs: Inputs, key: Key) -> Any:
        options = self._options(key)
        return jax.vmap(lambda state: self.network_def.apply(params, state, **options))(inputs[0])

    def _initialise(self, key: Key) -> Params:
        agent: Any = self
        state = jnp.zeros((*agent.observation_shape, agent.stack_size))
        return self.network_def.init(key, self.preprocess_fn(state), **self._options(key))

    def _inputs(self, elements: Any) -> Inputs:
        return (self.preprocess_fn(elements.state),)

    def _sync_weights(self) -> None:
        self._after_gradient_step()
        super()._sync_weights()  # type: ignore[misc]


class _SeveralUpdates(_ValueBased):
    """Agents that Dopamine gives one gradient step in an update period, or here several."""

    def __init__(self, num_actions: int, num_updates_per_train_step: int = 1, **kwargs: Any):
        self._num_updates_per_train_step = num_updates_per_train_step
        self._more_updates = False
        if num_updates_per_train_step < 1:
            raise DormantError(
                f"num_updates_per_train_step is {num_updates_per_train_step}; expected 1 or more"
            )
        super().__init__(num_actions, **kwargs)

    def _train_step(self) -> None:
        """Gradient steps beyond the first count no agent step and synchronise no target network."""
        self._more_updates = True
        for _ in range(self._num_updates_per_train_step - 1 if self._learns_now() else 0):
            super()._train_step()
            self.training_steps -= 1
        self._more_updates = False
        super()._train_step()

    def _sync_weights(self) -> None:
        if not self._more_updates:
            super()._sync_weights()


@gin.configurable(module="dormant.dopamine")
class RecyclingDQNAgent(_SeveralUpdates, _DQN):
    """Dopamine's JaxDQNAgent with ReDo; its settings are ``JaxDQNAgent.*``."""


@gin.configurable(module="dormant.dopamine")
class RecyclingRainbowAgent(_SeveralUpdates, _Rainbow):
    """Dopamine's JaxRainbowAgent (C51, Rainbow) with ReDo; its settings are
    ``JaxRainbowAgent.*``.
    """

    def _options(self, key: Key) -> dict[str, Any]:
        return {"support": self._support}


class _UpdatesItself(_ValueBased):
    """Agents whose gradient step is Dopamine's ``_training_step_update``."""

    def _options(self, key: Key) -> dict[str, Any]:
        agent: Any = self
        return {"support": agent._support, "key": key}

    def _training_step_update(self) -> None:
        super()._training_step_update()  # type: ignore[misc]
        self._gradient_step_pending = True
        self._after_gradient_step()


@gin.configurable(module="dormant.dopamine")
class RecyclingFullRainbowAgent(_UpdatesItself, _FullRainbow):
    """Dopamine's JaxFullRainbowAgent with ReDo; its settings are ``JaxFullRainbowAgent.*`` and
    ``JaxDQNAgent.*``.
    """


@gin.configurable(module="dormant.dopamine")
class RecyclingAtari100kRainbowAgent(_UpdatesItself, _Atari100k):
    """Dopamine's Atari100kRainbowAgent (DrQ(eps), DER, ...) with ReDo. Scores are measured on
    states that are not augmented, as in the authors' code.
    """


@gin.configurable(module="dormant.dopamine")
class RecyclingSACAgent(_Recycles, _SAC):
    """Dopamine's SACAgent with ReDo in its actor and critics; its settings are ``SACAgent.*``."""

    _params = "network_params"

    def _forward(self, params: Params, inputs: Inputs, key: Key) -> Any:
        """The actor's and the critics' outputs; the critics value the actions of the replay memory,
        so that the actor's output layer feeds nothing.
        """
        network = self.network_def

        def one(state: jax.Array, action: jax.Array) -> Any:
            actor = network.apply(params, state, key, method=network.actor)
            return actor, network.apply(params, state, action, method=network.critic)

        return jax.vmap(one)(*inputs)

    def _initialise(self, key: Key) -> Params:
        return self.network_def.init(key, jnp.zeros(self.state.shape), key)

    def _inputs(self, elements: Any) -> Inputs:
        return elements.state, elements.action

    def _maybe_sync_weights(self) -> None:
        self._after_gradient_step()
        super()._maybe_sync_weights()
