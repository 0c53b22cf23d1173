"""The ResNet of IMPALA (Espeholt et al., 2018) as the authors' code has it.

Figure 10c; paper.md 3.2.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from dormant.nets.conv import Conv
from dormant.nets.nature import ACTIVATIONS, Output, q_head, scaled
from dormant.types import DType

STACKS = (32, 64, 64)  # channels at width 1


class Stack(nn.Module):
    """A 3x3 convolution, pooling by two, and two residual blocks of two 3x3 convolutions.

    The first kernel is xavier_uniform, the blocks' are lecun_normal (Flax's default), as in the
    authors' code.
    """

    channels: int
    activation: str
    formulation: str
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), channels)."""
        activate, lecun = ACTIVATIONS[self.activation], nn.initializers.lecun_normal()
        conv = functools.partial(Conv, self.channels, 3, 1, self.formulation, dtype=self.dtype)
        x = conv(name="Conv_0")(x)
        x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for block in range(2):
            inner = conv(kernel_init=lecun, name=f"Conv_{2 * block + 1}")(activate(x))
            x = x + conv(kernel_init=lecun, name=f"Conv_{2 * block + 2}")(activate(inner))
        return x


def resnet_torso(
    observation: jax.Array,
    width: float,
    activation: str,
    formulation: str,
    dtype: DType = jnp.float32,
) -> jax.Array:
    """Three stacks of images (B, 84, 84, stack) -> (B, 7744 * width), channels fastest.

    Called in the ``__call__`` of a compact module, whose Stack_0 to Stack_2 they become.
    """
    x = observation.astype(dtype) / 255
    for index, channels in enumerate(STACKS):
        x = Stack(scaled(channels, width), activation, formulation, dtype, name=f"Stack_{index}")(x)
    return ACTIVATIONS[activation](x).reshape(x.shape[0], -1)


class ResNet(nn.Module):
    """The torso, dense 512 and the action values: 4.36M parameters for 6 actions.

    All kernels but those inside the blocks are xavier_uniform, biases zero. Input: (B, 84, 84, 4)
    uint8. 1,216 scored neurons: the released code has 1,152, because it leaves out the last stack's
    output. Recycled are the blocks' first convolutions and the dense layer; the others lie on the
    residual stream.
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
        x = resnet_torso(observation, self.width, self.activation, self.formulation, self.dtype)
        return q_head(x, self.num_actions, self.width, self.activation, self.dtype)
