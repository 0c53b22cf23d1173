"""Actor and critic of soft actor-critic as the paper's MuJoCo runs have them (paper.md 3.6)."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dormant.nets.nature import ACTIVATIONS, scaled
from dormant.types import DType


class ActorOutput(NamedTuple):
    """A Gaussian over actions before the tanh."""

    mean: jax.Array  # (B, action_dim) float32
    log_std: jax.Array  # (B, action_dim) float32, not clipped (as in TF-Agents)
    features: jax.Array  # (B, H) float32, penultimate layer


class CriticOutput(NamedTuple):
    """Values of state-action pairs."""

    q: jax.Array  # (B,) float32
    features: jax.Array  # (B, H) float32, penultimate layer


def _hidden(
    x: jax.Array, sizes: tuple[int, ...], width: float, activation: str, dtype: DType
) -> jax.Array:
    """Fully connected layers named Dense_0, Dense_1, ...; glorot_uniform kernels, zero biases."""
    glorot = nn.initializers.glorot_uniform()
    for index, size in enumerate(sizes):
        layer = nn.Dense(
            scaled(size, width), kernel_init=glorot, dtype=dtype, name=f"Dense_{index}"
        )
        x = ACTIVATIONS[activation](layer(x))
    return x.astype(jnp.float32)


def reset_groups(sizes: tuple[int, ...]) -> dict[str, tuple[str, ...]]:
    """The layers of an actor or critic that the Reset baseline may re-initialise."""
    return {"penultimate": (f"Dense_{len(sizes) - 1}",), "last": ("final_layer",)}


class Actor(nn.Module):
    """Observation (B, D) -> Gaussian over actions, whose two parts come from one output layer."""

    action_dim: int
    sizes: tuple[int, ...] = (256, 256)
    width: float = 1.0
    activation: str = "relu"
    dtype: DType = jnp.float32  # of the hidden layers

    @nn.compact
    def __call__(self, observation: jax.Array) -> ActorOutput:
        features = _hidden(observation, self.sizes, self.width, self.activation, self.dtype)
        glorot = nn.initializers.glorot_uniform()
        out = nn.Dense(2 * self.action_dim, kernel_init=glorot, name="final_layer")(features)
        return ActorOutput(out[..., : self.action_dim], out[..., self.action_dim :], features)


class Critic(nn.Module):
    """Observation (B, D) and action (B, action_dim) -> value (B,)."""

    sizes: tuple[int, ...] = (256, 256)
    width: float = 1.0
    activation: str = "relu"
    dtype: DType = jnp.float32  # of the hidden layers

    @nn.compact
    def __call__(self, observation: jax.Array, action: jax.Array) -> CriticOutput:
        x = jnp.concatenate([observation, action], axis=-1)
        features = _hidden(x, self.sizes, self.width, self.activation, self.dtype)
        q = nn.Dense(1, kernel_init=nn.initializers.glorot_uniform(), name="final_layer")(features)
        return CriticOutput(q[..., 0], features)
