"""What several agents are made of."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from dormant.agents.interface import Agent, Settings
from dormant.nets import with_products
from dormant.types import EnvSpec


def adam(config: Any, settings: Settings, decayed: Any = None) -> optax.GradientTransformation:
    """Adam with L2 regularisation in the gradient (not AdamW), as the authors' weight-decay
    baseline (paper.md 3.4).

    The settings may be traced: the state's structure does not depend on them.
    decayed: optax's mask of the parameters that decay; None = all.
    """
    return optax.chain(
        optax.add_decayed_weights(settings.weight_decay, decayed),
        optax.scale_by_adam(config.adam_b1, config.adam_b2, config.adam_epsilon),
        optax.scale_by_learning_rate(settings.learning_rate),
    )


def empty_batch(spec: EnvSpec) -> Any:
    """A batch of one observation, for shapes only."""
    stack = (spec.stack_size,) if spec.stack_size > 1 else ()
    return jnp.zeros((1, *spec.observation_shape, *stack), spec.observation_dtype)


def fuses(network: Any) -> bool:
    """Whether several gradient steps become one program: not with XLA's convolution on a CPU, slow
    inside a loop.
    """
    convolves = (
        getattr(network, "torso", "") != "mlp" and getattr(network, "formulation", "") == "xla"
    )
    return not convolves or jax.default_backend() != "cpu"


def in_precision(agent: Agent, precision: str) -> Agent:
    """The agent with the products of all its networks in a precision (``nets/precision.py``)."""
    functions = ("init", "act", "learn", "observe", "features")
    changed: dict[str, Any] = {
        name: with_products(getattr(agent, name), precision) for name in functions
    }
    return agent._replace(**changed)
