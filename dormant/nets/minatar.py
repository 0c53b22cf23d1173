"""The network of the MinAtar games (Young and Tian, 2019): one small convolution, one dense layer.

Each member of a population has a kernel of its own. Under ``vmap`` XLA turns such a convolution
into a grouped one, which is slow. Here every 3x3 field is written out once and multiplied by the
kernel in one matrix product, which becomes a batched product under ``vmap``
(``dormant/benchmarks/minatar.py`` measures both).
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from dormant.nets.nature import ACTIVATIONS, Output, scaled
from dormant.types import DType

CHANNELS, KERNEL, HIDDEN = 16, 3, 128
NETWORKS = ("minatar", "minatar_layer_norm", "minatar_resnet")


class ValidConv(nn.Module):
    """``nn.Conv(features, (3, 3), padding="VALID")``: the same function and parameters.

    formulation: "xla" = lax.conv; any other = one matrix product.
    """

    features: int
    formulation: str = "matmul"
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    dtype: DType = jnp.float32  # of the arithmetic; parameters are float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # (B, H, W, C) -> (B, H - 2, W - 2, features)
        shape = (KERNEL, KERNEL, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        if self.formulation == "xla":
            out = lax.conv_general_dilated(
                x.astype(self.dtype),
                kernel,
                (1, 1),
                "VALID",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        else:
            # Without the barrier XLA computes the fields again wherever it reads them.
            fields = lax.optimization_barrier(_fields(x))
            out = fields.astype(self.dtype) @ kernel.reshape(-1, self.features)
        return out + bias.reshape(1, 1, 1, -1)


def _fields(x: jax.Array) -> jax.Array:
    """The 3x3 fields of x (B, H, W, C) -> (B, H - 2, W - 2, 9 * C)."""
    rows, columns = x.shape[1] - KERNEL + 1, x.shape[2] - KERNEL + 1
    fields = [x[:, i : i + rows, j : j + columns] for i in range(KERNEL) for j in range(KERNEL)]
    return jnp.concatenate(fields, axis=-1)


def minatar_torso(
    observation: jax.Array,
    width: float,
    activation: str,
    formulation: str,
    torso: str = "minatar",
    dtype: DType = jnp.float32,
) -> jax.Array:
    """The convolution of binary images (B, 10, 10, C) -> (B, 1024 * width), channels fastest.

    Called in the ``__call__`` of a compact module, whose Conv_0 (LayerNorm_0, Conv_1 and Conv_2) it
    becomes. ``torso`` is one of NETWORKS.
    """
    activate, channels = ACTIVATIONS[activation], scaled(CHANNELS, width)
    conv = functools.partial(ValidConv, channels, formulation, dtype=dtype)
    x = conv(name="Conv_0")(observation)
    if torso == "minatar_layer_norm":
        x = nn.LayerNorm(dtype=dtype, name="LayerNorm_0")(x)
    elif torso == "minatar_resnet":
        lecun = nn.initializers.lecun_normal()
        inner = conv(kernel_init=lecun, name="Conv_1")(_padded(activate(x)))
        x = x + conv(kernel_init=lecun, name="Conv_2")(_padded(activate(inner)))
    return activate(x).reshape(x.shape[0], -1)


def _padded(x: jax.Array) -> jax.Array:
    """A border of zeros, so that a 3x3 field fits at every place: (B, H + 2, W + 2, C)."""
    return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


class MinAtarNetwork(nn.Module):
    """Convolution 16 (3x3, stride 1, 'VALID': 8x8), dense 128, ReLU. 144 hidden neurons.

    Kernels are xavier_uniform and biases zero, as in the paper's other networks.
    Input: (B, 10, 10, C) bool.

    torso: one of NETWORKS. "minatar_layer_norm" has a LayerNorm before each nonlinearity (over the
        channels of each place, and over the dense layer's neurons). "minatar_resnet" has one
        residual block of the paper's ResNet after the convolution (two convolutions 16, 3x3,
        'SAME', lecun_normal).
    """

    num_actions: int
    width: float = 1.0
    activation: str = "relu"
    formulation: str = "matmul"
    torso: str = "minatar"
    dtype: DType = jnp.float32  # of the hidden layers

    @property
    def reset_groups(self) -> dict[str, tuple[str, ...]]:
        """The layers that the Reset baseline may re-initialise."""
        norm = ("LayerNorm_1",) if self.torso == "minatar_layer_norm" else ()
        return {"penultimate": ("Dense_0", *norm), "last": ("final_layer",)}

    @nn.compact
    def __call__(self, observation: jax.Array) -> Output:
        xavier = nn.initializers.xavier_uniform()
        x = minatar_torso(
            observation,
            self.width,
            self.activation,
            self.formulation,
            self.torso,
            self.dtype,
        )
        hidden = scaled(HIDDEN, self.width)
        x = nn.Dense(hidden, kernel_init=xavier, dtype=self.dtype, name="Dense_0")(x)
        if self.torso == "minatar_layer_norm":
            x = nn.LayerNorm(dtype=self.dtype, name="LayerNorm_1")(x)
        features = ACTIVATIONS[self.activation](x).astype(jnp.float32)
        return Output(
            nn.Dense(self.num_actions, kernel_init=xavier, name="final_layer")(features), features
        )
