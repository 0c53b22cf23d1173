"""Arithmetic as an explicit setting of an agent. Parameters, moments, losses and heads are float32
in each of them.

float32   every product exactly as float32 has it (on a TPU that is six passes: slow)
tf32      float32 arrays; products of matrices read 10 bits of their mantissas where the device has
such units (NVIDIA
          from Ampere on: TF32; a TPU: three bfloat16 passes; a CPU: no difference to float32)
bfloat16  hidden layers compute in bfloat16 from parameters rounded to it, products summed in
float32
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from dormant.types import check_name

PRODUCTS = {
    "float32": "float32",
    "tf32": "tensorfloat32",
    "bfloat16": "default",
}  # what JAX calls them
PRECISIONS = tuple(PRODUCTS)


def compute_dtype(precision: str) -> Any:
    """The type of hidden activations.

    Raises:
      DormantError: an unknown precision.
    """
    check_name("precision", precision, PRECISIONS)
    return jnp.bfloat16 if precision == "bfloat16" else jnp.float32


def with_products(function: Callable, precision: str) -> Callable:
    """The function with its products of matrices in that precision, whatever JAX's own default
    is.
    """

    def run(*arguments: Any, **named: Any) -> Any:
        with jax.default_matmul_precision(PRODUCTS[precision]):
            return function(*arguments, **named)

    return run
