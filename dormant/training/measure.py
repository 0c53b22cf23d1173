"""What is measured at every log: dormant fractions, ranks, and what else the protocol asks for."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dormant import results
from dormant.agents.interface import Agent
from dormant.redo import feature_rank, scores
from dormant.replay import Memory
from dormant.training.members import MEASURE, READ_TAU, Axis, Collection, Member
from dormant.types import Key


def all_taus(taus: Sequence[float], members: Sequence[Member]) -> list[float]:
    """These thresholds and every member's own, each once as a metric's name has it."""
    own = [float(member.settings.tau) for member in members if member.method in READ_TAU]
    return [*{f"{tau:g}": tau for tau in sorted([*taus, *own])}.values()]


def make_measurer(
    agent: Agent, taus: Sequence[float], axis: Axis, memory: Memory, keys: Collection
) -> Callable:
    """Dormant fractions and the feature rank on a fresh sample.

    The fractions are pooled over all layers, as the paper reports them, and of each layer. A member
    whose activations are not finite has neither: they are NaN.
    """

    def measure(state: Any, memory_state: Any, key: Key, gradient_steps: jax.Array) -> dict:
        key = jax.random.fold_in(jax.random.fold_in(key, MEASURE), gradient_steps)
        batch = memory.sample(memory_state, key)
        key_noise = jax.random.fold_in(key, 1)
        observed = agent.observe(state, batch, key_noise)
        out = {"feature_rank": feature_rank(agent.features(state, batch, key_noise))}
        by_layer = {
            f"{name}/{layer}": each
            for name, activations in observed.items()
            for layer, each in scores(activations).items()
        }
        pooled = jnp.concatenate([*by_layer.values()])
        for tau in taus:
            for layer, each in {"all": pooled, **by_layer}.items():
                out[results.dormant_fraction_name(tau, layer)] = jnp.mean(
                    each <= tau, dtype=jnp.float32
                )
        finite = jnp.all(jnp.isfinite(pooled))
        return {name: jnp.where(finite, value, jnp.nan) for name, value in out.items()}

    mapped = axis.map(measure, (0, memory.axes, 0, None))

    def run(states: Collection, memories: Collection, gradient_steps: int) -> dict[str, np.ndarray]:
        values = axis.unstack(mapped(states, memories, keys, np.int32(gradient_steps)))
        return {name: np.array([value[name] for value in values]) for name in values[0]}

    return run
