"""The Nature DQN network as the paper has it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from dormant.nets.conv import Conv
from dormant.types import DormantError

ACTIVATIONS: dict[str, Callable] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
}  # leaky: slope 0.01 (Figure 21)


class Output(NamedTuple):
    """What a Q network returns."""

    q_values: Any  # (B, actions) float32
    features: Any  # (B, H) float32, penultimate layer


def scaled(size: int, width: float) -> int:
    """A layer's number of neurons at a width multiplier (Figure 12: 1, 2, 4).

    Raises:
      DormantError: the width leaves no neuron.
    """
    neurons = round(size * width)
    if neurons < 1:
        raise DormantError(
            f"width {width} leaves no neuron in a layer of {size}; use a larger width"
        )
    return neurons


def nature_torso(
    observation: Any, width: float, activation: str, formulation: str, dtype: Any = jnp.float32
) -> Any:
    """Convolutions 32, 64, 64 of pictures (B, 84, 84, stack) -> (B, 7744 * width), channels
    fastest.

    Called in the ``__call__`` of a compact module, whose Conv_0 to Conv_2 they become.
    """
    x = observation.astype(dtype) / 255
    for index, (size, kernel, stride) in enumerate(((32, 8, 4), (64, 4, 2), (64, 3, 1))):
        layer = Conv(
            scaled(size, width), kernel, stride, formulation, dtype=dtype, name=f"Conv_{index}"
        )
        x = ACTIVATIONS[activation](layer(x))
    return x.reshape(x.shape[0], -1)


class NatureCNN(nn.Module):
    """Convolutions 32, 64, 64 (8x8/4, 4x4/2, 3x3/1, 'SAME': 21x21, 11x11, 11x11), dense 512, ReLU
    (paper.md 3.2).

    'SAME' padding flattens to 7744 inputs of the dense layer, not the 3136 of Mnih et al. (2015).
    All kernels are xavier_uniform, biases zero, as in the authors' code. 672 hidden neurons, 4.05M
    parameters for 6 actions.
    Input: (B, 84, 84, 4) uint8, newest frame last.
    """

    num_actions: int
    width: float = 1.0
    activation: str = "relu"
    formulation: str = "matmul"
    dtype: Any = jnp.float32  # of the hidden layers

    @property
    def reset_groups(self) -> dict[str, tuple[str, ...]]:
        """The layers that the Reset baseline may re-initialise."""
        return {"penultimate": ("Dense_0",), "last": ("final_layer",)}

    @nn.compact
    def __call__(self, observation: Any) -> Output:
        xavier = nn.initializers.xavier_uniform()
        x = nature_torso(observation, self.width, self.activation, self.formulation, self.dtype)
        x = nn.Dense(scaled(512, self.width), kernel_init=xavier, dtype=self.dtype, name="Dense_0")(
            x
        )
        features = ACTIVATIONS[self.activation](x).astype(jnp.float32)
        return Output(
            nn.Dense(self.num_actions, kernel_init=xavier, name="final_layer")(features), features
        )


class MLP(nn.Module):
    """A small fully connected Q network for environments with vector observations (probes,
    Acrobot-like tasks).
    """

    num_actions: int
    sizes: tuple[int, ...] = (64, 64)
    activation: str = "relu"
    dtype: Any = jnp.float32  # of the hidden layers

    @property
    def reset_groups(self) -> dict[str, tuple[str, ...]]:
        """The layers that the Reset baseline may re-initialise."""
        return {"penultimate": (f"Dense_{len(self.sizes) - 1}",), "last": ("final_layer",)}

    @nn.compact
    def __call__(self, observation: Any) -> Output:
        x, xavier = (
            observation.astype(jnp.float32).reshape(observation.shape[0], -1),
            nn.initializers.xavier_uniform(),
        )
        for index, size in enumerate(self.sizes):
            layer = nn.Dense(size, kernel_init=xavier, dtype=self.dtype, name=f"Dense_{index}")
            x = ACTIVATIONS[self.activation](layer(x))
        x = x.astype(jnp.float32)
        return Output(nn.Dense(self.num_actions, name="final_layer")(x), x)
