"""What functions from outside the package return: traced for shapes and dtypes, never run."""

from collections.abc import Callable
from typing import Any

import jax

from dormant.types import DormantError


def traced(who: str, which: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, as a tree of jax.ShapeDtypeStruct.

    Args:
      who: whose function it is, for error messages.
      which: of its functions.

    Raises:
      DormantError: it raises whatever.
    """
    try:
        return jax.eval_shape(function, *arguments)
    except DormantError as error:
        raise DormantError(f"{who}: {error}") from error
    except Exception as error:  # of whatever it does
        line = (str(error).strip().splitlines() or [""])[0]
        raise DormantError(f"{who}: {which} raises {type(error).__name__}: {line}") from error


def expect(who: str, which: str, found: Any, wanted: Any) -> None:
    """Raises a DormantError where two trees of shapes and dtypes differ."""
    tree: Any = jax.tree.structure(found)
    if tree != jax.tree.structure(wanted):
        raise DormantError(f"{who}: {which} is {tree}; expected {jax.tree.structure(wanted)}")
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            raise DormantError(
                f"{who}: {which} is {got.dtype} of shape {got.shape}; expected "
                f"{want.dtype} of shape {want.shape}"
            )
