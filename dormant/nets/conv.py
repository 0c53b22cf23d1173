"""A convolution with a choice of formulation.

The function and its parameters are those of ``nn.Conv``; the compiled programs differ. XLA's own
convolution is ten to twenty times slower inside a loop on the CPU, and becomes a slow grouped
convolution when ``vmap`` puts a member axis on the kernel. A matrix product has neither fault:
under ``vmap`` it is a batched matrix product. ``python -m dormant.benchmarks population`` measures
the formulations.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from dormant.types import DType, check_name

FORMULATIONS = ("auto", "xla", "patches", "shift", "matmul")


def resolve(formulation: str) -> str:
    """The formulation that "auto" stands for on this device; any other is returned as it is.

    XLA's own convolution wins on the CPU, matrix products elsewhere.

    Raises:
      DormantError: an unknown formulation.
    """
    check_name("formulation", formulation, FORMULATIONS)
    if formulation != "auto":
        return formulation
    return "xla" if jax.default_backend() == "cpu" else "matmul"


def _pad_same(x: jax.Array, kernel: int, stride: int) -> tuple[jax.Array, int, int]:
    """x (B, H, W, C) with the zeros of XLA's 'SAME' padding, and the output's height and width."""
    pads, outs = [(0, 0)], []
    for size in x.shape[1:3]:
        out = -(-size // stride)
        pad = max((out - 1) * stride + kernel - size, 0)
        pads.append((pad // 2, pad - pad // 2))
        outs.append(out)
    x = jnp.pad(x, pads + [(0, 0)])
    # A stride larger than the kernel leaves the last rows and columns unread.
    height, width = outs
    x = x[:, : (height - 1) * stride + kernel, : (width - 1) * stride + kernel]
    return x, height, width


def _patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Writes every receptive field out once, then takes one matrix product."""
    size, features = kernel.shape[0], kernel.shape[-1]
    x, height, width = _pad_same(x, size, stride)
    rows, columns = (height - 1) * stride + 1, (width - 1) * stride + 1
    fields = [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(size)
        for j in range(size)
    ]
    return jnp.concatenate(fields, axis=-1) @ kernel.reshape(-1, features)


def _shift(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Multiplies each block of stride x stride pixels by every part of the kernel, then sums.

    The products are shifted against each other before they are added. That moves outputs instead of
    inputs: less to write than the patches, where the stride divides the kernel's size.
    """
    size, _, channels, features = kernel.shape
    parts = size // stride
    x, height, width = _pad_same(x, size, stride)
    rows, columns = height + parts - 1, width + parts - 1  # in blocks
    x = x.reshape(-1, rows, stride, columns, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(-1, stride * stride * channels)
    kernel = kernel.reshape(parts, stride, parts, stride, channels, features).transpose(
        1, 3, 4, 0, 2, 5
    )
    out = (x @ kernel.reshape(stride * stride * channels, -1)).reshape(
        -1, rows, columns, parts, parts, features
    )
    shifted = [
        out[:, i : i + height, j : j + width, i, j] for i in range(parts) for j in range(parts)
    ]
    return functools.reduce(jnp.add, shifted)


def convolve(x: jax.Array, kernel: jax.Array, stride: int, formulation: str) -> jax.Array:
    """The 'SAME' convolution of x (B, H, W, C) with a square kernel (k, k, C, features).

    formulation: "xla" = lax.conv; "patches" and "shift" = matrix products; "matmul" = the better of
        the two for this kernel and stride.

    Returns (B, H', W', features).
    """
    if formulation == "xla":
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    divides = stride > 1 and kernel.shape[0] % stride == 0
    if formulation == "patches" or not divides:
        return _patches(x, kernel, stride)
    return _shift(x, kernel, stride)


class Conv(nn.Module):
    """``nn.Conv(features, (kernel, kernel), stride)`` with 'SAME' padding.

    Parameters: kernel (kernel, kernel, C, features) and bias (features,), as ``nn.Conv`` has them.
    """

    features: int
    kernel: int
    stride: int = 1
    formulation: str = "matmul"
    kernel_init: nn.initializers.Initializer = nn.initializers.xavier_uniform()
    dtype: DType = jnp.float32  # of the arithmetic; parameters are float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # (B, H, W, C) -> (B, H', W', features)
        kernel = self.param(
            "kernel", self.kernel_init, (self.kernel, self.kernel, x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (each.astype(self.dtype) for each in (x, kernel, bias))
        return convolve(x, kernel, self.stride, self.formulation) + bias.reshape(1, 1, 1, -1)
