"""What several agents are made of."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from dormant.agents.interface import Agent, Features, Observe, Settings, State
from dormant.nets import with_products
from dormant.redo import towards_initial
from dormant.tracing import called
from dormant.types import DormantError, EnvSpec, Key, Params, Transition


class AdamSettings(Protocol):
    """What Adam needs to know of an agent's configuration."""

    @property
    def adam_b1(self) -> float: ...
    @property
    def adam_b2(self) -> float: ...
    @property
    def adam_epsilon(self) -> float: ...


Mask = Callable[[Params], Any]  # a tree of the parameters' structure with a bool for each leaf
Shapes = Mapping[str, tuple[int, ...]]  # by the field of a network's record
Q_VALUES = "q_values"  # the field of action values; a network may also return nothing but these


def adam(
    config: AdamSettings, settings: Settings, decayed: Mask | None = None
) -> optax.GradientTransformation:
    """Adam with L2 regularisation in the gradient, as the authors' weight-decay baseline has it.

    That is not AdamW. The settings may be traced: the state's structure does not depend on their
    values, only on whether there is an ``l2_init``.

    Args:
      config: the agent's hyperparameters.
      settings: the learning rate and the L2 coefficient (paper.md 3.4).
      decayed: which parameters decay; None = all.
    """
    pull = [] if settings.l2_init is None else [towards_initial(settings.l2_init)]
    return optax.chain(
        *pull,
        optax.add_decayed_weights(settings.weight_decay, decayed),
        optax.scale_by_adam(config.adam_b1, config.adam_b2, config.adam_epsilon),
        optax.scale_by_learning_rate(settings.learning_rate),
    )


def empty_batch(spec: EnvSpec) -> jax.Array:
    """A batch of one observation, for shapes only."""
    stack = (spec.stack_size,) if spec.stack_size > 1 else ()
    return jnp.zeros((1, *spec.observation_shape, *stack), spec.observation_dtype)


def check_actions(agent: str, spec: EnvSpec, discrete: bool) -> None:
    """Raises a DormantError where the environment's actions are not of the agent's kind."""
    if bool(spec.num_actions) != discrete:
        needed, found = ("discrete", "continuous") if discrete else ("continuous", "discrete")
        raise DormantError(f"{agent} needs {needed} actions; {spec.name} has {found} ones")


def penultimate(observe: Observe, network: str, layer: str | None) -> Features:
    """The ``features`` of an agent: one layer of what its ``observe`` returns; None = the last. A
    network without a scored layer has none, (B, 0).
    """

    def features(state: State, batch: Transition, key: Key) -> jax.Array:
        activations = observe(state, batch, key)[network]
        scored = activations.wiring.scored
        if layer is None and not scored:
            return jnp.zeros((len(batch.s_tm1), 0), jnp.float32)
        values = activations[layer or scored[-1].name].astype(jnp.float32)
        return values.reshape(len(values), -1)  # both halves of a CReLU, all places of an image

    return features


def initial(network: Any, key: Key, *inputs: jax.Array, shapes: Shapes) -> Params:
    """What a network's ``init`` returns, all of which Adam trains.

    Args:
      inputs: one of each, with a batch axis; for shapes only.
      shapes: of what the network returns for them.

    Raises:
      DormantError: it has other collections than "params", such as BatchNorm's running statistics,
        or returns something else.
    """
    # Flax runs the forward pass in any case; under jit XLA drops it.
    out, variables = called(_who(network), "it", network.init_with_output, key, *inputs)
    for name, shape in shapes.items():
        found = getattr(out, name, out if name == Q_VALUES else None)
        got = getattr(found, "shape", None)
        if got != shape:
            returned = f"{name} of shape {got}" if got is not None else f"no {name}"
            raise DormantError(
                f"the {_who(network)} returns {returned} for a batch of one; expected shape {shape}"
            )
    others = sorted(set(variables) - {"params"})
    if others:
        raise DormantError(
            f"the network has variables that are not trained: {', '.join(others)}; agents train "
            "all that a network has (normalise by LayerNorm or GroupNorm instead of BatchNorm)"
        )
    called(_who(network), "it", jax.eval_shape, network.apply, variables, *inputs)  # without rngs
    return variables


def _who(network: Any) -> str:
    return f"network {type(network).__name__}"


def action_values(network: Any) -> Callable[[Params, jax.Array], jax.Array]:
    """(params, observations (B, ...)) -> (B, actions), of a module that returns them, or a record
    that has them as ``q_values``.
    """

    def q_values(params: Params, observation: jax.Array) -> jax.Array:
        out = network.apply(params, observation)
        return getattr(out, Q_VALUES, out)

    return q_values


def last_hidden(network: Any) -> str | None:
    """The penultimate layer that a module names; None where it names none."""
    groups = getattr(network, "reset_groups", {})
    return groups["penultimate"][0] if "penultimate" in groups else None


def fuses(network: Any, spec: EnvSpec) -> bool:
    """Whether several gradient steps become one program.

    Not with XLA's convolution on a CPU, which is slow inside a loop.
    """
    if jax.default_backend() != "cpu":
        return True
    if hasattr(network, "formulation"):
        return getattr(network, "torso", "") == "mlp" or network.formulation != "xla"
    trace = jax.make_jaxpr(network.init)
    program = called(_who(network), "it", trace, jax.random.key(0), empty_batch(spec))
    return "conv_general_dilated" not in str(program)


def in_precision(agent: Agent, precision: str) -> Agent:
    """The agent with the products of all its networks in a precision (``nets/precision.py``)."""
    functions = ("init", "act", "learn", "observe", "features")
    changed: dict[str, Any] = {
        name: with_products(getattr(agent, name), precision) for name in functions
    }
    return agent._replace(**changed)
