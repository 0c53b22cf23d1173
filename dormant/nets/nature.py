"""The Nature DQN network as the paper has it."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from dormant.nets.conv import Conv
from dormant.types import DormantError, DType


def concatenated_relu(x: jax.Array) -> jax.Array:
    """CReLU: relu(x) and relu(-x) side by side, twice the values (Shang et al., 2016; against loss
    of plasticity: Abbas et al., 2023). A neuron is silent only where both are.
    """
    return jnp.concatenate([nn.relu(x), nn.relu(-x)], axis=-1)


# leaky: slope 0.01 (Figure 21)
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "crelu": concatenated_relu,
    "gelu": nn.gelu,
    "tanh": nn.tanh,
}
TORSO = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels at width 1, kernel, stride
HIDDEN = 512  # neurons of the dense layer at width 1


class Output(NamedTuple):
    """What a Q network returns."""

    q_values: jax.Array  # (B, actions) float32
    features: jax.Array  # (B, H) float32, penultimate layer


def scaled(size: int, width: float) -> int:
    """A layer's number of neurons at a width multiplier (Figure 12: 1, 2, 4).

    Raises:
      DormantError: the width gives no whole number of neurons, or none.
    """
    neurons = round(size * width)
    if neurons < 1 or abs(size * width - neurons) > 1e-6:
        near = max(neurons, 1) / size
        raise DormantError(
            f"width {width:g} makes {size * width:g} neurons of a layer's {size}; it must leave a "
            f"whole number, such as {near:g}"
        )
    return neurons


def nature_torso(
    observation: jax.Array,
    width: float,
    activation: str,
    formulation: str,
    dtype: DType = jnp.float32,
) -> jax.Array:
    """Convolutions 32, 64, 64 of images (B, 84, 84, stack) -> (B, 7744 * width), channels fastest.

    Called in the ``__call__`` of a compact module, whose Conv_0 to Conv_2 they become.
    """
    x = observation.astype(dtype) / 255
    for index, (size, kernel, stride) in enumerate(TORSO):
        layer = Conv(
            scaled(size, width), kernel, stride, formulation, dtype=dtype, name=f"Conv_{index}"
        )
        x = ACTIVATIONS[activation](layer(x))
    return x.reshape(x.shape[0], -1)


def q_head(x: jax.Array, num_actions: int, width: float, activation: str, dtype: DType) -> Output:
    """Dense 512 and the action values of a torso's output (B, D).

    Called in the ``__call__`` of a compact module, whose Dense_0 and final_layer they become.
    """
    xavier = nn.initializers.xavier_uniform()
    hidden = nn.Dense(scaled(HIDDEN, width), kernel_init=xavier, dtype=dtype, name="Dense_0")(x)
    features = ACTIVATIONS[activation](hidden).astype(jnp.float32)
    return Output(nn.Dense(num_actions, kernel_init=xavier, name="final_layer")(features), features)


class NatureCNN(nn.Module):
    """Convolutions 32, 64, 64 and dense 512, ReLU (paper.md 3.2).

    Kernels and strides 8x8/4, 4x4/2, 3x3/1, 'SAME': maps of 21x21, 11x11, 11x11.
    'SAME' padding flattens to 7744 inputs of the dense layer, not the 3136 of Mnih et al. (2015).
    All kernels are xavier_uniform, biases zero, as in the authors' code. 672 hidden neurons, 4.05M
    parameters for 6 actions.
    Input: (B, 84, 84, 4) uint8, newest frame last.
    """

    num_actions: int
    width: float = 1.0
    activation: str = "relu"
    formulation: str = "matmul"
    dtype: DType = jnp.float32  # of the hidden layers

    @property
    def reset_groups(self) -> dict[str, tuple[str, ...]]:
        """The layers that the Reset baseline may re-initialise."""
        return {"penultimate": ("Dense_0",), "last": ("final_layer",)}

    @nn.compact
    def __call__(self, observation: jax.Array) -> Output:
        x = nature_torso(observation, self.width, self.activation, self.formulation, self.dtype)
        return q_head(x, self.num_actions, self.width, self.activation, self.dtype)


class MLP(nn.Module):
    """A small fully connected Q network for vector observations (probes, Acrobot-like tasks)."""

    num_actions: int
    sizes: tuple[int, ...] = (64, 64)  # at width 1
    width: float = 1.0
    activation: str = "relu"
    dtype: DType = jnp.float32  # of the hidden layers

    @property
    def reset_groups(self) -> dict[str, tuple[str, ...]]:
        """The layers that the Reset baseline may re-initialise."""
        return {"penultimate": (f"Dense_{len(self.sizes) - 1}",), "last": ("final_layer",)}

    @nn.compact
    def __call__(self, observation: jax.Array) -> Output:
        xavier = nn.initializers.xavier_uniform()
        x = observation.astype(jnp.float32).reshape(observation.shape[0], -1)
        for index, size in enumerate(self.sizes):
            neurons = scaled(size, self.width)
            layer = nn.Dense(neurons, kernel_init=xavier, dtype=self.dtype, name=f"Dense_{index}")
            x = ACTIVATIONS[self.activation](layer(x))
        x = x.astype(jnp.float32)
        return Output(nn.Dense(self.num_actions, name="final_layer")(x), x)
