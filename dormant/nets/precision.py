"""The precision of arithmetic, as an explicit setting of an agent.

float32   every product has the full precision of float32. On a TPU that takes six passes: slow.
tf32      arrays are float32; matrix products read 10 bits of each mantissa where the device has
          units for it: TF32 on NVIDIA from Ampere on, three bfloat16 passes on a TPU. On a CPU it
          is the same as float32.
bfloat16  hidden layers compute in bfloat16, from parameters rounded to it; products are summed in
          float32.

Parameters, moments, losses and output heads are float32 in all three.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

from dormant.types import DType, check_name

F = TypeVar("F", bound=Callable[..., Any])

# JAX's names of the precisions of matrix products
PRODUCTS = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "default"}
PRECISIONS = tuple(PRODUCTS)


def compute_dtype(precision: str) -> DType:
    """The type of hidden activations.

    Raises:
      DormantError: an unknown precision.
    """
    check_name("precision", precision, PRECISIONS)
    return jnp.bfloat16 if precision == "bfloat16" else jnp.float32


def with_products(function: F, precision: str) -> F:
    """The function with its matrix products in that precision, whatever JAX's own default is."""

    def run(*arguments: Any, **named: Any) -> Any:
        with jax.default_matmul_precision(PRODUCTS[precision]):
            return function(*arguments, **named)

    return cast(F, run)
