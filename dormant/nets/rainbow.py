"""The network of the Rainbow family (Hessel et al., 2018).

Noisy layers, dueling heads and distributions are switches.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dormant.nets import minatar
from dormant.nets.nature import ACTIVATIONS, HIDDEN, nature_torso, scaled
from dormant.nets.resnet import resnet_torso
from dormant.types import DType, Key

MLP_HIDDEN = 64  # neurons of both hidden layers of the torso "mlp" at width 1
SIGMA_0 = 0.1  # Dopamine's initial noise; Fortunato et al. (2018) have 0.5


class RainbowOutput(NamedTuple):
    """What a network of the family returns."""

    q_values: jax.Array  # (B, actions) float32
    logits: jax.Array  # (B, actions, atoms) float32; with one atom the logit is the action value
    features: jax.Array  # (B, H) float32, penultimate layer


class NoisyDense(nn.Module):
    """A dense layer whose weights are mu + sigma * noise.

    The noise is factorised (Fortunato et al., 2018, section 3.1) and the same for the whole batch
    of a call. Without a key there is none.
    """

    features: int
    dtype: DType = jnp.float32  # of the product

    @nn.compact
    def __call__(self, x: jax.Array, key: Key | None = None) -> jax.Array:
        """(B, D) -> (B, features)."""
        inputs = x.shape[-1]
        bound = inputs**-0.5
        mu = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
        sigma = nn.initializers.constant(SIGMA_0 * bound)
        kernel = self.param("kernel_mu", mu, (inputs, self.features))
        kernel_sigma = self.param("kernel_sigma", sigma, (inputs, self.features))
        bias = self.param("bias_mu", mu, (self.features,))
        bias_sigma = self.param("bias_sigma", sigma, (self.features,))
        if key is not None:
            z = jax.random.normal(key, (inputs + self.features,))
            noise = jnp.sign(z) * jnp.sqrt(jnp.abs(z))
            noise_in, noise_out = noise[:inputs], noise[inputs:]
            kernel = kernel + kernel_sigma * (noise_in[:, None] * noise_out[None, :])
            bias = bias + bias_sigma * noise_out
        x, kernel, bias = (each.astype(self.dtype) for each in (x, kernel, bias))
        return x @ kernel + bias[None, :]


class RainbowNetwork(nn.Module):
    """A torso, one hidden dense layer, and one or two linear heads, as in Dopamine.

    torso: "nature", "resnet" (hidden 512), "minatar", "minatar_layer_norm" or "minatar_resnet"
        (hidden 128; LayerNorm in the torso only), or "mlp": a dense layer for vectors (hidden 64).
    num_atoms: 1 = action values; more = distributions over that many values from vmin to vmax.
    """

    num_actions: int
    torso: str = "nature"
    width: float = 1.0
    activation: str = "relu"
    formulation: str = "matmul"
    noisy: bool = True
    dueling: bool = True
    num_atoms: int = 51
    vmin: float = -10.0
    vmax: float = 10.0
    dtype: DType = jnp.float32  # of the hidden layers

    @property
    def atoms(self) -> jax.Array:
        """The values of the distributions' atoms, (atoms,)."""
        return jnp.linspace(self.vmin, self.vmax, self.num_atoms)

    @property
    def hidden_name(self) -> str:
        """The penultimate layer."""
        return "Dense_1" if self.torso == "mlp" else "Dense_0"

    @property
    def hidden(self) -> int:
        """Neurons of the penultimate layer."""
        sizes = {"mlp": MLP_HIDDEN, **dict.fromkeys(minatar.NETWORKS, minatar.HIDDEN)}
        return scaled(sizes.get(self.torso, HIDDEN), self.width)

    @property
    def reset_groups(self) -> dict[str, tuple[str, ...]]:
        """The layers that the Reset baseline may re-initialise."""
        last = ("advantage", "value") if self.dueling else ("final_layer",)
        return {"penultimate": (self.hidden_name,), "last": last}

    def _dense(
        self, x: jax.Array, features: int, name: str, key: Key | None, dtype: DType = jnp.float32
    ) -> jax.Array:
        if self.noisy:
            return NoisyDense(features, dtype, name=name)(x, key)
        xavier = nn.initializers.xavier_uniform()
        return nn.Dense(features, kernel_init=xavier, dtype=dtype, name=name)(x)

    def _torso(self, observation: jax.Array) -> jax.Array:
        if self.torso in minatar.NETWORKS:
            how = (self.width, self.activation, self.formulation, self.torso, self.dtype)
            return minatar.minatar_torso(observation, *how)
        if self.torso != "mlp":
            torso = resnet_torso if self.torso == "resnet" else nature_torso
            return torso(observation, self.width, self.activation, self.formulation, self.dtype)
        x = observation.astype(jnp.float32).reshape(observation.shape[0], -1)
        xavier = nn.initializers.xavier_uniform()
        layer = nn.Dense(self.hidden, kernel_init=xavier, dtype=self.dtype, name="Dense_0")
        return ACTIVATIONS[self.activation](layer(x))

    @nn.compact
    def __call__(self, observation: jax.Array, key: Key | None = None) -> RainbowOutput:
        """key: of the noise; None = without noise."""
        x = self._torso(observation)
        keys = (None, None, None) if key is None else jax.random.split(key, 3)
        x = self._dense(x, self.hidden, self.hidden_name, keys[0], self.dtype)
        features = ACTIVATIONS[self.activation](x).astype(jnp.float32)
        shape, outputs = (-1, self.num_actions, self.num_atoms), self.num_actions * self.num_atoms
        if self.dueling:
            advantage = self._dense(features, outputs, "advantage", keys[1]).reshape(shape)
            value = self._dense(features, self.num_atoms, "value", keys[2])[:, None, :]
            logits = value + advantage - jnp.mean(advantage, axis=1, keepdims=True)
        else:
            logits = self._dense(features, outputs, "final_layer", keys[1]).reshape(shape)
        if self.num_atoms == 1:
            return RainbowOutput(logits[..., 0], logits, features)
        q_values = jnp.sum(nn.softmax(logits) * self.atoms.reshape(1, 1, -1), axis=-1)
        return RainbowOutput(q_values, logits, features)
