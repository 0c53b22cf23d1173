"""What a study is made of: pure functions of one seed, and what they share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from dormant import results
from dormant.redo import Activations, scores
from dormant.types import Key, Scalar

TAUS = (0.0, 0.025, 0.1)  # thresholds of the dormant fraction, as training runs measure them

Metrics = dict[str, jax.Array]  # {metric of results.METRICS: () float32}


class Study(NamedTuple):
    """One arm of an experiment: every seed trained in chunks, measured after each.

    init(key, own) -> state
        key: the seed's alone, so that the arms of an experiment start from the same parameters.
    advance(state, key, own, shared, chunk) -> state, Metrics
        one chunk of gradient steps; chunk: () int32, traced, counts from 0.
    measure(state, key, own, shared, chunk) -> Metrics
        after the chunk's last gradient step; -1 before the first.
    """

    name: str  # the run's folder below the budget's, "digits/supervised,fixed_targets"
    game: str  # what figures select by: a data set, or a game
    agent: str  # what is trained, "classifier"
    arm: str  # the line's name
    seeds: tuple[int, ...]
    chunks: int
    chunk_epochs: int  # what a chunk adds to the clock "agent_steps": the unit of the study
    chunk_steps: int  # gradient steps of a chunk
    chunks_per_iteration: int
    init: Callable[..., Any]
    advance: Callable[..., tuple[Any, Metrics]]
    measure: Callable[..., Metrics]
    settings: Mapping[str, Any]  # all of them, as run.json holds them; a resumed run has the same
    own: Sequence[Any] = ()  # what each seed learns from; () where all learn from ``shared``
    shared: Any = None

    @property
    def iterations(self) -> int:
        return self.chunks // self.chunks_per_iteration

    def clocks(self, chunks: int) -> tuple[int, int, int]:
        """(iteration, "agent steps", gradient steps) after so many chunks."""
        iteration = max(chunks - 1, 0) // self.chunks_per_iteration
        return iteration, chunks * self.chunk_epochs, chunks * self.chunk_steps


def dormant_fractions(activations: Activations, network: str) -> Metrics:
    """The shares of dormant neurons at TAUS: of all layers pooled, and of each layer; NaN where
    the values are not finite.
    """
    by_layer = {f"{network}/{layer}": each for layer, each in scores(activations).items()}
    pooled = jnp.concatenate([*by_layer.values()])
    finite = jnp.all(jnp.isfinite(pooled))
    return {
        results.dormant_fraction_name(tau, layer): jnp.where(finite, share(each, tau), jnp.nan)
        for tau in TAUS
        for layer, each in {"all": pooled, **by_layer}.items()
    }


def share(score: jax.Array, tau: Scalar) -> jax.Array:
    """() the share of scores (H,) at or below a threshold."""
    return jnp.mean(score <= tau, dtype=jnp.float32)


def key_of(key: Key, use: int, clock: Scalar) -> Key:
    """A key for one use at one moment; nothing random is stored."""
    return jax.random.fold_in(jax.random.fold_in(key, use), clock)
