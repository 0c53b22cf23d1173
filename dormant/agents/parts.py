"""What several agents are made of."""
from typing import Any

import jax.numpy as jnp
import optax

from dormant.agents.interface import Settings
from dormant.types import EnvSpec


def adam(config: Any, settings: Settings) -> optax.GradientTransformation:
    """Adam with L2 regularisation in the gradient (not AdamW), as the authors' weight-decay baseline (paper.md 3.4).

    The settings may be traced: the state's structure does not depend on them.
    """
    decay = settings.weight_decay
    return optax.chain(
        optax.identity() if decay is None else optax.add_decayed_weights(decay),
        optax.scale_by_adam(config.adam_b1, config.adam_b2, config.adam_epsilon),
        optax.scale_by_learning_rate(settings.learning_rate),
    )


def empty_batch(spec: EnvSpec) -> Any:
    """A batch of one observation, for shapes only."""
    stack = (spec.stack_size,) if spec.stack_size > 1 else ()
    return jnp.zeros((1, *spec.observation_shape, *stack), spec.observation_dtype)
